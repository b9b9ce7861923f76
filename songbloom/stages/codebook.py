"""A codebook: the centroids that MuQ's embeddings are rounded to, fitted by streaming k-means.

The paper rounds MuQ's embeddings to one of 16384 vectors and calls their numbers sketch tokens;
neither its vectors nor the layer were published, so everyone fits a codebook of their own, and
songs tokenized with one mean nothing to a model trained on another: hence the hash.

Mini-batch k-means after Sculley 2010 ("Web-scale k-means clustering"): a step rounds a batch and
moves each centroid towards the mean of its frames, by their share of all frames it ever had. Ours
rather than scikit-learn's `MiniBatchKMeans`, whose steps are the same (a test holds them together):
its state between steps is private, so that a killed fit could not go on, and it knows no GPU.

* Frames are one long stream, whatever files they lie in. A pass goes over its blocks of 64 frames
  (2.56 s) in an order drawn from the seed. So the same frames cut into other files give the same
  bytes (on one device and number of threads; across those, sums round differently).
* A code that no frame fell to for a while is dead: it moves to a frame of that while, drawn by how
  badly it fitted its code (as k-means++ seeds), and counts anew. The last quarter of the steps does
  without, so that all codes settle.
* A last pass counts how many frames each code gets, and how far off they are.

Shapes: K codes, D dim, N frames, n frames of a batch.
"""

import dataclasses
import hashlib
import json
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from songbloom.errors import SongBloomError, UsageError
from songbloom.files import atomic_path
from songbloom.units import FRAME_RATE

PAPER_SIZE = 16384
BLOCK = 64  # frames that are read together
NORMALISATIONS = ("none", "unit")
_KEY = "songbloom-codebook"  # one entry of metadata: safetensors writes several in any order
_ROWS = 1024  # frames compared with all centroids at once, always so many: see `nearest`
_SAVE_EVERY = 20  # steps
_ROUNDS = 32  # in which the first centroids are drawn
_ROUND = 100  # frames a code, on average, before one without any counts as dead; or a pass

Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Source:
    """What embeddings are: the model's hash, its layer (-1 = last), and what is done to vectors.

    `normalise` is "none", or "unit" for vectors of length 1.
    """

    model: str = ""
    layer: int = -1
    normalise: str = "none"


@dataclass(frozen=True)
class Codebook:
    """Centroids `[K, D]` float32; how many frames each had in the fit, `[K]` int64; their source.

    `error` is the mean squared distance of a frame from its centroid, as a share of the frames'
    variance. `seed` and `passes` are how it was fitted.
    """

    centroids: np.ndarray
    counts: np.ndarray
    source: Source = Source()
    error: float | None = None
    seed: int = 0
    passes: int = 0

    @property
    def size(self) -> int:
        """K."""
        return int(self.centroids.shape[0])

    @property
    def dim(self) -> int:
        """D."""
        return int(self.centroids.shape[1])

    @cached_property
    def hash(self) -> str:
        """Hex SHA-256 of the centroids and their source: what makes a token mean what it does."""
        about = json.dumps([[self.size, self.dim], dataclasses.asdict(self.source)], sort_keys=True)
        digest = hashlib.sha256(about.encode())
        digest.update(self.centroids.astype("<f4").tobytes())
        return digest.hexdigest()

    def tokenize(self, embeddings: np.ndarray, device: str = "cpu") -> np.ndarray:
        """The nearest centroids of frames `[T, D]`, int32 `[T]`."""
        return nearest(prepared(embeddings, self.source.normalise), self.centroids, device)[0]

    def save(self, path: Path) -> None:
        """Write it as safetensors; the same codebook gives the same bytes."""
        about = {"error": self.error, "seed": self.seed, "passes": self.passes}
        text = json.dumps({**dataclasses.asdict(self.source), **about}, sort_keys=True)
        tensors = {"centroids": self.centroids, "counts": self.counts}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={_KEY: text})

    @classmethod
    def load(cls, path: Path) -> "Codebook":
        """The codebook that `save` wrote. `SongBloomError` for any other file, by its name."""
        hint = "Make one: songbloom codebook fit EMBEDDINGS -o codebook.safetensors"
        if not Path(path).is_file():
            raise SongBloomError(f"{path}: no such codebook", hint)
        try:
            with safe_open(path, "np") as file:
                about = json.loads((file.metadata() or {})[_KEY])
                centroids, counts = file.get_tensor("centroids"), file.get_tensor("counts")
            source = Source(about["model"], int(about["layer"]), about["normalise"])
            book = cls(centroids, counts, source, about["error"], about["seed"], about["passes"])
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise SongBloomError(f"{path}: is no codebook ({error})", hint) from error
        if centroids.ndim != 2 or centroids.dtype != np.float32 or counts.shape != (book.size,):
            raise SongBloomError(
                f"{path}: centroids {centroids.dtype} {list(centroids.shape)}, counts "
                f"{list(counts.shape)}; expected float32 [K, D] and [K]",
                hint,
            )
        return book


@dataclass(frozen=True)
class Usage:
    """How a codebook is used: frames by code.

    `entropy` in bits, `entropy_share` of log2 K; `top1_share` of the commonest code; `chance` is
    ln K, the loss in nats of a model that knows nothing; `error` as a share of the frames' variance
    (None where only tokens are known).
    """

    frames: int
    size: int
    dead: int
    entropy: float
    entropy_share: float
    top1_share: float
    chance: float
    error: float | None = None


def usage(counts: np.ndarray, error: float | None = None) -> Usage:
    """What frames by code `[K]` say of a codebook."""
    frames, size = int(counts.sum()), len(counts)
    share = counts[counts > 0] / max(frames, 1)
    entropy = float(-(share * np.log2(share)).sum()) + 0.0
    return Usage(
        frames=frames,
        size=size,
        dead=int((counts == 0).sum()),
        entropy=entropy,
        entropy_share=entropy / math.log2(size) if size > 1 else 1.0,
        top1_share=float(share.max(initial=0.0)),
        chance=math.log(size),
        error=error,
    )


class Stream:
    """Embeddings in files, as one long `[N, D]`: `.npy`, or the one tensor of a `.safetensors`."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._arrays = [_open(path) for path in paths]
        dims = {array.shape[1]: path for array, path in zip(self._arrays, paths, strict=True)}
        if len(dims) != 1:
            told = ", ".join(f"{dim} in {path}" for dim, path in sorted(dims.items())) or "none"
            raise SongBloomError(
                f"embeddings of one width are needed; found {told}", "Name files of one model."
            )
        self.paths = tuple(paths)
        self.dim = next(iter(dims))
        self._ends = np.cumsum([len(array) for array in self._arrays]).tolist()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def rows(self, begin: int, end: int) -> np.ndarray:
        """Frames `begin` to `end`, float32 `[end - begin, D]`."""
        parts = []
        number = bisect_right(self._ends, begin)
        while begin < end:
            array, last = self._arrays[number], self._ends[number]
            first = last - len(array)
            parts.append(np.asarray(array[begin - first : min(end, last) - first], np.float32))
            begin, number = min(end, last), number + 1
        rows = np.concatenate(parts)
        if not np.isfinite(rows).all():
            raise SongBloomError(
                f"{self.paths[number - 1]}: holds NaN or infinite embeddings", "Make it again."
            )
        return rows

    def gather(self, blocks: Iterable[int]) -> np.ndarray:
        """The frames of blocks of 64, by their numbers."""
        return np.concatenate(
            [self.rows(b * BLOCK, min(b * BLOCK + BLOCK, len(self))) for b in blocks]
        )


@dataclass(frozen=True)
class Plan:
    """A fit's settings. `batch` in blocks; by default four frames a code, at least 64 blocks."""

    size: int = PAPER_SIZE
    seed: int = 0
    passes: int = 4
    batch: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("size", 2), ("passes", 1)):
            if getattr(self, name) < least:
                raise UsageError(
                    f"--{name} {getattr(self, name)}: expected {least} or more", "Give more."
                )

    def steps(self, frames: int) -> int:
        """Steps of all passes together."""
        return self.passes * math.ceil(_blocks(frames) / self.blocks)

    @property
    def blocks(self) -> int:
        """Blocks of a batch."""
        return self.batch or max(64, math.ceil(4 * self.size / BLOCK))


@dataclass
class _State:
    """A fit under way. Since dead codes were last moved: `hits` `[K]`, frames by code, and up to K
    frames that fitted badly, `misfits` `[m, D]`, with `keys` `[m]` that rise."""

    step: int
    centroids: np.ndarray
    counts: np.ndarray
    hits: np.ndarray
    keys: np.ndarray
    misfits: np.ndarray


_STATE = ("centroids", "counts", "hits", "keys", "misfits")


def fit(
    stream: Stream,
    output: Path,
    plan: Plan,
    *,
    source: Source | None = None,
    device: str = "cpu",
    on_progress: Progress = lambda event: None,
) -> Codebook:
    """Fit a codebook to a stream of embeddings and write it to `output`.

    A killed fit goes on from `.OUTPUT.fit.safetensors` beside it and ends in the same bytes.
    `SongBloomError` where there are fewer frames than codes. Events: `{"event": "step", "step",
    "steps", "error", "reseeded"}`, `error` being the batch's mean squared distance.
    """
    source = source or Source()
    if len(stream) < plan.size:
        raise SongBloomError(
            f"{len(stream)} frames of embeddings for {plan.size} codes; expected as many at least, "
            "better a hundred times as many",
            f"Give more music, or --size {max(2, len(stream) // 100)}.",
        )
    keep = output.with_name(f".{output.name}.fit.safetensors")
    sample = _sample(stream, plan, source)
    run = _digest(sample, [dataclasses.asdict(plan), dataclasses.asdict(source), len(stream)])
    state = _resume(keep, run) or _first(sample, plan, device)
    steps = plan.steps(len(stream))
    while state.step < steps:
        event = _advance(state, stream, plan, source, device)
        on_progress({"event": "step", "step": state.step, "steps": steps, **event})
        if state.step % _SAVE_EVERY == 0 or state.step == steps:
            _keep(state, keep, run)
    counts, error = count(stream, state.centroids, source, device)
    book = Codebook(state.centroids, counts, source, error, plan.seed, plan.passes)
    book.save(output)
    keep.unlink(missing_ok=True)
    return book


def count(
    stream: Stream, centroids: np.ndarray, source: Source, device: str = "cpu"
) -> tuple[np.ndarray, float]:
    """Frames by code `[K]`, and their mean squared distance as a share of their variance."""
    counts = np.zeros(len(centroids), np.int64)
    apart, total, squares = 0.0, np.zeros(centroids.shape[1]), 0.0
    for begin in range(0, len(stream), BLOCK * BLOCK):
        rows = stream.rows(begin, min(begin + BLOCK * BLOCK, len(stream)))
        rows = prepared(rows, source.normalise)
        tokens, distances = nearest(rows, centroids, device)
        counts += np.bincount(tokens, minlength=len(centroids))
        apart += float(distances.sum(dtype=np.float64))
        total += rows.sum(0, dtype=np.float64)
        squares += float(np.square(rows, dtype=np.float64).sum())
    variance = squares / len(stream) - float(np.square(total / len(stream)).sum())
    return counts, apart / len(stream) / max(variance, 1e-12)


def prepared(embeddings: np.ndarray, normalise: str) -> np.ndarray:
    """Embeddings `[n, D]` as they are rounded: float32, of length 1 if "unit"."""
    rows = embeddings.astype(np.float32, copy=False)
    if normalise == "none":
        return rows
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def nearest(
    rows: np.ndarray, centroids: np.ndarray, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centroid of each row `[n, D]`: its number, int32 `[n]`, and squared distance.

    Rows are compared so many at a time, the last few filled up: a matrix product rounds by its
    shape, and a frame's token shall not depend on how long the song is.
    """
    import torch

    centres = torch.from_numpy(centroids).to(device)
    half = centres.square().sum(1) / 2
    tokens, distances = [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
    for begin in range(0, len(rows), _ROWS):
        part = torch.zeros(_ROWS, centroids.shape[1])
        some = torch.from_numpy(rows[begin : begin + _ROWS])
        part[: len(some)] = some
        part = part.to(device)
        best = torch.addmm(half, part, centres.T, alpha=-1).argmin(1)[: len(some)]
        apart = (part[: len(some)] - centres[best]).square().sum(1)
        tokens.append(best.int().cpu().numpy())
        distances.append(apart.cpu().numpy())
    return np.concatenate(tokens), np.concatenate(distances)


def _sample(stream: Stream, plan: Plan, source: Source) -> np.ndarray:
    """Frames drawn from all over the stream, four a code."""
    rng = np.random.default_rng([plan.seed, 0])
    chosen = np.sort(rng.choice(len(stream), min(4 * plan.size, len(stream)), replace=False))
    rows = np.concatenate([stream.rows(int(i), int(i) + 1) for i in chosen])
    return prepared(rows, source.normalise)


def _first(sample: np.ndarray, plan: Plan, device: str = "cpu") -> _State:
    """Centroids are frames of the sample, far apart: drawn by their squared distances from those
    drawn in earlier rounds. One round a code would be k-means++; with 16384 codes that takes hours,
    this a matrix product."""
    rng = np.random.default_rng([plan.seed, 3])
    apart = np.ones(len(sample))
    parts = []
    for number, codes in enumerate(np.array_split(np.arange(plan.size), min(_ROUNDS, plan.size))):
        odds = apart + 1e-9 * max(apart.mean(), 1e-30)  # where few differ, some are drawn twice
        new = sample[rng.choice(len(sample), len(codes), replace=False, p=odds / odds.sum())]
        distances = nearest(sample, new, device)[1].astype(np.float64)
        apart = distances if number == 0 else np.minimum(apart, distances)
        parts.append(new)
    return _started(np.concatenate(parts))


def _started(centroids: np.ndarray) -> _State:
    zeros = np.zeros(len(centroids), np.int64)
    return _State(0, centroids, zeros, zeros.copy(), np.zeros(0), centroids[:0].copy())


def _advance(
    state: _State, stream: Stream, plan: Plan, source: Source, device: str
) -> dict[str, Any]:
    """One step, in place."""
    rows = prepared(stream.gather(_batch(state.step, stream, plan)), source.normalise)
    tokens, distances = nearest(rows, state.centroids, device)
    got = np.bincount(tokens, minlength=plan.size)
    _move(state, rows, tokens, got)
    state.hits += got
    _remember(state, rows, distances, np.random.default_rng([plan.seed, 2, state.step]))
    reseeded = 0
    if state.hits.sum() >= min(_ROUND * plan.size, len(stream)):
        settling = state.step >= plan.steps(len(stream)) * 3 // 4
        reseeded = 0 if settling else _reseed(state)
        state.hits[:] = 0
        state.keys, state.misfits = state.keys[:0], state.misfits[:0]
    state.step += 1
    return {"error": float(distances.mean()), "reseeded": reseeded}


def _move(state: _State, rows: np.ndarray, tokens: np.ndarray, got: np.ndarray) -> None:
    """Each centroid towards the mean of its frames: it is the mean of all it ever had."""
    state.counts += got
    order = np.argsort(tokens, kind="stable")
    used = np.flatnonzero(got)
    begins = np.concatenate([[0], np.cumsum(got[used])[:-1]])
    sums = np.add.reduceat(rows[order], begins, axis=0)
    weight = (got[used] / state.counts[used]).astype(np.float32)[:, None]
    means = sums / got[used].astype(np.float32)[:, None]
    state.centroids[used] += weight * (means - state.centroids[used])


def _remember(
    state: _State, rows: np.ndarray, distances: np.ndarray, rng: np.random.Generator
) -> None:
    """Draw misfits from the stream as it passes, by their squared distances, none twice.

    Efraimidis and Spirakis 2006: those with the smallest of exponential draws over weights.
    """
    keys = rng.exponential(size=len(rows)) / np.maximum(distances.astype(np.float64), 1e-30)
    best = np.argsort(keys, kind="stable")[: len(state.centroids)]
    keys = np.concatenate([state.keys, keys[best]])
    misfits = np.concatenate([state.misfits, rows[best]])
    order = np.argsort(keys, kind="stable")[: len(state.centroids)]
    state.keys, state.misfits = keys[order], misfits[order]


def _reseed(state: _State) -> int:
    """Move dead codes to misfits; how many were moved."""
    dead = np.flatnonzero(state.hits == 0)[: len(state.misfits)]
    state.centroids[dead] = state.misfits[: len(dead)]
    state.counts[dead] = 0
    return len(dead)


def _batch(step: int, stream: Stream, plan: Plan) -> np.ndarray:
    """Numbers of the blocks of a step, in order of the stream."""
    blocks = _blocks(len(stream))
    each = math.ceil(blocks / plan.blocks)
    number, place = divmod(step, each)
    order = np.random.default_rng([plan.seed, 1, number]).permutation(blocks)
    return np.sort(order[place * plan.blocks : (place + 1) * plan.blocks])


def _blocks(frames: int) -> int:
    return math.ceil(frames / BLOCK)


def _digest(sample: np.ndarray, settings: object) -> str:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    digest.update(sample.tobytes())
    return digest.hexdigest()


def _keep(state: _State, path: Path, run: str) -> None:
    tensors = {name: np.ascontiguousarray(getattr(state, name)) for name in _STATE}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={_KEY: json.dumps({"step": state.step, "run": run})})


def _resume(path: Path, run: str) -> _State | None:
    """The state of a killed fit; None where there is none, or one of other settings or frames."""
    try:
        with safe_open(path, "np") as file:
            about = json.loads((file.metadata() or {})[_KEY])
            if about["run"] != run:
                return None
            state = [file.get_tensor(name) for name in _STATE]
            return _State(about["step"], *state)
    except (OSError, SafetensorError, ValueError, KeyError):
        return None


def _open(path: Path) -> np.ndarray:
    """Embeddings `[T, D]` of a file, mapped into memory. Nothing pickled is read."""
    hint = "Give .npy files with [T, D], or .safetensors with a tensor 'embeddings'."
    try:
        array = _mapped(path)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise SongBloomError(f"{path}: holds no embeddings ({error})", hint) from error
    if array.ndim != 2 or array.dtype.kind != "f" or not array.size:
        raise SongBloomError(
            f"{path}: holds {array.dtype} {list(array.shape)}; expected floats [T, D]", hint
        )
    return array


def _mapped(path: Path) -> np.ndarray:
    if path.suffix != ".safetensors":
        return np.load(path, mmap_mode="r", allow_pickle=False)
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > path.stat().st_size:
            raise ValueError("no safetensors header")
        header = json.loads(file.read(size))
    about = header["embeddings"]
    kind = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[about["dtype"]]
    begin = 8 + size + about["data_offsets"][0]
    return np.memmap(path, kind, "r", begin, tuple(about["shape"]))


def hours(frames: int) -> float:
    """Hours of music that so many frames stand for."""
    return frames / FRAME_RATE / 3600


def count_dataset(folder: Path, book: Codebook) -> np.ndarray:
    """Frames by code `[K]` of a training set. `SongBloomError` for another codebook's."""
    from songbloom.data.shards import open_shards

    shards = open_shards(folder)
    theirs = shards.info.header.codebook_hash
    if theirs != book.hash:
        raise SongBloomError(
            f"{folder}: its tokens are of the codebook {theirs[:12]}, not of {book.hash[:12]}",
            "Name the codebook that the set was prepared with.",
        )
    counts = np.zeros(book.size, np.int64)
    for number in range(len(shards)):
        counts += np.bincount(shards.read(number).sketch, minlength=book.size)
    return counts
