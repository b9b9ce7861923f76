"""The alignment: as few edits as a plain table counts, in one place rather than scattered."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from songbloom.errors import SongBloomError
from songbloom.evaluation import edits
from songbloom.evaluation.edits import Edit, align

SHORT = st.lists(st.sampled_from("abc"), max_size=5)
LONG = st.lists(st.sampled_from("abcdefgh"), max_size=30)


def distance(wanted: Sequence[str], heard: Sequence[str]) -> int:
    """Levenshtein's distance by the textbook's table."""
    row = list(range(len(heard) + 1))
    for i, item in enumerate(wanted, start=1):
        before, row = row, [i]
        for j, other in enumerate(heard, start=1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (item != other)))
    return row[-1]


def every_alignment(
    wanted: Sequence[str], heard: Sequence[str], i: int = 0, j: int = 0
) -> Iterator[list[Edit]]:
    """All there are."""
    if i == len(wanted) and j == len(heard):
        yield []
    if i < len(wanted) and j < len(heard):
        kind = "equal" if wanted[i] == heard[j] else "substitution"
        for rest in every_alignment(wanted, heard, i + 1, j + 1):
            yield [Edit(kind, i, j), *rest]  # type: ignore[arg-type]
    if i < len(wanted):
        for rest in every_alignment(wanted, heard, i + 1, j):
            yield [Edit("deletion", i, j), *rest]
    if j < len(heard):
        for rest in every_alignment(wanted, heard, i, j + 1):
            yield [Edit("insertion", i, j), *rest]


def cost(steps: Sequence[Edit], length: int, starts: set[int]) -> tuple[int, int, int]:
    """Edits, gaps, gaps that begin inside a line."""
    gaps = [
        step.wanted
        for before, step in itertools.pairwise([Edit("equal", -1, -1), *steps])
        if step.kind in ("deletion", "insertion") and step.kind != before.kind
    ]
    inside = [at for at in gaps if at not in starts | {0, length}]
    return sum(step.kind != "equal" for step in steps), len(gaps), len(inside)


@given(LONG, LONG, st.sets(st.integers(0, 29)))
def test_edits_are_the_distance_and_lead_from_one_to_the_other(
    wanted: list[str], heard: list[str], starts: set[int]
) -> None:
    """As many edits as Levenshtein's distance; the steps pass every item of both once, in order."""
    steps = align(wanted, heard, starts)
    assert sum(step.kind != "equal" for step in steps) == distance(wanted, heard)
    i = j = 0
    for step in steps:
        assert (step.wanted, step.heard) == (i, j)
        if step.kind in ("equal", "substitution"):
            assert (step.kind == "equal") == (wanted[i] == heard[j])
        i += step.kind != "insertion"
        j += step.kind != "deletion"
    assert (i, j) == (len(wanted), len(heard))


@given(SHORT, SHORT, st.sets(st.integers(0, 4)))
def test_no_alignment_is_better(wanted: list[str], heard: list[str], starts: set[int]) -> None:
    """Of all alignments none has fewer edits, of those fewer gaps, of those fewer inside a line."""
    starts = {start for start in starts if start < len(wanted)}
    best = min(cost(x, len(wanted), starts) for x in every_alignment(wanted, heard))
    assert cost(align(wanted, heard, starts), len(wanted), starts) == best


def song(seed: int) -> list[list[int]]:
    """Lines of phones; neighbours have beginnings and ends in common."""
    generator = np.random.default_rng(seed)
    return [
        [0, 1, *generator.integers(0, 6, generator.integers(5, 20)).tolist(), 1] for _ in range(8)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_a_line_that_is_left_out_is_found_where_it_was(seed: int) -> None:
    """Every deletion lies on it, though the lines begin and end alike."""
    lines = song(seed)
    starts = np.cumsum([0, *map(len, lines)])
    for left_out in range(len(lines)):
        heard = [phone for n, line in enumerate(lines) if n != left_out for phone in line]
        steps = align(sum(lines, []), heard, starts[:-1].tolist())
        wrong = [step.wanted for step in steps if step.kind != "equal"]
        assert wrong == list(range(starts[left_out], starts[left_out + 1]))


@pytest.mark.parametrize("seed", range(5))
def test_a_line_that_is_added_stands_between_lines(seed: int) -> None:
    """Every insertion lies where one line ends and the next begins."""
    lines = song(seed)
    wanted = lines[:3] + lines[4:]
    starts = np.cumsum([0, *map(len, wanted)])
    steps = align(sum(wanted, []), sum(lines, []), starts[:-1].tolist())
    assert {step.wanted for step in steps if step.kind != "equal"} == {starts[3]}


def test_a_song_of_hours_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than cut, or taking all memory."""
    monkeypatch.setattr(edits, "MOST_CELLS", 100)
    align("a" * 9, "a" * 9)
    with pytest.raises(SongBloomError, match="too many to align"):
        align("a" * 10, "a" * 9)
