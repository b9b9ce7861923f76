"""Phones of English words that no lexicon has: the small GRU sequence model of g2p_en, in numpy.

Weights: g2p_en 2.1.0 (Apache-2.0), see `data/README.md`. They are read at the first prediction.
"""

import functools
from importlib import resources
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]

_LETTERS = {letter: number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz", start=3)}
_UNKNOWN_LETTER, _END_OF_WORD = 1, 2
_START, _STOP = 2, 3
_SYMBOL_NAMES = (
    "<pad> <unk> <s> </s> "
    "AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 B CH D DH EH0 EH1 "
    "EH2 ER0 ER1 ER2 EY0 EY1 EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG OW0 OW1 OW2 OY0 OY1 "
    "OY2 P R S SH T TH UH0 UH1 UH2 UW UW0 UW1 UW2 V W Y Z ZH"
)
_SYMBOLS = _SYMBOL_NAMES.split(" ")
_MAX_PHONES = 20


class _Cell(NamedTuple):
    """One gated recurrent unit. `inputs [symbols, 3 H]` holds each symbol's share of the gates."""

    inputs: Array
    weight: Array
    bias: Array

    def step(self, symbol: int, hidden: Array) -> Array:
        """The next hidden state `[H]` after reading `symbol`."""
        size = hidden.shape[0]
        given = self.inputs[symbol]
        own = self.weight @ hidden + self.bias
        gates = 1.0 / (1.0 + np.exp(-(given[: 2 * size] + own[: 2 * size])))
        reset, keep = gates[:size], gates[size:]
        new = np.tanh(given[2 * size :] + reset * own[2 * size :])
        return (1.0 - keep) * new + keep * hidden


class _Model(NamedTuple):
    encoder: _Cell
    decoder: _Cell
    out_weight: Array
    out_bias: Array


@functools.lru_cache(maxsize=1 << 16)
def predict(word: str) -> tuple[str, ...]:
    """At most 20 phones for `word`, read letter by letter in lower case (other characters are one
    unknown letter)."""
    model = _model()
    hidden = np.zeros(model.encoder.weight.shape[1], dtype=np.float32)
    for letter in word.lower():
        hidden = model.encoder.step(_LETTERS.get(letter, _UNKNOWN_LETTER), hidden)
    hidden = model.encoder.step(_END_OF_WORD, hidden)
    return tuple(_SYMBOLS[symbol] for symbol in _decode(model, hidden))


def _decode(model: _Model, hidden: Array) -> list[int]:
    """The likeliest symbol at each step until the stop symbol."""
    symbols: list[int] = []
    last = _START
    while len(symbols) < _MAX_PHONES:
        hidden = model.decoder.step(last, hidden)
        last = int(np.argmax(model.out_weight @ hidden + model.out_bias))
        if last == _STOP:
            break
        symbols.append(last)
    return symbols


@functools.cache
def _model() -> _Model:
    data = resources.files("songbloom.lyrics").joinpath("data", "predictor.npz")
    with data.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        weights = {
            name: arrays[name].astype(np.float32) * arrays[f"{name}.scale"]
            for name in arrays.files
            if not name.endswith(".scale")
        }
    return _Model(_cell(weights, "enc"), _cell(weights, "dec"), weights["fc_w"], weights["fc_b"])


def _cell(weights: dict[str, Array], part: str) -> _Cell:
    inputs = weights[f"{part}_emb"] @ weights[f"{part}_w_ih"].T + weights[f"{part}_b_ih"]
    return _Cell(inputs, weights[f"{part}_w_hh"], weights[f"{part}_b_hh"])
