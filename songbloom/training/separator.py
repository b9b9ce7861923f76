"""Fit the embedded separator: a small HDemucs that learns from songs whose stems are known.

Every step draws its windows from `(seed, step)`: vocals of one song over the backing of the same or
of another one, at other levels, polarities and sides. The network works on the spectrogram alone
(`hybrid=False`): on a CPU that trains several times faster than Demucs with its waveform branch.
It predicts magnitudes and takes the mixture's phases
(`cac=False`), which learns in a thousand steps what whole spectra take many more for. The loss is
L1 of the vocals' waveform. A run that is killed and started again ends in the same bytes, on one
thread and with the same torch.
"""

import copy
import dataclasses
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from songbloom.audio import load, to_stereo
from songbloom.errors import SongBloomError
from songbloom.files import atomic_path, write_text
from songbloom.stages import demucs_models, demucs_stream
from songbloom.training.sketch_corpus import song_folders
from songbloom.training.state import load_state, save_state
from songbloom.units import SAMPLE_RATE, Hz, Seconds

STEMS = ("backing", "vocals")  # files of a song
RATE: Hz = 24_000  # what the network hears; the rest of the song is accompaniment
# What HDemucs is built with; `segment` is how many seconds at a time it separates afterwards.
MODEL: Mapping[str, Any] = {
    "channels": 16,
    "growth": 1.75,
    "depth": 5,
    "norm_groups": 1,
    "dconv_attn": 5,
    "nfft": 2048,
    "hybrid": False,
    "cac": False,
    "wiener_iters": -1,
    "end_iters": -1,
    "samplerate": RATE,
    "segment": 8,
}
_HELD_OUT_EVERY = 15  # every fifteenth song is kept for the score

Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class SeparatorRecipe:
    """How the separator is trained. `rate` is AdamW's peak, let down as a cosine after a warm-up.

    `window` is in samples; `vocals_gain` and `backing_gain` are the widest changes of level in dB;
    `remix` is the share of windows whose stems come from two songs, `instrumental` of those without
    vocals.
    """

    seed: int = 0
    steps: int = 1_000
    batch: int = 2
    window: int = 61_440
    rate: float = 2e-3
    warmup: int = 50
    ema: float = 0.99
    remix: float = 0.5
    instrumental: float = 0.05
    vocals_gain: float = 6.0
    backing_gain: float = 3.0
    checkpoint_every: Seconds = 60.0


def fit(
    corpus: Path, work: Path, target: Path, recipe: SeparatorRecipe, on_progress: Progress
) -> dict[str, Any]:
    """Train on `corpus` (folders `song_*/{vocals,backing}.flac`) into `target`.

    Writes `separator.safetensors` (fp16, as Demucs keeps models on the hub) and `recipe.json`,
    which is returned: the recipe, the hours it took, and the scores of songs that were held out.
    `work` holds the decoded stems and the checkpoint; what is there is gone on from.
    """
    songs = song_folders(corpus)
    learned, held_out = split_songs(songs)
    stems = Stems(learned, work / "stems", on_progress)
    average, hours = _train(stems, work / "state.safetensors", recipe, on_progress)
    weights = target / "separator.safetensors"
    save(average, weights)
    report = {
        "recipe": dataclasses.asdict(recipe),
        "model": dict(MODEL),
        "loss": "L1 of the vocals' waveform, the mixture's RMS being 1",
        "corpus": {**_origin(songs[0]), "learned": len(learned), "held_out": len(held_out)},
        "hours": {"learned_from": stems.hours, "training": round(hours, 3)},
        "made_with": {"torch": torch.__version__, "threads": torch.get_num_threads()},
        "scores": score(demucs_models.load_file(weights), held_out, on_progress)["summary"],
    }
    write_text(target / "recipe.json", json.dumps(report, indent=2) + "\n")
    return report


def _origin(song: Path) -> dict[str, Any]:
    """What a corpus was made from, as its first song tells."""
    truth = json.loads((song / "truth.json").read_text("utf-8"))
    return {key: truth.get(key) for key in ("seed", "split", "language")}


def split_songs(songs: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Songs to learn from and songs to be judged by: every fifteenth, at least one."""
    held_out = list(songs[::_HELD_OUT_EVERY])
    learned = [song for song in songs if song not in held_out]
    if not learned:
        raise SongBloomError(
            "a corpus of one song: none would be left to learn from",
            "Make more: songbloom synth --songs 30 -o CORPUS",
        )
    return learned, held_out


def new_model(seed: int) -> nn.Module:
    """An HDemucs whose first weights depend on `seed` alone, not on the global generator."""
    demucs_models.require()
    from demucs.hdemucs import HDemucs

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = HDemucs(["vocals"], **MODEL)
    return model


def save(model: nn.Module, path: Path) -> None:
    """Write an HDemucs as Demucs' hub keeps models: tensors, and its making as JSON beside them."""
    metadata = {
        "klass": "demucs.hdemucs.HDemucs",
        "args": json.dumps([["vocals"]]),
        "kwargs": json.dumps(dict(MODEL), sort_keys=True),
    }
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(weights, temporary, metadata=metadata)
        _sort_metadata(temporary)


def _sort_metadata(path: Path) -> None:
    """Put a safetensors file's metadata in order: the library writes them in a random one.

    The file begins with its header's length, 8 bytes, and the header, JSON filled up with spaces.
    """
    with open(path, "r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        file.seek(8)
        file.write(json.dumps(header, separators=(",", ":")).encode().ljust(size))


class Stems:
    """Every song's stems as 16-bit files `[samples, 2]`, decoded once, then memory-mapped."""

    def __init__(self, songs: Sequence[Path], folder: Path, on_progress: Progress) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.songs: list[tuple[np.ndarray, ...]] = []
        for number, song in enumerate(songs, start=1):
            self.songs.append(tuple(_stem(song, stem, folder) for stem in STEMS))
            on_progress({"stage": "decode", "songs": number, "of": len(songs)})
        samples = sum(len(song[0]) for song in self.songs)
        self.hours = round(samples / RATE / 3600, 3)

    def batch(self, recipe: SeparatorRecipe, draw: np.random.Generator) -> Tensor:
        """Sources `[batch, 2 sources, 2 channels, window]` whose mixtures have an RMS of 1."""
        pairs = [self._pair(recipe, draw) for _ in range(recipe.batch)]
        sources = torch.from_numpy(np.stack(pairs))
        level = sources.sum(1).square().mean((1, 2)).sqrt()
        return sources / (level[:, None, None, None] + 1e-4)

    def _pair(self, recipe: SeparatorRecipe, draw: np.random.Generator) -> np.ndarray:
        """One window of backing and vocals, `[2, 2, window]`."""
        song = int(draw.integers(len(self.songs)))
        at = draw.random()
        other, there = (int(draw.integers(len(self.songs))), draw.random())
        if draw.random() >= recipe.remix:
            other, there = song, at
        backing = _window(self.songs[song][0], at, recipe.window)
        vocals = _window(self.songs[other][1], there, recipe.window)
        pair = np.stack(
            [
                _varied(backing, recipe.backing_gain, draw),
                _varied(vocals, recipe.vocals_gain, draw),
            ]
        )
        pair[1] *= draw.random() >= recipe.instrumental
        return pair


def _stem(song: Path, stem: str, folder: Path) -> np.ndarray:
    """One stem, read from its 16-bit copy, which is made where there is none."""
    path = folder / f"{song.name}.{stem}.npy"
    if not path.exists():
        samples = to_stereo(load(song / f"{stem}.flac", RATE)).T
        with atomic_path(path) as temporary:
            np.save(temporary, np.round(samples.clip(-1, 1) * 32767).astype(np.int16))
    kept: np.ndarray = np.load(path, mmap_mode="r")
    return kept


def _window(stem: np.ndarray, at: float, length: int) -> np.ndarray:
    """`[2, length]` from the share `at` (0..1) of the way; a short stem ends in silence."""
    start = int(at * (max(len(stem) - length, 0) + 1))
    window = stem[start : start + length].T.astype(np.float32) / 32767
    return np.pad(window, ((0, 0), (0, length - window.shape[1])))


def _varied(stem: np.ndarray, gain: float, draw: np.random.Generator) -> np.ndarray:
    """The stem louder or softer by up to `gain` dB, perhaps upside down, perhaps sides swapped."""
    factor = 10 ** (draw.uniform(-gain, gain) / 20) * draw.choice([-1, 1])
    varied = stem[::-1] if draw.random() < 0.5 else stem
    return (varied * factor).astype(np.float32)


def _train(
    stems: Stems, state: Path, recipe: SeparatorRecipe, on_progress: Progress
) -> tuple[nn.Module, float]:
    """The averaged model after `recipe.steps` steps, and the hours they took."""
    model = new_model(recipe.seed)
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate)
    modules, optimizers = {"model": model, "average": average}, {"adamw": optimizer}
    step, seconds = 0, 0.0
    if state.exists():
        step, extra = load_state(state, modules=modules, optimizers=optimizers)
        seconds = float(extra["seconds"])
    began = kept_at = time.monotonic()
    while step < recipe.steps:
        loss = _step(model, stems, optimizer, recipe, step)
        _follow(average, model, min(recipe.ema, (1 + step) / (10 + step)))
        step += 1
        now = time.monotonic()
        if step % 10 == 0:
            on_progress({"stage": "train", "step": step, "of": recipe.steps, "loss": loss})
        if now - kept_at > recipe.checkpoint_every or step == recipe.steps:
            extra = {"seconds": seconds + now - began}
            save_state(state, step=step, modules=modules, optimizers=optimizers, extra=extra)
            kept_at = now
    return average, (seconds + time.monotonic() - began) / 3600


def _step(
    model: nn.Module,
    stems: Stems,
    optimizer: torch.optim.Optimizer,
    recipe: SeparatorRecipe,
    step: int,
) -> float:
    sources = stems.batch(recipe, np.random.default_rng((recipe.seed, step)))
    for group in optimizer.param_groups:
        group["lr"] = recipe.rate * _schedule(step, recipe)
    vocals = model.train()(sources.sum(1))[:, 0]
    loss = (vocals - sources[:, 1]).abs().mean()
    if not torch.isfinite(loss):
        raise SongBloomError(f"the loss became {loss.item()} at step {step}", "Lower the rate.")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def _schedule(step: int, recipe: SeparatorRecipe) -> float:
    warm = min(1.0, (step + 1) / recipe.warmup)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / recipe.steps)))


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, momentum: float) -> None:
    for kept, new in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(new, 1 - momentum)


def score(model: Any, songs: Sequence[Path], on_progress: Progress) -> dict[str, Any]:
    """SI-SDR in dB of both stems of songs with known stems, and its improvement over the mixture.

    Returns `{"songs": [{"song", "vocals", "vocals_improvement", ...}], "summary": {key: median}}`.
    """
    rows = []
    for number, song in enumerate(songs, start=1):
        rows.append(_score_song(model, song))
        on_progress({"stage": "score", "songs": number, "of": len(songs), **rows[-1]})
    medians = {key: round(statistics.median(row[key] for row in rows), 2) for key in rows[0]}
    named = [{"song": song.name, **row} for song, row in zip(songs, rows, strict=True)]
    return {"songs": named, "summary": medians}


def _score_song(model: Any, song: Path) -> dict[str, float]:
    backing, vocals = (to_stereo(load(song / f"{stem}.flac", SAMPLE_RATE)) for stem in STEMS)
    mixture = backing + vocals
    pairs = list(demucs_stream.stems(model, [mixture], "cpu"))
    row = {}
    for at, (name, truth) in enumerate({"vocals": vocals, "accompaniment": backing}.items()):
        found = si_sdr(np.concatenate([pair[at] for pair in pairs], axis=1), truth)
        row[name] = round(found, 2)
        row[f"{name}_improvement"] = round(found - si_sdr(mixture, truth), 2)
    return row


def si_sdr(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019), channels as one."""
    found, wanted = (signal.astype(np.float64).ravel() for signal in (estimate, truth))
    found, wanted = found - found.mean(), wanted - wanted.mean()
    aim = (found @ wanted) / (wanted @ wanted + 1e-12) * wanted
    noise = found - aim
    return float(10 * np.log10((aim @ aim + 1e-12) / (noise @ noise + 1e-12)))
