"""The embedded separator's training: same bytes, killed or not, and files that Demucs loads."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from demucs.hdemucs import HDemucs

from songbloom import audio
from songbloom.errors import SongBloomError
from songbloom.stages import demucs_models
from songbloom.training import separator
from songbloom.training.separator import SeparatorRecipe
from songbloom.units import SAMPLE_RATE

RECIPE = SeparatorRecipe(steps=11, batch=1, window=12_288, warmup=2, checkpoint_every=0)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two songs of two seconds: a hum for vocals, noise for the rest."""
    rng = np.random.default_rng(3)
    for number in (1, 2):
        folder = tmp_path / "corpus" / f"song_{number:05d}"
        folder.mkdir(parents=True)
        time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
        hum = np.stack([np.sin(time * 1000 * number), np.sin(time * 900)]) * 0.2
        noise = rng.standard_normal((2, 2 * SAMPLE_RATE)) * 0.1
        for name, sound in (("vocals", hum), ("backing", noise), ("audio", hum + noise)):
            audio.save(folder / f"{name}.flac", sound.astype(np.float32), SAMPLE_RATE)
        (folder / "truth.json").write_text("{}")
    return tmp_path / "corpus"


def test_killed_and_gone_on_ends_in_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    """A run that dies after ten steps, started again, against one that was let alone."""

    def dies(row: dict[str, Any]) -> None:
        if row.get("step") == 10:
            raise KeyboardInterrupt

    separator.fit(corpus, tmp_path / "w1", tmp_path / "m1", RECIPE, lambda row: None)
    with pytest.raises(KeyboardInterrupt):
        separator.fit(corpus, tmp_path / "w2", tmp_path / "m2", RECIPE, dies)
    steps: list[int] = []
    separator.fit(
        corpus,
        tmp_path / "w2",
        tmp_path / "m2",
        RECIPE,
        lambda row: steps.append(row["step"]) if "step" in row else None,
    )
    files = [tmp_path / name / "separator.safetensors" for name in ("m1", "m2")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_what_is_written_is_demucs_own(corpus: Path, tmp_path: Path) -> None:
    """Demucs' loader gives back an HDemucs with these weights, and the recipe tells all."""
    report = separator.fit(corpus, tmp_path / "w", tmp_path / "m", RECIPE, lambda row: None)
    model: Any = demucs_models.load_file(tmp_path / "m" / "separator.safetensors")
    assert type(model) is HDemucs
    assert (model.sources, model.samplerate, model.segment) == (["vocals"], 24_000, 8)
    assert json.loads((tmp_path / "m" / "recipe.json").read_text()) == report
    assert report["recipe"] == dataclasses.asdict(RECIPE)
    assert (report["corpus"]["learned"], report["corpus"]["held_out"]) == (1, 1)
    assert set(report["scores"]) == {
        "vocals",
        "vocals_improvement",
        "accompaniment",
        "accompaniment_improvement",
    }


def test_it_learns(corpus: Path, tmp_path: Path) -> None:
    """Thirty steps tell a hum from noise better than one step does."""
    losses: list[float] = []
    recipe = dataclasses.replace(RECIPE, steps=30, remix=0.0, instrumental=0.0)
    separator.fit(
        corpus,
        tmp_path / "w",
        tmp_path / "m",
        recipe,
        lambda row: losses.append(row["loss"]) if "loss" in row else None,
    )
    assert losses[-1] < 0.9 * losses[0]


def test_windows_are_the_stems_of_songs(corpus: Path, tmp_path: Path) -> None:
    """Mixtures have an RMS of 1; the instrumental share has no vocals; a step draws the same."""
    songs = separator.song_folders(corpus)
    stems = separator.Stems(songs, tmp_path / "stems", lambda row: None)
    recipe = dataclasses.replace(RECIPE, batch=40, instrumental=0.5)
    batch = stems.batch(recipe, np.random.default_rng(0))
    assert batch.shape == (40, 2, 2, RECIPE.window)
    assert batch.sum(1).square().mean((1, 2)).sqrt().numpy() == pytest.approx(1, abs=0.01)
    silent = (batch[:, 1].abs().amax((1, 2)) == 0).float().mean()
    assert 0.25 < silent < 0.75
    assert torch.equal(batch, stems.batch(recipe, np.random.default_rng(0)))


def test_si_sdr_is_the_ratio_that_was_mixed() -> None:
    """Noise 20 dB down gives 20 dB, at any scale."""
    rng = np.random.default_rng(0)
    truth, noise = rng.standard_normal((2, 2, 100_000))
    for scale in (0.1, 1.0, 7.0):
        found = separator.si_sdr((truth + 0.1 * noise) * scale, truth)
        assert found == pytest.approx(20, abs=0.1)


def test_one_song_is_no_corpus(corpus: Path) -> None:
    """Nothing would be left to learn from."""
    with pytest.raises(SongBloomError, match="a corpus of one song"):
        separator.split_songs(separator.song_folders(corpus)[:1])
