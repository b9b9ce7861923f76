"""Plain text: tags on lines of their own, as people write them; a title and the like above."""

import re
from collections.abc import Sequence

from songbloom.lyrics.document import Finding, Lyrics, Place, Section
from songbloom.lyrics.sections import DEFAULT_REPEATS, Row, heading, read_sections
from songbloom.lyrics.tags import NON_VOCAL_TAGS, read_tag_line, visible

Metadata = tuple[tuple[str, str], ...]

# What may stand above the first section as "Title: ...".
METADATA_KEYS = (
    "title",
    "artist",
    "album",
    "author",
    "composer",
    "lyricist",
    "writer",
    "genre",
    "style",
    "language",
    "key",
    "bpm",
    "tempo",
    "year",
)
_METADATA = re.compile(
    rf"\W{{0,8}}({'|'.join(METADATA_KEYS)})[ \t*_]{{0,3}}[:：](.*)", re.IGNORECASE
)
_TITLE = re.compile(r"#\s+(\S.*)")


def read_plain(
    rows: Sequence[str], repeats: int
) -> tuple[tuple[Section, ...], list[Finding], Metadata]:
    """Sections, findings and metadata of plain text."""
    first, metadata, findings = _read_head(rows)
    texts = []
    for number, row in enumerate(rows[first:], start=first + 1):
        text = "" if row.strip().startswith("```") else row.strip()
        column = len(row) - len(row.lstrip()) + 1
        texts.append(Row(text, Place(number, column)))
    sections, more = read_sections(texts, repeats)
    return sections, findings + more, metadata


def write_plain(lyrics: Lyrics) -> str:
    """Plain text: headings, lines, an empty row between sections. Times are left out."""
    known = [(key, value) for key, value in lyrics.metadata if key in METADATA_KEYS]
    parts = ["\n".join(f"{key.capitalize()}: {value}" for key, value in known)] if known else []
    before = ""
    for section in lyrics.sections:
        twins = section.tag in NON_VOCAL_TAGS and section.tag == before
        first = heading(section, None if twins else DEFAULT_REPEATS)
        parts.append("\n".join([first, *section.texts]))
        before = section.tag
    return "\n\n".join(parts) + "\n"


def _read_head(rows: Sequence[str]) -> tuple[int, Metadata, list[Finding]]:
    """How many rows stand above the lyrics, and what they say of the song."""
    metadata: dict[str, str] = {}
    findings: list[Finding] = []
    for number, row in enumerate(rows):
        text = visible(row).strip()
        if not text:
            continue
        if read_tag_line(text) and not _METADATA.fullmatch(text):
            return number, tuple(metadata.items()), findings
        title = _TITLE.fullmatch(text)
        if found := _METADATA.fullmatch(text):
            key, value = found[1].lower(), " ".join(found[2].strip(" \t*_]】").split())
        elif title:
            key, value = "title", " ".join(title[1].split())
        else:
            return number, tuple(metadata.items()), findings
        place, message = Place(number + 1, 1), f"the {key} is kept as metadata and not sung"
        findings.append(Finding(place, "title-not-sung", "info", message))
        if metadata.setdefault(key, value) != value:
            message = f"a second {key}; the first is kept"
            fix = "delete one"
            findings.append(Finding(place, "repeated-metadata", "info", message, fix))
    return len(rows), tuple(metadata.items()), findings
