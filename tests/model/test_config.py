"""Model configs and presets: sizes, contradictions, unknown keys, parameter counts."""

import dataclasses
import json
import subprocess
import sys

import pytest
from model.small import small_config, small_model

from songbloom.errors import UsageError
from songbloom.lyrics.frontends import vocabulary
from songbloom.model.config import ABLATIONS, PRESETS, ModelConfig, SamplingConfig, preset
from songbloom.model.summary import summarize


@pytest.mark.parametrize("name", PRESETS)
def test_presets_load_and_round_trip(name: str) -> None:
    """Every preset is a valid config, and survives a dict and JSON."""
    config = preset(name)
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("name", [*PRESETS, *(f"ablations/{name}" for name in ABLATIONS)])
def test_presets_read_with_our_front_end(name: str) -> None:
    """Only the released sizes keep the release's front end; each has a row for every symbol."""
    config = preset(name)
    assert config.frontend == ("release" if name in ("full_150s", "full_240s") else "v1")
    assert config.lyric_vocab_size == len(vocabulary(config.frontend))


def test_released_size() -> None:
    """The released 150 s model has 1,872,372,929 parameters, of which the released files keep
    1536 in a frozen zero and a zero `beta` for each of the DiT's 24 norms that we do not have."""
    counted = summarize(preset("full_150s"))
    assert counted["total_parameters"] + 1536 == 1_872_372_929
    parts = counted["parameters"]
    assert round(parts["sketch_transformer"] / 1e6, 2) == 1359.07
    assert round(parts["dit"] / 1e6, 2) == 453.02
    assert round(parts["sketch_embedding"] / 1e6, 2) == 25.17
    assert round(parts["sketch_head"] / 1e6, 2) == 27.54
    assert round(parts["patch_encoder"] / 1e6, 2) == 3.94
    assert round(parts["time_embedding"] / 1e6, 2) == 2.75


def test_papers_sizes() -> None:
    """tiny is the paper's 16 + 8 layers, full its 24 + 12, both 1536 wide with 16384 codes."""
    tiny, full = preset("tiny"), preset("full")
    assert (tiny.ar_layers, tiny.dit_layers) == (16, 8)
    assert (full.ar_layers, full.dit_layers) == (24, 12)
    assert {tiny.dim, full.dim} == {1536}
    assert {tiny.sketch_vocab_size, full.sketch_vocab_size} == {16_384}
    assert tiny.objective.masking == full.objective.masking == "paper"
    assert tiny.objective.flow_weight == 0.1


def test_released_presets_differ_as_released() -> None:
    """The 240 s model: RoPE base 40000, 1000 lyric symbols, noise temperature 0.9, 250 s."""
    short, long = preset("full_150s"), preset("full_240s")
    assert (short.ar_layers, long.ar_layers) == (36, 36)
    assert (short.ar_rope_base, long.ar_rope_base) == (20_000, 40_000)
    assert (short.lyric_length, long.lyric_length) == (600, 1000)
    assert (short.sampling.noise_temperature, long.sampling.noise_temperature) == (0.95, 0.9)
    assert (short.sampling.max_duration, long.sampling.max_duration) == (160, 250)
    assert short.dit_rope_base == long.dit_rope_base == 20_000
    assert short.sampling.repetition_penalty == 1.1


def test_counts_agree_with_a_real_model() -> None:
    """Counting on the meta device is counting a built model."""
    model = small_model()
    counted = summarize(model.config)
    assert counted["total_parameters"] == sum(p.numel() for p in model.parameters())
    assert sum(counted["parameters"].values()) == counted["total_parameters"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dim": 65}, ["65", "2 heads"]),
        ({"num_heads": 4}, ["head_dim of 16", "32"]),
        ({"dim": 66}, ["33", "even"]),
        ({"num_heads": 0}, ["num_heads is 0"]),
        ({"ar_layers": 0}, ["ar_layers is 0"]),
        ({"patch_size": 0}, ["patch_size is 0"]),
        ({"lyric_length": 0}, ["lyric_length is 0"]),
    ],
)
def test_contradictions(changes: dict[str, int], words: list[str]) -> None:
    """Sizes that cannot be are refused with the numbers."""
    with pytest.raises(UsageError) as caught:
        small_config(**changes)
    for word in words:
        assert word in caught.value.message


@pytest.mark.parametrize(
    ("table", "key", "near"),
    [
        (None, "num_head", "num_heads"),
        ("sampling", "temprature", "temperature"),
        ("objective", "flow_wieght", "flow_weight"),
    ],
)
def test_unknown_key(table: str | None, key: str, near: str) -> None:
    """An unknown key is refused with the nearest known one, in nested tables too."""
    values = small_config().to_dict()
    (values[table] if table else values)[key] = 1
    with pytest.raises(UsageError, match=key) as caught:
        ModelConfig.from_dict(values)
    assert near in caught.value.hint


def test_missing_key() -> None:
    """Sizes have no defaults: a missing one is named."""
    values = small_config().to_dict()
    del values["ffn_dim"]
    with pytest.raises(UsageError, match="ffn_dim"):
        ModelConfig.from_dict(values)


def test_unknown_preset() -> None:
    """A misspelt preset is answered with the nearest."""
    with pytest.raises(UsageError) as caught:
        preset("seedlng")
    assert "'seedling'" in caught.value.hint


@pytest.mark.parametrize(
    ("seconds", "frames"), [(0.04, 1), (0.041, 2), (5.12, 128), (160.0, 4000), (1 / 3, 9)]
)
def test_length_limit_in_frames(seconds: float, frames: int) -> None:
    """Seconds are counted up to whole frames, without rounding noise."""
    assert SamplingConfig(max_duration=seconds).max_frames == frames


def test_configs_are_frozen() -> None:
    """Nothing changes a config after it was made."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        small_config().dim = 3  # type: ignore[misc]


def test_config_needs_no_torch() -> None:
    """Presets are read without importing torch."""
    code = "import sys, songbloom.model.config as c; c.preset('nano'); assert 'torch' not in sys.modules"  # noqa: E501
    subprocess.run([sys.executable, "-c", code], check=True)
