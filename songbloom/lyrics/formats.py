"""Lyrics in the formats people have: told apart by content, read into the document, written back.

| format | holds |
|---|---|
| `text` | tags, names, lines, the length of parts without words; title and the like |
| `line` | the released one line: tags, lines without full stops, lengths |
| `lrc`, `elrc` | tags, names, lines with times, metadata; `elrc` words with times too |
| `srt`, `vtt` | tags, names, lines with starts and ends; `vtt` words with times and metadata |
| `jsonl` | everything |
"""

import re
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from songbloom.errors import SongBloomError
from songbloom.lyrics import jsonl, lrc, one_line, plain, subtitles
from songbloom.lyrics.decoding import MAX_BYTES, clean, decode_bytes
from songbloom.lyrics.document import Finding, Lyrics, Section
from songbloom.lyrics.one_line import Convention
from songbloom.lyrics.sections import DEFAULT_REPEATS, gap_findings
from songbloom.lyrics.sung import can_be_sung, character_findings
from songbloom.lyrics.tags import NON_VOCAL_TAGS
from songbloom.lyrics.times import has_word_stamps

Format = Literal["text", "line", "lrc", "elrc", "srt", "vtt", "jsonl"]
FORMATS: tuple[Format, ...] = get_args(Format)
_SUFFIXES: dict[str, Format] = {
    ".txt": "text",
    ".md": "text",
    ".lrc": "lrc",
    ".elrc": "elrc",
    ".srt": "srt",
    ".vtt": "vtt",
    ".jsonl": "jsonl",
}
_LONGEST = 24 * 3600  # seconds without words
_MARKUPS = {
    "{\\rtf": "a document in Rich Text",
    "<!doctype": "a web page",
    "<html": "a web page",
    "%pdf": "a PDF document",
}
_MARKUP = re.compile(rf"\s*({'|'.join(map(re.escape, _MARKUPS))})", re.IGNORECASE)


class Draft(NamedTuple):
    """What a format has read."""

    sections: tuple[Section, ...]
    findings: list[Finding]
    metadata: plain.Metadata = ()
    line: str = ""


def read(
    path: Path,
    repeats: int = DEFAULT_REPEATS,
    format: Format | None = None,
    *,
    convention: Convention = "150s",
    frontend: str = "release",
) -> Lyrics:
    """The lyrics in a file; see `parse`. `SongBloomError` for one that cannot be read."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SongBloomError(
            f"{path}: cannot be read ({error.strerror or error})",
            "Name a text file with lyrics, or - to read them from standard input.",
        ) from error
    return parse_bytes(data, str(path), repeats, format, convention=convention, frontend=frontend)


def parse_bytes(
    data: bytes,
    source: str = "lyrics",
    repeats: int = DEFAULT_REPEATS,
    format: Format | None = None,
    *,
    convention: Convention = "150s",
    frontend: str = "release",
) -> Lyrics:
    """The lyrics in a file's bytes, whatever their encoding; see `parse`."""
    text, findings = decode_bytes(data, source)
    return _parse(text, findings, source, repeats, format, convention, frontend)


def decode(data: bytes, source: str) -> str:
    """The text in bytes, without a byte order mark. `SongBloomError` says where it is none."""
    return decode_bytes(data, source)[0]


def parse(
    text: str,
    source: str = "lyrics",
    repeats: int = DEFAULT_REPEATS,
    format: Format | None = None,
    *,
    convention: Convention = "150s",
    frontend: str = "release",
) -> Lyrics:
    """Read lyrics in any format; `source` names them in messages.

    The format is told by the content, unless given; where the content leaves it open, by the
    suffix of `source`. In plain text a tag stands on a line of its own or before the first words;
    where there is no tag at all, empty lines separate verses. A part without words is as long as
    its times or its tags say, a lone tag `repeats` seconds. `convention` says how long a tag of
    the one line is: a second for the 150 s models, five for the 240 s one. `frontend` decides
    which characters can be sung. `SongBloomError` when there are no words to sing.
    """
    return _parse(text, [], source, repeats, format, convention, frontend)


def detect(text: str, source: str = "lyrics") -> Format:
    """The format of a text, told by its content; by the suffix of `source` where that is open."""
    rows = text.removeprefix("\ufeff").splitlines()
    filled = [row for row in rows if row.strip()]
    suffix = format_of(Path(source))
    if not filled:
        return suffix or "text"
    if jsonl.is_object(filled[0]) or (suffix == "jsonl" and filled[0].lstrip().startswith("{")):
        return "jsonl"
    if filled[0].startswith("WEBVTT"):
        return "vtt"
    if any(map(subtitles.is_cue_times, filled)):
        return "vtt" if suffix == "vtt" else "srt"
    if stamped := [row for row in filled if lrc.is_lrc(row)]:
        return "elrc" if any(map(has_word_stamps, stamped)) else "lrc"
    if len(filled) == 1 and one_line.has_labels(filled[0]):
        return "line"
    return "lrc" if suffix in ("lrc", "elrc") else "text"


def format_of(path: Path) -> Format | None:
    """The format that a file's suffix stands for; None where it stands for none."""
    return _SUFFIXES.get(Path(path).suffix.lower())


def write(lyrics: Lyrics, format: Format, *, convention: Convention = "150s") -> str:
    """The lyrics as text in a format; what the format cannot hold is left out.

    Words that look like a tag ("Chorus: hi") are read as one by all formats but `line` and `jsonl`.
    `convention` is that of the one line. `SongBloomError` where times are needed and none known.
    """
    if format == "line":
        return _line(lyrics, convention) + "\n"
    if format == "text":
        return plain.write_plain(lyrics)
    if format in ("lrc", "elrc"):
        return lrc.write_lrc(lyrics, words=format == "elrc")
    if format in ("srt", "vtt"):
        return subtitles.write_subtitles(lyrics, vtt=format == "vtt")
    return jsonl.write_jsonl(lyrics)


def _parse(
    text: str,
    findings: list[Finding],
    source: str,
    repeats: int,
    format: Format | None,
    convention: Convention,
    frontend: str,
) -> Lyrics:
    if "\0" in text:
        raise _nothing(source, "not text (it holds NUL characters)")
    text, broken = clean(text.removeprefix("\ufeff"))
    if markup := _MARKUP.match(text):
        raise SongBloomError(
            f"{source}: {_MARKUPS[markup[1].lower()]}; expected lyrics as plain text",
            "Copy the words out of it, or save it as plain text.",
        )
    if not text.strip():
        raise _nothing(source, "the lyrics are empty")
    draft = _draft(text, source, repeats, format or detect(text, source), convention)
    sections = draft.sections
    lines = [line for section in sections for line in section.lines]
    _check_length(sections, source)
    if not any(can_be_sung(line.text, frontend) for line in lines):
        row = sections[0].place.row if sections else 1
        if lines:
            raise _unsayable(f"{source}:{row}", frontend)
        raise _nothing(f"{source}:{row}", "no words that can be sung")
    findings = [*findings, *broken, *draft.findings, *gap_findings(sections)]
    findings += [found for line in lines for found in character_findings(line, frontend)]
    findings.sort(key=lambda finding: (finding.place.row, finding.place.column))
    built = draft.line or one_line.one_line(sections, convention)
    return Lyrics(sections, built, tuple(findings), draft.metadata, source)


def _check_length(sections: tuple[Section, ...], source: str) -> None:
    """A count that nobody means would make a one line of gigabytes."""
    silent = sum(section.repeats for section in sections if section.tag in NON_VOCAL_TAGS)
    if silent > _LONGEST:
        raise SongBloomError(
            f"{source}: {silent} seconds without words, more than a day",
            "Repeat [intro], [inst], [outro] and [silence] less often.",
        )


def _draft(text: str, source: str, repeats: int, format: Format, convention: Convention) -> Draft:
    rows = text.splitlines()
    if format == "line":
        filled = [number for number, row in enumerate(rows, start=1) if row.strip()]
        if len(filled) > 1:
            raise SongBloomError(
                f"{source}:{filled[1]}: a second line; the one-line format has all on one",
                "Join the lines with ' , ' between the sections, or read them as text.",
            )
        line = rows[filled[0] - 1]
        return Draft(*one_line.read_one_line(line, filled[0], convention), line=line)
    if format in ("lrc", "elrc"):
        return Draft(*lrc.read_lrc(rows, repeats))
    if format in ("srt", "vtt"):
        return Draft(*subtitles.read_subtitles(rows, repeats, vtt=format == "vtt"))
    if format == "jsonl":
        # Not splitlines: JSON text may hold other line separators.
        rows = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        return Draft(*jsonl.read_jsonl(rows, source, repeats))
    return Draft(*plain.read_plain(rows, repeats))


def _line(lyrics: Lyrics, convention: Convention) -> str:
    """The one line as it is where it says the same, else made of the sections."""
    if one_line.says(lyrics.line, lyrics.sections, convention):
        return lyrics.line
    return one_line.one_line(lyrics.sections, convention)


def _unsayable(where: str, frontend: str) -> SongBloomError:
    other = ", or sing them with a model of the front end v1" if frontend == "release" else ""
    return SongBloomError(
        f"{where}: no words that the {frontend} front end can say",
        f"Write the words in Latin letters{other}.",
    )


def _nothing(where: str, what: str) -> SongBloomError:
    return SongBloomError(
        f"{where}: {what}; expected at least one [verse], [chorus] or [bridge] with words",
        "Write [verse] on one line and the words to sing on the next.",
    )
