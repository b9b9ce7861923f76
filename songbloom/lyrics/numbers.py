"""Digits in English text, spelled out as the released front end says them.

1806 is a year ("eighteen oh six"), 567 a count ("five hundred sixty-seven"), 3rd an ordinal.
"""

import re

_ONE_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TEN_WORDS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety"
_POWER_WORDS = (
    "thousand million billion trillion quadrillion quintillion sextillion septillion octillion "
    "nonillion decillion"
)
_ONES = _ONE_WORDS.split(" ")
_TENS = _TEN_WORDS.split(" ")
_POWERS = _POWER_WORDS.split(" ")
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_MOST_DIGITS = 3 * (len(_POWERS) + 1)

_POUNDS = re.compile(r"£([0-9]+)")
_ORDINAL = re.compile(r"(?<![0-9])([0-9]+)(?:st|nd|rd|th)")
_DIGITS = re.compile(r"[0-9]+")


def spell_numbers(text: str) -> str:
    """`text` with every run of ASCII digits written as English words."""
    text = _POUNDS.sub(r"\1 pounds", text)
    text = _ORDINAL.sub(lambda match: _ordinal(match[1]), text)
    return _DIGITS.sub(lambda match: _number(match[0]), text)


def _number(digits: str) -> str:
    """A number between 1000 and 3000 is read as a year, any other one as a count."""
    value = int(digits) if len(digits) <= _MOST_DIGITS else -1
    if value < 0:
        return " ".join(_ONES[int(digit)] for digit in digits)
    return _year(value) if 1000 < value < 3000 else _cardinal(value, "")


def _year(value: int) -> str:
    century, rest = divmod(value, 100)
    if value == 2000:
        return "two thousand"
    if 2000 < value < 2010:
        return f"two thousand {_ONES[rest]}"
    if rest == 0:
        return f"{_below_hundred(century)} hundred"
    last = _below_hundred(rest) if rest >= 10 else f"oh {_ONES[rest]}"
    return f"{_below_hundred(century)} {last}"


def _ordinal(digits: str) -> str:
    """The ordinal of a count, "and" included; too long a number is read digit by digit."""
    if len(digits) > _MOST_DIGITS:
        return _number(digits)
    words = _cardinal(int(digits), " and")
    head, last = re.fullmatch(r"(.*?)([a-z]+)", words, re.DOTALL).groups()  # type: ignore[union-attr]
    if last.endswith("y"):
        return f"{head}{last[:-1]}ieth"
    return head + _ORDINALS.get(last, f"{last}th")


def _cardinal(value: int, joint: str) -> str:
    """`joint` stands before the part below a hundred; thousands are set off by commas."""
    value, rest = divmod(value, 1000)
    if not value:
        return _below_thousand(rest, joint)
    groups = _thousands(value, joint)
    if rest >= 100:
        return f"{groups}, {_below_thousand(rest, joint)}"
    return f"{groups}{joint} {_below_hundred(rest)}" if rest else groups


def _thousands(value: int, joint: str) -> str:
    groups: list[str] = []
    for power in _POWERS:
        value, group = divmod(value, 1000)
        if group:
            groups.insert(0, f"{_below_thousand(group, joint)} {power}")
    return ", ".join(groups)


def _below_thousand(value: int, joint: str) -> str:
    hundreds, rest = divmod(value, 100)
    if not hundreds:
        return _below_hundred(rest)
    head = f"{_ONES[hundreds]} hundred"
    return f"{head}{joint} {_below_hundred(rest)}" if rest else head


def _below_hundred(value: int) -> str:
    if value < 20:
        return _ONES[value]
    tens, ones = divmod(value, 10)
    return f"{_TENS[tens]}-{_ONES[ones]}" if ones else _TENS[tens]
