"""Teach the sketch codec: synthetic songs with exact phones, notes and chords -> its weights.

`fit` is seeded and resumes exactly: the draw of step n depends on the seed and on n alone.
"""

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from songbloom import audio
from songbloom.errors import SongBloomError, UsageError
from songbloom.files import atomic_path, write_text
from songbloom.model.sketch_codec import Features, Posteriors, SketchCodec, SketchCodecConfig
from songbloom.model.sketch_symbols import NUM_CODES, score_to_tokens, split_code
from songbloom.synth.corpus import load_score
from songbloom.training.sketch_corpus import (
    IGNORED,
    Batch,
    Song,
    draw_batch,
    load_song,
    song_folders,
)
from songbloom.units import SAMPLE_RATE, Frames

REPORT_FILE = "report.json"
CHECKPOINT_FILE = "checkpoint.safetensors"  # training state, beside the codec's own two files

Progress = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class FitOptions:
    """How a sketch codec is taught.

    Every `held_out_every`-th song is kept for scoring. The learning rate rises over the first
    `warmup` share of the run and falls linearly to nothing. The loss is that of the phone, plus
    the note's and the chord's with their weights.
    """

    batch_size: int = 8
    crop_frames: Frames = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.03
    note_weight: float = 0.7
    chord_weight: float = 0.3
    clip_norm: float = 1.0
    held_out_every: int = 20
    checkpoint_every: int = 200


@dataclass
class FitState:
    """What a checkpoint holds. `elapsed` is seconds spent on the steps so far."""

    codec: SketchCodec
    optimizer: torch.optim.AdamW
    step: int = 0
    elapsed: float = 0.0


def fit(
    corpus: Path,
    output: Path,
    *,
    config: SketchCodecConfig | None = None,
    options: FitOptions | None = None,
    seed: int = 0,
    steps: int | None = None,
    minutes: float | None = None,
    on_progress: Progress | None = None,
) -> dict[str, float]:
    """Train a codec on the songs in `corpus`, write it to `output`, return its held-out scores.

    Give either `steps`, which always ends in the same bytes, or `minutes` of training time, which
    does as much as the machine can. `output` gets `config.json`, `weights.safetensors`,
    `report.json` (the scores, see `evaluate`) and the training state, from which the same call
    goes on after a kill. `on_progress` is told `{"loaded", "songs"}` while songs are read, then
    `{"step", "progress", "loss", "elapsed"}`. `UsageError` for fewer than two songs, or when
    `output` holds the state of another run.
    """
    config, options = config or SketchCodecConfig(), options or FitOptions()
    if (steps is None) == (minutes is None):
        raise UsageError("fit: expected either steps or minutes, and not both")
    tell = on_progress or _tell_nobody
    train, held_out = split_songs(song_folders(corpus), options.held_out_every)
    length = {"steps": steps, "minutes": minutes}
    run = _fingerprint(config, options, seed, length, [folder.name for folder in train])
    state = _start(config, options, seed)
    checkpoint = Path(output) / CHECKPOINT_FILE
    if checkpoint.is_file():
        _resume(state, checkpoint, run)
    if _progress(state, steps, minutes) < 1.0:
        songs = _load_songs(train, state.codec, tell)
        _train(state, songs, options, seed, (steps, minutes), checkpoint, run, tell)
    state.codec.save(output)
    report = evaluate(state.codec, held_out)
    report |= {"steps": state.step, "songs": len(train)}
    write_text(Path(output) / REPORT_FILE, json.dumps(report, indent=1) + "\n")
    return report


def split_songs(folders: Sequence[Path], held_out_every: int) -> tuple[list[Path], list[Path]]:
    """Songs to train on and songs held out: the last of every `held_out_every`, at least one."""
    if len(folders) < 2:
        raise UsageError(f"sketch codec: {len(folders)} song; expected at least 2 to train on")
    every = min(held_out_every, len(folders))
    train = [folder for i, folder in enumerate(folders) if i % every != every - 1]
    return train, [folder for i, folder in enumerate(folders) if i % every == every - 1]


def loss_of(posteriors: Posteriors, batch: Batch, options: FitOptions) -> Tensor:
    """The training loss, a scalar: cross-entropies of phone, note and chord, weighted."""
    phone = _cross_entropy(posteriors.phone, batch.phone)
    note = _cross_entropy(posteriors.note, batch.note)
    chord = _cross_entropy(posteriors.chord, batch.chord)
    return phone + options.note_weight * note + options.chord_weight * chord


def evaluate(codec: SketchCodec, folders: Sequence[Path]) -> dict[str, float]:
    """Scores of `codec`'s tokens for the mixes of the songs in `folders` against their scores.

    See `score_tokens` for the keys.
    """
    heard, true = [], []
    for folder in folders:
        mix = audio.to_stereo(audio.load(folder / "audio.flac", SAMPLE_RATE))
        tokens = codec.encode(torch.from_numpy(mix)[None])[0].cpu().numpy()
        truth = score_to_tokens(load_score(folder))
        length = min(len(tokens), len(truth))
        heard.append(tokens[:length])
        true.append(truth[:length])
    return score_tokens(heard, true)


def score_tokens(heard: Sequence[np.ndarray], true: Sequence[np.ndarray]) -> dict[str, float]:
    """Compare token sequences of songs, `[T]` each, with the true ones; shares are 0 to 1.

    `phone_accuracy` of all frames, `voiced_phone_accuracy` of those that are truly sung,
    `voicing_accuracy` voice or none, `phone_error_rate` edits a true phone once repeats are
    collapsed; `pitch_accuracy` (the right semitone, so within 50 cents of the note) where both are
    sung, `chord_accuracy` where neither is; `code_accuracy` all of it right; `codes_used` and
    `codes_true` distinct codes, `dead_codes` true ones that were never heard; `entropy` of the
    heard codes in bits, `top1_share` of the commonest.
    """
    a, b = np.concatenate(heard), np.concatenate(true)
    (phone, pitch), (true_phone, true_pitch) = split_code(a), split_code(b)
    sung, both = true_phone > 0, (phone > 0) & (true_phone > 0)
    neither = (phone == 0) & (true_phone == 0)
    errors = sum(_phone_edits(h, t) for h, t in zip(heard, true, strict=True))
    share = np.bincount(a, minlength=NUM_CODES) / len(a)
    return {
        "frames": len(a),
        "phone_accuracy": _mean(phone == true_phone),
        "voiced_phone_accuracy": _mean((phone == true_phone)[sung]),
        "voicing_accuracy": _mean((phone > 0) == sung),
        "phone_error_rate": errors / max(sum(len(_phone_string(t)) for t in true), 1),
        "pitch_accuracy": _mean((pitch == true_pitch)[both]),
        "chord_accuracy": _mean((pitch == true_pitch)[neither]),
        "code_accuracy": _mean(a == b),
        "codes_used": len(np.unique(a)),
        "codes_true": len(np.unique(b)),
        "dead_codes": len(np.setdiff1d(b, a)),
        "entropy": float(-(share[share > 0] * np.log2(share[share > 0])).sum()),
        "top1_share": float(share.max()),
    }


def _train(
    state: FitState,
    songs: Sequence[Song],
    options: FitOptions,
    seed: int,
    length: tuple[int | None, float | None],
    checkpoint: Path,
    run: str,
    tell: Progress,
) -> None:
    state.codec.train()
    while (progress := _progress(state, *length)) < 1.0:
        started_at = time.monotonic()
        rng = np.random.default_rng((seed, state.step))
        batch = draw_batch(
            songs,
            rng,
            size=options.batch_size,
            crop=options.crop_frames,
            mel_bands=state.codec.config.mel_bands,
        )
        loss = _train_step(state, batch, options, progress)
        state.step += 1
        state.elapsed += time.monotonic() - started_at
        tell({
            "step": state.step,
            "progress": _progress(state, *length),
            "loss": loss,
            "elapsed": state.elapsed,
        })  # fmt: skip
        if state.step % options.checkpoint_every == 0:
            _checkpoint(state, checkpoint, run)
    _checkpoint(state, checkpoint, run)
    state.codec.eval()


def _train_step(state: FitState, batch: Batch, options: FitOptions, progress: float) -> float:
    """One update; the loss before it. `SongBloomError` before the update when it is not finite."""
    for group in state.optimizer.param_groups:
        group["lr"] = options.learning_rate * _schedule(progress, options.warmup)
    with torch.no_grad():
        heard = state.codec.spectra(batch.signal)
    features = Features(heard.mel + batch.mel_tilt, heard.cqt + batch.cqt_tilt)
    loss = loss_of(state.codec(features), batch, options)
    if not math.isfinite(loss.item()):
        raise SongBloomError(
            f"sketch codec: the loss became {loss.item()} at step {state.step}",
            "Try a lower learning rate.",
        )
    state.optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(state.codec.parameters(), options.clip_norm)
    state.optimizer.step()
    return loss.item()


def _schedule(progress: float, warmup: float) -> float:
    """Share of the full learning rate at `progress` (0 to 1) of the run."""
    return min((progress + 1e-3) / warmup, (1.0 - progress) / (1.0 - warmup))


def _progress(state: FitState, steps: int | None, minutes: float | None) -> float:
    """Share of the run that is done; 1 or more at its end."""
    if steps is not None:
        return state.step / steps if steps else 1.0
    return state.elapsed / (60.0 * minutes) if minutes else 1.0


def _cross_entropy(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """Mean over the labels that count; 0 where none does (a crop without voice has no note)."""
    total = functional.nll_loss(
        log_probabilities.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return total / (labels != IGNORED).sum().clamp(min=1)


def _start(config: SketchCodecConfig, options: FitOptions, seed: int) -> FitState:
    codec = SketchCodec(config)
    _initialise(codec, torch.Generator().manual_seed(seed))
    decay = [p for p in codec.parameters() if p.dim() > 1]
    plain = [p for p in codec.parameters() if p.dim() <= 1]
    groups: list[dict[str, Any]] = [{"params": decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(
        groups, lr=options.learning_rate, weight_decay=options.weight_decay, betas=(0.9, 0.98)
    )
    return FitState(codec, optimizer)


@torch.no_grad()
def _initialise(codec: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's default bounds, drawn from a generator of our own; biases start at 0."""
    for name, parameter in codec.named_parameters():
        if parameter.dim() > 1:
            bound = 1.0 / math.sqrt(parameter[0].numel())
            parameter.uniform_(-bound, bound, generator=generator)
        else:
            is_scale = "norm" in name and name.endswith("weight")
            parameter.fill_(1.0 if is_scale else 0.0)


def _checkpoint(state: FitState, path: Path, run: str) -> None:
    tensors = {f"codec.{name}": value for name, value in state.codec.state_dict().items()}
    for index, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    metadata = {"run": run, "step": str(state.step), "elapsed": repr(state.elapsed)}
    with atomic_path(path) as temporary:
        save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata)


def _resume(state: FitState, path: Path, run: str) -> None:
    """Put a checkpoint's contents into `state`."""
    with safe_open(path, "pt") as stored:
        metadata = stored.metadata()
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    if metadata["run"] != run:
        raise UsageError(
            f"{path}: is the state of a run with other songs, seed, length or settings",
            "Choose another output folder, or delete this one's checkpoint to start again.",
        )
    weights, moments = _nested(tensors)
    state.codec.load_state_dict(weights)
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    state.step, state.elapsed = int(metadata["step"]), float(metadata["elapsed"])


def _nested(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[int, dict[str, Tensor]]]:
    """A checkpoint's tensors as the codec's weights and the optimiser's moments by parameter."""
    weights: dict[str, Tensor] = {}
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        kind, rest = name.split(".", 1)
        if kind == "codec":
            weights[rest] = value
        else:
            index, moment = rest.split(".")
            moments.setdefault(int(index), {})[moment] = value
    return weights, moments


def _fingerprint(
    config: SketchCodecConfig,
    options: FitOptions,
    seed: int,
    length: dict[str, float | None],
    songs: list[str],
) -> str:
    """What must be the same for a run to be gone on with."""
    # How often the state is saved changes nothing in the result.
    kept = {k: v for k, v in dataclasses.asdict(options).items() if k != "checkpoint_every"}
    parts = [dataclasses.asdict(config), kept, seed, length, songs]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _load_songs(folders: Sequence[Path], codec: SketchCodec, tell: Progress) -> list[Song]:
    songs = []
    for folder in folders:
        songs.append(load_song(folder, codec))
        tell({"loaded": len(songs), "songs": len(folders)})
    return songs


def _phone_string(tokens: np.ndarray) -> np.ndarray:
    """Phones in order, repeats collapsed and silence left out."""
    phone = split_code(tokens)[0]
    changed = np.diff(phone, prepend=0) != 0
    return phone[changed & (phone > 0)]


def _phone_edits(heard: np.ndarray, true: np.ndarray) -> int:
    """Levenshtein distance between two songs' phone strings."""
    a, b = _phone_string(heard), _phone_string(true)
    steps = np.arange(len(b) + 1)
    row = steps.copy()
    for phone in a:
        best = np.concatenate(([row[0] + 1], np.minimum(row[:-1] + (b != phone), row[1:] + 1)))
        row = np.minimum.accumulate(best - steps) + steps  # insertions along the row
    return int(row[-1])


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else 0.0


def _tell_nobody(_: dict[str, float]) -> None:
    """Progress that no one asked for."""
