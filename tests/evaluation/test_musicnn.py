"""The embedded embeddings are musicnn's own: benchmarks/musicnn.py had TensorFlow make them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from songbloom.evaluation import musicnn
from songbloom.files import sha256

FIXTURE = Path(__file__).with_suffix("").with_name("musicnn.safetensors")


@pytest.fixture(scope="module")
def embedder() -> musicnn.Embedder:
    return musicnn.Embedder()


def made_sound() -> np.ndarray:
    """The six seconds that the fixture is of: chords, a glide and a beat of noise."""
    t = np.arange(6 * 16_000) / 16_000
    chord = sum(np.sin(2 * np.pi * f * t + f) / k for k, f in enumerate((220, 277.2, 329.6), 2))
    glide = 0.3 * np.sin(2 * np.pi * (300 * t + 120 * t**2))
    noise = np.random.default_rng(0).standard_normal(len(t)) * 0.2 * np.exp(-20 * (t % 0.5))
    return (0.3 * (chord + glide + noise)).astype(np.float32)


def test_agrees_with_tensorflow(embedder: musicnn.Embedder) -> None:
    """From sound to embeddings, spectra and windows included, the numbers are those that
    TensorFlow gives with the same weights; the weights as they came, before their kernels were
    rounded to 16 bits, differ in the third decimal."""
    fixture = load_file(FIXTURE)
    found = torch.from_numpy(embedder(made_sound()))
    assert found.shape == (3, musicnn.DIM)
    torch.testing.assert_close(found, fixture["embeddings_of_rounded_weights"], rtol=0, atol=1e-4)
    torch.testing.assert_close(found, fixture["embeddings"], rtol=0, atol=5e-3)
    assert fixture["embeddings"].std() > 0.5


def test_short_sounds_are_repeated(embedder: musicnn.Embedder) -> None:
    """A second of sound has one embedding, that of its spectra again and again."""
    second = made_sound()[:16_000]
    spectra = embedder.spectra(torch.from_numpy(second))
    looped = torch.cat([spectra] * 3)[None, : musicnn.WINDOW]
    with torch.inference_mode():
        expected = embedder._model(looped)
    np.testing.assert_allclose(embedder(second), expected.numpy(), atol=1e-5)


def test_the_recipe_is_of_these_weights() -> None:
    """The recipe's hash and list of tensors are those of the file."""
    recipe = json.loads((musicnn.FOLDER / "recipe.json").read_text())
    assert recipe["sha256"] == sha256(musicnn.WEIGHTS)
    tensors = load_file(musicnn.WEIGHTS)
    assert {name: list(tensor.shape) for name, tensor in tensors.items()} == {
        name: shape for name, (_, *shape) in recipe["tensors"].items()
    }
    assert musicnn.WEIGHTS.stat().st_size < 2_000_000
