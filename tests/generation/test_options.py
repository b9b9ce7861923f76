"""Options of a generation: ranges, clamping, what overrides what, devices."""

from typing import Any

import pytest
import torch
from model.small import small_config

from songbloom.errors import UsageError
from songbloom.generation.device import choose_device, choose_dtype
from songbloom.generation.options import GenerateOptions
from songbloom.model.config import SamplingConfig


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("seed", -1, 0),
        ("num_steps", 0, 1),
        ("num_steps", -5, 1),
        ("sketch_cfg_scale", -0.1, 0.0),
        ("latent_cfg_scale", -1.0, 0.0),
        ("temperature", -0.5, 0.0),
        ("top_k", -1, 0),
        ("max_duration", 0.0, 0.04),
        ("max_duration", float("nan"), 0.04),
        ("n_samples", 0, 1),
        ("prompt_start", -1.0, 0.0),
        ("batch_size", 0, 1),
        ("rng", "upstream", "release"),
        ("format", "aiff", "mp3"),
        ("device", "tpu", "cpu"),
        ("dtype", "float16", "bfloat16"),
    ],
)
def test_ranges(name: str, bad: Any, good: Any) -> None:
    """A value out of range is refused by the name of its option; the limit itself is allowed."""
    with pytest.raises(UsageError, match=name.replace("_", "-")) as caught:
        GenerateOptions(**{name: bad})
    assert str(bad) in caught.value.message
    assert getattr(GenerateOptions(**{name: good}), name) == good


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize(
    "name", ["max_duration", "temperature", "sketch_cfg_scale", "latent_cfg_scale", "prompt_start"]
)
def test_not_finite(name: str, value: float) -> None:
    """No option may be infinite or not a number."""
    with pytest.raises(UsageError, match=name.replace("_", "-")):
        GenerateOptions(**{name: value})


def test_models_defaults_then_options() -> None:
    """What is not given is the model's own; what is given wins, zero included."""
    own = SamplingConfig(num_steps=7, temperature=0.7, top_k=11, repetition_penalty=1.1)
    config = small_config(sampling=own)
    assert GenerateOptions().sampling(config) == (own, [])
    sampling, _ = GenerateOptions(temperature=0.0, top_k=0, max_duration=9.0).sampling(config)
    assert (sampling.temperature, sampling.top_k, sampling.max_duration) == (0.0, 0, 9.0)
    assert (sampling.num_steps, sampling.repetition_penalty) == (7, 1.1)


def test_the_papers_defaults() -> None:
    """A model that says nothing is sampled as in the paper."""
    sampling, _ = GenerateOptions().sampling(small_config(sketch_vocab_size=16_384))
    assert sampling.num_steps == 36
    assert sampling.sketch_cfg_scale == sampling.latent_cfg_scale == 1.5
    assert (sampling.temperature, sampling.top_k) == (0.9, 200)


def test_top_k_above_the_vocabulary() -> None:
    """It is clamped to all tokens, EOS included, with a warning that names both numbers."""
    sampling, (warning,) = GenerateOptions(top_k=9999).sampling(small_config())
    assert sampling.top_k == 41
    assert "9999" in warning and "41" in warning
    assert GenerateOptions(top_k=41).sampling(small_config())[1] == []


def test_devices() -> None:
    """The CPU is always there; one that is not is refused by name."""
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    absent = "mps" if not torch.backends.mps.is_available() else "cuda"
    if absent == "mps" or not torch.cuda.is_available():
        with pytest.raises(UsageError, match=absent):
            choose_device(absent)
    with pytest.raises(UsageError, match="abacus"):
        choose_device("abacus")


def test_dtypes() -> None:
    """Names are torch's."""
    assert choose_dtype("float32") is torch.float32
    assert choose_dtype("bfloat16") is torch.bfloat16
