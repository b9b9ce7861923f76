"""Lyrics as a document: metadata, sections, lines and words, with times where the source has them.

Every format is read into this and written from it; every complaint about a file is a `Finding`.
Times are seconds from the start of the song; None where nobody said.
"""

from dataclasses import dataclass, field
from typing import Literal

from songbloom.units import Seconds

Severity = Literal["error", "warning", "info"]

_MOST_SHOWN = 20  # warnings of one rule

# What reading a file can find, whatever its format. `lint` knows more.
RULES = {
    "bad-time": "A time that is none, is out of range, or ends before it starts; it is ignored.",
    "broken-character": "Characters that are no text (control codes, halves of others) are left "
    "out.",
    "chords": "Names of chords above or between the words; they are left out.",
    "decreasing-time": "A line starts before the one above it.",
    "empty-section": "A section that should hold words has none; it is left out.",
    "guessed-encoding": "The file is not UTF-8; its encoding was guessed.",
    "invisible-character": "Zero-width or direction marks, which are not sung.",
    "long-gap": "Eight seconds or more without words and without a tag for them.",
    "misspelt-tag": "A tag that is almost a known one; its words are sung as a verse.",
    "repeated-metadata": "The same metadata twice; the first is kept.",
    "stale-line": "The one line stored with the sections is not theirs; it is made anew.",
    "tag-inside-line": "A tag in the middle of a line; it starts a section there.",
    "title-not-sung": "A title or the like above the first section is kept as metadata.",
    "unclosed-tag": "A tag with one bracket only; it is read as a tag.",
    "unknown-tag": "A tag that names no kind of section; its words are sung as a verse.",
    "unsayable-character": "Characters that the front end has no sound for; they are left out.",
    "untimed-line": "A line without a time among lines that have one.",
    "words-in-instrumental": "Words under a tag that holds none; they are sung as those of the tag "
    "above, or as a verse.",
}


@dataclass(frozen=True)
class Place:
    """Where something stands in the source: row and column from 1; row 0 is nowhere."""

    row: int = 0
    column: int = 1

    def moved(self, columns: int) -> "Place":
        """The place so many columns further to the right."""
        return Place(self.row, self.column + columns)


@dataclass(frozen=True)
class Word:
    """A word with its own time (enhanced LRC, JSONL)."""

    text: str
    start: Seconds
    end: Seconds | None = None


@dataclass(frozen=True)
class Line:
    """A line as written. `words`, where known, are its words in order."""

    text: str
    start: Seconds | None = None
    end: Seconds | None = None
    words: tuple[Word, ...] = ()
    place: Place = field(default=Place(), compare=False, repr=False)


@dataclass(frozen=True)
class Section:
    """A part of a song.

    `tag` is one of `tags.TAGS`, `lines` its lines in order (none in a part without words),
    `repeats` the seconds of a part without words, which is how often its tag stands in the one
    line of the 150 s models. `name` is the heading as it was written where it says more than the
    tag ("Verse 2", "Pre-Chorus").
    """

    tag: str
    lines: tuple[Line, ...] = ()
    repeats: int = 1
    name: str = ""
    start: Seconds | None = None
    end: Seconds | None = None
    place: Place = field(default=Place(), compare=False, repr=False)

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of the lines."""
        return tuple(line.text for line in self.lines)


@dataclass(frozen=True)
class Finding:
    """A complaint about lyrics: where, which rule, what is wrong, and what would mend it."""

    place: Place
    rule: str  # kebab-case, stable: "unknown-tag"
    severity: Severity
    message: str
    fix: str = ""  # what to do, in words; empty where only the writer knows

    def text(self, source: str) -> str:
        """`source:row:column: message`."""
        at = f"{source}:{self.place.row}:{self.place.column}" if self.place.row else source
        return f"{at}: {self.message}"


@dataclass(frozen=True)
class Lyrics:
    """Sections in order, the one line for the model, and what the reader should know.

    `line` is the released one-line format: kept byte for byte where the source is in it. `metadata`
    holds title, artist and the like in the order of the source, keys in lower case.
    """

    sections: tuple[Section, ...]
    line: str
    findings: tuple[Finding, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    source: str = field(default="lyrics", compare=False)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Errors and warnings, a line of text each; of one rule the first twenty and a count."""
        shown: list[str] = []
        counts: dict[str, int] = {}
        for finding in self.findings:
            if finding.severity != "info":
                counts[finding.rule] = counts.get(finding.rule, 0) + 1
                if counts[finding.rule] <= _MOST_SHOWN:
                    shown.append(finding.text(self.source))
        rest = {rule: count - _MOST_SHOWN for rule, count in counts.items()}
        return (*shown, *(f"{self.source}: {n} more of {r}" for r, n in rest.items() if n > 0))
