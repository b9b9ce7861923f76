"""Songs to embeddings on disk, for `songbloom codebook fit`: a `.npy` float16 `[T, D]` a song."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.files import atomic_path, sha256
from songbloom.stages import sound, sources, tokenize
from songbloom.stages.codebook import Source
from songbloom.stages.stage import digest
from songbloom.units import HOP, SAMPLE_RATE

SUFFIXES = (".npy", ".safetensors")


@dataclass(frozen=True)
class Embedded:
    """Files of embeddings in order of their songs, and why other songs have none."""

    paths: tuple[Path, ...]
    failed: tuple[str, ...] = ()


def files(path: Path) -> list[Path]:
    """The embedding files that a path stands for: itself, or those in a folder; [] if none are."""
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    return [path] if path.suffix in SUFFIXES else []


def embed_songs(
    paths: Iterable[Path],
    embed: Callable[[np.ndarray], np.ndarray],
    source: Source,
    folder: Path,
    on_progress: Callable[[dict[str, Any]], None] = lambda event: None,
) -> Embedded:
    """Embed the songs of folders and manifests into `folder`; those that are there are kept.

    A song that cannot be read costs only itself. Events: `{"event": "embed", "song", "done"}`.
    """
    done: dict[Path, None] = {}  # in order; the same sound twice counts once
    failed: list[str] = []
    for path in paths:
        found = sources.find(path)
        for track in found.tracks:
            try:
                done[_embed(found.root / track.audio, embed, source, folder)] = None
            except MissingAssetError:
                raise
            except (SongBloomError, OSError) as error:
                failed.append(f"{track.id}: {error}")
            on_progress({"event": "embed", "song": track.id, "done": len(done)})
    return Embedded(tuple(done), tuple(failed))


def _embed(
    audio: Path, embed: Callable[[np.ndarray], np.ndarray], source: Source, folder: Path
) -> Path:
    key = digest([sha256(audio), source.model, source.layer, tokenize.WINDOWS])
    target = folder / f"{key[:32]}.npy"
    if not target.is_file():
        samples = sound.to_stereo(sound.read(audio, SAMPLE_RATE))
        if samples.shape[1] < HOP:
            raise SongBloomError(f"{audio}: shorter than one frame", "Leave the song out.")
        embeddings = embed(samples).astype(np.float16)
        with atomic_path(target) as temporary:
            np.save(temporary, embeddings, allow_pickle=False)
    return target
