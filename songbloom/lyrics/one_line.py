"""The released one-line format: `[intro] [intro] , [verse] line one.line two , [chorus] ...`.

Lines are set apart by ".", sections by " , ". A part without words is as long as its tag is
repeated: about a second each in the 150 s models, about five in the 240 s one.
"""

import re
from collections.abc import Iterable
from typing import Literal

from songbloom.lyrics.document import Finding, Line, Place, Section
from songbloom.lyrics.sung import shown, sung_text
from songbloom.lyrics.tags import NON_VOCAL_TAGS, TAGS, nearest_tag

Convention = Literal["150s", "240s"]
SECONDS_PER_TAG: dict[Convention, int] = {"150s": 1, "240s": 5}

_LABEL = re.compile(rf"(?:^|(?<= ))\[({'|'.join(TAGS)})\](?= |$)")
_BRACKETED = re.compile(r"\[[^\[\]]*\]")
_SENTENCE = re.compile(r"[^.。]+")
_SHOWN_NAME = 40


def has_labels(row: str) -> bool:
    """Whether a row holds a tag exactly as the released models know it."""
    return _LABEL.search(row) is not None


def read_one_line(
    line: str, row: int = 1, convention: Convention = "150s"
) -> tuple[tuple[Section, ...], list[Finding]]:
    """Sections and findings of the one line, which stands in `row` of its file.

    A label again without words in between is a repeat. Words before the first label are a verse.
    """
    labels = list(_LABEL.finditer(line))
    first, *ends = [*(label.start() for label in labels), len(line)]
    before = _sentences(line, 0, first, row)
    sections = [Section("verse", before, place=Place(row, 1))] if before else []
    between = ","
    for label, end in zip(labels, ends, strict=True):
        tag, place = label[1], Place(row, label.start() + 1)
        repeats = SECONDS_PER_TAG[convention] if tag in NON_VOCAL_TAGS else 1
        if sections and sections[-1].tag == tag and not between.strip():
            repeated = sections.pop()
            repeats, place = repeats + repeated.repeats, repeated.place
        sections.append(Section(tag, _sentences(line, label.end(), end, row), repeats, place=place))
        between = line[label.end() : end]
    return tuple(sections), _unknown_tags(line, row)


def one_line(sections: Iterable[Section], convention: Convention = "150s") -> str:
    """The one line of sections."""
    return " , ".join(_section_text(section, SECONDS_PER_TAG[convention]) for section in sections)


def says(line: str, sections: tuple[Section, ...], convention: Convention) -> bool:
    """Whether the line is that of the sections, be it spaced as it may."""
    if line == one_line(sections, convention):
        return True
    told, _ = read_one_line(line, convention=convention)
    return [(s.tag, s.repeats, s.texts) for s in told] == [
        (s.tag, s.repeats, s.texts) for s in sections
    ]


def _section_text(section: Section, seconds_per_tag: int) -> str:
    repeats = section.repeats
    if section.tag in NON_VOCAL_TAGS:
        repeats = max(1, round(repeats / seconds_per_tag))
    label = " ".join([f"[{section.tag}]"] * repeats)
    lines = [text for text in map(sung_text, section.texts) if text]
    return f"{label} {'.'.join(lines)}" if lines else label


def _sentences(line: str, start: int, end: int, row: int) -> tuple[Line, ...]:
    """The lines in a stretch of the one line, without the commas between sections."""
    found = []
    for match in _SENTENCE.finditer(line, start, end):
        if text := match[0].strip(" ,"):
            column = match.start() + match[0].index(text) + 1
            found.append(Line(text, place=Place(row, column)))
    return tuple(found)


def _unknown_tags(line: str, row: int) -> list[Finding]:
    """What stands in brackets and is no label is sung; each name once."""
    others = _LABEL.sub(lambda match: " " * len(match[0]), line)
    places = {match[0]: match.start() for match in reversed(list(_BRACKETED.finditer(others)))}
    findings = []
    for bracketed, start in reversed(places.items()):
        tag, name = nearest_tag(bracketed[1:-1]), shown(bracketed[1:-1], _SHOWN_NAME)
        question = f", did you mean [{tag}]?" if tag else "."
        message = f"unknown tag [{name}]{question} It is sung as a word."
        fix = f"write [{tag}]" if tag else "delete it"
        rule = "misspelt-tag" if tag else "unknown-tag"
        findings.append(Finding(Place(row, start + 1), rule, "warning", message, fix))
    return findings
