"""The voice of a song alone, separated once for all metrics that listen to it."""

import functools
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from songbloom.files import atomic_path, sha256
from songbloom.manifest import Track
from songbloom.stages import separate, sound
from songbloom.stages.stage import Item, Process
from songbloom.tables import PrepareConfig

RATE = 16_000  # Hz
NONE = "none"  # in the place of a model: the sound as it is, for files that hold a voice alone
_VERSION = 1


def identity(model: str) -> dict[str, Any]:
    """What the voice follows from beside the song: the separator with the hashes of its weights."""
    if model == NONE:
        return {"backend": NONE, "version": _VERSION, "rate": RATE}
    backend = separate.backend(_settings(model))
    return {"backend": backend.name, "version": _VERSION, "rate": RATE, **backend.identity}


def separated(audio: Path, work: Path, model: str) -> np.ndarray:
    """The voice of a sound file, mono float32 `[n]` at 16 kHz.

    `model` is "seedling" (embedded), a model of Demucs (a name or a path), or "none". Kept in
    `work/vocals` as 16-bit FLAC under a hash of the sound and the separator, and always read from
    there, so that the first call and the later ones give the same samples.
    """
    if model == NONE:
        return sound.read(audio, RATE).mean(axis=0)
    key = f"{sha256(audio)}\n{_identity_text(model)}".encode()
    kept = work / "vocals" / f"{hashlib.sha256(key).hexdigest()}.flac"
    if not _is_whole(kept):
        _separate(audio, kept, model)
    return sound.read(kept, RATE)[0]


def _separate(audio: Path, kept: Path, model: str) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".separating-", dir=kept.parent) as folder:
        _process(model)(Item(Track(audio.stem, audio.name), audio), Path(folder))
        samples = sound.read(Path(folder) / "vocals.flac", RATE).mean(axis=0)
    with atomic_path(kept) as temporary:
        soundfile.write(str(temporary), samples, RATE, "PCM_16")


def _is_whole(path: Path) -> bool:
    try:
        return bool(soundfile.info(str(path)).frames)
    except soundfile.LibsndfileError:
        return False


def _settings(model: str) -> PrepareConfig:
    if model == "seedling":
        return PrepareConfig(separate_backend="seedling")
    return PrepareConfig(separate_backend="demucs", separate_model=model)


@functools.cache
def _identity_text(model: str) -> str:
    return json.dumps(identity(model), sort_keys=True)


@functools.lru_cache(maxsize=1)
def _process(model: str) -> Process:
    from songbloom.generation.device import choose_device  # torch

    return separate.load(_settings(model), str(choose_device("auto")))
