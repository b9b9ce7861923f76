"""Embeddings of sound for MCC and FAD: a song becomes one row of numbers a window.

| backend | windows | dimensions | model |
|---|---|---|---|
| `musicnn` | 2.99 s, every 1.5 s | 200 | in the package |
| `muq-mulan` | 10 s, end to end | 512 | MuQ-MuLan, through the tools environment; reads words too |
| `clap` | 10 s, every 1 s | 512 | a ClapModel of transformers; reads words too |
| `vggish` | 0.96 s, end to end | 128 | torchvggish, before PCA and the last ReLU |
| `encodec` | 1/75 s, end to end | 128 | the encoder of an EncodecModel of transformers |

They are kept by content in `work/embeddings`, where MCC and FAD share them. Torch-free at import.
"""

import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from songbloom.errors import SongBloomError, UsageError
from songbloom.evaluation import items
from songbloom.files import atomic_path, sha256
from songbloom.stages import sound
from songbloom.stages.stage import digest
from songbloom.units import Hz

VERSION = 1  # raise it when the same model would give other embeddings
BACKENDS = ("musicnn", "muq-mulan", "clap", "vggish", "encodec")
TEXT_SUFFIXES = (".txt", ".md")
_SETTINGS = ("backend", "model")


@dataclass(frozen=True)
class Embedder:
    """A model in memory.

    `hear` makes embeddings float32 `[n, D]`, n at least 1, of sound `[samples]` at the model's
    rate; `read` one `[1, D]` of a description, if the model reads words.
    """

    hear: Callable[[np.ndarray], np.ndarray]
    read: Callable[[str], np.ndarray] | None = None


@dataclass(frozen=True)
class Model:
    """Which model embeds: its rate, all that its embeddings follow from, how it is loaded."""

    name: str
    rate: Hz
    describe: Callable[[], Mapping[str, Any]]
    load: Callable[[], Embedder]


class Embeddings:
    """Embeddings of sound files by one model, computed once for each content."""

    def __init__(self, model: Model, work: Path) -> None:
        self.model = model
        self._folder = work / "embeddings"

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """Backend, version, and all that the model says of itself."""
        return {"backend": self.model.name, "version": VERSION, **self.model.describe()}

    def has(self, path: Path) -> bool:
        """Whether a file's embeddings are kept already."""
        return self._place(path).is_file()

    def of(self, path: Path) -> np.ndarray:
        """Embeddings `[n, D]` of a sound file, or `[1, D]` of a description in a text file.

        `SongBloomError` for what cannot be read, and for a text where the model hears sound alone.
        """
        if not path.is_file():
            raise SongBloomError(f"{path}: no such file", "Check the table's column reference.")
        target = self._place(path)
        if target.is_file():
            return np.asarray(np.load(target, allow_pickle=False))
        found = self._words(path) if is_text(path) else self._sound(path)
        if not np.isfinite(found).all():
            raise SongBloomError(
                f"{path}: {self.model.name} gives NaN for it", "Leave the song out."
            )
        with atomic_path(target) as temporary:
            np.save(temporary, found.astype(np.float32), allow_pickle=False)
        return found

    def _place(self, path: Path) -> Path:
        return self._folder / f"{digest([self.identity, is_text(path), sha256(path)])[:32]}.npy"

    def _sound(self, path: Path) -> np.ndarray:
        return self._embedder.hear(mono(path, self.model.rate))

    def _words(self, path: Path) -> np.ndarray:
        read = self._embedder.read
        if read is None:
            raise SongBloomError(
                f"{path.name}: is a text, and {self.model.name} hears sound alone",
                'Give a clip, or set backend = "muq-mulan".',
            )
        try:
            return read(path.read_text("utf-8").strip())
        except UnicodeDecodeError as error:
            raise SongBloomError(f"{path}: is no text in UTF-8", "Save it as UTF-8.") from error

    @functools.cached_property
    def _embedder(self) -> Embedder:
        return self.model.load()


def model(metric: str, settings: Mapping[str, Any]) -> Model:
    """The model that a protocol's table [METRIC] names with `backend` and `model`.

    `UsageError` for a backend that is unknown and a model that it lacks or has built in.
    """
    for key, value in settings.items():
        if key not in _SETTINGS:
            raise UsageError(f"[{metric}] {key}: unknown; expected {', '.join(_SETTINGS)}")
        if not isinstance(value, str):
            raise UsageError(f"[{metric}] {key} is {value!r}; expected text")
    backend = settings.get("backend", "musicnn")
    if backend not in BACKENDS:
        raise UsageError(f"[{metric}] backend is '{backend}'; expected {', '.join(BACKENDS)}")
    if backend != "musicnn":
        from songbloom.evaluation import embedders

        return embedders.model(metric, backend, settings.get("model"))
    if "model" in settings:
        raise UsageError(f"[{metric}] model: musicnn's is in the package", "Leave it out.")
    return _musicnn()


def check_clip(path: Path) -> None:
    """`SongBloomError` for a reference clip that nothing can be compared with: silence, NaN."""
    if not is_text(path):
        items.check_sound(path)


def is_text(path: Path) -> bool:
    """Whether a reference is a description rather than a clip."""
    return path.suffix.lower() in TEXT_SUFFIXES


def mono(path: Path, rate: Hz) -> np.ndarray:
    """A sound file `[samples]` at `rate` Hz, its channels mixed down."""
    mixed: np.ndarray = sound.to_stereo(sound.read(path, rate)).mean(axis=0, dtype=np.float32)
    return mixed


def content_hash(files: list[Path]) -> str:
    """Hex SHA-256 of a model's files and their names."""
    parts = [f"{path.name} {sha256(path)}\n" for path in sorted(files)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _musicnn() -> Model:
    def describe() -> Mapping[str, Any]:
        from songbloom.evaluation import musicnn

        return {"model": sha256(musicnn.WEIGHTS), "hop": musicnn.HOP}

    def load() -> Embedder:
        from songbloom.evaluation import musicnn

        return Embedder(musicnn.Embedder())

    return Model("musicnn", 16_000, describe, load)
