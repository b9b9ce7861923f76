"""Chinese text cut into words with their parts of speech, exactly as jieba's tagger cuts it.

The released front end uses that tagger. Importing it reads a dictionary of 349,000 words twice, and
its search among hidden states weighs all pairs of them: seconds for the first string and most of
the time of every other one. This module reads jieba's tables (MIT licence) and adds the same
numbers in the same order: every word and tag is the same, several times as fast.
"""

import functools
import importlib.util
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from songbloom.lyrics.tone_sandhi import Word

# A letter's place in a word: "B" first, "M" inside, "E" last, "S" alone; or (place, tag).
State: TypeAlias = Any
Scores: TypeAlias = dict[State, float]

_NEVER = -3.14e100  # the logarithm of no chance at all in jieba's tables
_UNTAGGED = "x"
_GROUP = re.compile(r"^(.).*\n(?:\1.*\n)*", re.MULTILINE)
_COUNT = re.compile(r" ([0-9]+) ")


def cut(text: str) -> list[Word]:
    """The words of a run of Chinese characters with jieba's tags."""
    words: list[Word] = []
    for piece, known in _pieces(text):
        words.extend([Word(piece, _dictionary().tag(piece))] if known else _guess(piece))
    return words


def split(word: str) -> list[str]:
    """The words inside a word, and the word itself: jieba's search mode."""
    found: list[str] = []
    for piece, known in _pieces(word):
        for part in [piece] if known else [guess.text for guess in _guess(piece, tagged=False)]:
            for size in (2, 3):
                if len(part) > size:
                    parts = (part[start : start + size] for start in range(len(part) - size + 1))
                    found.extend(each for each in parts if _dictionary().weight(each))
            found.append(part)
    return found


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Words of the likeliest cut with True; with False, single letters in a row to be guessed."""
    loose = ""
    for word in _likeliest_cut(text):
        if len(word) == 1:
            loose += word
            continue
        yield from _loose(loose)
        yield word, True
        loose = ""
    yield from _loose(loose)


def _loose(letters: str) -> Iterator[tuple[str, bool]]:
    if len(letters) > 1 and not _dictionary().weight(letters):
        yield letters, False
    else:
        yield from ((letter, True) for letter in letters)


def _likeliest_cut(text: str) -> list[str]:
    dictionary = _dictionary()
    best = [(0.0, 0)] * (len(text) + 1)  # from each place on: the weight, the first word's end
    for start in range(len(text) - 1, -1, -1):
        words = dictionary.words_at(text, start)
        best[start] = max((weight + best[end][0], end) for end, weight in words)
    cuts, place = [], 0
    while place < len(text):
        cuts.append(text[place : best[place][1]])
        place = best[place][1]
    return cuts


class _Dictionary:
    """jieba's words, their weights and tags; parsed letter by letter, when a first letter is met.

    A weight is the logarithm of the word's share of all words, below 0; 0 is the weight of no word.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._spans: dict[str, list[tuple[int, int]]] = {}
        for group in _GROUP.finditer(text):
            self._spans.setdefault(group[1], []).append(group.span())
        self._log_total = math.log(sum(map(int, _COUNT.findall(text))))
        self._groups: dict[str, dict[str, tuple[float, str]]] = {}

    def weight(self, word: str) -> float:
        return self._group(word[0]).get(word, (0.0, _UNTAGGED))[0]

    def tag(self, word: str) -> str:
        return self._group(word[0]).get(word, (0.0, _UNTAGGED))[1]

    def words_at(self, text: str, start: int) -> list[tuple[int, float]]:
        """Ends and weights of the words of `text` that begin at `start`; a letter if none does."""
        group, found = self._group(text[start]), []
        for end in range(start + 1, len(text) + 1):
            weight, _ = group.get(text[start:end], (None, ""))
            if weight is None:
                break
            if weight:
                found.append((end, weight))
        return found or [(start + 1, 0.0 - self._log_total)]

    def _group(self, letter: str) -> dict[str, tuple[float, str]]:
        """The words that begin with `letter`, and the beginnings of words."""
        if letter not in self._groups:
            group: dict[str, tuple[float, str]] = {}
            for start, end in self._spans.get(letter, []):
                for line in self._text[start:end].splitlines():
                    word, count, tag = line.split(" ")
                    group[word] = (math.log(int(count)) - self._log_total, tag)
            for word in list(group):
                for size in range(1, len(word)):
                    group.setdefault(word[:size], (0.0, _UNTAGGED))
            self._groups[letter] = group
        return self._groups[letter]


class _Model(NamedTuple):
    """A hidden Markov model of the letters' states, in logarithms."""

    start: Scores
    ways: dict[State, Scores]  # state -> the states that may come before it
    letters: dict[State, dict[str, float]]  # state -> the letters that may have it
    states: dict[str, tuple[State, ...]]  # letter -> its states; any for a letter not listed
    ends: frozenset[State]  # the states that a last letter may have


def _guess(letters: str, tagged: bool = True) -> Iterator[Word]:
    """Words of letters that the dictionary does not join."""
    states = _likeliest_states(letters, _tagged_model() if tagged else _plain_model())
    begin = 0
    for end, state in enumerate(states, start=1):
        if state[0] in "ES" or end == len(letters):
            tag = states[begin if state[0] in "BM" else end - 1][1] if tagged else _UNTAGGED
            yield Word(letters[begin:end], tag)
            begin = end


def _likeliest_states(letters: str, model: _Model) -> list[State]:
    """The likeliest states, one a letter; of equals the one that sorts last."""
    scores = {
        state: model.start[state] + model.letters[state].get(letters[0], _NEVER)
        for state in model.states.get(letters[0], model.start)
    }
    steps: list[dict[State, State]] = []
    for place, letter in enumerate(letters[1:], start=1):
        listed = model.states.get(letter, ())
        step = _step(model, scores, letter, listed) or _step(model, scores, letter, model.start)
        if not step:  # nothing can come after these states: jieba fails, this begins anew
            return _path(scores, steps, model) + _likeliest_states(letters[place:], model)
        scores = {state: score for state, (score, _) in step.items()}
        steps.append({state: before for state, (_, before) in step.items()})
    return _path(scores, steps, model)


def _step(
    model: _Model, scores: Scores, letter: str, states: Iterable[State]
) -> dict[State, tuple[float, State]]:
    """The scores of a letter's states after those of the letter before, and the best of these."""
    step = {}
    unheard = sorted(((score + _NEVER, state) for state, score in scores.items()), reverse=True)
    for state in states:
        ways, chance = model.ways[state], model.letters[state].get(letter)
        if chance is None and len(ways) > 2:  # in so large a sum the ways do not count
            best = next((each for each in unheard if each[1] in ways), None)
        else:
            chance = _NEVER if chance is None else chance
            before = ways.keys() & scores.keys()
            best = max((((scores[way] + ways[way]) + chance, way) for way in before), default=None)
        if best:
            step[state] = best
    return step


def _path(scores: Scores, steps: list[dict[State, State]], model: _Model) -> list[State]:
    _, last = max((score, state) for state, score in scores.items() if state in model.ends)
    path = [last]
    for step in reversed(steps):
        path.append(step[path[-1]])
    return path[::-1]


@functools.cache
def _dictionary() -> _Dictionary:
    return _Dictionary((_jieba() / "dict.txt").read_text(encoding="utf-8"))


@functools.cache
def _tagged_model() -> _Model:
    states = _table("posseg/char_state_tab")
    return _model("posseg", states, frozenset(_table("posseg/prob_start")))


@functools.cache
def _plain_model() -> _Model:
    return _model("finalseg", {}, frozenset("ES"))


def _model(folder: str, states: dict[str, tuple[State, ...]], ends: frozenset[State]) -> _Model:
    onward = _table(f"{folder}/prob_trans")
    ways: dict[State, Scores] = {state: {} for state in onward}
    for before, after in onward.items():
        for state, chance in after.items():
            ways[state][before] = chance
    start, letters = _table(f"{folder}/prob_start"), _table(f"{folder}/prob_emit")
    return _Model(start, ways, letters, states, ends)


def _table(name: str) -> dict[Any, Any]:
    """A table of jieba's: a Python module that holds nothing else, run without jieba's own."""
    spec = importlib.util.spec_from_file_location(
        f"jieba_{name.replace('/', '_')}", _jieba() / f"{name}.py"
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    table: dict[Any, Any] = module.P
    return table


def _jieba() -> Path:
    spec = importlib.util.find_spec("jieba")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'jieba'", name="jieba")
    return Path(spec.submodule_search_locations[0])
