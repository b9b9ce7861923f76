"""A released checkpoint, loaded, gives the released model's numbers (tolerances: release-mini)."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from songbloom.generation.draws import ReleaseDraws
from songbloom.generation.engine import generate_patches
from songbloom.model.conditioning import NULL_CONDITIONS, Conditions, LyricIds
from songbloom.model.config import SamplingConfig
from songbloom.model.sampling import guide
from songbloom.model.songbloom import Batch, FlowDraws

Expected = dict[str, Tensor]


def largest_difference(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


@pytest.fixture
def lyrics(mini: Any, expected_phonemes: str) -> LyricIds:
    ids = mini.vocabulary.encode(expected_phonemes)
    return LyricIds.from_tokens(ids, mini.vocabulary, max_sentences=50)


def reference(mini: Any, expected: Expected, generator: torch.Generator) -> Tensor:
    """Two rows are drawn, as in the release; the second belongs to its null clip."""
    audio = expected["prompt_wav"].expand(2, 2, -1)
    with torch.inference_mode():
        return mini.vae.encode(audio, generator=generator)[0]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_lyric_ids_equal(lyrics: LyricIds, expected: Expected) -> None:
    """Symbol ids equal the release's, the double space's empty symbol included."""
    assert lyrics.tokens.tolist() == expected["lyric_ids.cond"].tolist()
    assert 0 in lyrics.tokens.tolist()
    assert NULL_CONDITIONS.lyrics.tokens.tolist() == expected["lyric_ids.null"].tolist()


def test_lyric_embeddings_equal(mini: Any, lyrics: LyricIds, expected: Expected) -> None:
    """Lyric embeddings are exact, conditional and null."""
    embed = mini.songbloom.conditioner.lyrics
    assert torch.equal(embed(lyrics), expected["cond.lyrics.emb"][0])
    assert torch.equal(embed(NULL_CONDITIONS.lyrics), expected["cond.lyrics.emb"][1])


def test_prefix(mini: Any, lyrics: LyricIds, expected: Expected) -> None:
    """The prefix is the reference's 250 vectors, then the lyrics' 600, within 1e-6."""
    conditions = Conditions(lyrics, reference(mini, expected, seeded(99)))
    prefix = mini.songbloom.prefix([conditions, NULL_CONDITIONS])
    assert largest_difference(prefix, expected["gen_prefix"]) < 1e-6


@pytest.fixture
def teacher(
    mini: Any, lyrics: LyricIds, expected: Expected
) -> tuple[Batch, FlowDraws, dict[str, Tensor]]:
    latents = expected["train.x_latent"].transpose(1, 2)
    conditions = Conditions(lyrics, reference(mini, expected, seeded(42)))
    batch = Batch(expected["train.x_sketch"], latents, torch.tensor([48]), [conditions])
    generator = seeded(5)
    t = torch.randn(3, generator=generator).sigmoid()
    noise = torch.randn(3, 16, 64, generator=generator)
    kept = torch.zeros(1, 3, dtype=torch.bool)
    return batch, FlowDraws(t[None], noise[None], kept, kept, kept[:, 0]), expected


def test_teacher_forced_pass(
    mini: Any, teacher: tuple[Batch, FlowDraws, dict[str, Tensor]]
) -> None:
    """Logits within 5e-5, velocities within 1e-5, and the losses are the formulas on them."""
    batch, draws, expected = teacher
    predictions = mini.songbloom.predict(batch, draws)
    assert largest_difference(draws.t[0], expected["train.nar_t"]) == 0
    assert largest_difference(predictions.logits, expected["train.ar_logit"]) < 5e-5
    assert largest_difference(predictions.velocity[0], expected["train.nar_pred"]) < 1e-5
    losses = mini.songbloom(batch, draws)
    sketch = torch.nn.functional.cross_entropy(
        expected["train.ar_logit"][0], expected["train.ar_target"][0], ignore_index=201
    )
    flow = (expected["train.nar_pred"] - expected["train.nar_target"]).square().mean()
    assert losses.sketch.item() == pytest.approx(sketch.item(), abs=1e-5)
    assert losses.flow.item() == pytest.approx(flow.item(), abs=1e-5)
    assert losses.total.item() == pytest.approx((sketch + 0.1 * flow).item(), abs=1e-5)


def test_dit(mini: Any, expected: Expected) -> None:
    """One velocity, plain and guided, within 1e-5."""
    arguments = [expected[f"dit.{name}"] for name in ("x", "t", "h", "s", "hist")]
    velocity = mini.songbloom.dit(*arguments)
    assert largest_difference(velocity, expected["dit.out"]) < 1e-5
    x, t, hidden, sketch, previous = arguments
    null = mini.songbloom.dit(x, t, torch.zeros_like(hidden), torch.zeros_like(sketch), previous)
    assert largest_difference(guide(velocity, null, 1.5), expected["dit.out_cfg"]) < 1e-5


def test_vae(mini: Any, expected: Expected) -> None:
    """Decoding and posterior sampling within 1e-5."""
    decoded = mini.vae.decode(expected["vae.lat"].transpose(1, 2))
    assert largest_difference(decoded, expected["vae.dec_full"]) < 1e-5
    audio = expected["vae.wav"].expand(1, 2, -1)
    encoded = mini.vae.encode(audio, generator=seeded(3)).transpose(1, 2)
    assert largest_difference(encoded, expected["vae.enc"]) < 1e-5


def sing(
    mini: Any, lyrics: LyricIds, expected: Expected, seed: int, sampling: SamplingConfig
) -> tuple[Tensor, Tensor]:
    draws = ReleaseDraws(seed)
    conditions = Conditions(lyrics, reference(mini, expected, draws.reference()))
    patches = [p[0] for p in generate_patches(mini.songbloom, [conditions], sampling, [draws])]
    tokens = torch.cat([torch.empty(0, dtype=torch.int64), *(p.sketch for p in patches)])
    return tokens, torch.cat([torch.empty(0, 64), *(p.latents for p in patches)])


@pytest.mark.parametrize(("name", "temperature"), [("gen_greedy", 0.0), ("gen_sample", 0.9)])
def test_generation(
    mini: Any, lyrics: LyricIds, expected: Expected, name: str, temperature: float
) -> None:
    """A whole generation: tokens exact, latents within 1e-5."""
    sampling = replace(mini.config.sampling, max_duration=5.12, temperature=temperature)
    tokens, latents = sing(mini, lyrics, expected, 99, sampling)
    assert torch.equal(tokens, expected[f"{name}.tokens"][0])
    assert largest_difference(latents, expected[f"{name}.latents"][0].T) < 1e-5


def test_end_of_song(mini: Any, lyrics: LyricIds, expected: Expected) -> None:
    """EOS ends the song after whole patches: tokens exact, latents within 1e-5."""
    mini.songbloom.sketch_lm.head[2].bias[-1] = 0.25
    sampling = replace(mini.config.sampling, max_duration=5.12)
    tokens, latents = sing(mini, lyrics, expected, 101, sampling)
    assert torch.equal(tokens, expected["gen_eos_mid.tokens"][0])
    assert largest_difference(latents, expected["gen_eos_mid.latents"][0].T) < 1e-5


def test_end_at_once(mini: Any, lyrics: LyricIds, expected: Expected) -> None:
    """EOS in the first patch yields nothing (the file is then one patch of zeros)."""
    mini.songbloom.sketch_lm.head[2].bias[-1] = 50.0
    tokens, latents = sing(mini, lyrics, expected, 99, mini.config.sampling)
    assert len(tokens) == len(latents) == 0
    assert not expected["gen_eos.latents"].any()
    assert expected["gen_eos.latents"].shape[-1] == 16
