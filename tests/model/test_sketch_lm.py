"""The transformers: against plain formulas, and with a cache against without."""

import math

import pytest
import torch
from model.small import largest, seeded, small_model
from torch import Tensor

from songbloom.model.layers import Attention, SwiGLU, apply_rope, rope_table
from songbloom.model.sketch_lm import SketchLM

DIM, HEADS, LENGTH = 64, 2, 9
HEAD = DIM // HEADS


def rotate(vector: list[float], position: int, rope_dim: int, base: float) -> list[float]:
    """Rotary positions pair by pair: dimension i turns with i + rope_dim / 2."""
    turned = list(vector)
    half = rope_dim // 2
    for i in range(half):
        angle = position * base ** (-2 * i / rope_dim)
        a, b = vector[i], vector[i + half]
        turned[i] = a * math.cos(angle) - b * math.sin(angle)
        turned[i + half] = b * math.cos(angle) + a * math.sin(angle)
    return turned


def slow_attention(
    layer: Attention, x: Tensor, *, causal: bool, rope_dim: int, base: float
) -> Tensor:
    """One song, head by head and position by position, in double precision."""
    q, k, v = (x.double() @ layer.qkv.weight.double().T).split(DIM, dim=-1)
    rows = []
    for at in range(len(x)):
        heads = []
        for head in range(HEADS):
            part = slice(head * HEAD, (head + 1) * HEAD)
            asks = torch.tensor(rotate(q[at, part].tolist(), at, rope_dim, base))
            seen = range(at + 1) if causal else range(len(x))
            keys = [torch.tensor(rotate(k[j, part].tolist(), j, rope_dim, base)) for j in seen]
            scores = [math.exp(float(asks @ key) / math.sqrt(HEAD)) for key in keys]
            mixed = sum(score * v[j, part] for score, j in zip(scores, seen, strict=True))
            heads.append(mixed / sum(scores))
        rows.append(torch.cat(heads))
    return torch.stack(rows) @ layer.out.weight.double().T


@pytest.mark.parametrize(
    ("causal", "rope_dim", "base"), [(True, HEAD, 20_000.0), (True, HEAD, 500.0), (False, 32, 20.0)]
)
@torch.no_grad()
def test_attention_is_the_formula(causal: bool, rope_dim: int, base: float) -> None:
    """softmax(q k / sqrt(head_dim)) v with rotary positions, one number at a time."""
    torch.manual_seed(0)
    layer = Attention(DIM, HEADS, causal=causal)
    layer.qkv.weight.mul_(4)
    x = torch.randn(LENGTH, DIM)
    rope = rope_table(torch.arange(LENGTH), rope_dim, base)
    slow = slow_attention(layer, x, causal=causal, rope_dim=rope_dim, base=base)
    assert largest(layer(x[None], rope)[0] - slow) < 1e-5


def test_rope_leaves_the_rest_of_the_head() -> None:
    """Dimensions beyond rope_dim pass unchanged, and rotation keeps every pair's length."""
    x = torch.randn(1, HEADS, LENGTH, 64, generator=seeded(1))
    turned = apply_rope(x, rope_table(torch.arange(LENGTH), 32, 20_000.0))
    assert torch.equal(turned[..., 32:], x[..., 32:])
    assert not torch.allclose(turned[..., 1:, :32], x[..., 1:, :32])
    pairs = x[..., :16].square() + x[..., 16:32].square()
    assert torch.allclose(pairs, turned[..., :16].square() + turned[..., 16:32].square(), atol=1e-5)


def test_rope_stays_exact_in_bfloat16() -> None:
    """Late positions keep float32 angles in a bfloat16 model: error is bfloat16's, not radians."""
    x = torch.randn(1, 1, 1, 64, generator=seeded(2))
    rope = rope_table(torch.tensor([5000]), 64, 20_000.0)
    exact, rounded = apply_rope(x, rope), apply_rope(x.bfloat16(), rope)
    assert largest(exact - rounded.float()) < 0.05


@torch.no_grad()
def test_swiglu_is_the_formula() -> None:
    """down(SiLU(gate) * up), the gate's rows first in the fused weight."""
    torch.manual_seed(1)
    layer = SwiGLU(DIM, 96)
    x = torch.randn(3, DIM)
    gate, up = layer.gate_up.weight[:96], layer.gate_up.weight[96:]
    plain = (x @ gate.T) * torch.sigmoid(x @ gate.T) * (x @ up.T) @ layer.down.weight.T
    assert largest(layer(x) - plain) < 1e-5


@pytest.fixture
def lm() -> SketchLM:
    return small_model().sketch_lm


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 21, DIM, generator=seeded(3))


@pytest.mark.parametrize(
    "pieces", [[21], [20, 1], [1] * 21, [9, 1, 1, 10], [1, 20], [7, 7, 7], [9, 12]]
)
@torch.no_grad()
def test_cached_is_uncached(lm: SketchLM, x: Tensor, pieces: list[int]) -> None:
    """Outputs are the same however the positions arrive: one by one, or several after others."""
    whole = lm(x)
    cache = lm.allocate_cache(rows=2, capacity=30)
    outputs = [lm(piece, cache) for piece in x.split(pieces, dim=1)]
    assert cache.length == 21
    assert largest(torch.cat(outputs, dim=1) - whole) < 1e-5


@torch.no_grad()
def test_cache_rewinds_by_its_length(lm: SketchLM, x: Tensor) -> None:
    """What stands beyond `length` is never read: a shorter length forgets."""
    cache = lm.allocate_cache(rows=2, capacity=30)
    lm(x[:, :12], cache)
    lm(torch.full((2, 9, DIM), 50.0), cache)
    cache.length = 12
    assert largest(lm(x[:, 12:], cache) - lm(x)[:, 12:]) < 1e-5


@torch.no_grad()
def test_cache_selects_rows(lm: SketchLM, x: Tensor) -> None:
    """Rows that stay go on as if they had been alone."""
    cache = lm.allocate_cache(rows=2, capacity=30)
    lm(x[:, :12], cache)
    left = cache.select(torch.tensor([False, True]))
    assert largest(lm(x[1:, 12:], left) - lm(x)[1:, 12:]) < 1e-5


@torch.no_grad()
def test_later_input_changes_no_earlier_output(lm: SketchLM, x: Tensor) -> None:
    """Causal over everything: outputs before a changed position are bit for bit the same."""
    changed = x.clone()
    changed[:, 13:] += 1
    before, after = lm(x), lm(changed)
    assert torch.equal(before[:, :13], after[:, :13])
    assert largest(before[:, 13] - after[:, 13]) > 0.01
