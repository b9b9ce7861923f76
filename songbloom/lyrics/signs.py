"""Digits and signs (`&`, `%`, `€5`) as words of the language around them.

Spanish, French, German and Japanese read digits themselves; English, Chinese and Korean ones are
spelled out here. English counts, years and ordinals are those of `numbers`.
"""

import re
from collections.abc import Callable

from songbloom.lyrics.numbers import spell_numbers

SIGNS = "&%$€£¥+=@#°"
_SIGN_WORDS = {
    "en": "and|percent|dollars|euros|pounds|yen|plus|equals|at|number|degrees",
    "zh": "和|百分之|美元|欧元|英镑|元|加|等于|在|第|度",
    "yue": "同|百分之|美元|歐元|英鎊|元|加|等於|在|第|度",
    "ja": "アンド|パーセント|ドル|ユーロ|ポンド|円|プラス|イコール|アット|ナンバー|度",
    "ko": "앤드|퍼센트|달러|유로|파운드|엔|더하기|는|앳|넘버|도",
    "es": "y|por ciento|dólares|euros|libras|yenes|más|igual a|arroba|número|grados",
    "fr": "et|pour cent|dollars|euros|livres|yens|plus|égale|arobase|numéro|degrés",
    "de": "und|Prozent|Dollar|Euro|Pfund|Yen|plus|gleich|at|Nummer|Grad",
}
_SINGULAR = {"dollars": "dollar", "euros": "euro", "pounds": "pound", "degrees": "degree"}

_PRICE = re.compile(r"([$€£¥])\s?(\d+(?:[.,]\d+)*)")
_PERCENT = re.compile(r"(?<![\d.,])(\d+(?:[.,]\d+)*)\s?%")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_CLOCK = re.compile(r"(\d{1,2}):([0-5]\d)(?!\d)")
_DECIMAL = re.compile(r"(?<!\d)(\d+)\.(\d+)")
_DECADE = re.compile(r"(?<!\d)(\d*[0-9]0)s(?![A-Za-z])")
_ORDINAL = re.compile(r"(?<!\d)\d+(?:st|nd|rd|th)(?![A-Za-z])")
_DIGITS = re.compile(r"\d+")


def spell(text: str, language: str) -> str:
    """`text` with its signs as words of `language`, and its digits where nobody else reads them."""
    words = dict(zip(SIGNS, _SIGN_WORDS[language].split("|"), strict=True))
    text = _PRICE.sub(r"\2\1", text)
    if language in ("zh", "yue"):
        text = _PERCENT.sub(r"%\1", text)
    blank = "" if language in ("zh", "yue", "ja") else " "
    for sign, word in words.items():
        text = text.replace(sign, f"{blank}{word}{blank}")
    return _SPELLERS[language](text) if language in _SPELLERS else text


def _english(text: str) -> str:
    text = _THOUSANDS.sub("", text)
    text = re.sub(r"(?<!\d)1 (\w+)", lambda m: f"1 {_SINGULAR.get(m[1], m[1])}", text)
    text = _CLOCK.sub(_english_time, text)
    text = _DECADE.sub(_english_decade, text)
    text = _ORDINAL.sub(lambda match: f" {spell_numbers(match[0])} ", text)
    text = _DECIMAL.sub(lambda match: f"{match[1]} point {' '.join(match[2])}", text)
    return _DIGITS.sub(lambda match: f" {spell_numbers(match[0])} ", text)


def _english_time(match: re.Match[str]) -> str:
    hours, minutes = match.groups()
    if minutes == "00":
        return f"{hours} o'clock"
    return f"{hours} oh {minutes[1]}" if minutes[0] == "0" else f"{hours} {minutes}"


def _english_decade(match: re.Match[str]) -> str:
    words = spell_numbers(match[1])
    return f" {words[:-1]}ies " if words.endswith("y") else f" {words}s "


_HAN_DIGITS = "零一二三四五六七八九"
# After these a lone 2 is 两.
_MEASURES = frozenset(
    "个個位人只隻次天年岁歲张張片朵首杯瓶双雙对對颗顆滴场場句步遍条條种種段层層座辆辆件本封"
)


def _chinese(text: str) -> str:
    text = _THOUSANDS.sub("", text)
    text = _CLOCK.sub(lambda match: f"{match[1]}点{match[2].lstrip('0')}", text)
    text = _DECIMAL.sub(lambda match: f"{match[1]}点{_digit_by_digit(match[2])}", text)
    return _DIGITS.sub(_chinese_number, text)


def _chinese_number(match: re.Match[str]) -> str:
    digits, before, after = match[0], match.string[: match.start()], match.string[match.end() :]
    if (len(digits) == 4 and after[:1] == "年") or len(digits) > 8 or digits[0] == "0":
        return _digit_by_digit(digits)
    if digits == "2" and after[:1] in _MEASURES and after and not before.endswith("第"):
        return "两"
    return _count(int(digits), _HAN_DIGITS, ("", "十", "百", "千"), ("", "万"), zero="零", one="一")


def _digit_by_digit(digits: str) -> str:
    return "".join(_HAN_DIGITS[int(digit)] for digit in digits)


_HANGUL_DIGITS = "영일이삼사오육칠팔구"
_NATIVE_ONES = ("", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉")
_NATIVE_TENS = ("", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")
_NATIVE_COUNTED = re.compile(r"\s?(?:개(?!월)|명|번|살|시(?!간|대)|시간|사람|마리|잔|달|송이|가지)")


def _korean(text: str) -> str:
    text = _THOUSANDS.sub("", text)
    text = _CLOCK.sub(lambda match: f"{match[1]}시 {match[2].lstrip('0')}분", text)
    text = _DECIMAL.sub(
        lambda match: f"{match[1]}점{''.join(_HANGUL_DIGITS[int(d)] for d in match[2])}", text
    )
    return _DIGITS.sub(_korean_number, text)


def _korean_number(match: re.Match[str]) -> str:
    """Native numbers before what they count, Sino-Korean ones elsewhere."""
    digits = match[0]
    if len(digits) > 8:
        return "".join(_HANGUL_DIGITS[int(digit)] for digit in digits)
    value = int(digits)
    if 0 < value < 100 and _NATIVE_COUNTED.match(match.string, match.end()):
        tens, ones = divmod(value, 10)
        return "스무" if value == 20 else _NATIVE_TENS[tens] + _NATIVE_ONES[ones]
    return _count(value, _HANGUL_DIGITS, ("", "십", "백", "천"), ("", "만"), zero="", one="")


def _count(
    value: int,
    digits: str,
    places: tuple[str, ...],
    myriads: tuple[str, ...],
    *,
    zero: str,
    one: str,
) -> str:
    """A number below 10^8 in groups of four digits.

    `zero` stands for skipped places (一百零五), `one` before a hundred (一百, but 백).
    """
    if value == 0:
        return digits[0]
    high, low = divmod(value, 10_000)
    if high:
        head = _group(high, digits, places, zero, one)
        head = ("" if head == digits[1] and not one else head) + myriads[1]
        gap = zero if 0 < low < 1000 else ""
        return head + gap + (_group(low, digits, places, zero, one) if low else "")
    spelled = _group(low, digits, places, zero, one)
    return spelled.removeprefix(one) if one and 10 <= low < 20 else spelled


def _group(value: int, digits: str, places: tuple[str, ...], zero: str, one: str) -> str:
    """A number from 1 to 9999."""
    words, skipped = "", False
    for place in (3, 2, 1, 0):
        digit = value // 10**place % 10
        if not digit:
            skipped = bool(words)
            continue
        said = one if digit == 1 and place else digits[digit]
        words += (zero if skipped else "") + said + places[place]
        skipped = False
    return words


_SPELLERS: dict[str, Callable[[str], str]] = {
    "en": _english,
    "zh": _chinese,
    "yue": _chinese,
    "ko": _korean,
}
