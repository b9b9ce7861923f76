"""Fit seedling's codec to a folder of songs: PCA first, then the residual network.

The songs' features are computed once (mix, vocals and backing alone, so that voices stay
intelligible) and kept under `output`; training reads coefficients, 256 numbers a spectrum, which
makes it some 80 times faster than real time on one core. Every step draws its batch and noise from
`(seed, step)`, so a run that is killed and started again ends in the same bytes.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from songbloom.audio import load, to_stereo
from songbloom.errors import SongBloomError
from songbloom.files import atomic_path, write_text
from songbloom.model.seedling_vae import SeedlingVAE, SeedlingVAEConfig
from songbloom.training.seedling_vae_score import Report, score
from songbloom.units import FRAME_RATE, HOP, SAMPLE_RATE, Frames, Seconds

STEMS = ("audio", "vocals", "backing")  # files of a song that are trained on, mix first
_STEM_SHARES = (0.6, 0.25, 0.15)  # of the batches
_PCA_SECONDS: Seconds = 12.0  # of each song and stem that the PCA sees
_HELD_OUT_EVERY = 20  # every twentieth song is kept for the score, at least one

Progress = Callable[[Report], None]


@dataclass(frozen=True)
class VAETraining:
    """How the codec is trained. `rate` is AdamW's peak, let down as a cosine after the warm-up."""

    steps: int = 20_000
    batch: int = 24
    frames: Frames = 32  # of a crop
    rate: float = 1.5e-3
    warmup: int = 100
    weight_decay: float = 0.01
    kl: float = 1e-3  # weight of the mean KL a frame against the RMS error of a spectrum
    ema: float = 0.995
    checkpoint_every: Seconds = 60.0


def fit(
    corpus: Path,
    output: Path,
    *,
    config: SeedlingVAEConfig,
    training: VAETraining,
    seed: int,
    on_progress: Progress,
) -> Report:
    """Train a codec on `corpus` (folders `song_*/{audio,vocals,backing}.flac`) into `output`.

    Writes `weights.safetensors` (fp16), `config.json` and `report.json`, returned too: the held-out
    scores of `songbloom.training.seedling_vae_score`. `training.steps` 0 stops at the PCA. Goes on
    from what `output` holds; the list of songs is the one found at the first start.
    """
    songs = _song_list(Path(corpus), Path(output))
    held_out = songs[::_HELD_OUT_EVERY]
    learned = [song for song in songs if song not in held_out] or songs
    model = _with_pca(_seeded(config, seed), learned, Path(output), on_progress)
    store = _Coefficients(model, learned, Path(output) / "features", on_progress)
    if training.steps:
        _train(model, store, Path(output), training, seed, on_progress)
    _whiten(model, store)
    save(model, Path(output))
    report = score(load_vae(Path(output)), held_out, on_progress)
    write_text(Path(output) / "report.json", json.dumps(report, indent=2) + "\n")
    return report


def save(model: SeedlingVAE, folder: Path) -> None:
    """Write `config.json` and `weights.safetensors` (fp16) into `folder`."""
    write_text(folder / "config.json", json.dumps(asdict(model.config), indent=2) + "\n")
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    with atomic_path(folder / "weights.safetensors") as temporary:
        safetensors.torch.save_file(weights, temporary)


def load_vae(folder: Path) -> SeedlingVAE:
    """The codec that `save` wrote into `folder`, in float32, ready to use."""
    config = SeedlingVAEConfig(**json.loads((folder / "config.json").read_text("utf-8")))
    model = SeedlingVAE(config)
    model.load_state_dict(safetensors.torch.load_file(folder / "weights.safetensors"))
    return model.eval().requires_grad_(False)


def _song_list(corpus: Path, output: Path) -> list[Path]:
    """The songs this run uses, in name order; written down at the first start."""
    record = output / "songs.json"
    if not record.exists():
        names = sorted(
            path.parent.name
            for path in corpus.glob("song_*/audio.flac")
            if (path.parent / "truth.json").exists()
        )
        if not names:
            raise SongBloomError(
                f"{corpus}: holds no song_*/audio.flac with a truth.json beside it",
                "Make some songs: songbloom synth --songs 36 -o " + str(corpus),
            )
        write_text(record, json.dumps(names, indent=0) + "\n")
    return [corpus / name for name in json.loads(record.read_text("utf-8"))]


def _stem_paths(song: Path) -> list[Path]:
    return [song / f"{stem}.flac" for stem in STEMS if (song / f"{stem}.flac").exists()]


def _audio(path: Path, duration: Seconds | None = None) -> Tensor:
    """`[1, 2, samples]`."""
    return torch.from_numpy(to_stereo(load(path, SAMPLE_RATE, duration=duration))).unsqueeze(0)


def _seeded(config: SeedlingVAEConfig, seed: int) -> SeedlingVAE:
    """A codec whose first weights depend on `seed` alone, not on the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SeedlingVAE(config)


def _with_pca(
    model: SeedlingVAE, songs: list[Path], output: Path, on_progress: Progress
) -> SeedlingVAE:
    """The codec with its PCA fitted, or read back from an earlier start."""
    record = output / "pca.safetensors"
    if not record.exists():
        fit_pca(model, _pca_features(model, songs, on_progress))
        with atomic_path(record) as temporary:
            safetensors.torch.save_file(dict(model.named_buffers()), temporary)
    model.load_state_dict(
        {k: v for k, v in safetensors.torch.load_file(record).items() if k in model.state_dict()},
        strict=False,
    )
    return model


def _pca_features(model: SeedlingVAE, songs: list[Path], on_progress: Progress) -> list[Tensor]:
    """Features `[J, F + bands]` of an excerpt of every stem, fp16 to halve the memory."""
    excerpts = []
    for number, song in enumerate(songs):
        for path in _stem_paths(song):
            audio = _middle(_audio(path), _PCA_SECONDS)
            excerpts.append(model.features(audio)[0].half())
        on_progress({"stage": "pca", "song": number + 1, "songs": len(songs)})
    return excerpts


def _middle(audio: Tensor, duration: Seconds) -> Tensor:
    """The middle `duration` seconds, whole frames."""
    length = min(round(duration * FRAME_RATE), audio.shape[-1] // HOP) * HOP
    start = (audio.shape[-1] - length) // 2
    return audio[..., start : start + length]


def fit_pca(model: SeedlingVAE, excerpts: list[Tensor]) -> None:
    """Fill the codec's PCA from features `[J, F + bands]`, J a multiple of 4: two covariances.

    First of single spectra, then of the coefficients of the spectra of a frame.
    """
    config = model.config
    mean, _ = _moments(x.float() for x in excerpts)
    mean = mean.float()
    _, covariance = _moments((x.float() - mean) * model.weight for x in excerpts)
    basis = _leading(covariance, config.coefficients)
    model.mean.copy_(mean)
    model.basis.copy_(basis)
    deviation = torch.diagonal(basis.double().T @ covariance @ basis.double()).clamp(min=0).sqrt()
    model.coefficient_std.copy_(deviation + 1e-3 * deviation.max())
    stacks = [
        (((x.float() - mean) * model.weight) @ basis).reshape(-1, model.stack_mean.shape[0])
        for x in excerpts
    ]
    stack_mean, stack_covariance = _moments(iter(stacks))
    stack_basis = _leading(stack_covariance, config.latent_dim)
    model.stack_mean.copy_(stack_mean)
    model.stack_basis.copy_(stack_basis)
    wide = stack_basis.double()
    spread = torch.diagonal(wide.T @ stack_covariance @ wide).clamp(min=1e-8).sqrt()
    model.skip_std.copy_(spread)


def _moments(rows: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and covariance of `[*, D]` blocks, in float64."""
    count, total, products = 0, torch.zeros(()), torch.zeros(())
    for block in rows:
        count += len(block)
        total = total + block.double().sum(0)
        products = products + (block.T @ block).double()
    mean = total / count
    return mean, products / count - torch.outer(mean, mean)


def _leading(covariance: Tensor, count: int) -> Tensor:
    """The `count` leading eigenvectors `[D, count]`, each with its largest entry positive."""
    vectors = torch.linalg.eigh(covariance).eigenvectors.flip(-1)[:, :count]
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return (vectors * largest.sign()).float()


class _Coefficients:
    """Every stem's coefficients `[J, K]` as fp16 files, memory-mapped."""

    def __init__(
        self, model: SeedlingVAE, songs: list[Path], folder: Path, on_progress: Progress
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.stems: list[list[np.ndarray]] = [[] for _ in STEMS]
        for number, song in enumerate(songs):
            for path in _stem_paths(song):
                target = folder / f"{song.name}.{path.stem}.npy"
                if not target.exists():
                    _write_coefficients(model, path, target)
                self.stems[STEMS.index(path.stem)].append(np.load(target, mmap_mode="r"))
            on_progress({"stage": "features", "song": number + 1, "songs": len(songs)})
        self.stems = [stem for stem in self.stems if stem]
        shares = np.array(_STEM_SHARES[: len(self.stems)])
        self.shares = shares / shares.sum()

    def batch(self, size: int, frames: Frames, draw: np.random.Generator) -> Tensor:
        """`[size, 4 * frames, K]` crops at random places, long songs no rarer than short ones."""
        crops = []
        for stem in draw.choice(len(self.stems), size, p=self.shares):
            song = self.stems[stem][draw.integers(len(self.stems[stem]))]
            start = int(draw.integers(max(len(song) // 4 - frames, 0) + 1)) * 4
            crop = song[start : start + 4 * frames]
            crops.append(np.resize(crop, (4 * frames, crop.shape[1])))  # short songs repeat
        return torch.from_numpy(np.stack(crops)).float()


def _write_coefficients(model: SeedlingVAE, path: Path, target: Path) -> None:
    with torch.no_grad():
        coefficients = model.coefficients(_audio(path))[0]
    with atomic_path(target) as temporary:
        np.save(temporary, coefficients.half().numpy())


def _train(
    model: SeedlingVAE,
    store: _Coefficients,
    output: Path,
    training: VAETraining,
    seed: int,
    on_progress: Progress,
) -> None:
    """Train in place; `model` ends with the averaged weights."""
    parameters = dict(model.named_parameters())
    average = {name: value.detach().clone() for name, value in parameters.items()}
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=training.rate, weight_decay=training.weight_decay
    )
    step = _resume(output, parameters, average, optimiser)
    saved_at = time.monotonic()
    while step < training.steps:
        loss = _step(model, store, optimiser, training, seed, step)
        momentum = min(training.ema, (1 + step) / (10 + step))  # early averages forget faster
        for name, value in parameters.items():
            average[name].lerp_(value.detach(), 1 - momentum)
        step += 1
        if step % 100 == 0:
            on_progress({"stage": "train", "step": step, "steps": training.steps, **loss})
        if time.monotonic() - saved_at > training.checkpoint_every or step == training.steps:
            _checkpoint(output, step, parameters, average, optimiser)
            saved_at = time.monotonic()
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(average[name])


def _step(
    model: SeedlingVAE,
    store: _Coefficients,
    optimiser: torch.optim.Optimizer,
    training: VAETraining,
    seed: int,
    step: int,
) -> dict[str, float]:
    draw = np.random.default_rng((seed, step))
    coefficients = store.batch(training.batch, training.frames, draw)
    generator = torch.Generator().manual_seed(int(draw.integers(2**62)))
    error, kl = losses(model, coefficients, generator)
    loss = error + training.kl * kl
    if not torch.isfinite(loss):
        raise SongBloomError(f"the loss became {loss.item()} at step {step}", "Lower the rate.")
    for group in optimiser.param_groups:
        group["lr"] = training.rate * _schedule(step, training)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return {"error": error.item(), "kl": kl.item()}


def losses(
    model: SeedlingVAE, coefficients: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Coefficients `[B, J, K]` -> (RMS error of a spectrum's weighted log bins, KL of a frame)."""
    mean, log_variance = model.posterior(coefficients)
    noise = torch.randn(mean.shape, generator=generator)
    rebuilt = model.reconstruct(mean + torch.exp(0.5 * log_variance) * noise)
    error = (rebuilt - coefficients).square().sum(-1) / len(model.mean)
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1).mean()
    return torch.sqrt(error + 1e-6).mean(), kl


def _schedule(step: int, training: VAETraining) -> float:
    warm = min(1.0, (step + 1) / training.warmup)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / training.steps)))


def _checkpoint(
    output: Path,
    step: int,
    parameters: dict[str, torch.nn.Parameter],
    average: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
) -> None:
    """One file, so that weights and optimiser cannot come from different steps."""
    tensors = {f"model.{name}": value.detach() for name, value in parameters.items()}
    tensors |= {f"average.{name}": value for name, value in average.items()}
    for name, value in parameters.items():
        for key, state in optimiser.state[value].items():
            tensors[f"optimiser.{key}.{name}"] = state
    with atomic_path(output / "state.safetensors") as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata={"step": str(step)})


def _resume(
    output: Path,
    parameters: dict[str, torch.nn.Parameter],
    average: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
) -> int:
    """Read `_checkpoint`'s file into the arguments; the step to go on with, 0 without a file."""
    path = output / "state.safetensors"
    if not path.exists():
        return 0
    with safetensors.safe_open(path, framework="pt") as record:
        step = int(record.metadata()["step"])
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(record.get_tensor(f"model.{name}"))
                average[name].copy_(record.get_tensor(f"average.{name}"))
                optimiser.state[value] = {
                    key: record.get_tensor(f"optimiser.{key}.{name}")
                    for key in ("step", "exp_avg", "exp_avg_sq")
                }
    return step


@torch.no_grad()
def _whiten(model: SeedlingVAE, store: _Coefficients, crops: int = 400) -> None:
    """Set the border's mean and deviation from mixes: what the song model will learn."""
    draw = np.random.default_rng(0)
    mixes = store.stems[0]
    latents = []
    for _ in range(crops):
        song = mixes[draw.integers(len(mixes))]
        start = int(draw.integers(max(len(song) // 4 - 64, 0) + 1)) * 4
        crop = torch.from_numpy(np.array(song[start : start + 256])).float().unsqueeze(0)
        latents.append(model.posterior(crop)[0][0])
    every = torch.cat(latents)
    model.latent_mean.copy_(every.mean(0))
    model.latent_std.copy_(every.std(0).clamp(min=1e-3))
