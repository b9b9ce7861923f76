"""Lyrics mended: what `lint` finds and a program may decide.

Words are never taken out but for signs that nobody says. What only the writer can decide (a
language that the model does not know, lyrics that are too long) is left as it is.
"""

import bisect
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from songbloom.errors import SongBloomError
from songbloom.lyrics import lint
from songbloom.lyrics.document import Line, Lyrics, Section
from songbloom.lyrics.formats import Format, detect, parse, write
from songbloom.lyrics.lint import Limits
from songbloom.lyrics.one_line import one_line
from songbloom.lyrics.repetition import tag_choruses
from songbloom.lyrics.signs import spell
from songbloom.lyrics.syllables import count
from songbloom.lyrics.tags import NON_VOCAL_TAGS, TAGS, nearest_tag, tag_of, visible
from songbloom.units import Seconds

_Item = TypeVar("_Item", Line, Section)

_TIMED = ("lrc", "elrc", "srt", "vtt")
_ROUNDS = 4  # mending one thing can show another
_LONG = 2000  # letters; what is longer is cut without counting
_TAG = re.compile(r"\s?[\[［【]([^\[\]［］【】]{1,80})[\]］】]\s?")
_SIGN = re.compile(r"[$€¥]\s?[0-9]+|(?:[0-9]+\s?)?%|[&@+=€¥]")
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_POINT = re.compile(r"(?<=[0-9])\.(?=[0-9])")
_CHINESE = re.compile("[\u4e00-\u9fff]")
_CLOSING = " ,.;:，。；：、-"
_INLINE = re.compile(r"(\{[^{}]*\})")
_RESERVED = re.compile(rf"{_INLINE.pattern}|(?:{lint.FORBIDDEN.pattern})")
_BEFORE_QUOTE = re.compile(r"""[,.;:，；：、]+(?=["'”’」』)](?:\s|$))""")  # "Hold on," she said
_PAUSE = re.compile(r"(?<=[,.;:!?，。；：！？、…)])\s*")
_SPACE = re.compile(r"\s+")


def fix(text: str, limits: Limits = lint.ANY_MODEL, source: str = "lyrics") -> str:
    """The text with what can be mended mended, in its own format.

    Text without errors and warnings, or where nothing can be made better, comes back as it is:
    `fix(fix(text)) == fix(text)`.
    """
    limits = replace(limits, max_duration=math.inf, lyric_length=math.inf)  # nothing is cut off
    best, serious = text, _num_serious(text, limits, source)
    for _ in range(_ROUNDS):
        mended = _mend_once(text, limits, source) if serious else text
        if mended == text:
            break
        text, remaining = mended, _num_serious(mended, limits, source)
        if remaining < serious:
            best, serious = text, remaining
    return best


def mend(lyrics: Lyrics, limits: Limits = lint.ANY_MODEL) -> Lyrics:
    """The lyrics with everything mended that does not need the text."""
    longest = math.inf if lint.has_times(lyrics) else lint.MOST_INSTRUMENTAL
    sections = [_mend_section(s, longest) for s in _with_rising_times(lyrics.sections)]
    kept = [s for s in sections if s.lines or s.tag in NON_VOCAL_TAGS]
    most = lint.most_sentences(limits)
    parts = [part for s in tag_choruses(kept) for part in _split_section(s, most)]
    return replace(lyrics, sections=tuple(parts), line=one_line(parts, limits.convention))


def _num_serious(text: str, limits: Limits, source: str) -> int:
    return sum(map(lint.is_serious, lint.check(text, limits, source)))


def _mend_once(text: str, limits: Limits, source: str) -> str:
    format = detect(text, source)
    text = _respell_tags(text, format, limits, source)
    convention, frontend = limits.convention, limits.frontend
    try:
        lyrics = parse(text, source, format=format, convention=convention, frontend=frontend)
        lyrics = mend(lyrics, limits)
        if format in _TIMED and not lint.has_times(lyrics):
            format = "text"
        return write(lyrics, format, convention=convention)
    except SongBloomError:
        return text


def _respell_tags(text: str, format: Format, limits: Limits, source: str) -> str:
    """Misspelt tags as the tags they mean, where rows are rows of the text."""
    if format == "jsonl":
        return text
    rows = text.splitlines(keepends=True)
    respell = _respell_label if format == "line" else _respell_heading
    for finding in lint.check(text, limits, source):
        if finding.rule in ("misspelt-tag", "unknown-tag") and finding.place.row:
            number = finding.place.row - 1
            rows[number] = _TAG.sub(respell, rows[number])
    return "".join(rows)


def _respell_heading(match: re.Match[str]) -> str:
    tag = None if tag_of(match[1]) else nearest_tag(match[1])
    return match[0].replace(match[1], tag) if tag else match[0]


def _respell_label(match: re.Match[str]) -> str:
    """In the one line a tag is known only as it is, with spaces around; others are sung."""
    name = match[1].strip()
    tag = name if name in TAGS else tag_of(name) or nearest_tag(name)
    return f" [{tag}] " if tag else " "


# ---------------------------------------------------------------- sections and lines


def _mend_section(section: Section, longest: float) -> Section:
    """A name that is no tag goes; lines of signs alone go; a long part without words is cut."""
    tag, name = section.tag, section.name
    if name and not tag_of(name):
        tag, name = nearest_tag(name) or tag, ""
    if section.lines and tag in NON_VOCAL_TAGS:
        tag = section.tag
    lines = tuple(part for line in map(_mend_line, section.lines) for part in _split_line(line))
    lines = tuple(line for line in lines if any(map(str.isalnum, line.text)))
    repeats = section.repeats if lines else int(min(section.repeats, longest))
    return replace(section, tag=tag, name=name, lines=lines, repeats=repeats)


def _mend_line(line: Line) -> Line:
    words = (replace(word, text=_mend_text(word.text)) for word in line.words)
    kept = tuple(word for word in words if word.text)
    return replace(line, text=_mend_text(line.text), words=kept)


def _mend_text(text: str) -> str:
    """Signs as words, pictures and reserved marks as spaces; phonemes in braces are kept."""
    language = "zh" if _CHINESE.search(text) else "en"
    parts = _INLINE.split(visible(text))
    parts[::2] = [_say_signs(part, language) for part in parts[::2]]
    text = "".join(parts)
    inside = text.strip(_CLOSING)
    plain = _RESERVED.sub(lambda match: match[1] or " ", _BEFORE_QUOTE.sub("", inside))
    return " ".join((text.replace(inside, plain) if inside else text).split())


def _say_signs(text: str, language: str) -> str:
    text = _THOUSANDS.sub("", text)
    text = _POINT.sub("点" if language == "zh" else " point ", text)
    text = _SIGN.sub(lambda match: f" {spell(match[0], language).strip()} ", text)
    return "".join(" " if unicodedata.category(c) in ("So", "Sk") else c for c in text)


def _split_line(line: Line) -> Iterator[Line]:
    """An overlong line as lines that are sung in one breath."""
    if not lint.is_overlong(line):
        yield line
        return
    for piece in _pieces(line.text):
        yield Line(piece, place=line.place)


def _pieces(text: str) -> list[str]:
    if len(text) < 2 or (len(text) < _LONG and count(text) <= lint.MOST_SYLLABLES):
        return [text]
    at = _border(text)
    return [*_pieces(text[:at].strip()), *_pieces(text[at:].strip())]


def _border(text: str) -> int:
    """The border nearest to the middle: after a pause, else between words, else anywhere."""
    middle, first, last = len(text) // 2, len(text) // 4, 3 * len(text) // 4
    outside = _INLINE.sub(lambda match: "x" * len(match[0]), text)
    for pattern in (_PAUSE, _SPACE):
        borders = [match.end() for match in pattern.finditer(outside, max(1, first), last)]
        if borders:
            return min(borders, key=lambda at: abs(at - middle))
    return middle


def _split_section(section: Section, most: int) -> Iterator[Section]:
    """A section of more than `most` sentences as several of the same tag."""
    if sum(map(lint.num_sentences, section.texts)) <= most:
        yield section
        return
    lines = [part for line in section.lines for part in _sentences(line)]
    for first in range(0, len(lines), most):
        part = tuple(lines[first : first + most])
        start = section.start if first == 0 else part[0].start
        yield replace(section, lines=part, start=start, end=None)


def _sentences(line: Line) -> list[Line]:
    if lint.num_sentences(line.text) <= 1:
        return [line]
    texts = [text.strip() for text in re.split("[.。]", line.text) if text.strip()]
    return [Line(text, line.start if n == 0 else None) for n, text in enumerate(texts)]


def _with_rising_times(sections: Sequence[Section]) -> list[Section]:
    """The fewest times that fall behind earlier ones left out; their lines stay where they are."""
    starts = [t for s in sections for t in (s.start, *(line.start for line in s.lines))]
    kept = _rising(starts)
    if all(kept):
        return [replace(s, lines=tuple(map(_with_rising_words, s.lines))) for s in sections]
    starts = [start if keep else None for start, keep in zip(starts, kept, strict=True)]
    times = iter(zip(starts, _next_starts(starts), strict=True))
    mended = []
    for section in sections:
        section = _timed(section, *next(times))
        lines = tuple(_with_rising_words(_timed(line, *next(times))) for line in section.lines)
        mended.append(replace(section, lines=lines))
    return mended


def _rising(starts: Sequence[Seconds | None]) -> list[bool]:
    """Which times belong to the longest series that never falls; None always does."""
    tails: list[Seconds] = []  # the least end of a series of each length
    lengths = []
    for start in starts:
        at = 0 if start is None else bisect.bisect_right(tails, start)
        if start is not None:
            tails[at : at + 1] = [start]
        lengths.append(at)
    kept = [start is None for start in starts]
    wanted = len(tails) - 1
    for number in reversed(range(len(starts))):
        if not kept[number] and lengths[number] == wanted:
            kept[number], wanted = True, wanted - 1
    return kept


def _next_starts(starts: Sequence[Seconds | None]) -> list[Seconds]:
    """For each place the first time that stands behind it."""
    following = []
    time = math.inf
    for start in reversed(starts):
        following.append(time)
        time = time if start is None else start
    return following[::-1]


def _timed(item: _Item, start: Seconds | None, following: Seconds) -> _Item:
    """A section or line that starts then, and ends before the next start or nobody knows when."""
    known = start is not None and item.end is not None and item.end <= following
    return replace(item, start=start, end=item.end if known else None)


def _with_rising_words(line: Line) -> Line:
    """The line with the times of its words only where it has one and they rise."""
    rise = all(a.start <= b.start for a, b in zip(line.words, line.words[1:], strict=False))
    return line if rise and line.start is not None else replace(line, words=())
