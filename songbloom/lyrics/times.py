"""Times in lyric files: clocks, and words with stamps between them."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import zip_longest

from songbloom.errors import SongBloomError
from songbloom.lyrics.document import Line, Lyrics, Word
from songbloom.units import Seconds

_MOST: Seconds = 24 * 3600.0
_CLOCK = re.compile(r"(?:([0-9]{1,3}):)?([0-9]{1,5}):([0-9]{1,2})(?:[.,]([0-9]{1,9}))?")
_CENTISECONDS = re.compile(r"([0-9]{1,5}:[0-9]{1,2}):([0-9]{1,2})")
_WORD_STAMP = re.compile(r"<([0-9:.,]{1,24})>")


def read_clock(text: str) -> Seconds | None:
    """Seconds of `mm:ss`, `mm:ss.xx` or `hh:mm:ss,xxx`; None where it is no time below a day."""
    match = _CLOCK.fullmatch(text)
    if not match:
        return None
    hours, minutes, seconds, fraction = match.groups()
    if int(seconds) > 60:  # 60 is 59.999 rounded up
        return None
    whole = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    milliseconds = round(int(fraction or 0) * 1000 / 10 ** len(fraction or ""))
    time = (whole * 1000 + milliseconds) / 1000
    return time if time < _MOST else None


def read_lrc_clock(text: str) -> Seconds | None:
    """As `read_clock`; `mm:ss:xx` holds hundredths, as some programs write it."""
    if match := _CENTISECONDS.fullmatch(text):
        text = f"{match[1]}.{match[2]}"
    return read_clock(text)


def lrc_clock(seconds: Seconds) -> str:
    """`mm:ss.xx`, with a third decimal where it is needed."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    fraction = f"{rest % 1000:03d}"
    return f"{minutes:02d}:{rest // 1000:02d}.{fraction.removesuffix('0')}"


def subtitle_clock(seconds: Seconds, point: str = ".") -> str:
    """`hh:mm:ss.xxx`."""
    milliseconds = round(seconds * 1000)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def read_word_stamps(text: str, start: Seconds | None = None) -> tuple[str, tuple[Word, ...]]:
    """A row's text and its words, from `<mm:ss.xx>` before each.

    A word lasts until the next stamp, so that a stamp without a word behind it is an end. Words
    before the first stamp start at `start`, where it is known. A stamp that is no time is dropped.
    """
    pieces = _WORD_STAMP.split(text)
    if len(pieces) == 1:
        return " ".join(text.split()), ()
    starts = [start, *map(read_lrc_clock, pieces[1::2])]
    words = []
    for at, following, piece in zip(starts, [*starts[1:], None], pieces[::2], strict=True):
        if at is not None and piece.strip():
            end = following if following is not None and following >= at else None
            words.append(Word(" ".join(piece.split()), at, end))
    return " ".join("".join(pieces[::2]).split()), tuple(words)


def write_word_stamps(
    line: Line, clock: Callable[[Seconds], str], escape: Callable[[str], str] = str
) -> str:
    """The line's text with a stamp before each word, and behind it where a pause follows."""
    parts, at = [], 0
    following = [word.start for word in line.words[1:]]
    for word, next_start in zip_longest(line.words, following):
        found = line.text.find(word.text, at)
        if found < 0:
            continue
        parts += [escape(line.text[at:found]), f"<{clock(word.start)}>", escape(word.text)]
        if word.end is not None and word.end != next_start:
            parts.append(f"<{clock(word.end)}>")
        at = found + len(word.text)
    return "".join([*parts, escape(line.text[at:])])


def has_word_stamps(text: str) -> bool:
    """Whether words have times of their own."""
    return _WORD_STAMP.search(text) is not None


def has_bad_stamp(text: str) -> bool:
    """Whether a word has a stamp that is no time."""
    return any(read_lrc_clock(stamp) is None for stamp in _WORD_STAMP.findall(text))


def shifted(words: tuple[Word, ...], seconds: Seconds) -> tuple[Word, ...]:
    """The words so much later, not before the song."""
    return tuple(
        replace(
            word,
            start=later(word.start, seconds),
            end=None if word.end is None else later(word.end, seconds),
        )
        for word in words
    )


def later(time: Seconds, seconds: Seconds) -> Seconds:
    """The time so many seconds later, to the millisecond, not before the song."""
    return max(0, round((time + seconds) * 1000)) / 1000


def require_times(lyrics: Lyrics, format: str) -> None:
    """`SongBloomError` for lyrics of which no line has a time."""
    if not any(line.start is not None for section in lyrics.sections for line in section.lines):
        raise SongBloomError(
            f"{lyrics.source}: no line has a time, and {format} needs them",
            "Start from LRC, SRT or VTT lyrics, or write them as text, line or jsonl.",
        )
