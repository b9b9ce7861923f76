"""Lyrics as people write them, read into sections and the one line that a model is given.

Two formats: plain text with or without section tags, and the released one-line format
(`[intro] [intro] , [verse] line one.line two , [chorus] ...`), which is passed on as it is.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from songbloom.errors import SongBloomError
from songbloom.lyrics.document import Finding, Line, Lyrics, Place, Section
from songbloom.lyrics.tags import NON_VOCAL_TAGS, TAGS, TagLine, nearest_tag, read_tag_line

# A tag without words stands for about a second in the released 150 s models.
DEFAULT_REPEATS = 4
MAX_BYTES = 16 << 20

_LABEL = re.compile(rf"(?:^|(?<= ))\[({'|'.join(TAGS)})\](?= |$)")
_BRACKETED = re.compile(r"\[[^\[\]]*\]")
_SENTENCE = re.compile(r"[^.。]+")
_PLAIN_MARKS = str.maketrans(
    {**dict.fromkeys("’‘ʼ＇´`", "'"), **dict.fromkeys('“”„«»"[]{}【】'), "–": "-", "‐": "-"}
)
_CLOSING = " ,.;:，。；：、-"
_UNREAD_SYMBOLS = frozenset("&@%+=€¥")  # people say them, the released front end does not


def read(path: Path) -> Lyrics:
    """The lyrics in a UTF-8 text file. `SongBloomError` for one that cannot be read as such."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SongBloomError(
            f"{path}: cannot be read ({error.strerror or error})",
            "Name a text file with lyrics, or - to read them from standard input.",
        ) from error
    return parse(decode(data, str(path)), str(path))


def decode(data: bytes, source: str) -> str:
    """UTF-8 text, without a byte order mark. `SongBloomError` says where it is not."""
    if len(data) > MAX_BYTES:
        raise SongBloomError(
            f"{source}: larger than {MAX_BYTES >> 20} MiB; expected lyrics as text",
            "Name the text file, not the recording.",
        )
    if b"\0" in data:
        raise SongBloomError(
            f"{source}: not a text file (it holds NUL bytes); expected lyrics in UTF-8",
            "Name a text file; save it as UTF-8 if it is UTF-16.",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise SongBloomError(
            f"{source}:{number}: not UTF-8 text (byte 0x{data[error.start]:02x})",
            "Save it as UTF-8, for example: iconv -f GB18030 -t UTF-8 OLD.txt > NEW.txt",
        ) from error


def parse(text: str, source: str = "lyrics", repeats: int = DEFAULT_REPEATS) -> Lyrics:
    """Read plain or one-line lyrics; `source` names them in messages.

    In plain text a tag stands on a line of its own or before the first words; where there is no
    tag at all, blank lines separate verses. `repeats` is how often a lone `[intro]`, `[inst]`,
    `[outro]` or `[silence]` is written: one is about a second for the released 150 s models, five
    for the 240 s one; tags that are already repeated stay as given. `SongBloomError` when there
    are no words to sing.
    """
    text = text.removeprefix("\ufeff")
    rows = text.splitlines()
    filled = [number for number, row in enumerate(rows, start=1) if row.strip()]
    if "\0" in text:
        raise _nothing(source, "not text (it holds NUL characters)")
    if not filled:
        raise _nothing(source, "the lyrics are empty")
    if len(filled) == 1 and _LABEL.search(rows[filled[0] - 1]):
        return _parse_one_line(rows[filled[0] - 1], filled[0], source)
    return _PlainReader(source, repeats).read(rows)


def one_line(sections: Iterable[Section]) -> str:
    """The released one-line format: lines set apart by ".", sections by " , "."""
    return " , ".join(_section_text(section) for section in sections)


def sung_text(line: str) -> str:
    """A line as it goes into the one-line format.

    Single spaces, plain quotes, no brackets, no closing punctuation that the separators replace;
    a comma standing alone, which would end the section, moves to the word before it.
    """
    plain = unicodedata.normalize("NFC", line).translate(_PLAIN_MARKS)
    if not plain.isascii():
        plain = "".join(map(_narrow, plain))
    return " ".join(plain.split()).replace(" ,", ",").strip(_CLOSING)


def _section_text(section: Section) -> str:
    label = " ".join([f"[{section.tag}]"] * section.repeats)
    lines = [text for text in map(sung_text, section.texts) if text]
    return f"{label} {'.'.join(lines)}" if lines else label


def _narrow(letter: str) -> str:
    """Full-width letters and digits as ordinary ones, invisible characters as nothing."""
    if unicodedata.category(letter) == "Cf":
        return ""
    return chr(ord(letter) - 0xFEE0) if "０" <= letter <= "ｚ" and letter.isalnum() else letter


def _parse_one_line(line: str, row: int, source: str) -> Lyrics:
    """The released format: kept byte for byte."""
    sections = _one_line_sections(line, row)
    if not any(_can_be_sung(text) for section in sections for text in section.texts):
        raise _nothing(f"{source}:{row}", "only tags, no words to sing")
    labels = _LABEL.sub(lambda match: " " * len(match[0]), line)
    unknown = {match[0]: match.start() for match in reversed(list(_BRACKETED.finditer(labels)))}
    findings = [
        _unknown_tag(Place(row, start + 1), name[1:-1], "It is sung as a word.")
        for name, start in reversed(unknown.items())
    ]
    findings += _vanishing(line, Place(row, 1))
    return Lyrics(sections, line, tuple(findings), source=source)


def _one_line_sections(line: str, row: int) -> tuple[Section, ...]:
    """What stands between the labels; a label again without words in between is a repeat."""
    labels = list(_LABEL.finditer(line))
    ends = [label.start() for label in labels[1:]] + [len(line)]
    first = labels[0].start() if labels else len(line)
    before = _sentences(line, 0, first, row)
    sections = [Section("verse", before, place=Place(row, 1))] if before else []
    between = ","
    for label, end in zip(labels, ends, strict=True):
        tag, repeats, place = label[1], 1, Place(row, label.start() + 1)
        if sections and sections[-1].tag == tag and not between.strip():
            repeated = sections.pop()
            repeats, place = repeats + repeated.repeats, repeated.place
        sections.append(Section(tag, _sentences(line, label.end(), end, row), repeats, place=place))
        between = line[label.end() : end]
    return tuple(sections)


def _sentences(line: str, start: int, end: int, row: int) -> tuple[Line, ...]:
    """The lines in a stretch of the one line, without the commas between sections."""
    found = []
    for match in _SENTENCE.finditer(line, start, end):
        if text := match[0].strip(" ,"):
            column = match.start() + match[0].index(text) + 1
            found.append(Line(text, place=Place(row, column)))
    return tuple(found)


@dataclass
class _PlainReader:
    """Plain text, row by row: the section that is open, and what is done."""

    source: str
    repeats: int
    tag: str = "verse"
    name: str = ""
    tag_count: int = 0
    place: Place = Place(1, 1)
    lines: list[Line] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def read(self, rows: Sequence[str]) -> Lyrics:
        tag_lines = [read_tag_line(row) for row in rows]
        untagged = not any(tag_lines)
        for number, (row, tag_line) in enumerate(zip(rows, tag_lines, strict=True), start=1):
            if tag_line:
                self._open(tag_line, Place(number, _column(row, row.strip())))
            text = tag_line.rest if tag_line else row.strip()
            if text:
                self._add(text, Place(number, _column(row, text)))
            elif untagged:
                self._close()
        self._close()
        return self._lyrics()

    def _open(self, tag_line: TagLine, place: Place) -> None:
        """Each tag starts a section; one without words directly again lengthens it."""
        for name in tag_line.unknown:
            then = "It is left out." if tag_line.tags else "Its words are sung as a verse."
            self.findings.append(_unknown_tag(place, name, then))
        names = tag_line.names or tag_line.unknown[:1]
        for tag, name in zip(tag_line.tags or ("verse",), names, strict=True):
            if tag == self.tag and tag in NON_VOCAL_TAGS and self.tag_count and not self.lines:
                self.tag_count += 1
            else:
                self._close()
                self.tag, self.tag_count, self.place = tag, 1, place
                self.name = name if name.lower() != tag else ""

    def _add(self, text: str, place: Place) -> None:
        words = " ".join(text.split())
        if any(map(str.isalnum, words)):
            self.lines.append(Line(words, place=place))
        self.findings += _vanishing(sung_text(words), place)

    def _close(self) -> None:
        """End the open section; one that has words although its tag holds none is a verse."""
        without_words = self.tag in NON_VOCAL_TAGS
        if self.lines and without_words:
            self._find("words-in-instrumental", "cannot hold words; they are sung as a verse")
        if self.lines:
            tag = "verse" if without_words else self.tag
            lines = tuple(self.lines)
            self.sections.append(Section(tag, lines, name=self.name, place=self.place))
        elif self.tag_count and without_words:
            count = self.tag_count if self.tag_count > 1 else self.repeats
            self.sections.append(Section(self.tag, (), count, self.name, place=self.place))
        elif self.tag_count:
            self._find("empty-section", "holds no words and is left out")
        self.tag, self.name, self.tag_count, self.lines = "verse", "", 0, []

    def _find(self, rule: str, message: str) -> None:
        fix = {"words-in-instrumental": "write [verse]", "empty-section": "delete the tag"}[rule]
        finding = Finding(self.place, rule, "warning", f"[{self.tag}] {message}", fix)
        self.findings.append(finding)

    def _lyrics(self) -> Lyrics:
        if not any(_can_be_sung(text) for section in self.sections for text in section.texts):
            raise _nothing(f"{self.source}:1", "no words that can be sung")
        findings = sorted(self.findings, key=lambda finding: finding.place.row)
        sections = tuple(self.sections)
        return Lyrics(sections, one_line(sections), tuple(findings), source=self.source)


def _column(row: str, text: str) -> int:
    """The column, from 1, where `text`, which ends the row but for markup, begins."""
    return max(0, row.rfind(text)) + 1


def _unknown_tag(place: Place, name: str, then: str) -> Finding:
    tag = nearest_tag(name)
    message = f"unknown tag [{name}], did you mean [{tag}]? {then}"
    return Finding(place, "unknown-tag", "warning", message, f"write [{tag}]")


def _vanishing(text: str, place: Place) -> list[Finding]:
    """A finding for the characters of `text` that the front end leaves out without a sound."""
    letters = "".join(letter for letter in dict.fromkeys(text) if _vanishes(letter))
    if not letters:
        return []
    shown = letters if len(letters) <= 12 else f"{letters[:12]}…"
    message = f'no front end can say "{shown}"; left out of the singing'
    return [Finding(place, "unsayable-character", "warning", message, "write it as words")]


def _vanishes(letter: str) -> bool:
    if letter.isascii() or "\u4e00" <= letter <= "\u9fa5" or letter in "£～":
        return letter in _UNREAD_SYMBOLS
    if unicodedata.category(letter)[0] not in "LNS":
        return False
    base = unicodedata.normalize("NFD", letter)[0]
    return not (base.isascii() and base.isalpha())


def _can_be_sung(text: str) -> bool:
    return any(letter.isalnum() and not _vanishes(letter) for letter in sung_text(text))


def _nothing(where: str, what: str) -> SongBloomError:
    return SongBloomError(
        f"{where}: {what}; expected at least one [verse], [chorus] or [bridge] with words",
        "Write [verse] on one line and the words to sing on the next.",
    )
