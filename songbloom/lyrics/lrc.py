"""LRC: a stamp before each line, `[mm:ss.xx]`; enhanced, one before each word, `<mm:ss.xx>`.

A line lasts until the next stamp; a stamp with nothing behind it is a pause. Section tags stand on
rows of their own, with a stamp or without. Title and artist are `[ti:...]` and `[ar:...]`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from songbloom.lyrics.document import Finding, Line, Lyrics, Place, Section, Severity
from songbloom.lyrics.plain import Metadata, credit_finding, read_credit
from songbloom.lyrics.sections import Row, heading, is_words, read_sections
from songbloom.lyrics.sung import shown
from songbloom.lyrics.tags import read_tag_line, visible
from songbloom.lyrics.times import (
    has_bad_stamp,
    later,
    lrc_clock,
    read_lrc_clock,
    read_word_stamps,
    require_times,
    shifted,
    write_word_stamps,
)
from songbloom.units import Seconds

_STAMP = re.compile(r"\[([-+]?[0-9][0-9:.,]*)\][ \t]*")
_ID_TAG = re.compile(r"\[([a-z#][a-z_]{0,20}):(.*)\]", re.IGNORECASE)
_INLINE_STAMP = re.compile(r"\[([0-9]{1,3}:[0-9:.,]{2,12})\]")
_OFFSET = re.compile(r"[-+]?[0-9]{1,8}")
_KEYS = {
    "ti": "title",
    "ar": "artist",
    "al": "album",
    "au": "author",
    "la": "language",
    "ve": "version",
}
_SHORT_KEYS = {key: short for short, key in _KEYS.items()}
_OTHER_KEYS = ("by", "re", "length", "tool")
_MOST_STAMPS = 30  # of one row; no chorus returns more often
_HEAD = 2  # rows of words that may stand above who made the song


def is_lrc(row: str) -> bool:
    """Whether a row begins with a stamp."""
    match = _STAMP.match(row.lstrip())
    return match is not None and ":" in match[1]


def read_lrc(
    rows: Sequence[str], repeats: int
) -> tuple[tuple[Section, ...], list[Finding], Metadata]:
    """Sections, findings and metadata of LRC."""
    reader = _Reader()
    for number, row in enumerate(rows, start=1):
        reader.read(visible(row).strip(), Place(number, len(row) - len(row.lstrip()) + 1))
    timed = _with_ends(reader.finish())
    sections, findings = read_sections(timed, repeats)
    return sections, reader.findings + findings, tuple(reader.metadata.items())


def write_lrc(lyrics: Lyrics, words: bool = False) -> str:
    """LRC; with `words` the enhanced one. `SongBloomError` for lyrics without times."""
    require_times(lyrics, "lrc")
    rows = [
        f"[{_SHORT_KEYS.get(key, key)}:{value}]"
        for key, value in lyrics.metadata
        if _ID_TAG.fullmatch(f"[{key}:]")
    ]
    pause: Seconds | None = None
    items: list[Section | Line] = []
    for section in lyrics.sections:
        items += [section, *section.lines]
    for item in items:
        if item.start is not None:
            rows += _pause(pause, item.start)
            pause = None
        rows.append(_stamp(item.start) + _row(item, words))
        if item.end is not None and (isinstance(item, Line) or _lasts(item)):
            pause = item.end
    rows += _pause(pause, None)
    return "\n".join(rows) + "\n"


@dataclass
class _Reader:
    """Rows with the time at which each stands; a row with several stamps is several."""

    rows: list[tuple[Seconds, Row]] = field(default_factory=list)
    waiting: list[Row] = field(default_factory=list)  # headings without a stamp
    metadata: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    untimed: list[Place] = field(default_factory=list)
    latest: Seconds = 0.0
    offset: Seconds = 0.0
    offset_place: Place = Place()
    repeated: bool = False
    sung: int = 0  # rows of words

    def read(self, row: str, place: Place) -> None:
        stamps, at = self._stamps(row, place)
        place = place.moved(at)
        if stamps:
            self._timed(row[at:], place, stamps)
        elif not self._id_tag(row, place):
            self._untimed(" ".join(row[at:].split()), place)

    def finish(self) -> list[Row]:
        """All rows in the order of the song: of the file, or of their times where some repeat."""
        self._flush(self.latest)
        if any(row.start is not None for _, row in self.rows):
            for place in self.untimed:
                self._find(
                    "untimed-line", place, "a line without a time", "give it a stamp", "info"
                )
        if self.repeated:
            self.rows.sort(key=lambda timed: timed[0])
        rows = [row for _, row in self.rows]
        if any(row.start is not None and row.start < self.offset for row in rows):
            message = f"the offset of {self.offset:g} s puts times before the song; they become 0"
            self._find("bad-time", self.offset_place, message, "write a smaller [offset:]")
        return [_moved(row, -self.offset) for row in rows] if self.offset else rows

    def _stamps(self, row: str, place: Place) -> tuple[list[Seconds], int]:
        """The times at the head of a row, and where they end."""
        stamps: list[Seconds] = []
        at = 0
        while (match := _STAMP.match(row, at)) and ":" in match[1]:
            if (time := read_lrc_clock(match[1])) is None:
                message = f"{shown(match[0], 20)} is no time that can be used"
                self._find("bad-time", place.moved(at), message, "write [mm:ss.xx]")
            else:
                stamps.append(time)
            at = match.end()
        if len(stamps) > _MOST_STAMPS:
            message = f"{len(stamps)} times for one row; the first {_MOST_STAMPS} are read"
            self._find("bad-time", place, message, "write the row again for the others")
        return stamps[:_MOST_STAMPS], at

    def _timed(self, rest: str, place: Place, stamps: list[Seconds]) -> None:
        # Where words have stamps in square brackets, the line's is that of the first word.
        rest, num_inline = _INLINE_STAMP.subn(r"<\1>", rest)
        if has_bad_stamp(rest):
            self._find("bad-time", place, "a word with a stamp that is no time", "write <mm:ss.xx>")
        text, words = read_word_stamps(rest, stamps[0] if num_inline else None)
        if not is_words(text) and not read_tag_line(text):
            text, words = "", ()
        if text and self._credit(text, place):
            return
        for stamp in stamps:
            self._flush(stamp, keep=True)
            moved = shifted(words, stamp - stamps[0]) if stamp != stamps[0] else words
            self.rows.append((stamp, Row(text, place, stamp, None, moved)))
            self.latest = stamp
        self.waiting = []
        self.repeated = self.repeated or len(stamps) > 1

    def _credit(self, text: str, place: Place) -> bool:
        """Whether a row with a time says who made the song, near the head; that is kept."""
        credit = read_credit(text) if self.sung < _HEAD else None
        if credit is None:
            self.sung += is_words(text)
            return False
        self.findings.append(credit_finding(credit[0], place))
        self.metadata.setdefault(*credit)
        return True

    def _untimed(self, text: str, place: Place) -> None:
        """Headings wait for the times of the next row; words stand where the last row does."""
        row = Row(text, place)
        if text and not is_words(text):
            self.waiting += [row] if read_tag_line(text) else []
            return
        if text:
            self._flush(self.latest)
            self.untimed.append(place)
        self.rows.append((self.latest, row))

    def _flush(self, time: Seconds, keep: bool = False) -> None:
        self.rows += [(time, row) for row in self.waiting]
        self.waiting = self.waiting if keep else []

    def _id_tag(self, row: str, place: Place) -> bool:
        """Whether a row is metadata, which is kept."""
        match = _ID_TAG.fullmatch(row)
        if not match:
            return False
        key, value = match[1].lower(), " ".join(match[2].split())
        heading = read_tag_line(row)
        if heading and heading.tags and key not in (*_KEYS, *_OTHER_KEYS):
            return False
        if key == "offset":
            self._read_offset(value, place)
        elif value and key != "#" and self.metadata.setdefault(_KEYS.get(key, key), value) != value:
            self._find("repeated-metadata", place, f"a second {key}", "delete one", "info")
        return True

    def _read_offset(self, value: str, place: Place) -> None:
        if _OFFSET.fullmatch(value):
            self.offset, self.offset_place = int(value) / 1000, place
        else:
            message = f"offset {shown(value, 20)} is no number of milliseconds"
            self._find("bad-time", place, message, "write [offset:+500]")

    def _find(
        self, rule: str, place: Place, message: str, fix: str, severity: Severity = "warning"
    ) -> None:
        self.findings.append(Finding(place, rule, severity, message, fix))


def _row(item: Section | Line, words: bool) -> str:
    if isinstance(item, Section):
        return heading(item)
    return write_word_stamps(item, lrc_clock) if words else item.text


def _lasts(section: Section) -> bool:
    """Whether the end of a section can be written: nothing else may have a time in it."""
    return section.start is not None and not section.lines


def _pause(pause: Seconds | None, following: Seconds | None) -> list[str]:
    """A stamp with nothing behind it, unless the next one stands there."""
    return [] if pause is None or pause == following else [_stamp(pause)]


def _stamp(time: Seconds | None) -> str:
    return "" if time is None else f"[{lrc_clock(time)}]"


def _moved(row: Row, seconds: Seconds) -> Row:
    start = None if row.start is None else later(row.start, seconds)
    return row._replace(start=start, words=shifted(row.words, seconds))


def _with_ends(rows: Sequence[Row]) -> list[Row]:
    """Lines last until the next stamp; headings too where no words are under them."""
    timed = []
    starts = _next_starts([row.start for row in rows])
    for number, (row, end) in enumerate(zip(rows, starts, strict=True)):
        following = rows[number + 1].text if number + 1 < len(rows) else ""
        lasts = is_words(row.text) or not is_words(following)
        rises = row.start is not None and end is not None and end > row.start
        timed.append(row._replace(end=end) if row.text and lasts and rises else row)
    return timed


def _next_starts(starts: Sequence[Seconds | None]) -> list[Seconds | None]:
    """For each place the first time that stands behind it."""
    following: list[Seconds | None] = []
    time: Seconds | None = None
    for start in reversed(starts):
        following.append(time)
        time = time if start is None else start
    return following[::-1]
