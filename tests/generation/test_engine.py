"""The engine: equal to its naive twin, song by song equal to itself alone, seeded, bounded."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from generation.naive import sing
from model.small import largest, random_conditions, small_model
from torch import Tensor

from songbloom.generation.draws import CounterDraws, Draws, ReleaseDraws
from songbloom.generation.engine import generate_patches, max_patches
from songbloom.model.conditioning import Conditions
from songbloom.model.config import SamplingConfig
from songbloom.model.songbloom import SongBloom

SAMPLING = SamplingConfig(
    num_steps=5,
    sketch_cfg_scale=1.7,
    latent_cfg_scale=1.4,
    temperature=1.0,
    top_k=25,
    repetition_penalty=1.3,
    repetition_window=6,
    noise_temperature=0.8,
    max_duration=0.64,  # 4 patches of 4 frames
)
Song = tuple[list[int], Tensor]


@pytest.fixture(scope="module")
def model() -> SongBloom:
    return small_model()


def engine(
    model: SongBloom,
    conditions: list[Conditions],
    sampling: SamplingConfig = SAMPLING,
    draws: list[Draws] | None = None,
) -> list[Song]:
    """Every song's tokens and latents `[T, C]`."""
    draws = draws or [CounterDraws(i) for i in range(len(conditions))]
    songs: list[Song] = [([], torch.empty(0, 8)) for _ in conditions]
    for patches in generate_patches(model, conditions, sampling, draws):
        for patch in patches:
            tokens, latents = songs[patch.song]
            assert len(tokens) == 4 * patch.index, "patches come in order"
            songs[patch.song] = (
                tokens + patch.sketch.tolist(),
                torch.cat([latents, patch.latents]),
            )
    return songs


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temperature": 0.0},
        {"temperature": 0.0, "sketch_cfg_scale": 1.0, "latent_cfg_scale": 1.0},
        {"sketch_cfg_scale": 1.0},
        {"latent_cfg_scale": 1.0},
        {"repetition_penalty": 1.0, "noise_temperature": 1.0},
        {"top_k": 0, "repetition_window": 50},
        {"sketch_cfg_scale": 0.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("rng", [CounterDraws, ReleaseDraws])
def test_engine_is_the_naive_twin(model: SongBloom, changes: dict[str, Any], rng: type) -> None:
    """Cached and batched guidance = everything from scratch: tokens equal, latents within 1e-5."""
    sampling = replace(SAMPLING, **changes)
    conditions = random_conditions(model.config, 5)
    naive = sing(model, conditions, sampling, rng(3))
    ((tokens, latents),) = engine(model, [conditions], sampling, [rng(3)])
    assert len(tokens) == 16
    assert tokens == naive.tokens
    assert largest(latents - naive.latents) < 1e-5


def test_every_option_is_heard(model: SongBloom) -> None:
    """Each sampling option changes the song, so that the twin's agreement means something."""
    conditions = [random_conditions(model.config, 5)]
    ((tokens, latents),) = engine(model, conditions)
    for change in (
        {"num_steps": 4},
        {"sketch_cfg_scale": 1.0},
        {"latent_cfg_scale": 1.0},
        {"temperature": 0.3},
        {"top_k": 1},
        {"noise_temperature": 1.0},
        {"repetition_penalty": 3.0},
        {"repetition_window": 50, "repetition_penalty": 3.0},
    ):
        ((others, painted),) = engine(model, conditions, replace(SAMPLING, **change))
        assert others != tokens or largest(painted - latents) > 1e-3, change


@pytest.mark.parametrize("rng", [CounterDraws, ReleaseDraws])
def test_batched_songs_are_single_songs(model: SongBloom, rng: type) -> None:
    """Three songs at once are the three songs one at a time."""
    conditions = [random_conditions(model.config, seed) for seed in (1, 2, 3)]
    together = engine(model, conditions, draws=[rng(s) for s in (7, 8, 9)])
    for seed, here, (tokens, latents) in zip((7, 8, 9), conditions, together, strict=True):
        ((alone, painted),) = engine(model, [here], draws=[rng(seed)])
        assert tokens == alone
        assert largest(latents - painted) < 1e-5
    assert together[0][0] != together[1][0] != together[2][0]


def test_a_song_that_ends_leaves_the_others_unchanged() -> None:
    """Songs that reach EOS at different patches end there, without the patch that holds it, and
    each is what it would have been alone."""
    model = small_model()
    model.sketch_lm.head[2].bias.data[-1] = 4.0
    conditions = [random_conditions(model.config, seed) for seed in range(8)]
    sampling = replace(SAMPLING, sketch_cfg_scale=1.2, max_duration=1.28)
    together = engine(model, conditions, sampling)
    lengths = [len(tokens) for tokens, _ in together]
    assert len(set(lengths)) > 2, f"songs must end apart: {lengths}"
    for seed, (tokens, latents) in enumerate(together):
        naive = sing(model, conditions[seed], sampling, CounterDraws(seed))
        assert tokens == naive.tokens
        assert model.config.eos_id not in tokens
        assert len(latents) == len(tokens)
        assert not tokens or largest(latents - naive.latents) < 1e-5


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_guidance_of_one_is_the_conditional_model(model: SongBloom, temperature: float) -> None:
    """At scale 1 the null condition does not matter, and scales beside it come near it."""
    conditions = [random_conditions(model.config, 5)]
    off = replace(SAMPLING, sketch_cfg_scale=1.0, latent_cfg_scale=1.0, temperature=temperature)
    near = replace(off, sketch_cfg_scale=1 + 1e-6, latent_cfg_scale=1 + 1e-6)
    ((tokens, latents),) = engine(model, conditions, off)
    ((guided, painted),) = engine(model, conditions, near)
    assert tokens == guided
    assert largest(latents - painted) < 1e-4


@pytest.mark.parametrize("rng", [CounterDraws, ReleaseDraws])
def test_seeds(model: SongBloom, rng: type) -> None:
    """One seed twice gives the same bits; another seed another song."""
    conditions = [random_conditions(model.config, 5)]
    ((tokens, latents),) = engine(model, conditions, draws=[rng(1)])
    ((again, repeated),) = engine(model, conditions, draws=[rng(1)])
    ((others, painted),) = engine(model, conditions, draws=[rng(2)])
    assert tokens == again and torch.equal(latents, repeated)
    assert tokens != others and not torch.equal(latents, painted)


def test_greedy_sketch_takes_no_draws(model: SongBloom) -> None:
    """At temperature 0 the first patch's tokens are the same for every seed; latents are not."""
    conditions = [random_conditions(model.config, 5)]
    greedy = replace(SAMPLING, temperature=0.0, max_duration=0.16)
    songs = [engine(model, conditions, greedy, [CounterDraws(seed)])[0] for seed in (1, 2)]
    assert songs[0][0] == songs[1][0]
    assert largest(songs[0][1] - songs[1][1]) > 1e-3


@pytest.mark.parametrize(
    ("seconds", "patches"),
    [(0.04, 1), (0.16, 1), (0.17, 2), (0.2, 2), (0.32, 2), (0.33, 3), (0.64, 4)],
)
def test_length_limit(model: SongBloom, seconds: float, patches: int) -> None:
    """The limit is honoured to the patch that crosses it."""
    sampling = replace(SAMPLING, max_duration=seconds, num_steps=1)
    ((tokens, latents),) = engine(model, [random_conditions(model.config, 5)], sampling)
    assert len(tokens) == len(latents) == 4 * patches


@pytest.mark.parametrize(("seconds", "patches"), [(5.12, 8), (160, 250), (250, 391), (150, 235)])
def test_length_limit_as_released(seconds: float, patches: int) -> None:
    """Released limits: 160 s are 250 patches of 16 frames, 250 s are 391."""
    assert max_patches(SamplingConfig(max_duration=seconds), 16) == patches


def test_patches_are_yielded_as_made(model: SongBloom) -> None:
    """The first patch is there before the second is begun: its noise is not yet drawn."""
    asked: list[int] = []

    class Watched(CounterDraws):
        def noise(self, patch: int, shape: tuple[int, int]) -> Tensor:
            asked.append(patch)
            return super().noise(patch, shape)

    stream = generate_patches(model, [random_conditions(model.config, 5)], SAMPLING, [Watched(1)])
    assert next(stream)[0].index == 0
    assert asked == [0]
    assert next(stream)[0].index == 1
    assert asked == [0, 1]


def test_bfloat16_sings(model: SongBloom) -> None:
    """A bfloat16 model sings whole patches of finite float32 latents."""
    small = small_model().to(torch.bfloat16)
    ((tokens, latents),) = engine(small, [random_conditions(small.config, 5)])
    assert len(tokens) == 16 and latents.dtype == torch.float32
    assert latents.isfinite().all()
