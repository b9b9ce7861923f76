"""FAD, Fréchet audio distance (Kilgour et al. 2019): how far a set of songs is from real ones.

The distance of the Gaussians of all windows' embeddings (`songbloom.evaluation.frechet`). The other
set is the songs' reference clips, each of them once (`against = "references"`), or the sound files
in a folder (`against = "PATH"`). A distance says something beside another one of the same
embeddings, the same other set and as many songs; beside it stand

* `infinity`: what it tends to with more songs like these, so that their number does not decide
  (Gui et al. 2024). None below four windows a dimension.
* `per_song`: the distance of every song alone, which finds the odd ones out. A song has fewer
  windows than dimensions, so these are above the distance of the set, and for ranking alone.
"""

import functools
import math
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from songbloom.errors import SongBloomError, UsageError
from songbloom.evaluation import embeddings, frechet
from songbloom.evaluation.embeddings import Embeddings
from songbloom.evaluation.frechet import Gaussian
from songbloom.evaluation.items import Item
from songbloom.evaluation.metric import Measured
from songbloom.files import sha256
from songbloom.stages.sources import SOUND_SUFFIXES
from songbloom.stages.stage import digest

REFERENCES = "references"
SEED = 0  # of the samples that `infinity` is fitted to


@dataclass
class FAD:
    """The metric; see the module. `folder` holds the real songs, if they are not the clips."""

    settings: Mapping[str, Any]
    embeddings: Embeddings
    folder: Path | None
    work: Path
    name: str = "fad"
    unit: str = ""
    better: Literal["lower", "higher"] | None = "lower"
    needs: frozenset[str] = field(default=frozenset())
    corpus: bool = True

    def __post_init__(self) -> None:
        if self.folder is None:
            self.needs = frozenset({"reference"})

    def identity(self) -> dict[str, Any]:
        """That of the embeddings, and what the songs are held against."""
        against: Any = REFERENCES
        if self.folder is not None:
            contents = digest(sorted(map(sha256, self._files)))
            against = {"files": len(self._files), "sha256": contents}
        return {**self.embeddings.identity, "against": against, "infinity_seed": SEED}

    def measure(self, item: Item) -> Measured:
        """Embeddings of the song, and of its clip if clips are the other set."""
        song = self.embeddings.of(item.audio)
        details: dict[str, Any] = {"windows": len(song)}
        arrays = {"song": song}
        if self.folder is None:
            if item.reference is None or embeddings.is_text(item.reference):
                raise SongBloomError(
                    f"{item.name}: no reference clip to hold it against",
                    "Give it a clip, or hold songs against a folder: [fad] against.",
                )
            embeddings.check_clip(item.reference)
            arrays["reference"] = self.embeddings.of(item.reference)
            details["reference_windows"] = len(arrays["reference"])
            details["reference_sha256"] = sha256(item.reference)
        return Measured(0.0, 0.0, details, arrays)

    def combine(self, songs: Sequence[Measured]) -> float:
        """The distance of all songs' windows; NaN below two windows of either set."""
        every, other = frechet.total(map(_song, songs)), self._other(songs)
        if every is None or other is None:
            return math.nan
        return frechet.distance(every, other)

    def parts(self, songs: Sequence[Measured]) -> dict[str, Any]:
        """`infinity`, `per_song` with the songs' values in their order, and how many windows."""
        other = self._other(songs)
        assert other is not None
        each = [frechet.distance_of_few(song.arrays["song"], other) for song in songs]
        known = [value for value in each if math.isfinite(value)]
        return {
            "infinity": frechet.at_infinity(_Windows(songs), other, SEED),
            "per_song": {
                "mean": float(np.mean(known)) if known else None,
                "median": float(np.median(known)) if known else None,
                "values": each,
            },
            "windows": sum(song.details["windows"] for song in songs),
            "windows_against": other.count,
            "dimensions": other.dim,
        }

    def _other(self, songs: Sequence[Measured]) -> Gaussian | None:
        """What the songs are held against: of clips each once."""
        if self.folder is not None:
            return self._real
        clips = {song.details["reference_sha256"]: song for song in songs}
        return frechet.total(Gaussian.of(clips[key].arrays["reference"]) for key in sorted(clips))

    @functools.cached_property
    def _files(self) -> list[Path]:
        assert self.folder is not None
        files = (path for path in self.folder.rglob("*") if path.suffix.lower() in SOUND_SUFFIXES)
        return sorted(path for path in files if path.is_file())

    @functools.cached_property
    def _real(self) -> Gaussian | None:
        """Of the real songs, embedded by as many processes as there are processors."""
        if missing := [path for path in self._files if not self.embeddings.has(path)]:
            self._embed(missing)
        return frechet.total(Gaussian.of(self.embeddings.of(path)) for path in self._files)

    def _embed(self, files: Sequence[Path]) -> None:
        processes = min(os.cpu_count() or 1, len(files))
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            try:
                list(pool.map(_embed, [(self.settings, self.work, path) for path in files]))
            except BrokenProcessPool as error:
                raise SongBloomError(
                    f"{self.folder}: a process that embeds its songs was ended (out of memory?)",
                    "Type the same again to go on where it stopped.",
                ) from error


def load(settings: Mapping[str, Any], work: Path) -> FAD:
    """The metric that a protocol's [fad] describes: backend, model, against."""
    rest = {key: value for key, value in settings.items() if key != "against"}
    against = settings.get("against", REFERENCES)
    if not isinstance(against, str):
        raise UsageError(f"[fad] against is {against!r}; expected references or a folder")
    folder = None if against == REFERENCES else Path(against).expanduser()
    metric = FAD(rest, Embeddings(embeddings.model("fad", rest), work), folder, work)
    if folder is not None and not metric._files:
        lacks = "holds no sound files" if folder.is_dir() else "is no folder"
        raise UsageError(
            f"[fad] against: {folder} {lacks}",
            'Write "references", or the path of a folder of real songs.',
        )
    return metric


def _embed(order: tuple[Mapping[str, Any], Path, Path]) -> None:
    """Embed one real song into the shared folder; runs in a process of its own."""
    import torch

    torch.set_num_threads(1)
    settings, work, path = order
    _shared(tuple(sorted(settings.items())), work).of(path)


@functools.cache
def _shared(settings: tuple[tuple[str, Any], ...], work: Path) -> Embeddings:
    return Embeddings(embeddings.model("fad", dict(settings)), work)


def _song(song: Measured) -> Gaussian:
    return Gaussian.of(song.arrays["song"])


class _Windows(Sequence[np.ndarray]):
    """The songs' windows, read one song at a time."""

    def __init__(self, songs: Sequence[Measured]) -> None:
        self._songs = songs

    def __len__(self) -> int:
        return len(self._songs)

    def __getitem__(self, index: Any) -> Any:
        return self._songs[index].arrays["song"]
