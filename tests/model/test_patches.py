"""The interleaved sequence: against plain loops, and its causality by gradient."""

from collections.abc import Callable

import pytest
import torch
from model.small import random_batch, seeded, small_model
from torch import Tensor

from songbloom.model.patches import (
    interleave,
    patchify,
    previous_patches,
    sketch_targets,
    split_outputs,
)

P, N, D = 4, 3, 5
FRAMES = N * P


@pytest.fixture
def parts() -> tuple[Tensor, Tensor, Tensor]:
    """BOS, sketch embeddings, acoustic embeddings of two songs."""
    generator = seeded(0)
    shapes = [(D,), (2, N, P, D), (2, N, D)]
    bos, sketch, acoustic = (torch.randn(shape, generator=generator) for shape in shapes)
    return bos, sketch, acoustic


def slow_sequence(bos: Tensor, sketch: Tensor, acoustic: Tensor) -> list[Tensor]:
    """BOS, s1 .. sP, A1, s(P+1) .. of one song."""
    rows = [bos]
    for patch in range(N):
        for frame in range(P):
            rows.append(sketch[patch, frame])
        rows.append(acoustic[patch])
    return rows


def test_interleave(parts: tuple[Tensor, Tensor, Tensor]) -> None:
    """`interleave` is the loop over patches and frames."""
    bos, sketch, acoustic = parts
    sequence = interleave(bos, sketch, acoustic)
    assert sequence.shape == (2, 1 + N * (P + 1), D)
    for song in range(2):
        rows = slow_sequence(bos, sketch[song], acoustic[song])
        assert torch.equal(sequence[song], torch.stack(rows))


def test_split_outputs() -> None:
    """Hidden vectors stand at each patch's last sketch token; all other outputs predict."""
    outputs = torch.arange(2 * (1 + N * (P + 1)) * D).view(2, -1, D)
    predicting, hidden = split_outputs(outputs, P)
    for song in range(2):
        rows, hiddens = [], []
        for position in range(1 + N * (P + 1)):
            is_last_of_patch = position % (P + 1) == P
            (hiddens if is_last_of_patch else rows).append(outputs[song, position])
        assert torch.equal(predicting[song], torch.stack(rows))
        assert torch.equal(hidden[song], torch.stack(hiddens))
    assert predicting.shape == (2, FRAMES + 1, D)


@pytest.mark.parametrize("lengths", [[12, 12], [0, 1], [5, 11]])
def test_sketch_targets(lengths: list[int]) -> None:
    """The sketch, EOS at the song's length, then targets without loss."""
    sketch = torch.randint(9, (2, FRAMES), generator=seeded(1))
    targets = sketch_targets(sketch, torch.tensor(lengths), eos_id=90, ignore_id=91)
    for song, length in enumerate(lengths):
        slow = [int(sketch[song, frame]) for frame in range(length)] + [90]
        slow += [91] * (FRAMES - length)
        assert targets[song].tolist() == slow


def test_previous_patches() -> None:
    """Each patch sees the one before it, the first sees zeros."""
    latents = patchify(torch.randn(2, FRAMES, 8, generator=seeded(2)), P)
    previous = previous_patches(latents)
    assert not previous[:, 0].any()
    for patch in range(1, N):
        assert torch.equal(previous[:, patch], latents[:, patch - 1])


def test_patchify_keeps_time() -> None:
    """Frame t is frame t % P of patch t // P."""
    frames = torch.arange(FRAMES).view(1, FRAMES, 1)
    patches = patchify(frames, P)
    assert all(patches[0, t // P, t % P, 0] == t for t in range(FRAMES))


class Heard:
    """The teacher-forced pass with gradients to every sketch embedding and latent frame."""

    def __init__(self) -> None:
        model = small_model()
        self.model = model
        batch, self.draws = random_batch(model.config, [FRAMES], N)
        self.prefix = model.prefix(batch.conditions).detach().requires_grad_()
        self.sketch = model.sketch_lm.embedding(batch.sketch).detach().requires_grad_()
        self.latents = batch.latents.clone().requires_grad_()
        sketch, latents = patchify(self.sketch, P), patchify(self.latents, P)
        self.draws.drop_hidden[:] = False
        self.draws.drop_sketch[:] = False
        outputs, self.hidden = model.listen(sketch, latents, self.prefix)
        self.logits = model.sketch_lm.head(outputs)
        self.velocity = model.paint(sketch, latents, latents, self.hidden, self.draws)

    def reach(self, output: Tensor) -> tuple[list[bool], list[bool]]:
        """Which sketch frames and which latent frames change `output`."""
        weights = torch.randn(output.shape, generator=seeded(5))
        sketch, latents, prefix = torch.autograd.grad(
            (output * weights).sum(),
            (self.sketch, self.latents, self.prefix),
            retain_graph=True,
            materialize_grads=True,
        )
        assert prefix.abs().sum(-1).gt(0).all(), "every prefix vector is attended to"
        return _moved(sketch), _moved(latents)


def _moved(gradient: Tensor) -> list[bool]:
    return gradient[0].abs().sum(-1).gt(0).tolist()


@pytest.fixture(scope="module")
def heard() -> Heard:
    return Heard()


def upto(frames: int) -> list[bool]:
    return [frame < frames for frame in range(FRAMES)]


@pytest.mark.parametrize("frame", range(FRAMES + 1))
def test_logits_hear_the_past_only(heard: Heard, frame: int) -> None:
    """Logits of frame k hear every sketch token before k and the latents of every whole patch
    before k's, and nothing else (k = T is the frame after the last)."""
    sketch, latents = heard.reach(heard.logits[0, frame])
    assert sketch == upto(frame)
    assert latents == upto(frame // P * P)


@pytest.mark.parametrize("patch", range(N))
def test_hidden_hears_its_sketch_but_not_its_latents(heard: Heard, patch: int) -> None:
    """Patch i's hidden vector hears the sketch up to i's end and latents up to i - 1's end."""
    sketch, latents = heard.reach(heard.hidden[0, patch])
    assert sketch == upto((patch + 1) * P)
    assert latents == upto(patch * P)


@pytest.mark.parametrize("patch", range(N))
def test_velocity_hears_nothing_later(heard: Heard, patch: int) -> None:
    """Patch i's velocity hears sketch and latents up to its own end (its latents are the noised
    input), none of patch i + 1."""
    sketch, latents = heard.reach(heard.velocity[0, patch])
    assert sketch == latents == upto((patch + 1) * P)


def _dit_reach(call: Callable[[Tensor], Tensor], previous: Tensor) -> list[list[bool]]:
    velocity = call(previous)
    return [
        torch.autograd.grad(velocity[0, frame].sum(), previous, retain_graph=True)[0][0]
        .abs()
        .sum(-1)
        .gt(0)
        .tolist()
        for frame in range(P)
    ]


def test_dit_attends_to_everything_in_its_patch() -> None:
    """In the DiT every frame of the velocity hears every frame of the patch before: no mask."""
    model = small_model()
    noisy, previous = torch.randn(2, 1, P, 8, generator=seeded(4))
    hidden = torch.randn(1, model.config.dim, generator=seeded(6))
    sketch = torch.randn(1, P, model.config.dim, generator=seeded(7))
    t = torch.tensor([0.5])
    reach = _dit_reach(
        lambda x: model.dit(noisy, t, hidden, sketch, x), previous.clone().requires_grad_()
    )
    assert reach == [[True] * P] * P
