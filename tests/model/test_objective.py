"""The training losses: what counts, what is masked, where gradients go."""

from dataclasses import replace

import pytest
import torch
from model.small import largest, random_batch, seeded, small_config, small_model

from songbloom.model.conditioning import Conditions
from songbloom.model.config import ObjectiveConfig
from songbloom.model.patches import patchify, previous_patches
from songbloom.model.songbloom import Batch, FlowDraws, Losses, SongBloom, draw_flow

N, P = 3, 4
FRAMES = N * P


@pytest.fixture(scope="module")
def model() -> SongBloom:
    return small_model()


def numbers(losses: Losses) -> list[float]:
    return [x.item() for x in (losses.total, losses.sketch, losses.flow)]


def song(batch: Batch, draws: FlowDraws, row: int) -> tuple[Batch, FlowDraws]:
    part = slice(row, row + 1)
    alone = Batch(
        batch.sketch[part], batch.latents[part], batch.lengths[part], batch.conditions[part]
    )
    one = FlowDraws(
        *(getattr(draws, name)[part] for name in ("t", "noise", "drop_hidden", "drop_sketch")),
        draws.drop_past[part],
    )
    return alone, one


def test_losses_are_their_formulas(model: SongBloom) -> None:
    """Cross-entropy over the song and its EOS, squared velocity error over its frames, frame by
    frame; total = sketch + flow_weight * flow."""
    batch, draws = random_batch(model.config, [7, 12], N)
    with torch.no_grad():
        losses, said = model(batch, draws), model.predict(batch, draws)
    nats, errors = [], []
    for row, length in enumerate([7, 12]):
        targets = [*batch.sketch[row, :length].tolist(), model.config.eos_id]
        logs = said.logits[row].log_softmax(-1)
        nats += [-float(logs[frame, target]) for frame, target in enumerate(targets)]
        for frame in range(length):
            patch, at = divmod(frame, P)
            target = draws.noise[row, patch, at] - batch.latents[row, frame]
            errors += (said.velocity[row, patch, at] - target).square().tolist()
    assert float(losses.sketch) == pytest.approx(sum(nats) / len(nats), rel=1e-5)
    assert float(losses.flow) == pytest.approx(sum(errors) / len(errors), rel=1e-5)
    assert float(losses.total) == pytest.approx(float(losses.sketch + 0.1 * losses.flow))
    assert (int(losses.sketch_count), int(losses.flow_count)) == (len(nats), len(errors))


@torch.no_grad()
def test_channels_count_by_their_weights(model: SongBloom) -> None:
    """The flow loss with weights is the mean of the channels' own losses, times their weights; the
    sketch's is what it was."""
    batch, draws = random_batch(model.config, [7, 12], N)
    plain, channels = model(batch, draws), model.config.latent_dim
    losses = []
    try:
        for channel in range(channels):
            model.channel_weights = torch.eye(channels)[channel] * channels
            losses.append(float(model(batch, draws).flow))
        model.channel_weights = torch.linspace(0, 3, channels)
        weighted = model(batch, draws)
    finally:
        model.channel_weights = None
    assert sum(losses) / channels == pytest.approx(float(plain.flow), rel=1e-5)
    expected = sum(3 * at / (channels - 1) * loss for at, loss in enumerate(losses)) / channels
    assert float(weighted.flow) == pytest.approx(expected, rel=1e-5)
    assert float(weighted.sketch) == float(plain.sketch)


def test_padding_content_changes_nothing(model: SongBloom) -> None:
    """Frames at and beyond a song's length may hold anything, in the patch where it ends too:
    losses and gradients are bit for bit equal."""
    batch, draws = random_batch(model.config, [6, 12], N)
    sketch, latents = batch.sketch.clone(), batch.latents.clone()
    sketch[0, 6:] = 39 - sketch[0, 6:]
    latents[0, 6:] = float("nan")
    results = []
    for given in (batch, replace(batch, sketch=sketch, latents=latents)):
        model.zero_grad()
        losses = model(given, draws)
        losses.total.backward()
        results.append((losses, [p.grad.clone() for p in model.parameters()]))
    (before, gradients), (after, others) = results
    assert numbers(before) == numbers(after)
    assert all(torch.equal(a, b) for a, b in zip(gradients, others, strict=True))


@torch.no_grad()
def test_two_songs_are_two_batches_of_one(model: SongBloom) -> None:
    """A batch's mean losses are its songs' own, weighted by what counts in each."""
    batch, draws = random_batch(model.config, [5, 12], N)
    both = model(batch, draws)
    alone = [model(*song(batch, draws, row)) for row in range(2)]
    sketch = sum(x.sketch * x.sketch_count for x in alone) / both.sketch_count
    flow = sum(x.flow * x.flow_count for x in alone) / both.flow_count
    assert float(both.sketch) == pytest.approx(float(sketch), rel=1e-6)
    assert float(both.flow) == pytest.approx(float(flow), rel=1e-6)


def test_flow_gradient_reaches_the_sketch_transformer() -> None:
    """The flow loss alone moves every weight of the AR transformer through the hidden vectors,
    and none of its head; a masked hidden vector passes nothing on."""
    model = small_model()
    batch, draws = random_batch(model.config, [FRAMES], N)
    draws.drop_hidden[:], draws.drop_sketch[:] = False, False
    model(batch, draws).flow.backward()
    for name, parameter in model.sketch_lm.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.any())
        assert reached != name.startswith("head"), name
    model.zero_grad()
    draws.drop_hidden[:] = True
    model(batch, draws).flow.backward()
    assert not any(p.grad is not None and p.grad.any() for p in model.sketch_lm.layers.parameters())


def test_sketch_gradient_reaches_all_but_the_dit() -> None:
    """The sketch loss moves conditioners, patch encoder and AR transformer, and no DiT weight."""
    model = small_model()
    batch, draws = random_batch(model.config, [FRAMES], N)
    model(batch, draws).sketch.backward()
    for name, parameter in model.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.any())
        assert reached != name.startswith("dit."), name


@torch.no_grad()
def test_masks_zero_what_the_dit_hears(model: SongBloom) -> None:
    """A dropped hidden vector or sketch is all zeros to the DiT, and history is the clean patch."""
    batch, draws = random_batch(model.config, [FRAMES], N)
    draws.drop_hidden[:], draws.drop_sketch[:] = False, False
    draws.drop_hidden[0, 1], draws.drop_sketch[0, 1] = True, True
    said = model.predict(batch, draws)
    latents = patchify(batch.latents, P)
    sketch = patchify(model.sketch_lm.embedding(batch.sketch), P)
    previous = previous_patches(latents)
    for patch in range(N):
        kept = float(patch != 1)
        t = draws.t[:, patch]
        noisy = (1 - t) * latents[:, patch] + t * draws.noise[:, patch]
        velocity = model.dit(
            noisy, t, kept * said.hidden[:, patch], kept * sketch[:, patch], previous[:, patch]
        )
        assert largest(velocity - said.velocity[:, patch]) < 1e-5


def many_masks(objective: ObjectiveConfig) -> tuple[torch.Tensor, torch.Tensor]:
    config = small_config(objective=objective, latent_dim=1, patch_size=1)
    draws = draw_flow(config, 20_000, [seeded(1)])
    return draws.drop_hidden[0], draws.drop_sketch[0]


def test_paper_masks() -> None:
    """Paper: the joint mask drops hidden and sketch together, a second mask the sketch alone."""
    hidden, sketch = many_masks(ObjectiveConfig(joint_mask_rate=0.1, sketch_mask_rate=0.05))
    assert (sketch | ~hidden).all(), "hidden masked implies sketch masked"
    assert float(hidden.float().mean()) == pytest.approx(0.1, abs=0.01)
    assert float(sketch.float().mean()) == pytest.approx(0.1 + 0.9 * 0.05, abs=0.01)


def test_release_masks() -> None:
    """Release: both masks on their own, so both together as rarely as chance has it."""
    objective = ObjectiveConfig(masking="release", joint_mask_rate=0.3, sketch_mask_rate=0.2)
    hidden, sketch = many_masks(objective)
    assert float(hidden.float().mean()) == pytest.approx(0.3, abs=0.015)
    assert float(sketch.float().mean()) == pytest.approx(0.2, abs=0.015)
    assert float((hidden & sketch).float().mean()) == pytest.approx(0.06, abs=0.01)


def test_the_past_is_dropped_for_whole_songs() -> None:
    """`past_dropout` is a share of songs, drawn behind everything else, so it changes no other."""
    deaf = small_config(objective=ObjectiveConfig(past_dropout=0.3), latent_dim=1, patch_size=1)
    seeds = range(1000)
    dropped = draw_flow(deaf, 2, [seeded(seed) for seed in seeds])
    heard = draw_flow(
        replace(deaf, objective=ObjectiveConfig()), 2, [seeded(seed) for seed in seeds]
    )
    assert dropped.drop_past.shape == (1000,) and not heard.drop_past.any()
    assert float(dropped.drop_past.float().mean()) == pytest.approx(0.3, abs=0.04)
    assert torch.equal(dropped.noise, heard.noise) and torch.equal(dropped.t, heard.t)
    assert torch.equal(dropped.drop_sketch, heard.drop_sketch)


@torch.no_grad()
def test_a_dropped_past_is_not_heard(model: SongBloom) -> None:
    """Where the past is dropped another first patch changes nothing behind it, in that song; where
    it is not, it changes the sketch's logits, the hidden vectors and the next patch's velocity."""
    batch, draws = random_batch(model.config, [FRAMES, FRAMES], N)
    draws.drop_hidden[:], draws.drop_sketch[:] = False, False
    draws.drop_past[:] = torch.tensor([True, False])
    before = model.predict(batch, draws)
    batch.latents[:, :P] += 1
    after = model.predict(batch, draws)
    for one, other in (
        (before.logits[:, P:], after.logits[:, P:]),
        (before.hidden[:, 1:], after.hidden[:, 1:]),
        (before.velocity[:, 1], after.velocity[:, 1]),
    ):
        assert torch.equal(one[0], other[0])
        assert largest(one[1] - other[1]) > 1e-4


def test_draws_are_each_songs_own() -> None:
    """A song's draws come from its generator alone, whatever shares its batch."""
    config = small_config()
    together = draw_flow(config, N, [seeded(1), seeded(2)])
    alone = draw_flow(config, N, [seeded(2)])
    for name in ("t", "noise", "drop_hidden", "drop_sketch", "drop_past"):
        assert torch.equal(getattr(together, name)[1], getattr(alone, name)[0])
    assert not torch.equal(together.noise[0], together.noise[1])


@torch.no_grad()
def test_conditions_matter(model: SongBloom) -> None:
    """Other lyrics or another reference give other losses."""
    batch, draws = random_batch(model.config, [FRAMES], N)
    here = batch.conditions[0]
    other = random_batch(model.config, [FRAMES], N, seed=8)[0].conditions[0]
    before = float(model(batch, draws).sketch)
    for conditions in (
        Conditions(other.lyrics, here.reference),
        Conditions(here.lyrics, other.reference),
        Conditions(here.lyrics, None),
    ):
        assert abs(float(model(replace(batch, conditions=[conditions]), draws).sketch) - before) > (
            1e-3
        )
