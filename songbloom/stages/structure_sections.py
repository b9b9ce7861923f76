"""Sections that tile a song, and those that the tags of aligned lyrics tell of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from songbloom.lyrics.tags import VOCAL_TAGS
from songbloom.units import Hz, Seconds

SECONDS_PER_HOP: Seconds = 0.05  # of levels and spectra
SILENT_DB = -60.0  # dBFS
MIN_SILENCE: Seconds = 2.0  # at the song's ends; less belongs to the sections there

# Where a section is known by its words alone. Of half a bar before the first word and half a bar
# after the last one these are the averages (benchmarks/structure.py); neither onsets, changes of
# chord nor downbeats in the neighbourhood, as librosa finds them, came nearer to the truth.
LEAD: Seconds = 0.5
TAIL: Seconds = 1.0
MIN_BREAK: Seconds = 4.0  # a pause of the voice is no section of its own below this
MIN_NAMED_BREAK: Seconds = 0.5  # unless the lyrics name it
LONG_BREAK: Seconds = 10.0  # a pause between lines of one section that is a section of its own
MIN_SECTION: Seconds = 0.1

Phrases = Sequence[tuple[Seconds, Seconds]]  # when somebody sings


Section = Mapping[str, Any]


class Mark(NamedTuple):
    """A section's tag and where it starts; it goes on to the next one. `confidence` is 0-1."""

    tag: str
    start: Seconds
    confidence: float


def cover(marks: Sequence[Mark], begin: Seconds, end: Seconds, duration: Seconds) -> list[Section]:
    """Sections `{"tag", "start", "end", "confidence"}` that tile 0 to `duration`.

    `begin` to `end` is where there is sound: what is before and after is silence. A section that
    would be shorter than a tenth of a second goes to its neighbour.
    """
    inside = [*_inside(marks, begin, end)]
    if begin > 0:
        inside.insert(0, Mark("silence", 0.0, 1.0))
    if end < duration:
        inside.append(Mark("silence", end, 1.0))
    starts = [round(mark.start, 3) for mark in inside] + [round(duration, 3)]
    return [
        {
            "tag": mark.tag,
            "start": starts[number],
            "end": starts[number + 1],
            "confidence": round(min(max(mark.confidence, 0.0), 1.0), 4),
        }
        for number, mark in enumerate(inside)
    ]


def _inside(marks: Sequence[Mark], begin: Seconds, end: Seconds) -> Iterator[Mark]:
    """The marks between `begin` and `end`, in order, the first one at `begin`."""
    ordered = sorted(marks, key=lambda mark: mark.start)
    borders = [*(min(max(mark.start, begin), end) for mark in ordered[1:]), end]
    at = begin
    for number, (mark, border) in enumerate(zip(ordered, borders, strict=False), start=1):
        is_all = at == begin < end and number == len(ordered)
        if border - at >= MIN_SECTION or is_all:
            yield mark._replace(start=at)
            at = border


def level(mono: np.ndarray, sample_rate: Hz) -> np.ndarray:
    """dBFS of every 50 ms of sound `[n]`."""
    hop = round(sample_rate * SECONDS_PER_HOP)
    blocks = np.pad(mono, (0, -len(mono) % hop)).reshape(-1, hop)
    power = np.mean(np.square(blocks, dtype=np.float64), axis=1)
    decibels: np.ndarray = 10 * np.log10(power + 1e-12)
    return decibels


def sounding(mono: np.ndarray, sample_rate: Hz) -> tuple[Seconds, Seconds]:
    """From when to when there is sound in `[n]`; twice 0 where there is none."""
    duration = len(mono) / sample_rate
    loud = np.flatnonzero(level(mono, sample_rate) > SILENT_DB)
    if not len(loud):
        return 0.0, 0.0
    begin, end = float(loud[0] * SECONDS_PER_HOP), float((loud[-1] + 1) * SECONDS_PER_HOP)
    return (
        begin if begin >= MIN_SILENCE else 0.0,
        end if duration - end >= MIN_SILENCE else duration,
    )


@dataclass(frozen=True)
class Block:
    """Lines of section number `section` that are sung without a long break."""

    section: int
    tag: str
    start: Seconds
    end: Seconds
    confidence: float


def has_tags(align: Mapping[str, Any]) -> bool:
    """Whether aligned lyrics tell of sections: untagged ones are read as verses throughout."""
    tags = {section["tag"] for section in align.get("sections") or ()}
    return bool(tags - {"verse"}) and any(True for _ in blocks(align))


def blocks(align: Mapping[str, Any]) -> Iterator[Block]:
    """What was found of the lyrics, in their order; lines out of order are passed over."""
    tags = [section["tag"] for section in align.get("sections") or ()]
    group: list[Mapping[str, Any]] = []
    for line in align.get("lines") or ():
        if line["start"] is None or line["end"] is None or not 0 <= line["section"] < len(tags):
            continue
        if group and line["start"] < group[-1]["start"]:
            continue
        if group and (
            line["section"] != group[-1]["section"] or line["start"] - group[-1]["end"] > LONG_BREAK
        ):
            yield _block(group, tags)
            group = []
        group.append(line)
    if group:
        yield _block(group, tags)


def _block(lines: Sequence[Mapping[str, Any]], tags: Sequence[str]) -> Block:
    section = int(lines[0]["section"])
    confidence = sum(float(line["confidence"]) for line in lines) / len(lines)
    end = max(float(line["end"]) for line in lines)
    return Block(section, tags[section], float(lines[0]["start"]), end, confidence)


def from_tags(align: Mapping[str, Any], duration: Seconds, phrases: Phrases | None) -> list[Mark]:
    """Marks of aligned lyrics.

    A section begins `LEAD` before its first line and lasts to the next one. What is between two,
    before the first and after the last is a section of its own where the lyrics name one there, or
    where it is long. Sections whose words were not found are dropped, unless somebody sings there
    (`phrases`, of known vocals; None where they are not): then they stay, with confidence 0.
    """
    tags = [section["tag"] for section in align["sections"]]
    found = list(blocks(align))
    marks: list[Mark] = []
    before: Block | None = None
    for block in [*found, None]:
        begin = before.end + TAIL if before else 0.0
        end = block.start - LEAD if block else duration
        between = tags[before.section + 1 if before else 0 : block.section if block else None]
        tag = _between(between, begin, end, phrases) or _unnamed(before, block, begin, end)
        if tag:
            sure = min(near.confidence for near in (before, block) if near)
            marks.append(Mark(tag, begin, 0.0 if tag in VOCAL_TAGS else sure))
        if block:
            marks.append(Mark(block.tag, max(end, 0.0), block.confidence))
        before = block
    return marks


def _between(
    tags: Sequence[str],
    begin: Seconds,
    end: Seconds,
    phrases: Phrases | None,
) -> str | None:
    """Which of the sections that the lyrics have between two found ones is there."""
    lost = [tag for tag in tags if tag in VOCAL_TAGS]
    played = [tag for tag in tags if tag not in VOCAL_TAGS]
    if lost and end - begin > MIN_BREAK and sung_share(begin, end, phrases) > 0.5:
        return lost[0]
    return played[0] if played and end - begin > MIN_NAMED_BREAK else None


def _unnamed(before: Block | None, block: Block | None, begin: Seconds, end: Seconds) -> str | None:
    """What a long pause is that the lyrics do not name."""
    if end - begin <= MIN_BREAK:
        return None
    return "intro" if before is None else "outro" if block is None else "inst"


def sung_share(begin: Seconds, end: Seconds, phrases: Phrases | None) -> float:
    """The share of a stretch in which somebody sings; 0 where that is not known."""
    if phrases is None:
        return 0.0
    sung = sum(max(min(b, end) - max(a, begin), 0.0) for a, b in phrases)
    return sung / (end - begin)
