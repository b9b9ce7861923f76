"""Plain text: tags on lines of their own, as people write them; a title and the like above."""

import re
from collections.abc import Sequence

from songbloom.lyrics.chords import without_chords
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
    "arranger",
    "producer",
    "genre",
    "style",
    "language",
    "key",
    "bpm",
    "tempo",
    "year",
)
# What pages with lyrics call them.
_CREDITS = {
    "title": "歌名|曲名|标题|標題",
    "artist": "演唱|歌手|原唱|主唱|singer|performed by",
    "album": "专辑|專輯",
    "composer": "作曲|谱曲|譜曲|曲|music|music by|composed by",
    "lyricist": "作词|作詞|填词|填詞|词|詞|lyrics by|words by|written by",
    "arranger": "编曲|編曲|arranged by",
    "producer": "制作|制作人|製作|製作人|produced by",
    "style": "style of music",
}
_KEY_OF_CREDIT = {name: key for key, names in _CREDITS.items() for name in names.split("|")}
_NAMES = "|".join(sorted((*METADATA_KEYS, *_KEY_OF_CREDIT), key=len, reverse=True))
_METADATA = re.compile(rf"\W{{0,8}}({_NAMES})[ \t*_]{{0,3}}[:：](.*)", re.IGNORECASE)
_TITLE = re.compile(r"#\s+(\S.*)|《([^《》]+)》")


def read_plain(
    rows: Sequence[str], repeats: int
) -> tuple[tuple[Section, ...], list[Finding], Metadata]:
    """Sections, findings and metadata of plain text."""
    first, metadata, findings = _read_head(rows)
    plain, chords = without_chords(rows)
    texts = []
    for number, row in enumerate(plain[first:], start=first + 1):
        if row is None:
            continue
        text = "" if row.strip().startswith("```") else row.strip()
        column = len(row) - len(row.lstrip()) + 1
        texts.append(Row(text, Place(number, column)))
    sections, found = read_sections(texts, repeats)
    return sections, findings + chords + found, metadata


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


def read_credit(text: str) -> tuple[str, str] | None:
    """Key and value of a row that says who made the song: "Title: Rain", "作词：张三"."""
    if title := _TITLE.fullmatch(text):
        return "title", " ".join((title[1] or title[2]).split())
    if found := _METADATA.fullmatch(text):
        key = found[1].lower()
        return _KEY_OF_CREDIT.get(key, key), " ".join(found[2].strip(" \t*_]】").split())
    return None


def credit_finding(key: str, place: Place) -> Finding:
    """That a row is no words of the song."""
    return Finding(place, "title-not-sung", "info", f"the {key} is kept as metadata and not sung")


def _read_head(rows: Sequence[str]) -> tuple[int, Metadata, list[Finding]]:
    """How many rows stand above the lyrics, and what they say of the song."""
    metadata: dict[str, str] = {}
    findings: list[Finding] = []
    for number, row in enumerate(rows):
        text = visible(row).strip()
        if not text:
            continue
        credit = read_credit(text)
        if not credit or (read_tag_line(text) and not _METADATA.fullmatch(text)):
            return number, tuple(metadata.items()), findings
        key, value = credit
        place = Place(number + 1, 1)
        findings.append(credit_finding(key, place))
        if metadata.setdefault(key, value) != value:
            message = f"a second {key}; the first is kept"
            fix = "delete one"
            findings.append(Finding(place, "repeated-metadata", "info", message, fix))
    return len(rows), tuple(metadata.items()), findings
