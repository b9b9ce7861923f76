"""When each section and line is sung.

A model whose sketch tokens name phones (the seedling's) shows it: the sung phones are aligned with
the lyrics' by edit distance. Of other models only the order is known, and line times are spread
over the song by their number of phonemes and marked as estimated.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from songbloom.lyrics import Lyrics
from songbloom.lyrics.release import phonemes
from songbloom.lyrics.vocabulary import RELEASE_VOCABULARY
from songbloom.model.sketch_symbols import NUM_CODES, PHONES, split_code
from songbloom.units import Seconds, frames_to_seconds

_LEAST_HEARD = 1 / 3  # of a line's phones; fewer match by chance alone


@dataclass(frozen=True)
class TimedLine:
    """A line and where it is sung, in seconds; None where it was not found."""

    text: str
    start: Seconds | None
    end: Seconds | None


@dataclass(frozen=True)
class TimedSection:
    """A section and its lines; its times span them."""

    tag: str
    start: Seconds | None
    end: Seconds | None
    lines: tuple[TimedLine, ...]


def timeline(
    lyrics: Lyrics,
    sketch: np.ndarray,
    *,
    sketch_kind: str | None,
    duration: Seconds | None = None,
    say: Callable[[str], str] = phonemes,
) -> dict[str, Any]:
    """JSON-able timeline: "timing" ("sketch" or "estimated"), duration in seconds, sections.

    `sketch` `[T]`; the song's `duration` is its length unless the model has no sketch.
    `say` gives a line's phonemes.
    """
    lines = [(i, text) for i, s in enumerate(lyrics.sections) for text in s.texts]
    duration = frames_to_seconds(len(sketch)) if duration is None else duration
    known = sketch_kind == "seedling" and len(sketch) > 0 and int(sketch.max()) < NUM_CODES
    spans = _heard(lines, sketch, say) if known else _spread(lines, duration, say)
    sections = []
    for number, section in enumerate(lyrics.sections):
        timed = [
            TimedLine(text, *span)
            for (owner, text), span in zip(lines, spans, strict=True)
            if owner == number
        ]
        starts = [line.start for line in timed if line.start is not None]
        ends = [line.end for line in timed if line.end is not None]
        first, last = (min(starts), max(ends)) if starts else (None, None)
        sections.append(TimedSection(section.tag, first, last, tuple(timed)))
    return {
        "timing": "sketch" if known else "estimated",
        "duration_seconds": duration,
        "sections": [asdict(section) for section in sections],
    }


Span = tuple[Seconds | None, Seconds | None]


def _spread(
    lines: Sequence[tuple[int, str]], duration: Seconds, say: Callable[[str], str]
) -> list[Span]:
    """Line times in proportion to their phonemes."""
    weights = np.array([len(say(text).split()) for _, text in lines], dtype=float)
    borders = np.concatenate([[0.0], weights.cumsum()]) / max(1.0, weights.sum()) * duration
    return [(round(a, 3), round(b, 3)) for a, b in zip(borders[:-1], borders[1:], strict=True)]


def _heard(
    lines: Sequence[tuple[int, str]], sketch: np.ndarray, say: Callable[[str], str]
) -> list[Span]:
    """Line times from the frames whose phones match the line's, None where too few of them do."""
    spoken = [_phones(say(text)) for _, text in lines]
    asked = [(phone, i) for i, phones in enumerate(spoken) for phone in phones]
    runs = _runs(split_code(sketch)[0])
    matches = _align([phone for phone, _ in asked], [phone for phone, _, _ in runs])
    spans: list[Span] = []
    for number in range(len(lines)):
        mine = [runs[run] for at, run in matches if asked[at][1] == number]
        if len(mine) >= max(1.0, _LEAST_HEARD * len(spoken[number])):
            times = frames_to_seconds(mine[0][1]), frames_to_seconds(mine[-1][2])
            spans.append((round(times[0], 3), round(times[1], 3)))
        else:
            spans.append((None, None))
    return spans


def _phones(said: str) -> list[str]:
    """Stressless ARPAbet of a line's phonemes; a word that is a symbol is the vowel heard in it."""
    symbols = [s for s in said.split(" ") if s in RELEASE_VOCABULARY]
    return [_WHOLE_WORDS.get(s, s.rstrip("012")) for s in symbols if s not in "!,-.?…"]


# The released quirk: these English words are symbols of their own; the vowel that is heard.
_WHOLE_WORDS = {"a": "AH", "I": "AY", "my": "AY", "by": "AY", "o": "OW", "e": "IY"}


def _runs(phone: np.ndarray) -> list[tuple[str, int, int]]:
    """(phone, first frame, end frame) of each stretch with a voice."""
    borders = np.flatnonzero(np.diff(phone, prepend=-1, append=-1))
    pairs = zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True)
    return [(PHONES[phone[a]], a, b) for a, b in pairs if phone[a] > 0]


def _align(asked: Sequence[str], sung: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of equal items in a cheapest edit path (unit costs) from `asked` to `sung`."""
    cost = np.zeros((len(asked) + 1, len(sung) + 1), dtype=np.int32)
    cost[:, 0], cost[0] = np.arange(len(asked) + 1), np.arange(len(sung) + 1)
    columns = np.arange(len(sung) + 1)
    sung_array = np.array(sung, dtype=object)
    for i, phone in enumerate(asked, start=1):
        best = np.minimum(cost[i - 1, 1:] + 1, cost[i - 1, :-1] + (sung_array != phone))
        row = np.concatenate([[i], best])
        # A run of insertions costs one each: min over k of row[k] + (j - k).
        cost[i] = np.minimum.accumulate(row - columns) + columns
    pairs, i, j = [], len(asked), len(sung)
    while i and j:
        same = asked[i - 1] == sung[j - 1]
        if cost[i, j] == cost[i - 1, j - 1] + (not same):
            pairs += [(i - 1, j - 1)] if same else []
            i, j = i - 1, j - 1
        elif cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]
