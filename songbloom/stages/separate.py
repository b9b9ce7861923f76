"""Vocals and accompaniment of a song, 48 kHz stereo, 24-bit FLAC.

* `seedling`: the embedded model, an HDemucs trained by this project on songs it synthesised. It
  hears up to 12 kHz and gives the vocals; the accompaniment is the song less the vocals.
* `demucs`: any model of Demucs. The accompaniment is the sum of its sources other than vocals.

A song streams through: decoded, resampled to the model's rate, separated segment by segment,
resampled back. Where a stem would clip, both are made softer by the same factor, so that their
levels keep their relation.
"""

import contextlib
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from songbloom import hub
from songbloom.files import atomic_path
from songbloom.stages import demucs_models, demucs_stream, sound
from songbloom.stages.stage import Backend, Item, Process
from songbloom.tables import PrepareConfig
from songbloom.units import SAMPLE_RATE

SEEDLING = hub.EMBEDDED_FOLDER / "separator" / "separator.safetensors"
STEMS = ("vocals", "accompaniment")
SILENCE = -120.0  # dBFS, the least that is told
_BLOCK = SAMPLE_RATE // 10  # samples that the voice is listened for at a time
_FAINT = -40.0  # dBFS; a softer block is no voice
_RANGE = 30.0  # dB below the loudest block, and softer is no voice either
_SEEDLING_LICENCE = "Apache-2.0 (weights trained by this project on songs it synthesised)"
_DEMUCS_LICENCE = "MIT (Demucs' released weights); of other models ask whoever made them"


def backend(settings: PrepareConfig) -> Backend:
    """Demucs' model that the settings name, else the embedded one. `MissingAssetError` for none."""
    demucs_models.require()
    name, why = _choice(settings)
    files = _files(settings)
    identity = {
        "demucs": demucs_models.version(),
        "model": files.hashes,
        "overlap": demucs_stream.OVERLAP,
    }
    licence = _SEEDLING_LICENCE if name == "seedling" else _DEMUCS_LICENCE
    return Backend(name, why, identity, licence)


def _choice(settings: PrepareConfig) -> tuple[str, str]:
    """Name of the backend, and why."""
    if settings.separate_backend == "seedling":
        return "seedling", "asked for"
    if settings.separate_model:
        return "demucs", "its model is named"
    if settings.separate_backend == "demucs":
        return "demucs", "asked for"
    return "seedling", "no model of Demucs is named (--separate-model)"


def _files(settings: PrepareConfig) -> demucs_models.ModelFiles:
    if _choice(settings)[0] == "seedling":
        return demucs_models.ModelFiles((SEEDLING,))
    return demucs_models.find(settings.separate_model or "htdemucs")


def load(settings: PrepareConfig, device: str) -> Process:
    """The model in memory, on `device`."""
    model = demucs_models.load(_files(settings)).to(device)

    def process(item: Item, folder: Path) -> Mapping[str, Any]:
        return separate(model, item.audio, folder, device)

    return process


def separate(model: Any, song: Path, folder: Path, device: str) -> dict[str, Any]:
    """Write a song's stems into `folder`; returns their levels and the share of voice.

    `gain_db` is what both stems were made softer by to keep them from clipping, 0 or less.
    """
    with contextlib.ExitStack() as stack:
        kept = {name: stack.enter_context(tempfile.TemporaryFile(dir=folder)) for name in STEMS}
        peak = 0.0
        for pair in _stems(model, song, device):
            for name, block in zip(STEMS, pair, strict=True):
                peak = max(peak, float(np.abs(block).max(initial=0.0)))
                kept[name].write(np.ascontiguousarray(block.T, np.float32).tobytes())
        gain = 1.0 if peak <= 1.0 else (1.0 - 2.0**-22) / peak
        levels = {name: _write(kept[name], folder / f"{name}.flac", gain) for name in STEMS}
    return {
        **{f"{name}_dbfs": _dbfs(np.mean(levels[name])) for name in STEMS},
        "voice": voice(levels["vocals"]),
        "gain_db": round(20 * math.log10(gain), 3) + 0.0,
    }


def voice(powers: np.ndarray) -> float:
    """The share of blocks of 100 ms with voice, from their mean squares `[blocks]`.

    Those above -40 dBFS and less than 30 dB softer than the loudest, which leaves out what a
    separator lets through.
    """
    if len(powers) == 0:
        return 0.0
    least = max(10 ** (_FAINT / 10), float(powers.max()) * 10 ** (-_RANGE / 10))
    return round(float(np.mean(powers > least)), 4)


def _dbfs(power: Any) -> float:
    return round(max(10 * math.log10(float(power) + 1e-30), SILENCE), 2)


def _stems(model: Any, song: Path, device: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(vocals, accompaniment) `[2, *]` at 48 kHz, block by block, as long as the song in all."""
    with sound.stream(song) as source:
        stereo = (sound.to_stereo(block) for block in source.blocks)
        whole = demucs_stream.resampled(stereo, source.sample_rate, SAMPLE_RATE)
        yield from demucs_stream.stems(model, whole, device)


def _write(raw: Any, path: Path, gain: float) -> np.ndarray:
    """Raw 48 kHz stereo as FLAC; returns the mean square of each 100 ms, the last one cut."""
    raw.seek(0)
    powers = []
    with (
        atomic_path(path) as temporary,
        soundfile.SoundFile(str(temporary), "w", SAMPLE_RATE, 2, "PCM_24") as sink,
    ):
        while data := raw.read(_BLOCK * 8):
            block = np.frombuffer(data, np.float32).reshape(-1, 2) * np.float32(gain)
            powers.append(float(np.mean(np.square(block, dtype=np.float64))))
            sink.write(block)
    return np.array(powers)
