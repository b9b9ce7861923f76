"""The embedded model from nothing: corpus -> codecs -> features -> SongBloom -> model folder.

Every step goes on where it stopped. Sizes, seeds and lengths are one `Recipe`, written beside the
model with its scores, so that the embedded weights can be made again.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from songbloom import audio
from songbloom.errors import SongBloomError
from songbloom.files import atomic_path, sha256
from songbloom.lyrics.vocabulary import V1_VOCABULARY
from songbloom.model.checkpoint import describe_vae, save_model
from songbloom.model.config import ModelConfig, preset
from songbloom.model.sketch_codec import SketchCodec
from songbloom.model.sketch_symbols import score_to_tokens
from songbloom.synth.corpus import load_score
from songbloom.training import seedling_vae, sketch_codec
from songbloom.training.auxiliary import plain_state
from songbloom.training.examples import Example, from_score
from songbloom.training.phases import Phase, TrainConfig, Trainer, train
from songbloom.training.state import load_state
from songbloom.units import SAMPLE_RATE

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Progress = Callable[[dict[str, Any]], None]
AnyRecipe = TypeVar("AnyRecipe", bound="DataclassInstance")
PHASES: tuple[Phase, ...] = ("read", "listen", "paint")
LICENCE = "Apache-2.0 (weights trained by this project on songs it synthesised)"


@dataclass(frozen=True)
class Recipe:
    """What the embedded weights are made with. Steps are optimizer steps of each phase."""

    seed: int = 0
    vae_steps: int = 5_000
    sketch_steps: int = 400
    read_steps: int = 2_800
    read_frames: int = 1_000
    read_rate: float = 1e-3
    listen_steps: int = 300
    listen_frames: int = 1_000
    listen_rate: float = 5e-4
    paint_steps: int = 450
    paint_frames: int = 1_600
    paint_rate: float = 1.5e-3


def make(
    corpus: Path, work: Path, target: Path, recipe: Recipe, *, name: str, on_progress: Progress
) -> dict[str, Any]:
    """All steps, from a corpus of `songbloom synth` to a model folder; returns its model.json."""
    vae, sketch, features = work / "vae", work / "sketch", work / "features"
    fit_codecs(corpus, work, recipe, on_progress)
    encode_corpus(corpus, vae, features, on_progress)
    checkpoint = train_phases(corpus, features, work, recipe, on_progress)
    return assemble(checkpoint, vae, sketch, target, name=name, recipe=recipe)


def fit_codecs(corpus: Path, work: Path, recipe: Recipe, on_progress: Progress) -> None:
    """The VAE and the sketch codec, into `work/vae` and `work/sketch`."""
    seedling_vae.fit(
        corpus,
        work / "vae",
        config=seedling_vae.SeedlingVAEConfig(),
        training=seedling_vae.VAETraining(steps=recipe.vae_steps, batch=12, kl=5e-5),
        seed=recipe.seed,
        on_progress=lambda row: on_progress({"stage": "vae", **row}),
    )
    sketch_codec.fit(
        corpus,
        work / "sketch",
        seed=recipe.seed,
        steps=recipe.sketch_steps,
        on_progress=lambda row: on_progress({"stage": "sketch", **row}),
    )


def song_folders(corpus: Path) -> list[Path]:
    """The finished songs of a corpus, by name. `SongBloomError` when there are none."""
    folders = sorted(path.parent for path in Path(corpus).glob("song_*/truth.json"))
    if not folders:
        raise SongBloomError(
            f"{corpus}: holds no synthetic songs", "Make some: songbloom synth --hours 1 -o CORPUS"
        )
    return folders


@torch.inference_mode()
def encode_corpus(corpus: Path, vae_folder: Path, output: Path, on_progress: Progress) -> None:
    """Latents (fp16), one file a song, bound to the VAE's hash; files of this VAE are kept."""
    vae = seedling_vae.load_vae(vae_folder)
    hashes = {"vae": sha256(vae_folder / "weights.safetensors")}
    folders = song_folders(corpus)
    for number, folder in enumerate(folders, start=1):
        path = output / f"{folder.name}.safetensors"
        if path.exists() and _metadata(path) == hashes:
            continue
        samples = torch.from_numpy(audio.load(folder / "audio.flac", SAMPLE_RATE))[None]
        with atomic_path(path) as temporary:
            save_file({"latents": vae.encode(samples)[0].half()}, temporary, metadata=hashes)
        on_progress({"stage": "encode", "songs": number, "of": len(folders)})


def load_examples(corpus: Path, features: Path) -> list[Example]:
    """Songs with latents and known words, in name order."""
    examples = []
    for folder in song_folders(corpus):
        path = features / f"{folder.name}.safetensors"
        if not path.exists():
            continue
        score = load_score(folder)
        with safe_open(path, "np") as stream:
            latents = stream.get_tensor("latents").astype(np.float32)
        sketch = score_to_tokens(score)  # what the codec should hear; it is supervised by these
        frames = min(len(sketch), len(latents))
        examples.append(from_score(score, sketch[:frames], latents[:frames]))
    return examples


def train_phases(
    corpus: Path, features: Path, work: Path, recipe: Recipe, on_progress: Progress
) -> Path:
    """Read, listen, then paint, each from the one before; returns the last checkpoint."""
    checkpoint: Path | None = None
    for phase in PHASES:
        config = phase_config(phase, recipe)
        checkpoint = train(
            config,
            work / phase,
            examples=[] if phase == "read" else load_examples(corpus, features),
            init_from=checkpoint,
            on_log=_staged(on_progress, {"stage": phase, "of": config.steps}),
        )
    assert checkpoint is not None
    return checkpoint


def _staged(on_progress: Progress, stage: dict[str, Any]) -> Progress:
    return lambda row: on_progress({**stage, **row})


def phase_config(phase: Phase, recipe: Recipe) -> TrainConfig:
    """A phase's settings: the recipe's `{phase}_steps`, `_frames` and `_rate`."""
    values = dataclasses.asdict(recipe)
    return TrainConfig(
        model=preset("seedling"),
        phase=phase,
        seed=recipe.seed,
        steps=values[f"{phase}_steps"],
        frames_per_step=values[f"{phase}_frames"],
        learning_rate=values[f"{phase}_rate"],
        decay_from=0.5 if phase == "read" else 0.3,
    )


def assemble(
    checkpoint: Path,
    vae_folder: Path,
    sketch_folder: Path,
    target: Path,
    *,
    name: str,
    recipe: Recipe,
    scores: dict[str, Any] | None = None,
    provenance: str = "",
) -> dict[str, Any]:
    """Write the model folder, weights in fp16, training-only parts left behind."""
    config = preset("seedling")
    model = load_plain(checkpoint)
    vae, codec = seedling_vae.load_vae(vae_folder), SketchCodec.load(sketch_folder)
    target.mkdir(parents=True, exist_ok=True)
    _copy(sketch_folder / "weights.safetensors", target / "sketch.safetensors")
    _copy(sketch_folder / "config.json", target / "sketch.json")
    return save_model(
        target,
        info={
            "name": name,
            "licence": LICENCE,
            "sketch_kind": "seedling",
            "codebook_hash": codec.codebook_hash,
            "recipe": dataclasses.asdict(recipe),
            "scores": scores or {},
            "provenance": provenance,
        },
        config=config,
        vocabulary=V1_VOCABULARY,
        songbloom={k: v.half() for k, v in model.items()},
        vae={k: v.half() for k, v in vae.state_dict().items()},
        vae_info=describe_vae(vae),
    )


def load_plain(checkpoint: Path, config: ModelConfig | None = None) -> dict[str, torch.Tensor]:
    """The plain model weights of a training checkpoint."""
    trainer = Trainer(TrainConfig(model=config or preset("seedling"), phase="read", steps=1), [])
    load_state(checkpoint, modules=trainer.modules, optimizers={})
    return plain_state(trainer.model)


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        temporary.write_bytes(source.read_bytes())


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "np") as stream:
        return dict(stream.metadata() or {})


def recipe_from(path: Path | None, kind: type[AnyRecipe]) -> AnyRecipe:
    """A recipe from JSON, or the default one. Unknown keys are refused."""
    values: dict[str, Any] = json.loads(path.read_text("utf-8")) if path else {}
    unknown: Sequence[str] = sorted(values.keys() - {f.name for f in dataclasses.fields(kind)})
    if unknown:
        raise SongBloomError(f"{path}: unknown key '{unknown[0]}' in the recipe")
    return kind(**values)


def use_threads(count: int) -> None:
    """Threads of one torch operation. The trained bytes depend on it, as floating point sums do."""
    torch.set_num_threads(count)
