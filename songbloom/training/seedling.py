"""The embedded model's codecs from nothing, in a model folder whose SongBloom is still untrained.

`songbloom train` teaches that one; what it learns from is made with these codecs. Every step goes
on where it stopped. Lengths and seeds are one `Recipe`, written beside the weights.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from songbloom.errors import SongBloomError
from songbloom.files import atomic_path
from songbloom.lyrics.frontends import vocabulary
from songbloom.model.checkpoint import describe_vae, save_model
from songbloom.model.config import preset
from songbloom.model.sketch_codec import SketchCodec
from songbloom.model.songbloom import SongBloom
from songbloom.training import seedling_vae, sketch_codec

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Progress = Callable[[dict[str, Any]], None]
AnyRecipe = TypeVar("AnyRecipe", bound="DataclassInstance")
LICENCE = "Apache-2.0 (weights trained by this project on songs it synthesised)"


@dataclass(frozen=True)
class Recipe:
    """What the codecs are made with. Steps are optimizer steps."""

    seed: int = 0
    vae_steps: int = 5_000
    sketch_steps: int = 1_500


def make(
    corpus: Path, work: Path, target: Path, recipe: Recipe, *, name: str, on_progress: Progress
) -> dict[str, Any]:
    """The codecs of a corpus of `songbloom synth` as a model folder; returns its model.json.

    `work` holds the checkpoints.
    """
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
    return assemble(work / "vae", work / "sketch", target, name=name, recipe=recipe)


def assemble(
    vae_folder: Path, sketch_folder: Path, target: Path, *, name: str, recipe: Recipe
) -> dict[str, Any]:
    """Write the model folder: codecs in fp16, and SongBloom as it is drawn."""
    config = preset("seedling")
    vae, codec = seedling_vae.load_vae(vae_folder), SketchCodec.load(sketch_folder)
    model = SongBloom(config)
    model.init_weights(torch.Generator().manual_seed(recipe.seed))
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
            "provenance": "Codecs alone: SongBloom's own weights are drawn, not trained.",
        },
        config=config,
        vocabulary=vocabulary(config.frontend),
        songbloom={k: v.half() for k, v in model.state_dict().items()},
        vae={k: v.half() for k, v in vae.state_dict().items()},
        vae_info=describe_vae(vae),
    )


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        temporary.write_bytes(source.read_bytes())


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
