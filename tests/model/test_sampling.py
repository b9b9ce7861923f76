"""From logits to a token: guidance, penalty, temperature, top-k, draw, against plain Python."""

import math

import pytest
import torch
from model.small import largest, seeded
from torch import Tensor

from songbloom.generation.draws import CounterDraws, ReleaseDraws
from songbloom.model.sampling import guide, invert_cdf, penalize_repetition, probabilities

EOS = 9


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(3, EOS + 1, generator=seeded(0)) * 3


def test_guidance(logits: Tensor) -> None:
    """Scale 1 is the conditional logits, 0 the null ones, 2 as far again beyond."""
    null = logits.flip(0)
    assert largest(guide(logits, null, 1.0) - logits) < 1e-6
    assert torch.equal(guide(logits, null, 0.0), null)
    assert largest(guide(logits, null, 2.0) - (2 * logits - null)) < 1e-5


def test_penalty(logits: Tensor) -> None:
    """Logits of recent tokens are divided, once each and whatever their sign; EOS is spared."""
    recent = torch.tensor([[1, 1, 4, EOS], [0, 2, 3, 5], [EOS, EOS, EOS, EOS]])
    penalized = penalize_repetition(logits, recent, 1.1, EOS)
    for row in range(3):
        for token in range(EOS + 1):
            divided = token in recent[row].tolist() and token != EOS
            expected = logits[row, token] / (1.1 if divided else 1.0)
            assert float(penalized[row, token]) == pytest.approx(float(expected), rel=1e-6)
    raised = (logits < 0) & (penalized > logits)
    assert raised.any(), "a negative logit rises: the release's quirk"


def slow_probabilities(row: list[float], temperature: float, top_k: int) -> list[float]:
    exponents = [math.exp(x / temperature) for x in row]
    if 0 < top_k < len(row):
        least = sorted(exponents, reverse=True)[top_k - 1]
        exponents = [e if e >= least else 0.0 for e in exponents]
    return [e / sum(exponents) for e in exponents]


@pytest.mark.parametrize("temperature", [0.3, 0.9, 2.0])
@pytest.mark.parametrize("top_k", [0, 1, 4, EOS + 1, 1000])
def test_probabilities(logits: Tensor, temperature: float, top_k: int) -> None:
    """softmax at a temperature over the top k, renormalised; 0 and too large mean all."""
    probs = probabilities(logits, temperature, top_k)
    for row in range(3):
        slow = slow_probabilities(logits[row].tolist(), temperature, top_k)
        assert probs[row].tolist() == pytest.approx(slow, abs=1e-6)


def test_ties_with_the_last_are_kept() -> None:
    """Tokens as likely as the k-th one stay in."""
    probs = probabilities(torch.tensor([[1.0, 0.0, 0.0, -1.0]]), 1.0, 2)
    assert (probs > 0).tolist() == [[True, True, True, False]]


def test_inverted_cdf() -> None:
    """A uniform draw lands in the token whose stretch of the unit interval holds it."""
    probs = torch.tensor([[0.25, 0.0, 0.5, 0.25]])
    for uniform, token in [(0.0, 0), (0.2499, 0), (0.25, 2), (0.7499, 2), (0.75, 3), (0.9999, 3)]:
        assert invert_cdf(probs, torch.tensor([uniform])).item() == token


def test_impossible_tokens_are_never_drawn() -> None:
    """A token of probability zero is not drawn, at the ends of the interval either."""
    probs = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0]).expand(4, -1)
    uniform = torch.tensor([0.0, 0.5, 1.0 - 2**-24, 0.25])
    assert set(invert_cdf(probs, uniform).tolist()) <= {1, 3}


@pytest.mark.parametrize("kind", [CounterDraws, ReleaseDraws])
def test_draws_follow_the_probabilities(kind: type) -> None:
    """Over many draws each token comes as often as its probability says (within 5 sigma)."""
    probs = torch.tensor([0.1, 0.0, 0.6, 0.3])
    draws, count = kind(7), 4000
    tokens = torch.stack([draws.token(probs, i // 16, i % 16) for i in range(count)])
    shares = torch.bincount(tokens, minlength=4) / count
    sigma = (probs * (1 - probs) / count).sqrt()
    assert ((shares - probs).abs() <= 5 * sigma).all()


def test_counter_draws_hang_on_nothing_else() -> None:
    """A draw follows from seed, purpose, patch and position, whatever was drawn before it."""
    flat = torch.full((1000,), 1e-3)
    fresh, used = CounterDraws(3), CounterDraws(3)
    used.noise(0, (4, 8))
    used.token(flat, 0, 0)
    assert torch.equal(fresh.token(flat, 5, 7), used.token(flat, 5, 7))
    assert torch.equal(fresh.noise(5, (4, 8)), used.noise(5, (4, 8)))
    everywhere = [int(fresh.token(flat, patch, at)) for patch in range(8) for at in range(16)]
    assert len(set(everywhere)) > 100, "draws differ from place to place"
    assert not torch.equal(fresh.noise(0, (4, 8)), fresh.noise(1, (4, 8)))
    assert not torch.equal(fresh.noise(0, (4, 8)), CounterDraws(4).noise(0, (4, 8)))


def test_release_draws_are_one_stream() -> None:
    """The released order: multinomial draws and [1, P, C] noise from one generator."""
    probs, stream = torch.full((50,), 0.02), seeded(11)
    draws = ReleaseDraws(11)
    for patch in range(2):
        for position in range(4):
            expected = torch.multinomial(probs, 1, generator=stream)[0]
            assert torch.equal(draws.token(probs, patch, position), expected)
        noise = torch.randn(1, 4, 8, generator=stream)[0]
        assert torch.equal(draws.noise(patch, (4, 8)), noise)
