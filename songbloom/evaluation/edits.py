"""The fewest edits that make one sequence of another, and where they are.

Many alignments have the fewest edits, and which one is taken decides which line an edit is laid to.
Taken is the one with the fewest gaps (runs of deletions or of insertions), and of those the one
with the most gaps that begin where a line begins: what a singer leaves out or adds is rarely
scattered. What is left to choose is chosen by a fixed order, so that the answer is one.
"""

from collections.abc import Collection, Hashable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from songbloom.errors import SongBloomError

EditKind = Literal["equal", "substitution", "deletion", "insertion"]
LONGEST = 1 << 17  # items of either sequence
MOST_CELLS = 1 << 30  # of a table of one byte each: 32,768 items against as many, an hour of song
# The cost of an edit, of a gap, of a gap's beginning inside a line. Each outweighs all that there
# can be of the next, and `_FAR` all of them.
_EDIT, _GAP, _INSIDE, _FAR = 1 << 38, 1 << 19, 1, 1 << 60
_MATCH, _DELETION, _INSERTION = 0, 1, 2
# A cell's byte: the state before its match, and for each kind of gap whether it goes on from the
# cell before or begins here. It begins after a match or a substitution: a deletion beside an
# insertion are two edits where a substitution is one.
_STATE, _ON = 3, (0, 4, 8)


class Edit(NamedTuple):
    """A step of an alignment: which items it is about; an index is that of the next one where the
    step has no item (an insertion stands before `wanted`, a deletion before `heard`)."""

    kind: EditKind
    wanted: int
    heard: int


def align(
    wanted: Sequence[Hashable], heard: Sequence[Hashable], starts: Collection[int] = ()
) -> list[Edit]:
    """The steps from `wanted` to `heard`, in order; `starts` are the indices where lines begin.

    The edits among them are as many as the Levenshtein distance. Takes a byte of memory for each
    pair of items; `SongBloomError` for more than `LONGEST` items or `MOST_CELLS` pairs.
    """
    cells = (len(wanted) + 1) * (len(heard) + 1)
    if max(len(wanted), len(heard)) > LONGEST or cells > MOST_CELLS:
        raise SongBloomError(
            f"{len(wanted)} sounds against {len(heard)}: too many to align",
            "Cut the song into parts of less than an hour.",
        )
    numbers = {item: number for number, item in enumerate(dict.fromkeys((*wanted, *heard)))}
    rows = [numbers[item] for item in wanted]
    columns = np.array([numbers[item] for item in heard], np.int64)
    return _trace(*_fill(rows, columns, frozenset(starts)), rows, columns)


def _fill(
    wanted: Sequence[int], heard: np.ndarray, starts: frozenset[int]
) -> tuple[np.ndarray, int]:
    """The choice in every cell `[wanted + 1, heard + 1]`, and the state that ends the best path.

    Gotoh's three states of a cell, a row at a time: the last step was a match or substitution, a
    deletion, or an insertion.
    """
    width = len(heard) + 1
    choices = np.zeros((len(wanted) + 1, width), np.uint8)
    ramp = np.arange(width, dtype=np.int64) * _EDIT
    match, deletion = np.full(width, _FAR), np.full(width, _FAR)
    match[0] = 0
    insertion = _insertions(match + _GAP, ramp, choices[0])
    for row, item in enumerate(wanted, start=1):
        states = np.stack([match, deletion, insertion])
        choices[row, 1:] = states.argmin(0)[:-1]
        match = np.full(width, _FAR)
        match[1:] = states.min(0)[:-1] + np.where(heard == item, 0, _EDIT)
        begun = states[_MATCH] + _gap(row - 1, starts)
        choices[row] |= _bits(deletion <= begun, _ON[_DELETION])
        deletion = np.minimum(deletion, begun) + _EDIT
        gap = _GAP if row == len(wanted) else _gap(row, starts)
        insertion = _insertions(match + gap, ramp, choices[row])
    return choices, int(np.argmin([match[-1], deletion[-1], insertion[-1]]))


def _gap(place: int, starts: frozenset[int]) -> int:
    """What a gap costs that begins before the wanted item of that index."""
    return _GAP if place == 0 or place in starts else _GAP + _INSIDE


def _insertions(begun: np.ndarray, ramp: np.ndarray, choices: np.ndarray) -> np.ndarray:
    """The costs of a row's cells when an insertion comes last, from those of a gap that begins in
    each; its bits are added to `choices`."""
    costs = np.full(len(ramp), _FAR)
    costs[1:] = np.minimum.accumulate(begun - ramp)[:-1] + ramp[1:]
    choices[1:] |= _bits(costs[:-1] <= begun[:-1], _ON[_INSERTION])
    return costs


def _bits(where: np.ndarray, bit: int) -> np.ndarray:
    return where.astype(np.uint8) * np.uint8(bit)


def _trace(choices: np.ndarray, state: int, wanted: Sequence[int], heard: np.ndarray) -> list[Edit]:
    """The path that ends in the last cell in that state, from its first step on."""
    row, column = len(wanted), len(heard)
    path: list[Edit] = []
    while row or column:
        choice = int(choices[row, column])
        if state == _MATCH:
            row, column, state = row - 1, column - 1, choice & _STATE
            same = wanted[row] == heard[column]
            path.append(Edit("equal" if same else "substitution", row, column))
            continue
        if state == _DELETION:
            row -= 1
            path.append(Edit("deletion", row, column))
        else:
            column -= 1
            path.append(Edit("insertion", row, column))
        state = state if choice & _ON[state] else _MATCH
    return path[::-1]
