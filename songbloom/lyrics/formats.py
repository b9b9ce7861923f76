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
from songbloom.lyrics.tags import NON_VOCAL_TAGS, TAGS, TagLine, nearest_tag, read_tag_line

# A tag without words stands for about a second in the released 150 s models.
DEFAULT_REPEATS = 4
MAX_BYTES = 16 << 20

_LABEL = re.compile(rf"(?:^|(?<= ))\[({'|'.join(TAGS)})\](?= |$)")
_BRACKETED = re.compile(r"\[[^\[\]]*\]")
_SENTENCE_END = re.compile(r"[.。]")
_PLAIN_MARKS = str.maketrans(
    {**dict.fromkeys("’‘ʼ＇´`", "'"), **dict.fromkeys('“”„«»"[]{}【】'), "–": "-", "‐": "-"}
)
_CLOSING = " ,.;:，。；：、-"
_UNREAD_SYMBOLS = frozenset("&@%+=€¥")  # people say them, the released front end does not
_MOST_WARNINGS = 20


@dataclass(frozen=True)
class Section:
    """A part of a song.

    `tag` is one of `tags.TAGS`, `lines` the texts of its lines in order (none in a part without
    words), `repeats` how often its tag stands in the one line: about seconds without words.
    """

    tag: str
    lines: tuple[str, ...] = ()
    repeats: int = 1


@dataclass(frozen=True)
class Lyrics:
    """Sections in order, the one line for the model, and what the reader should know."""

    sections: tuple[Section, ...]
    line: str
    warnings: tuple[str, ...] = ()


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
        return _parse_one_line(rows[filled[0] - 1], f"{source}:{filled[0]}")
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
    lines = [text for text in map(sung_text, section.lines) if text]
    return f"{label} {'.'.join(lines)}" if lines else label


def _narrow(letter: str) -> str:
    """Full-width letters and digits as ordinary ones, invisible characters as nothing."""
    if unicodedata.category(letter) == "Cf":
        return ""
    return chr(ord(letter) - 0xFEE0) if "０" <= letter <= "ｚ" and letter.isalnum() else letter


def _parse_one_line(line: str, where: str) -> Lyrics:
    """The released format: kept byte for byte."""
    sections = _one_line_sections(line)
    if not any(_can_be_sung(text) for section in sections for text in section.lines):
        raise _nothing(where, "only tags, no words to sing")
    warnings = [
        f"{where}: unknown tag {name} is sung as a word, did you mean [{nearest_tag(name[1:-1])}]?"
        for name in dict.fromkeys(_BRACKETED.findall(_LABEL.sub("", line)))
    ]
    if unheard := _vanishing(line):
        warnings.append(_vanishing_warning(where, unheard))
    return Lyrics(sections, line, tuple(warnings))


def _one_line_sections(line: str) -> tuple[Section, ...]:
    """What stands between the labels; a label again without words in between is a repeat."""
    before, *rest = _LABEL.split(line)
    sections = [Section("verse", lines)] if (lines := _sentences(before)) else []
    between = ","
    for tag, text in zip(rest[::2], rest[1::2], strict=True):
        repeats = 1
        if sections and sections[-1].tag == tag and not between.strip():
            repeats += sections.pop().repeats
        sections.append(Section(tag, _sentences(text), repeats))
        between = text
    return tuple(sections)


def _sentences(text: str) -> tuple[str, ...]:
    """The lines of a section in the one-line format, without the commas between sections."""
    lines = (part.strip(" ,") for part in _SENTENCE_END.split(text))
    return tuple(part for part in lines if part)


@dataclass
class _PlainReader:
    """Plain text, row by row: the section that is open, and what is done."""

    source: str
    repeats: int
    tag: str = "verse"
    tag_count: int = 0
    tag_row: int = 1
    lines: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    warnings: list[tuple[int, str]] = field(default_factory=list)
    unheard_rows: int = 0

    def read(self, rows: Sequence[str]) -> Lyrics:
        tag_lines = [read_tag_line(row) for row in rows]
        untagged = not any(tag_lines)
        for number, (row, tag_line) in enumerate(zip(rows, tag_lines, strict=True), start=1):
            if tag_line:
                self._open(tag_line, number)
            words = " ".join((tag_line.rest if tag_line else row).split())
            if words:
                self._add(words, number)
            elif untagged:
                self._close()
        self._close()
        return self._lyrics()

    def _open(self, tag_line: TagLine, number: int) -> None:
        """Each tag starts a section; one without words directly again lengthens it."""
        for name in tag_line.unknown:
            self._warn(
                number,
                f"unknown tag [{name}], did you mean [{nearest_tag(name)}]? "
                + ("It is left out." if tag_line.tags else "Its words are sung as a verse."),
            )
        for tag in tag_line.tags or ("verse",):
            if tag == self.tag and tag in NON_VOCAL_TAGS and self.tag_count and not self.lines:
                self.tag_count += 1
            else:
                self._close()
                self.tag, self.tag_count, self.tag_row = tag, 1, number

    def _add(self, words: str, number: int) -> None:
        if any(map(str.isalnum, words)):
            self.lines.append(words)
        if unheard := _vanishing(sung_text(words)):
            self.unheard_rows += 1
            if self.unheard_rows <= _MOST_WARNINGS:
                where = f"{self.source}:{number}"
                self.warnings.append((number, _vanishing_warning(where, unheard)))

    def _close(self) -> None:
        """End the open section; one that has words although its tag holds none is a verse."""
        without_words = self.tag in NON_VOCAL_TAGS
        if self.lines and without_words:
            self._warn(self.tag_row, f"[{self.tag}] cannot hold words; they are sung as a verse")
        if self.lines:
            tag = "verse" if without_words else self.tag
            self.sections.append(Section(tag, tuple(self.lines)))
        elif self.tag_count and without_words:
            count = self.tag_count if self.tag_count > 1 else self.repeats
            self.sections.append(Section(self.tag, (), count))
        elif self.tag_count:
            self._warn(self.tag_row, f"[{self.tag}] holds no words and is left out")
        self.tag, self.tag_count, self.lines = "verse", 0, []

    def _warn(self, number: int, text: str) -> None:
        self.warnings.append((number, f"{self.source}:{number}: {text}"))

    def _lyrics(self) -> Lyrics:
        if not any(_can_be_sung(text) for section in self.sections for text in section.lines):
            raise _nothing(f"{self.source}:1", "no words that can be sung")
        warnings = [text for _, text in sorted(self.warnings, key=lambda warning: warning[0])]
        if self.unheard_rows > _MOST_WARNINGS:
            rest = self.unheard_rows - _MOST_WARNINGS
            warnings.append(f"{self.source}: characters that cannot be said in {rest} more lines")
        return Lyrics(tuple(self.sections), one_line(self.sections), tuple(warnings))


def _vanishing(text: str) -> str:
    """The characters of `text`, each once, that the front end leaves out without a sound."""
    return "".join(letter for letter in dict.fromkeys(text) if _vanishes(letter))


def _vanishes(letter: str) -> bool:
    if letter.isascii() or "\u4e00" <= letter <= "\u9fa5" or letter in "£～":
        return letter in _UNREAD_SYMBOLS
    if unicodedata.category(letter)[0] not in "LNS":
        return False
    base = unicodedata.normalize("NFD", letter)[0]
    return not (base.isascii() and base.isalpha())


def _vanishing_warning(where: str, letters: str) -> str:
    shown = letters if len(letters) <= 12 else f"{letters[:12]}…"
    return f'{where}: no front end can say "{shown}"; left out of the singing'


def _can_be_sung(text: str) -> bool:
    return any(letter.isalnum() and not _vanishes(letter) for letter in sung_text(text))


def _nothing(where: str, what: str) -> SongBloomError:
    return SongBloomError(
        f"{where}: {what}; expected at least one [verse], [chorus] or [bridge] with words",
        "Write [verse] on one line and the words to sing on the next.",
    )
