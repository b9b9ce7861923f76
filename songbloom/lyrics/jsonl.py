"""JSONL: all that the document holds, a JSON object a row.

The first row is `{"format": "songbloom-lyrics", "version": 1, "metadata": {...}}`. Then comes a
row for each line, with the number and tag of its section, and one for each section without lines:
`{"section": 1, "tag": "verse", "text": "...", "start": 1.5, "end": 3.0, "words": [["Hi", 1.5]]}`.
What belongs to the section (`name`, `repeats`, `section_start`, `section_end`) is in its first row.
Files by others may lack the first row and the numbers.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from songbloom.errors import SongBloomError
from songbloom.lyrics.decoding import clean
from songbloom.lyrics.document import Finding, Line, Lyrics, Place, Section, Word
from songbloom.lyrics.one_line import SECONDS_PER_TAG, one_line, says
from songbloom.lyrics.plain import Metadata
from songbloom.lyrics.sections import with_lengths
from songbloom.lyrics.sung import shown
from songbloom.lyrics.tags import NON_VOCAL_TAGS, TAGS, nearest_tag, tag_of
from songbloom.units import Seconds

FORMAT = "songbloom-lyrics"
_VERSION = 1
_MOST: Seconds = 24 * 3600.0
_MOST_REPEATS = 24 * 3600


def is_object(row: str) -> bool:
    """Whether a row is JSON, be it of lyrics or of something else."""
    return _object(row) is not None


def is_document(row: str) -> bool:
    """Whether a row begins lyrics in JSONL, and not a batch of songs (`idx`, `lyrics`, ...)."""
    item = _object(row)
    if item is None or "idx" in item or "lyrics" in item:
        return False
    return item.get("format") == FORMAT or isinstance(item.get("text", item.get("tag")), str)


def read_jsonl(
    rows: Sequence[str], source: str, repeats: int
) -> tuple[tuple[Section, ...], list[Finding], Metadata, str]:
    """Sections, findings, metadata, and the one line where it is stored ("" elsewhere).

    `SongBloomError` names the row that is not as it should be.
    """
    reader = _Reader(source)
    for number, row in enumerate(rows, start=1):
        if row.strip():
            reader.read(row, number)
    sections = with_lengths(reader.finish(), repeats)
    line = reader.line
    if line and not any(says(line, sections, convention) for convention in SECONDS_PER_TAG):
        reader.find("stale-line", 1, "the one line is not that of the sections; it is made anew")
        line = ""
    return sections, reader.findings, tuple(reader.metadata.items()), line


def write_jsonl(lyrics: Lyrics) -> str:
    """The whole document; findings and places are those of a file, and are not written."""
    head: dict[str, Any] = {"format": FORMAT, "version": _VERSION}
    if lyrics.metadata:
        head["metadata"] = dict(lyrics.metadata)
    if lyrics.line != one_line(lyrics.sections):
        head["line"] = lyrics.line
    rows = [head]
    for number, section in enumerate(lyrics.sections, start=1):
        first = _section_row(number, section)
        later = {"section": number, "tag": section.tag}
        lines = [_line_row(line) for line in section.lines] or [{}]
        rows += [{**(later if at else first), **line} for at, line in enumerate(lines)]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _section_row(number: int, section: Section) -> dict[str, Any]:
    wordless = section.tag in NON_VOCAL_TAGS
    fields = {
        "name": section.name or None,
        "repeats": section.repeats if wordless or section.repeats != 1 else None,
        "section_start": section.start,
        "section_end": section.end,
    }
    return {"section": number, "tag": section.tag, **_without_none(fields)}


def _line_row(line: Line) -> dict[str, Any]:
    words = [
        [word.text, word.start, *([] if word.end is None else [word.end])] for word in line.words
    ]
    fields = {"text": line.text, "start": line.start, "end": line.end, "words": words or None}
    return _without_none(fields)


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


class _Reader:
    """Sections read so far, their lines beside them."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sections: list[Section] = []
        self.lines: list[list[Line]] = []
        self.number: int | None = None  # what the open section is called
        self.findings: list[Finding] = []
        self.metadata: dict[str, str] = {}
        self.line = ""

    def read(self, row: str, number: int) -> None:
        item = _object(row)
        if item is None:
            raise self._wrong(number, "not a JSON object")
        if "lyrics" in item:
            raise SongBloomError(
                f"{self.source}:{number}: a song of a batch; expected a line of lyrics as JSON",
                "Sing a batch with songbloom generate, or write its lyrics to a file each.",
            )
        if item.get("format") == FORMAT:
            self._read_head(item, number)
        else:
            self._read_row(item, number)

    def finish(self) -> list[Section]:
        pairs = zip(self.sections, self.lines, strict=True)
        return [replace(section, lines=tuple(lines)) for section, lines in pairs]

    def find(self, rule: str, number: int, message: str, fix: str = "") -> None:
        self.findings.append(Finding(Place(number, 1), rule, "warning", message, fix))

    def _read_head(self, item: dict[str, Any], number: int) -> None:
        if item.get("version") != _VERSION:
            raise self._wrong(number, f"not version {_VERSION} of the format")
        metadata = item.get("metadata", {})
        if not isinstance(metadata, dict):
            raise self._wrong(number, "metadata that is no object")
        self.metadata |= {_row(key): self._text(metadata, key, number) for key in metadata}
        self.line = self._text(item, "line", number)

    def _read_row(self, item: dict[str, Any], number: int) -> None:
        """A line; it is in the open section where number and tag are the same."""
        if "text" not in item and "tag" not in item:
            raise self._wrong(number, "neither a text nor a tag")
        section = self._section(item, number)
        called = item.get("section")
        if called is not None and not isinstance(called, int):
            raise self._wrong(number, "a section that is no number")
        line = self._line(item, number)
        last = self.sections[-1] if self.sections else None
        continues = last and self.lines[-1] and (called, section.tag) == (self.number, last.tag)
        if not (line and continues):
            self.sections.append(section)
            self.lines.append([])
            self.number = called
        if line:
            self.lines[-1].append(line)

    def _section(self, item: dict[str, Any], number: int) -> Section:
        last = self.sections[-1].tag if self.sections else "verse"
        written = self._text(item, "tag", number) or last
        name = self._text(item, "name", number)
        tag = written if written in TAGS else tag_of(written)
        if tag is None:
            guess = nearest_tag(written)
            question = f", did you mean [{guess}]?" if guess else "."
            message = f"unknown tag [{shown(written, 40)}]{question} Its words are sung as a verse."
            rule = "misspelt-tag" if guess else "unknown-tag"
            self.find(rule, number, message, f"write {guess or 'verse'}")
        if written != tag:
            name = name or written
        repeats = item.get("repeats", 0 if tag in NON_VOCAL_TAGS else 1)
        if not _is_whole(repeats) or not 0 <= repeats <= _MOST_REPEATS:
            raise self._wrong(number, "repeats that is no whole number of seconds")
        start = self._time(item, "section_start", number)
        end = self._time(item, "section_end", number)
        return Section(tag or "verse", (), repeats, name, start, end, Place(number, 1))

    def _line(self, item: dict[str, Any], number: int) -> Line | None:
        text = self._text(item, "text", number)
        if not text.strip():
            return None
        start, end = self._time(item, "start", number), self._time(item, "end", number)
        return Line(text, start, end, self._words(item, number), Place(number, 1))

    def _words(self, item: dict[str, Any], number: int) -> tuple[Word, ...]:
        """`[text, start, end]` each, or objects as speech recognisers write them."""
        words = []
        for word in self._list(item, number):
            if isinstance(word, list):
                word = dict(zip(("text", "start", "end"), word, strict=False))
            if not isinstance(word, dict):
                raise self._wrong(number, "a word that is neither [text, start, end] nor an object")
            text = (self._text(word, "text", number) or self._text(word, "word", number)).strip()
            start, end = self._time(word, "start", number), self._time(word, "end", number)
            if text and start is not None:
                words.append(Word(text, start, end))
        return tuple(words)

    def _list(self, item: dict[str, Any], number: int) -> list[Any]:
        words = item.get("words") or []
        if not isinstance(words, list):
            raise self._wrong(number, "words that are no list")
        return words

    def _text(self, item: dict[str, Any], key: str, number: int) -> str:
        value = item.get(key)
        if value is not None and not isinstance(value, str):
            raise self._wrong(number, f"a {key} that is no text")
        return _row(value or "")

    def _time(self, item: dict[str, Any], key: str, number: int) -> Seconds | None:
        """Seconds; what is no time of a song is dropped with a finding."""
        value = item.get(key)
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MOST:
            return float(value)
        message = f"{key} {shown(str(value), 20)} is no time in seconds"
        self.find("bad-time", number, message, "write seconds")
        return None

    def _wrong(self, number: int, what: str) -> SongBloomError:
        return SongBloomError(
            f"{self.source}:{number}: {what}; expected a line of lyrics as JSON",
            'Write a row like {"tag": "verse", "text": "words to sing"}.',
        )


def _object(row: str) -> dict[str, Any] | None:
    """The JSON object of a row; None for anything else."""
    try:
        item = json.loads(row)
    except (ValueError, RecursionError):
        return None
    return item if isinstance(item, dict) else None


def _row(text: str) -> str:
    """The text in one row, without what is no character."""
    return " ".join(clean(text)[0].splitlines())


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
