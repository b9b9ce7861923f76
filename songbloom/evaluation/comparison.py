"""What was heard against what was asked: edits of phones and words, laid to words and lines.

Counts are `{"asked", "substitutions", "deletions", "insertions"}`; `asked` is how many there should
be. An insertion is laid to the word before it, at the very beginning to the first.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from songbloom.evaluation import normaliser
from songbloom.evaluation.edits import Edit, align
from songbloom.lyrics.document import Lyrics
from songbloom.stages.align_words import SungLine, SungWord

KINDS = ("substitutions", "deletions", "insertions")
Counts = Mapping[str, int]


def compare(lyrics: Lyrics, asked: Sequence[SungLine], heard: Sequence[SungLine]) -> dict[str, Any]:
    """Counts of the song's phones and words, and of the phones of its sections, lines and words.

    `asked` are the lines of `lyrics` that have words, at least one. A line's `heard` are the words
    that begin in it; its words are `[text, phones, edits]`.
    """
    wanted = [word for line in asked for word in line.words]
    others = [word for line in heard for word in line.words]
    tallies, places = _lay(wanted, others, _starts(len(line.words) for line in asked))
    lines = list(_line_rows(asked, tallies, others, places))
    return {
        "phones": total(line["phones"] for line in lines),
        "words": _words(asked, heard),
        "sections": list(_section_rows(lyrics, lines)),
        "lines": lines,
    }


def total(counts: Iterable[Counts]) -> dict[str, int]:
    """The sum of counts."""
    result: Counter[str] = Counter()
    for one in counts:
        result.update(one)
    return {key: result[key] for key in ("asked", *KINDS)}


def rates(counts: Counts) -> dict[str, float | None]:
    """Edits in per cent of what was asked, in all ("rate") and by kind; None where nothing was."""
    asked = counts["asked"]
    parts = {kind: counts[kind] for kind in KINDS}
    every = {"rate": sum(parts.values()), **parts}
    return {key: round(100 * n / asked, 6) if asked else None for key, n in every.items()}


def _lay(
    wanted: Sequence[SungWord], heard: Sequence[SungWord], line_starts: set[int]
) -> tuple[list[Counts], list[int]]:
    """The phone counts of each word that was wanted, and for each that was heard the one it is at.

    `line_starts` are the indices of the words with which lines begin.
    """
    owners = _owners(wanted)
    firsts = {owner: at for at, owner in reversed(list(enumerate(owners)))}
    steps = align(
        [phone for word in wanted for phone in word.phones],
        [phone for word in heard for phone in word.phones],
        {firsts[word] for word in line_starts},
    )
    tallies = [dict.fromkeys(("asked", *KINDS), 0) | {"asked": len(w.phones)} for w in wanted]
    places, speakers = [-1] * len(heard), _owners(heard)
    for step in steps:
        owner = owners[_place(step)]
        if step.kind != "equal":
            tallies[owner][f"{step.kind}s"] += 1
        if step.kind != "deletion" and places[speakers[step.heard]] < 0:
            places[speakers[step.heard]] = owner
    return list(tallies), places


def _owners(words: Sequence[SungWord]) -> list[int]:
    """For each phone the index of its word."""
    return [index for index, word in enumerate(words) for _ in word.phones]


def _place(step: Edit) -> int:
    """The index of the item that a step is laid to."""
    return max(step.wanted - 1, 0) if step.kind == "insertion" else step.wanted


def _line_rows(
    asked: Sequence[SungLine],
    tallies: Sequence[Counts],
    heard: Sequence[SungWord],
    places: Sequence[int],
) -> Iterator[dict[str, Any]]:
    at = 0
    for line in asked:
        mine = range(at, at + len(line.words))
        at = mine.stop
        yield {
            "section": line.section,
            "text": line.text,
            "heard": " ".join(
                word.text for word, place in zip(heard, places, strict=True) if place in mine
            ),
            "phones": total(tallies[number] for number in mine),
            "words": [
                [word.text, len(word.phones), sum(tallies[number][kind] for kind in KINDS)]
                for number, word in zip(mine, line.words, strict=True)
            ],
        }


def _section_rows(lyrics: Lyrics, lines: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The sections with words."""
    for number, section in enumerate(lyrics.sections):
        mine = [line["phones"] for line in lines if line["section"] == number]
        if mine:
            yield {"section": number, "tag": section.tag, "phones": total(mine)}


def _words(asked: Sequence[SungLine], heard: Sequence[SungLine]) -> dict[str, int]:
    """Counts of the song's words, by their spelling."""
    wanted, others = ([_spellings(line) for line in lines] for lines in (asked, heard))
    flat = [word for line in wanted for word in line]
    steps = align(flat, [word for line in others for word in line], _starts(map(len, wanted)))
    kinds = Counter(f"{step.kind}s" for step in steps)
    return {"asked": len(flat), **{kind: kinds[kind] for kind in KINDS}}


def _spellings(line: SungLine) -> list[str]:
    return [spelt for word in line.words if (spelt := normaliser.spelling(word.text))]


def _starts(lengths: Iterable[int]) -> set[int]:
    """Where each of parts of such lengths begins, the empty ones left out."""
    sizes = [length for length in lengths if length]
    return set(itertools.accumulate(sizes[:-1], initial=0)) if sizes else set()
