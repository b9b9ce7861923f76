"""Rows of text into sections: what all formats with tags on lines of their own share.

A format strips its own decoration from a row (stamps, cue times, styling) and hands over what is
left; here rows become headings and lines, and a heading is written so that it reads back.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import NamedTuple

from songbloom.lyrics.document import Finding, Line, Place, Section, Word
from songbloom.lyrics.sung import shown
from songbloom.lyrics.tags import (
    NON_VOCAL_TAGS,
    TagLine,
    counted_name,
    nearest_tag,
    read_tag_line,
    tags_inside,
)
from songbloom.units import Seconds

# Seconds of a part without words that says nothing of its length.
DEFAULT_REPEATS = 4
_MOST_REPEATS = 240  # made of times; a song is no longer
_LONG_GAP: Seconds = 8.0
_SHOWN_NAME = 40


class Row(NamedTuple):
    """A row of words or a heading. `text` empty: nothing is sung from `start` on."""

    text: str
    place: Place
    start: Seconds | None = None
    end: Seconds | None = None
    words: tuple[Word, ...] = ()


def read_sections(
    rows: Iterable[Row], repeats: int = DEFAULT_REPEATS
) -> tuple[tuple[Section, ...], list[Finding]]:
    """Sections and findings of rows in the order of the song.

    Where no row is a heading, empty rows separate verses. A part without words is as long as its
    times say, else `repeats` seconds.
    """
    reader = _Reader()
    parts = [part for row in rows for part in reader.split(row)]
    headings = [read_tag_line(row.text) if row.text else None for row in parts]
    untagged = not any(headings)
    for row, heading in zip(parts, headings, strict=True):
        if heading:
            reader.open(heading, row)
        reader.add(row, heading)
        if untagged and not row.text:
            reader.close()
    reader.close()
    findings = [*reader.findings, *_order_findings(parts)]
    return with_lengths(reader.sections, repeats), findings


def heading(section: Section, default: int | None = None) -> str:
    """`[Verse 2]`: the tag, or the name where it reads back as this tag.

    A part without words that is not `default` seconds long says its length: `[intro x12]`.
    """
    count = ""
    if section.tag in NON_VOCAL_TAGS and section.repeats != default:
        count = f" x{section.repeats}"
    written = any(map(str.isalpha, section.name))
    named = read_tag_line(f"[{section.name}{count}]") if written else None
    reads_back = (
        named
        and (named.tags or ("verse",)) == (section.tag,)
        and (*named.names, *named.unknown) == (f"{section.name}{count}",)
        and not named.rest
    )
    return f"[{section.name if reads_back else section.tag}{count}]"


def is_words(text: str) -> bool:
    """Whether a row holds words: rows of signs hold none, nor do headings alone."""
    found = read_tag_line(text)
    return any(map(str.isalnum, found.rest if found else text))


def gap_findings(sections: Sequence[Section]) -> list[Finding]:
    """Stretches without words and without a tag that says so, where the times show them."""
    findings = []
    end: Seconds | None = 0.0
    for section in sections:
        if section.tag in NON_VOCAL_TAGS:
            end = section.end
        for line in section.lines:
            if end is not None and line.start is not None and line.start - end >= _LONG_GAP:
                tag = "inst" if end else "intro"
                message = f"{line.start - end:.0f} s without words and without a tag before this"
                place = section.place if line is section.lines[0] else line.place
                findings.append(Finding(place, "long-gap", "info", message, f"write [{tag}] there"))
            end = line.end
    return findings


@dataclass
class _Reader:
    """The section that is open, and what is done."""

    tag: str = "verse"
    name: str = ""
    count: int = 0  # headings read for it; 0 where none was needed
    repeats: int = 0  # 0: nobody said
    place: Place = Place(1, 1)
    start: Seconds | None = None
    end: Seconds | None = None
    above: tuple[str, str, Place] | None = None  # a tag of words over one without, none between
    lines: list[Line] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def split(self, row: Row) -> Iterator[Row]:
        """A row with tags between its words as several."""
        cuts = tags_inside(row.text) if "[" in row.text else []
        for start, end in zip_longest([0, *cuts], cuts):
            place = row.place.moved(start)
            if start:
                self._find("tag-inside-line", place, "a tag between words", "put it on its own row")
            text = row.text[start:end].rstrip(" ,") if end else row.text[start:]
            yield row._replace(
                text=text,
                place=place,
                start=None if start else row.start,
                end=None if end else row.end,
                words=() if cuts else row.words,
            )

    def open(self, heading: TagLine, row: Row) -> None:
        """Each tag starts a section; the same without words directly again lengthens it."""
        silent = bool(self.count and not self.lines)  # a remark on the tag above: [Soft piano]
        for name in heading.unknown:
            left_out = bool(heading.tags) or (silent and not nearest_tag(name))
            self._unknown(name, row.place, left_out)
        if not heading.closed:
            fix = f"write [{heading.names[0]}]"
            self._find("unclosed-tag", row.place, "a tag with one bracket", fix)
        if heading.tags:
            for tag, name in zip(heading.tags, heading.names, strict=True):
                self._start(tag, name, row, alone=not heading.rest)
        elif not silent or nearest_tag(heading.unknown[0]):
            self._start("verse", heading.unknown[0], row, alone=not heading.rest)

    def _start(self, tag: str, name: str, row: Row, alone: bool) -> None:
        repeats = 0
        if tag in NON_VOCAL_TAGS:
            name, repeats = counted_name(name)
        name = name if name.lower() != tag else ""
        if self._goes_on(tag, name, repeats, row):
            return
        above = self._above(tag, row)
        if above:  # not empty yet
            self.above, self.count = None, self.count * (self.tag in NON_VOCAL_TAGS)
        self.close()
        self.above = above
        self.tag, self.name, self.count, self.repeats = tag, name, 1, repeats
        self.place = row.place
        self.start, self.end = (row.start, row.end) if alone else (None, None)

    def _goes_on(self, tag: str, name: str, repeats: int, row: Row) -> bool:
        """Whether a heading is the one above again: [intro] [intro], [Outro] [Fade Out] [End]."""
        counted = repeats or self.repeats
        if tag != self.tag or self.lines or not self.count or counted or row.start is not None:
            return False
        self.count += name == self.name
        return name == self.name or tag == "outro"

    def _above(self, tag: str, row: Row) -> tuple[str, str, Place] | None:
        """The tag of words whose words may stand under `tag`, which holds none: [Bridge] [Drop]."""
        times = (self.start, row.start) != (None, None)
        if tag not in NON_VOCAL_TAGS or self.lines or not self.count or times:
            return None
        return self.above if self.tag in NON_VOCAL_TAGS else (self.tag, self.name, self.place)

    def add(self, row: Row, heading: TagLine | None) -> None:
        """The words of a row, those behind its heading."""
        text = heading.rest if heading else row.text
        if not any(map(str.isalnum, text)):
            return
        if not self.lines and _after(self.start, row.start) and self.tag in NON_VOCAL_TAGS:
            if self.end is None:
                self._find_words(row.place, "verse")
                self.end = row.start
            self.close()
        at = max(0, row.text.rfind(text))
        words = row.words
        if heading:
            words = tuple(word for word in words if not read_tag_line(word.text))
        line = Line(" ".join(text.split()), row.start, row.end, words, row.place.moved(at))
        self.lines.append(line)

    def close(self) -> None:
        """End the open section; one that has words although its tag holds none is a verse."""
        wordless = self.tag in NON_VOCAL_TAGS
        tag, name, place = self.tag, self.name, self.place
        if self.lines and wordless:
            tag, name, place = self.above or ("verse", name, place)
            self._find_words(self.place, tag)
        elif self.above:
            self._find_empty(self.above[0], self.above[2])
        if self.lines or (self.count and wordless):
            repeats = 1 if self.lines else self.repeats or (self.count if self.count > 1 else 0)
            place = place if self.count else self.lines[0].place
            times = self.start, self.end
            self.sections.append(Section(tag, tuple(self.lines), repeats, name, *times, place))
        elif self.count:
            self._find_empty(tag, place)
        self.tag, self.name, self.count, self.repeats, self.lines = "verse", "", 0, 0, []
        self.start = self.end = self.above = None

    def _find_empty(self, tag: str, place: Place) -> None:
        message = f"[{tag}] holds no words and is left out"
        self._find("empty-section", place, message, "delete the tag")

    def _find_words(self, place: Place, tag: str) -> None:
        sung = f"as the [{tag}] above it" if self.above else f"as a {tag}"
        fix = "delete the tag" if self.above else f"write [{tag}]"
        message = f"[{self.tag}] cannot hold words; they are sung {sung}"
        self._find("words-in-instrumental", place, message, fix)

    def _unknown(self, name: str, place: Place, left_out: bool) -> None:
        tag, written = nearest_tag(name), shown(name, _SHOWN_NAME)
        then = "It is left out." if left_out else "Its words are sung as a verse."
        if tag:
            message = f"unknown tag [{written}], did you mean [{tag}]? {then}"
            self._find("misspelt-tag", place, message, f"write [{tag}]")
        else:
            fix = "delete it" if left_out else "write [verse], [chorus] or [bridge]"
            self._find("unknown-tag", place, f"unknown tag [{written}]. {then}", fix)

    def _find(self, rule: str, place: Place, message: str, fix: str) -> None:
        self.findings.append(Finding(place, rule, "warning", message, fix))


def with_lengths(sections: Sequence[Section], repeats: int) -> tuple[Section, ...]:
    """Parts without words made as long as the times around them say."""
    return tuple(
        section if section.repeats else replace(section, repeats=_length(sections, n) or repeats)
        for n, section in enumerate(sections)
    )


def _length(sections: Sequence[Section], number: int) -> int:
    """Whole seconds of a part without words; 0 where its times are not known."""
    start, end = sections[number].start, sections[number].end
    start = 0.0 if start is None and number == 0 else start
    if end is None and number + 1 < len(sections):
        following = sections[number + 1]
        end = following.start
        if end is None and following.lines:
            end = following.lines[0].start
    if start is None or end is None or end <= start:
        return 0
    return min(max(1, round(end - start)), _MOST_REPEATS)


def _after(start: Seconds | None, time: Seconds | None) -> bool:
    return start is not None and time is not None and time > start


def _order_findings(rows: Sequence[Row]) -> list[Finding]:
    """Rows and words that start before the ones above them."""
    findings = []
    latest = 0.0
    for row in rows:
        starts = [word.start for word in row.words]
        falls = any(a > b for a, b in zip(starts, starts[1:], strict=False))
        if row.start is not None:
            falls = falls or row.start < latest
            latest = row.start
        if falls:
            message = "starts before what stands above it"
            fix = "put the lines in the order of their times"
            findings.append(Finding(row.place, "decreasing-time", "warning", message, fix))
    return findings
