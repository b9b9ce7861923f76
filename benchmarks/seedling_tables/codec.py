"""What the codecs keep of songs that they never heard.

`vae`: log-mel distance of the mix and of the voice alone, voiced frames kept and f0 error in cents
as `songbloom seedling` reports them; the multi-resolution STFT distance (Yamamoto et al. 2020:
spectral convergence, and L1 of log magnitudes); PER and WER of decoded less original are rows of
the chain. `sketch`: accuracy of the tokens, whose codes have a meaning, and of a linear probe on
them: on one code a frame that is the commonest label of each code, read off every second song and
scored on the others (`benchmarks/tokens.py`); codes never heard though true, entropy in bits.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tokens import token_scores
from torch import Tensor

from seedling_tables.songs import Song
from songbloom import audio
from songbloom.model.checkpoint import Model
from songbloom.model.sketch_codec import SketchCodec
from songbloom.training import seedling_vae_score
from songbloom.units import SAMPLE_RATE

_FFTS = (512, 1024, 2048)  # windows; a quarter is the hop
_FLOOR = 1e-3


def table(songs: Sequence[Song], model: Model, codec: SketchCodec) -> dict[str, Any]:
    """Both codecs."""
    return {
        "vae": {**_vae(songs, model), **_spectra(songs)},
        "sketch": _sketch(songs, codec),
    }


def _vae(songs: Sequence[Song], model: Model) -> dict[str, float]:
    """Means over twenty seconds of every song."""
    with torch.inference_mode():
        rows = [seedling_vae_score.score(model.vae, [s.truth], lambda _: None) for s in songs]
    return {
        key: round(float(np.mean([row[key] for row in rows])), 4)
        for key in rows[0]
        if key != "songs"
    }


def _spectra(songs: Sequence[Song]) -> dict[str, float]:
    pairs = [(_load(song, "synthesised"), _load(song, "codec")) for song in songs]
    found = np.array([multi_resolution(*pair) for pair in pairs]).mean(axis=0)
    return {
        "spectral_convergence": round(float(found[0]), 4),
        "log_magnitude_l1": round(float(found[1]), 4),
    }


def _load(song: Song, step: str) -> Tensor:
    return torch.from_numpy(audio.load(song.sound(step), SAMPLE_RATE))


def multi_resolution(true: Tensor, made: Tensor) -> tuple[float, float]:
    """Spectral convergence and L1 of log magnitudes (floor 1e-3) of `[2, n]`, means over sizes."""
    length = min(true.shape[-1], made.shape[-1])
    found = []
    for size in _FFTS:
        window = torch.hann_window(size)
        one, other = (
            torch.stft(x[:, :length], size, size // 4, window=window, return_complex=True).abs()
            for x in (true, made)
        )
        apart = (one + _FLOOR).log() - (other + _FLOOR).log()
        found.append((float((one - other).norm() / one.norm()), float(apart.abs().mean())))
    convergence, log_magnitude = np.mean(found, axis=0)
    return float(convergence), float(log_magnitude)


def _sketch(songs: Sequence[Song], codec: SketchCodec) -> dict[str, Any]:
    heard = [codec.encode(_load(s, "synthesised")[None])[0].cpu().numpy() for s in songs]
    told = token_scores(heard, [song.score for song in songs], seedling=True)
    accuracy = told.pop("accuracy")
    return {
        "probe": {key: _rounded(value) for key, value in told.items()},
        "codes": {key: _rounded(value) for key, value in accuracy.items()},
    }


def _rounded(value: float) -> float:
    return round(value, 4)
