"""Mandarin tones in connected speech, by the rules that the released front end applies.

The rules are those of PaddleSpeech's text front end (Apache-2.0): words are first merged where a
rule needs its neighbour (不, 一, doubled words, two third tones, 儿), then the tones inside each
word change. A tone is the last character of a final: "1" to "4", "5" is the neutral tone.
"""

import functools
from collections.abc import Callable, Sequence
from importlib import resources
from typing import NamedTuple

_NOT, _ONE = "不", "一"
_LASTING_TONE_WORDS = "男子 女子 分子 原子 量子 莲子 石子 瓜子 电子 人人 虎虎"
_LASTING_TONE = frozenset(_LASTING_TONE_WORDS.split(" "))
_PARTICLES = frozenset("吧呢哈啊呐噻嘛吖嗨呐哦哒额滴哩哟喽啰耶喔诶的地得")
_COUNTED = frozenset("几有两半多各整每做是")
_ASPECT_TAGS = frozenset({"ul", "uz", "ug"})


class Word(NamedTuple):
    """A word of a cut sentence and its part of speech (jieba's tag)."""

    text: str
    tag: str


def merge(words: Sequence[Word], finals_of: Callable[[str], list[str]]) -> list[Word]:
    """The words between which a tone rule works, joined; the first part gives the tag.

    `finals_of` reads a word's finals with tones, before any sandhi.
    """
    merged = _merge_not(words)
    merged = _merge_one_between(merged)
    merged = _merge_one_before(merged)
    merged = _merge_doubled(merged)
    merged = _merge_third_tones(merged, finals_of, _wholly_third)
    merged = _merge_third_tones(merged, finals_of, _third_meets_third)
    return _merge_er(merged)


def spoken(word: Word, finals: Sequence[str], split: Callable[[str], list[str]]) -> list[str]:
    """`finals` with the tones that `word` has in connected speech, one final a character.

    `split` cuts a word into its shorter words in reading order (jieba's search mode).
    """
    parts = _in_two(word.text, split)
    changed = _with_neutral(word, _with_one(word.text, _with_not(word.text, list(finals))), parts)
    return _with_third(parts, changed)


def _merge_not(words: Sequence[Word]) -> list[Word]:
    merged: list[Word] = []
    for word in words:
        if merged and merged[-1].text == _NOT:
            merged[-1] = Word(_NOT + word.text, word.tag)
        else:
            merged.append(word)
    return merged


def _merge_one_between(words: Sequence[Word]) -> list[Word]:
    """听 一 听 becomes one word."""
    merged: list[Word] = []
    for word in words:
        if len(merged) >= 2 and merged[-1].text == _ONE and merged[-2] == (word.text, "v"):
            merged.pop()
            merged[-1] = Word(f"{word.text}{_ONE}{word.text}", "v")
        else:
            merged.append(word)
    return merged


def _merge_one_before(words: Sequence[Word]) -> list[Word]:
    merged: list[Word] = []
    for word in words:
        if merged and merged[-1].text == _ONE:
            merged[-1] = Word(_ONE + word.text, merged[-1].tag)
        else:
            merged.append(word)
    return merged


def _merge_doubled(words: Sequence[Word]) -> list[Word]:
    merged: list[Word] = []
    for word in words:
        if merged and merged[-1].text == word.text:
            merged[-1] = Word(word.text * 2, merged[-1].tag)
        else:
            merged.append(word)
    return merged


def _merge_third_tones(
    words: Sequence[Word],
    finals_of: Callable[[str], list[str]],
    meets: Callable[[list[str], list[str]], bool],
) -> list[Word]:
    """Join two neighbours of at most three characters where `meets` holds; a third stays apart."""
    merged: list[Word] = []
    finals = [finals_of(word.text) for word in words]
    just_merged = False
    for place, word in enumerate(words):
        before = words[place - 1]
        just_merged = (
            place > 0
            and not just_merged
            and meets(finals[place - 1], finals[place])
            and not _is_doubled(before.text)
            and len(before.text) + len(word.text) <= 3
        )
        if just_merged:
            merged[-1] = Word(merged[-1].text + word.text, merged[-1].tag)
        else:
            merged.append(word)
    return merged


def _merge_er(words: Sequence[Word]) -> list[Word]:
    merged: list[Word] = []
    for word in words:
        if merged and word.text == "儿":
            merged[-1] = Word(merged[-1].text + word.text, merged[-1].tag)
        else:
            merged.append(word)
    return merged


def _with_not(text: str, finals: list[str]) -> list[str]:
    """看不懂: neutral; 不怕: second tone before a fourth."""
    if len(text) == 3 and text[1] == _NOT:
        return _retoned(finals, 1, "5")
    for place, letter in enumerate(text[:-1]):
        if letter == _NOT and finals[place + 1].endswith("4"):
            finals = _retoned(finals, place, "2")
    return finals


def _with_one(text: str, finals: list[str]) -> list[str]:
    """看一看: neutral; 一段: second tone before a fourth; 一天: fourth; in numbers: first."""
    if _ONE not in text or all(letter.isnumeric() for letter in text):
        return finals
    if len(text) == 3 and text[1] == _ONE and text[0] == text[2]:
        return _retoned(finals, 1, "5")
    if text.startswith("第一"):
        return _retoned(finals, 1, "1")
    for place, letter in enumerate(text[:-1]):
        if letter == _ONE:
            finals = _retoned(finals, place, "2" if finals[place + 1].endswith("4") else "4")
    return finals


def _with_neutral(word: Word, finals: list[str], parts: tuple[str, str]) -> list[str]:
    """Doubled words, particles, suffixes, 个, and words that custom ends in the neutral tone."""
    text, tag = word
    for place in range(1, len(text)):
        doubled = text[place] == text[place - 1] and tag[:1] in ("n", "v", "a")
        if doubled and text not in _LASTING_TONE:
            finals = _retoned(finals, place, "5")
    neutral = _neutral_place(text, tag)
    if neutral is not None:
        finals = _retoned(finals, neutral, "5")
    for part, end in zip(parts, (len(parts[0]), len(text)), strict=True):
        if _ends_neutral(part):
            finals = _retoned(finals, end - 1, "5")
    return finals


def _neutral_place(text: str, tag: str) -> int | None:
    """The character of a word that its grammar makes neutral."""
    last, longer = len(text) - 1, len(text) > 1
    counted = text.find("个")
    if text[-1] in _PARTICLES:
        return last
    if text in ("了", "着", "过") and tag in _ASPECT_TAGS:
        return last
    if longer and text[-1] in "们子" and tag in ("r", "n") and text not in _LASTING_TONE:
        return last
    if longer and text[-1] in "上下里" and tag in ("s", "l", "f"):
        return last
    if longer and text[-1] in "来去" and text[-2] in "上下进出回过起开":
        return last
    if text == "个" or (counted > 0 and _counts(text[counted - 1])):
        return counted
    return last if _ends_neutral(text) else None


def _counts(letter: str) -> bool:
    return letter.isnumeric() or letter in _COUNTED


def _ends_neutral(text: str) -> bool:
    return text[-2:] in _neutral_words()


def _with_third(parts: tuple[str, str], finals: list[str]) -> list[str]:
    """A third tone before a third becomes a second, within the word's own parts."""
    length, first = len(finals), len(parts[0])
    if length == 2 and _all_third(finals):
        return _retoned(finals, 0, "2")
    if length == 3:
        return _with_third_of_three(finals, first)
    if length == 4:
        for place in (0, 2):
            if _all_third(finals[place : place + 2]):
                finals = _retoned(finals, place, "2")
    return finals


def _with_third_of_three(finals: list[str], first: int) -> list[str]:
    """蒙古/包 changes both of the first part, 纸/老虎 its middle; else each part by itself."""
    if first == 3:
        return finals
    if _all_third(finals):
        finals = _retoned(finals, 1, "2")
        return _retoned(finals, 0, "2") if first == 2 else finals
    pair = 0 if first == 2 else 1
    if _all_third(finals[pair : pair + 2]):
        return _retoned(finals, pair, "2")
    if not _all_third(finals[first:]) and _all_third(finals[first - 1 : first + 1]):
        return _retoned(finals, first - 1, "2")
    return finals


def _in_two(text: str, split: Callable[[str], list[str]]) -> tuple[str, str]:
    """The word cut at its shortest part: before it unless the word begins with it."""
    shortest = min(split(text), key=len)
    if text.startswith(shortest):
        return shortest, text[len(shortest) :]
    return text[: -len(shortest)], shortest


def _retoned(finals: Sequence[str], place: int, tone: str) -> list[str]:
    return [*finals[:place], finals[place][:-1] + tone, *finals[place + 1 :]]


def _all_third(finals: Sequence[str]) -> bool:
    return all(final.endswith("3") for final in finals)


def _wholly_third(before: list[str], after: list[str]) -> bool:
    return _all_third(before) and _all_third(after)


def _third_meets_third(before: list[str], after: list[str]) -> bool:
    return before[-1].endswith("3") and after[0].endswith("3")


def _is_doubled(text: str) -> bool:
    return len(text) == 2 and text[0] == text[1]


@functools.cache
def _neutral_words() -> frozenset[str]:
    data = resources.files("songbloom.lyrics").joinpath("data", "neutral_tone_words.txt")
    return frozenset(data.read_text(encoding="utf-8").split())
