"""Generation follows every option of the model: what the DiT sees, no sketch, patches, prefix."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from generation.conftest import Stage, make_model
from generation.naive import NaiveSong, sing
from model.small import largest, random_conditions, small_model
from torch import Tensor

from songbloom.generation.bundle import read_bundle, rerender
from songbloom.generation.draws import CounterDraws
from songbloom.generation.engine import generate_patches
from songbloom.generation.options import GenerateOptions
from songbloom.generation.song import generate, plan
from songbloom.model.conditioning import Conditions
from songbloom.model.config import SamplingConfig
from songbloom.model.songbloom import SongBloom

SAMPLING = SamplingConfig(
    num_steps=4,
    sketch_cfg_scale=1.7,
    latent_cfg_scale=1.4,
    temperature=1.0,
    top_k=25,
    repetition_penalty=1.3,
    repetition_window=6,
    noise_temperature=0.8,
    max_duration=0.64,  # 16 frames
)
NO_SKETCH = {"sketch_vocab_size": 0, "dit_inputs": "hidden+context"}


def engine(
    model: SongBloom, conditions: list[Conditions], sampling: SamplingConfig = SAMPLING
) -> list[tuple[list[int], Tensor]]:
    """Every song's tokens and latents `[T, C]`; song i is drawn with seed i."""
    songs: list[tuple[list[int], Tensor]] = [([], torch.empty(0, 8)) for _ in conditions]
    draws = [CounterDraws(i) for i in range(len(conditions))]
    for patches in generate_patches(model, conditions, sampling, draws):
        for patch in patches:
            tokens, latents = songs[patch.song]
            latents = torch.cat([latents, patch.latents])
            songs[patch.song] = tokens + patch.sketch.tolist(), latents
    return songs


def assert_same(song: tuple[list[int], Tensor], naive: NaiveSong) -> None:
    tokens, latents = song
    assert tokens == naive.tokens
    assert len(latents) == sum(len(patch) for patch in naive.patches)
    assert not len(latents) or largest(latents - naive.latents) < 1e-5


@pytest.mark.parametrize(
    "changes",
    [
        {"dit_inputs": "hidden"},
        {"dit_inputs": "hidden+context"},
        NO_SKETCH,
        {**NO_SKETCH, "dit_inputs": "hidden"},
        {"patch_size": 1},
        {"patch_size": 8},
        {"patch_size": 16},
        {"prefix_order": "lyrics-reference"},
    ],
    ids=str,
)
def test_engine_is_the_naive_twin(changes: dict[str, Any]) -> None:
    """Cached, batched and guided = everything from scratch, with every option; and the option is
    heard: the song is another than with the other value, from the same weights where they fit."""
    model = small_model(**changes)
    conditions = [random_conditions(model.config, seed) for seed in (5, 6)]
    songs = engine(model, conditions)
    for seed, (song, given) in enumerate(zip(songs, conditions, strict=True)):
        assert len(song[1]) == 16
        assert len(song[0]) == (16 if model.config.sketch_vocab_size else 0)
        assert_same(song, sing(model, given, SAMPLING, CounterDraws(seed)))
    other = engine(small_model(), conditions)
    assert largest(other[0][1] - songs[0][1]) > 1e-2


def test_songs_without_sketch_end_by_length() -> None:
    """Nothing can say EOS: every song has all the patches the limit allows, and sketch options are
    without meaning."""
    model = small_model(**NO_SKETCH)
    conditions = [random_conditions(model.config, 5)]
    ((_, latents),) = engine(model, conditions, replace(SAMPLING, max_duration=1.0))
    assert len(latents) == 28  # the patch that crosses 25 frames is made
    plain = replace(SAMPLING, sketch_cfg_scale=1.0, temperature=0.0, top_k=1)
    ((_, other),) = engine(model, conditions, plain)
    assert torch.equal(latents[:16], other)


@pytest.mark.parametrize("patch_size", [4, 16])
def test_last_patch_is_cut_where_the_song_ends(patch_size: int) -> None:
    """With `keep_last_patch` a song has all frames before its EOS and is otherwise the same song;
    each is its naive twin, whatever shares the batch."""
    model = small_model(patch_size=patch_size)
    model.sketch_lm.head[2].bias.data[-1] = 4.0
    conditions = [random_conditions(model.config, seed) for seed in range(6)]
    cut = replace(SAMPLING, sketch_cfg_scale=1.2, max_duration=1.28)
    kept = replace(cut, keep_last_patch=True)
    longer = 0
    for seed, (whole, part) in enumerate(
        zip(engine(model, conditions, kept), engine(model, conditions, cut), strict=True)
    ):
        assert_same(whole, sing(model, conditions[seed], kept, CounterDraws(seed)))
        assert_same(part, sing(model, conditions[seed], cut, CounterDraws(seed)))
        assert model.config.eos_id not in whole[0]
        assert len(whole[0]) == len(whole[1]) <= 32
        assert whole[0][: len(part[0])] == part[0]
        assert len(part[0]) == len(whole[0]) // patch_size * patch_size
        longer += len(whole[0]) > len(part[0])
    assert longer, "some song must end inside a patch"


def test_a_song_without_sketch_as_files(stage: Stage, tmp_path: Path) -> None:
    """A model without sketch sings a file of full length, whose bundle has no tokens, spreads its
    lines over the song, and renders again to the same bytes; nobody is told that nothing is sung.
    """
    make_model(tmp_path / "model", **NO_SKETCH)
    events: list[dict[str, Any]] = []
    given = (stage.requests, tmp_path / "model", tmp_path / "song.wav", GenerateOptions())
    (row,) = generate(*given, on_event=events.append)
    assert row["seconds"] == plan(*given)["max_seconds_each"] == 0.8
    assert not [event for event in events if "nothing is sung" in event.get("message", "")]
    bundle = read_bundle(Path(row["bundle"]))
    assert (len(bundle.sketch), len(bundle.latents)) == (0, 20)
    assert bundle.timeline["timing"] == "estimated"
    assert bundle.timeline["sections"][-1]["end"] == bundle.timeline["duration_seconds"] == 0.8
    again = rerender(bundle.folder, tmp_path / "again.wav", model_path=tmp_path / "model")
    assert again["identical"]
