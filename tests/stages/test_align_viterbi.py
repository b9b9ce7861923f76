"""The best path through the phones of lyrics."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from songbloom.model.sketch_symbols import NUM_PHONES, PHONES, phone_index
from songbloom.stages import align_viterbi
from songbloom.stages.align_viterbi import Trellis

LINES = [[["HH", "AH"], ["L", "OW"]], [["W", "ER"], ["L", "D"]], [["G", "AH", "D"]]]


def posteriors(phones: list[str], sure: float = 0.9) -> np.ndarray:
    """Log-probabilities `[T, 40]` of a classifier that is `sure` of these phones."""
    table = np.full((len(phones), NUM_PHONES), (1 - sure) / (NUM_PHONES - 1))
    for frame, phone in enumerate(phones):
        table[frame, phone_index(phone) if phone else 0] = sure
    return np.log(table).astype(np.float32)


def sung(*words: str, hold: int = 3) -> list[str]:
    """Frames of words of phones; "" is silence."""
    return [phone for word in words for phone in (word.split() or [""]) for _ in range(hold)]


def score(path: tuple[int, ...], emission: np.ndarray, trellis: Trellis) -> float:
    """What a path gains; minus infinity where it takes a step that there is not. A slow twin."""
    total, last = 0.0, 0
    for frame, state in enumerate(path):
        over_gap = state == last + 2 and trellis.phone[last + 1] == NUM_PHONES
        if state == last or state == last + 1 or over_gap:
            cost = 0.0
        elif trellis.behind[state] == last:
            cost = align_viterbi.SKIPPED_LINE
        else:
            return -np.inf
        total += emission[frame, trellis.phone[state]] - cost
        last = state
    return total if last >= len(trellis.phone) - 2 else -np.inf


def best_score(emission: np.ndarray, trellis: Trellis) -> float:
    """The best of all paths, by trying every one."""
    best, paths = -np.inf, [((), 0)]
    for _ in range(len(emission)):
        paths = [
            ((*path, state), state)
            for path, last in paths
            for state in range(last, len(trellis.phone))
            if state <= last + 2 or trellis.behind[state] == last
        ]
    for path, _ in paths:
        best = max(best, score(path, emission, trellis))
    return best


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from([LINES[2:], LINES[:1], LINES[1:]]))
def test_the_path_is_the_best_of_all(seed: int, frames: int, lines: list[list[list[str]]]) -> None:
    """Viterbi finds the score that trying every path finds, and a path that has it."""
    emission = np.random.default_rng(seed).normal(0, 3, (frames, NUM_PHONES + 1))
    trellis = align_viterbi.build(lines)
    best = best_score(emission, trellis)
    path = align_viterbi.best_path(emission.astype(np.float32), trellis)
    if path is None:
        assert best == -np.inf
    else:
        assert score(tuple(path), emission, trellis) == pytest.approx(best, abs=1e-3)


def test_blocks_do_not_change_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps kept block by block give the path of steps kept all at once."""
    emission = np.random.default_rng(1).normal(0, 2, (300, NUM_PHONES + 1)).astype(np.float32)
    trellis = align_viterbi.build(LINES)
    whole = align_viterbi.best_path(emission, trellis)
    monkeypatch.setattr(align_viterbi, "_BLOCK", 7)
    assert np.array_equal(align_viterbi.best_path(emission, trellis), whole)


def test_words_are_found_where_they_are() -> None:
    """Words sung one after the other have their own frames, and are sure."""
    frames = sung("", "HH AH", "L OW", "", "W ER", "L D", "G AH D", "")
    places = align_viterbi.align(posteriors(frames), LINES)
    assert [place.frames for place in places] == [(3, 9), (9, 15), (18, 24), (24, 30), (30, 39)]
    assert all(place.confidence > 0.95 for place in places)


def test_a_line_that_is_not_sung_is_left_out() -> None:
    """The middle line is missing from the song: it has no place, its neighbours keep theirs."""
    frames = sung("", "HH AH", "L OW", "", "G AH D", "")
    places = align_viterbi.align(posteriors(frames), LINES)
    assert [place.frames for place in places] == [(3, 9), (9, 15), None, None, (18, 27)]


def test_singing_that_the_lyrics_lack_belongs_to_no_word() -> None:
    """Two words that the lyrics lack, between lines, move no other word."""
    frames = sung("HH AH", "L OW", "", "S IY", "Z UW", "", "W ER", "L D", "G AH D", hold=5)
    places = align_viterbi.align(posteriors(frames), LINES)
    assert places[1].frames == (10, 20)
    assert places[2].frames == (50, 60)


def test_a_chorus_sung_twice_is_found_twice() -> None:
    """Of the same line written twice, each is at its own time."""
    frames = sung("G AH D", "", "W ER", "L D", "", "G AH D")
    places = align_viterbi.align(posteriors(frames), [LINES[2], LINES[1], LINES[2]])
    assert places[0].frames == (0, 9)
    assert places[3].frames == (27, 36)


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_too_few_frames_place_no_words(frames: int) -> None:
    """A sound shorter than its words is no error: nothing is heard."""
    places = align_viterbi.align(posteriors([""] * frames), LINES)
    assert [place.frames for place in places] == [None] * 5


def test_memory_does_not_grow_with_the_song() -> None:
    """Ten minutes of 400 words hold no more than their scores and one block of steps."""
    rng = np.random.default_rng(0)
    table = rng.normal(0, 2, (15_000, NUM_PHONES)).astype(np.float32)
    words = [[[PHONES[p] for p in rng.integers(1, 40, 4)] for _ in range(4)] for _ in range(100)]
    tracemalloc.start()
    align_viterbi.align(table - 5, words)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6  # all the steps would be 30 MB, beside 10 MB of copies of the posteriors
