"""Subtitles, SRT and WebVTT: cues of one or more rows with a start and an end.

The first line of a cue has its start, the last one its end. Section tags are rows of a cue, or
cues of their own. In WebVTT words have stamps, `<00:01.000>`, and metadata stands under the head.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from songbloom.lyrics.document import Finding, Line, Lyrics, Place, Section, Word
from songbloom.lyrics.plain import Metadata
from songbloom.lyrics.sections import Row, heading, is_words, read_sections
from songbloom.lyrics.tags import read_tag_line, visible
from songbloom.lyrics.times import (
    has_bad_stamp,
    read_clock,
    read_word_stamps,
    require_times,
    subtitle_clock,
    write_word_stamps,
)
from songbloom.units import Seconds

_TIMES = re.compile(r"\s*(-?[0-9][0-9:.,]{0,24})\s*-->\s*(-?[0-9][0-9:.,]{0,24})(?:\s.*)?")
_VTT_TAG = re.compile(r"<(?![0-9])[^<>]*>")
_SRT_TAG = re.compile(r"</?(?:b|i|u|s|font|c|v|ruby|rt|lang)\b[^<>]*>|\{\\[^{}]*\}", re.IGNORECASE)
_METADATA = re.compile(r"([A-Za-z][\w \-]{0,40}):[ \t]*(\S.*)")
_SKIPPED = ("NOTE", "STYLE", "REGION")
_NOTES = " \t♪♫♬♩"
_LONGEST_LINE: Seconds = 5.0  # of a line whose end nobody said
_WITH_THE_CUE: Seconds = -1.0


def is_cue_times(row: str) -> bool:
    """Whether a row holds the times of a cue."""
    return "-->" in row and _TIMES.fullmatch(row) is not None


def read_subtitles(
    rows: Sequence[str], repeats: int, vtt: bool
) -> tuple[tuple[Section, ...], list[Finding], Metadata]:
    """Sections, findings and metadata of SRT or WebVTT."""
    reader = _Reader(vtt)
    for first, block in _blocks(rows):
        reader.read(first, block)
    sections, findings = read_sections(reader.rows, repeats)
    return sections, reader.findings + findings, tuple(reader.metadata.items())


def write_subtitles(lyrics: Lyrics, vtt: bool) -> str:
    """SRT or WebVTT. `SongBloomError` for lyrics without times.

    A line without a start joins the cue of the line above; an end that nobody said is that of the
    words, the next start, or five seconds later.
    """
    require_times(lyrics, "vtt" if vtt else "srt")
    point = "." if vtt else ","
    cues = _cues(lyrics.sections)
    parts = [_vtt_head(lyrics.metadata)] if vtt else []
    starts = [cue.start for cue in cues[1:]] + [None]
    for number, (cue, next_start) in enumerate(zip(cues, starts, strict=True), start=1):
        end = _end(cue, next_start)
        times = f"{subtitle_clock(cue.start, point)} --> {subtitle_clock(end, point)}"
        rows = [_vtt_row(row, cue.start, end) if vtt else _text(row) for row in cue.rows]
        parts.append("\n".join([times, *rows] if vtt else [str(number), times, *rows]))
    return "\n\n".join(parts) + "\n"


@dataclass
class _Reader:
    """Rows of the cues read so far."""

    vtt: bool
    rows: list[Row] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def read(self, first: int, block: Sequence[str]) -> None:
        """A block between empty rows: the head, a comment, or (most often) one cue."""
        if self.vtt and block[0].startswith("WEBVTT"):
            head = next((i for i, row in enumerate(block) if is_cue_times(row)), len(block))
            self._read_head(block[1:head])
            first, block = first + head, block[head:]
        elif self.vtt and block[0].split(" ", 1)[0] in _SKIPPED:
            return
        at = [number for number, row in enumerate(block) if is_cue_times(row)]
        self._stray(first, block[: _without_name(block, at[0]) if at else len(block)])
        for start, following in zip_longest(at, at[1:]):
            end = len(block) if following is None else _without_name(block, following)
            self._cue(first + start, block[start], block[start + 1 : max(end, start + 1)])

    def _read_head(self, rows: Sequence[str]) -> None:
        for row in rows:
            if match := _METADATA.fullmatch(row.strip()):
                self.metadata.setdefault(match[1].lower(), " ".join(match[2].split()))

    def _cue(self, number: int, times: str, rows: Sequence[str]) -> None:
        start, end = self._times(times, Place(number, 1))
        texts = [self._row(row, Place(number + at, 1)) for at, row in enumerate(rows, start=1)]
        texts = [row for row in texts if is_words(row.text) or read_tag_line(row.text)]
        sung = [at for at, row in enumerate(texts) if is_words(row.text)] or list(range(len(texts)))
        for at, row in enumerate(texts):
            first = start if sung[0] == at else None
            last = end if sung[-1] == at else None
            self.rows.append(row._replace(start=first, end=last, words=_words(row, first, last)))

    def _row(self, row: str, place: Place) -> Row:
        """A row of a cue without styling; `words` are those behind stamps."""
        row = (_VTT_TAG if self.vtt else _SRT_TAG).sub("", visible(row)).strip(_NOTES)
        if not self.vtt:
            return Row(" ".join(row.split()), place)
        if has_bad_stamp(row):
            message = "a word with a stamp that is no time"
            self._find("bad-time", place, message, "write <hh:mm:ss.xxx>")
        # Words in front of the first stamp start with the cue, whose start is not known here.
        text, words = read_word_stamps(row, _WITH_THE_CUE)
        unescaped = tuple(replace(word, text=_unescaped(word.text)) for word in words)
        return Row(_unescaped(text), place, words=unescaped)

    def _times(self, row: str, place: Place) -> tuple[Seconds | None, Seconds | None]:
        match = _TIMES.fullmatch(row)
        start, end = (read_clock(clock) for clock in match.groups()) if match else (None, None)
        if start is None or end is None:
            message = "a cue without a start and an end that are times"
            self._find("bad-time", place, message, "write 00:01:02,500 --> 00:01:05,000")
        elif end <= start:
            self._find("bad-time", place, "a cue that ends before it starts", "correct its end")
            end = None
        return start, end

    def _stray(self, first: int, rows: Sequence[str]) -> None:
        for number, row in enumerate(rows, start=first):
            found = self._row(row, Place(number, 1))
            if found.text.isdigit() or not (is_words(found.text) or read_tag_line(found.text)):
                continue
            self.rows.append(found._replace(words=()))
            self._find("untimed-line", found.place, "a line outside of any cue", "give it times")

    def _find(self, rule: str, place: Place, message: str, fix: str) -> None:
        self.findings.append(Finding(place, rule, "warning", message, fix))


@dataclass
class _Cue:
    """Rows shown together; an end of None is yet to be made."""

    start: Seconds
    end: Seconds | None
    rows: list[str | Line]


def _blocks(rows: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Rows between empty ones, with the number of the first."""
    first = 0
    for number, row in enumerate([*rows, ""]):
        if not row.strip():
            if number > first:
                yield first + 1, rows[first:number]
            first = number + 1


def _without_name(block: Sequence[str], times: int) -> int:
    """Where the cue before ends: its successor may have a number or a name above its times."""
    named = times > 0 and (times == 1 or block[times - 1].strip().isdigit())
    return times - 1 if named else times


def _words(row: Row, start: Seconds | None, end: Seconds | None) -> tuple[Word, ...]:
    """The words of a row with the times of the cue for the first and the last."""
    words = list(row.words)
    if words and words[0].start == _WITH_THE_CUE:
        words[:1] = [] if start is None else [replace(words[0], start=start)]
    if words and words[-1].end is None and end is not None and end >= words[-1].start:
        words[-1] = replace(words[-1], end=end)
    return tuple(words)


def _cues(sections: Sequence[Section]) -> list[_Cue]:
    """Headings with times in cues of their own, others above the next line."""
    cues: list[_Cue] = []
    waiting: list[str | Line] = []
    for section in sections:
        if section.start is not None:
            cues += [_Cue(_latest(cues), section.start, waiting)] if waiting else []
            cues.append(_Cue(section.start, section.end, [heading(section)]))
            waiting = []
        else:
            waiting.append(heading(section))
        for line in section.lines:
            joins = cues and cues[-1].end is None and isinstance(cues[-1].rows[-1], Line)
            if line.start is None and joins:
                cues[-1].rows += [*waiting, line]
                cues[-1].end = line.end
            else:
                start = _latest(cues) if line.start is None else line.start
                cues.append(_Cue(start, line.end, [*waiting, line]))
            waiting = []
    if waiting:
        cues[-1].rows += waiting
    return cues


def _latest(cues: Sequence[_Cue]) -> Seconds:
    if not cues:
        return 0.0
    return cues[-1].start if cues[-1].end is None else cues[-1].end


def _end(cue: _Cue, next_start: Seconds | None) -> Seconds:
    if cue.end is not None and cue.end > cue.start:
        return cue.end
    lines = [row for row in cue.rows if isinstance(row, Line)]
    words = [word for line in lines for word in line.words]
    ends = [word.start if word.end is None else word.end for word in words[-1:]]
    if next_start is not None:
        ends.append(min(next_start, cue.start + _LONGEST_LINE) if lines else next_start)
    return next((end for end in ends if end > cue.start), cue.start + _LONGEST_LINE)


def _vtt_head(metadata: Metadata) -> str:
    """The head, with metadata under it as older WebVTT has it."""
    rows = [f"{key}: {value.replace('-->', '->')}" for key, value in metadata]
    return "\n".join(["WEBVTT", *(row for row in rows if _METADATA.fullmatch(row))])


def _text(row: str | Line) -> str:
    return row.text.strip(_NOTES) if isinstance(row, Line) else row


def _vtt_row(row: str | Line, start: Seconds, end: Seconds) -> str:
    """A row with stamps, but for those that are the cue's own."""
    if isinstance(row, str):
        return _escaped(row)
    text = write_word_stamps(row, subtitle_clock, _escaped).strip(_NOTES)
    if len(row.words) > 1 and row.start is not None:
        text = text.removeprefix(f"<{subtitle_clock(start)}>")
    return text.removesuffix(f"<{subtitle_clock(end)}>")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _unescaped(text: str) -> str:
    import html  # two thousand names, and few files have one

    return " ".join(html.unescape(text).split()) if "&" in text else text
