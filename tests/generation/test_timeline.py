"""When lines are sung: alignment against a slow edit distance, and times of known sketches."""

import functools
import random

import numpy as np
import pytest

from songbloom.generation.timeline import _align, timeline
from songbloom.lyrics import parse
from songbloom.model.sketch_symbols import encode_symbols, phone_index


def slow_distance(asked: tuple[str, ...], sung: tuple[str, ...]) -> int:
    """Edit distance straight from its definition."""

    @functools.cache
    def best(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        replaced = best(i - 1, j - 1) + (asked[i - 1] != sung[j - 1])
        return min(replaced, best(i - 1, j) + 1, best(i, j - 1) + 1)

    return best(len(asked), len(sung))


@pytest.mark.parametrize("seed", range(30))
def test_alignment_is_a_cheapest_one(seed: int) -> None:
    """Pairs are equal items in order, and the path through them costs the edit distance."""
    rng = random.Random(seed)
    asked, sung = (tuple(rng.choice("abcd") for _ in range(rng.randrange(0, 12))) for _ in range(2))
    pairs = _align(asked, sung)
    assert all(asked[i] == sung[j] for i, j in pairs)
    assert pairs == sorted(pairs)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    # Between two kept pairs the cheapest is to replace the shorter stretch and insert the rest.
    borders = [(-1, -1), *pairs, (len(asked), len(sung))]
    cost = sum(
        max(c - a - 1, d - b - 1) for (a, b), (c, d) in zip(borders, borders[1:], strict=False)
    )
    assert cost == slow_distance(asked, sung)


def test_equal_sequences_pair_fully() -> None:
    """What is sung as asked is paired one to one; nothing sung gives nothing."""
    assert _align(list("abcab"), list("abcab")) == [(i, i) for i in range(5)]
    assert _align(list("abc"), []) == [] == _align([], list("abc"))


LYRICS = "[verse]\nsing me home\nday by day\n[chorus]\nlight\n"


def frames(*runs: tuple[str, int]) -> np.ndarray:
    """Sketch tokens: each phone ("" for none) for so many frames."""
    return np.array(
        [encode_symbols(phone_index(p) if p else 0, 5) for p, count in runs for _ in range(count)]
    )


def sung(phones: str) -> list[tuple[str, int]]:
    """Five frames of each phone."""
    return [(phone, 5) for phone in phones.split()]


def test_times_of_a_sketch_that_names_phones() -> None:
    """A line lasts from its first matched phone to its last; sections span their lines."""
    silence = ("", 25)
    sketch = frames(
        silence,
        *sung("S IH NG M IY HH OW M"),
        silence,
        *sung("D EY B AY D EY"),
        silence,
        *sung("L AY T"),
    )
    told = timeline(parse(LYRICS), sketch, sketch_kind="seedling")
    assert told["timing"] == "sketch"
    assert told["duration_seconds"] == pytest.approx(len(sketch) / 25)
    verse, chorus = told["sections"]
    home, day = verse["lines"]
    assert (home["start"], home["end"]) == (1.0, pytest.approx(1 + 40 / 25))
    assert (day["start"], day["end"]) == (pytest.approx(3.6), pytest.approx(3.6 + 30 / 25))
    assert (verse["start"], verse["end"]) == (home["start"], day["end"])
    assert (chorus["start"], chorus["end"]) == (pytest.approx(5.8), pytest.approx(6.4))


def test_a_line_that_is_not_sung_has_no_time() -> None:
    """Lines without enough of their phones are None, and the others keep their places."""
    sketch = frames(("", 25), *sung("L AY T"))
    told = timeline(parse(LYRICS), sketch, sketch_kind="seedling")
    verse, chorus = told["sections"]
    assert [line["start"] for line in verse["lines"]] == [None, None]
    assert (verse["start"], verse["end"]) == (None, None)
    assert (chorus["lines"][0]["start"], chorus["lines"][0]["end"]) == (1.0, 1.6)


@pytest.mark.parametrize("kind", [None, "muq"])
def test_other_sketches_give_estimates(kind: str | None) -> None:
    """Where tokens name no phones, lines share the song by their phonemes, in order, marked so."""
    told = timeline(parse(LYRICS), np.zeros(250, dtype=np.int64), sketch_kind=kind)
    assert told["timing"] == "estimated"
    lines = [line for section in told["sections"] for line in section["lines"]]
    assert lines[0]["start"] == 0 and lines[-1]["end"] == 10.0
    assert all(a["end"] == b["start"] for a, b in zip(lines, lines[1:], strict=False))
    assert lines[0]["end"] - lines[0]["start"] > lines[2]["end"] - lines[2]["start"]


def test_an_empty_song() -> None:
    """No sketch at all: every line at zero, estimated."""
    told = timeline(parse(LYRICS), np.zeros(0, dtype=np.int64), sketch_kind="seedling")
    assert told["timing"] == "estimated"
    assert told["duration_seconds"] == 0
