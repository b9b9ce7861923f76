"""Forced alignment: the best path of a song's frames through the phones of its lyrics.

A hidden Markov model from left to right: a gap, the phones of a line's words with gaps between the
words, a gap, the next line ... a gap. A phone lasts a frame or more; a gap may be left out. In a
gap there is silence, or singing that is none of the words, at a price. From the gap before a line
one may go straight to the gap behind it: a line that is not sung costs little.

Shapes: T frames, S states.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from songbloom.model.sketch_symbols import NUM_PHONES, phone_index

Span = tuple[int, int]  # frames, the second one excluded

PRIOR_WEIGHT = 0.4  # posteriors over a classifier's own priors: rare phones count for more
UNKNOWN_SINGING = 2.0  # nats that a frame of singing pays in a gap
SKIPPED_LINE = 4.0  # nats
_GAP = NUM_PHONES  # the column of gaps beside those of phones
_BLOCK = 1024  # frames whose steps are held at once
_NEVER = np.float32(-1e30)


@dataclass(frozen=True)
class Place:
    """Where a word was found: its frames (None: its line is not sung), and how surely, 0..1."""

    frames: Span | None
    confidence: float


@dataclass(frozen=True)
class Trellis:
    """The states in order, each `[S]`.

    `phone` is an index or that of gaps; `word` the word's number, -1 in gaps; `behind` the gap
    before the last line in a gap behind a line, elsewhere the state itself.
    """

    phone: np.ndarray
    word: np.ndarray
    behind: np.ndarray


def build(lines: Sequence[Sequence[Sequence[str]]]) -> Trellis:
    """The states of lines of words of phones."""
    rows, gap, number = [(_GAP, -1, 0)], 0, 0
    for words in lines:
        for position, phones in enumerate(words):
            if position:
                rows.append((_GAP, -1, len(rows)))
            rows += [(phone_index(p), number, len(rows) + n) for n, p in enumerate(phones)]
            number += 1
        rows.append((_GAP, -1, gap))
        gap = len(rows) - 1
    return Trellis(*np.array(rows, dtype=np.int64).T)


def align(log_posteriors: np.ndarray, lines: Sequence[Sequence[Sequence[str]]]) -> list[Place]:
    """A place for each word, in order.

    `log_posteriors` `[T, 40]` are of `sketch_symbols.PHONES`; `lines` hold words, which hold
    stressless ARPAbet phones, one at least.
    """
    trellis = build(lines)
    num_words = int(trellis.word.max()) + 1
    path = best_path(emissions(log_posteriors), trellis) if len(log_posteriors) else None
    if path is None:
        return [Place(None, 0.0)] * num_words
    likeness = np.exp(log_posteriors - log_posteriors.max(1, keepdims=True))  # [T, 40], 0..1
    return _places(path, trellis, likeness, num_words)


def emissions(log_posteriors: np.ndarray) -> np.ndarray:
    """What a frame gains in a phone, or in a gap, `[T, 41]`."""
    prior = np.log(np.exp(log_posteriors).mean(0) + 1e-3)
    scores = log_posteriors - PRIOR_WEIGHT * prior
    singing = scores[:, 1:].max(1) - UNKNOWN_SINGING
    gap = np.maximum(scores[:, 0], singing)
    return np.column_stack([scores, gap]).astype(np.float32)


def best_path(emission: np.ndarray, trellis: Trellis) -> np.ndarray | None:
    """The state of each frame `[T]`; None where the frames are fewer than any path needs.

    Steps are kept for one block of frames at a time and found again from the scores at its start,
    so that memory does not grow with T times S.
    """
    walk = _Walk(emission, trellis)
    starts = range(0, len(emission), _BLOCK)
    scores = walk.start()
    at_starts = []
    for begin in starts:
        at_starts.append(scores)
        scores, _ = walk.block(scores, begin)
    ends = scores[-2:] if len(scores) > 1 else scores[-1:]
    if ends.max() <= _NEVER / 2:
        return None
    state = len(scores) - len(ends) + int(ends.argmax())
    path = np.empty(len(emission), dtype=np.int64)
    for begin, before in zip(reversed(starts), reversed(at_starts), strict=True):
        _, came_from = walk.block(before, begin)
        for frame in range(len(came_from) - 1, -1, -1):
            path[begin + frame] = state
            state = int(walk.sources[came_from[frame, state], state])
    return path


class _Walk:
    """Viterbi's recursion, a block of frames at a time."""

    def __init__(self, emission: np.ndarray, trellis: Trellis) -> None:
        states = np.arange(len(trellis.phone))
        self.emission, self.phone = emission, trellis.phone
        # A state is come to from itself, the one before, the one before a gap, the last line's gap.
        self.sources = np.maximum([states, states - 1, states - 2, trellis.behind], 0)
        after_gap = np.roll(trellis.phone == _GAP, 1) & (states > 1)
        self.cost_of_jump = np.where(after_gap, np.float32(0), _NEVER)
        self.cost_of_skip = np.where(trellis.behind < states, np.float32(-SKIPPED_LINE), _NEVER)

    def start(self) -> np.ndarray:
        """Scores before the first frame: as if the gap at the start had been there."""
        scores = np.full(len(self.phone), _NEVER)
        scores[0] = 0
        return scores

    def block(self, scores: np.ndarray, begin: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores after the block that begins there; the source (0-3) of each step in it."""
        part = self.emission[begin : begin + _BLOCK]
        came_from = np.empty((len(part), len(scores)), dtype=np.uint8)
        for frame, row in enumerate(part):
            options = scores[self.sources]
            options[2] += self.cost_of_jump
            options[3] += self.cost_of_skip
            came_from[frame] = options.argmax(0)
            scores = options.max(0) + row[self.phone]
        return scores, came_from


def _places(
    path: np.ndarray, trellis: Trellis, likeness: np.ndarray, num_words: int
) -> list[Place]:
    """Words' frames, and the mean over them of how like its phone a frame is."""
    word, phone = trellis.word[path], trellis.phone[path]
    places = [Place(None, 0.0)] * num_words
    for number in np.unique(word[word >= 0]):
        frames = np.flatnonzero(word == number)
        confidence = likeness[frames, phone[frames]].mean()
        places[number] = Place((int(frames[0]), int(frames[-1]) + 1), float(confidence))
    return places
