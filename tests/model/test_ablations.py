"""The paper's ablations: what each option lets a part of the model hear, and the presets."""

from importlib import resources
from typing import Any

import pytest
import torch
from model.small import largest, random_batch, random_conditions, seeded, small_config, small_model

from songbloom.errors import UsageError
from songbloom.model.config import ABLATIONS, ModelConfig, preset, preset_values
from songbloom.model.layers import rope_table
from songbloom.model.patches import patchify
from songbloom.model.songbloom import SongBloom

N, P = 3, 4
FRAMES = N * P
NO_SKETCH = {"sketch_vocab_size": 0, "dit_inputs": "hidden+context"}
OPTIONS: list[dict[str, Any]] = [
    {"dit_inputs": "hidden"},
    {"dit_inputs": "hidden+context"},
    {"prefix_order": "lyrics-reference"},
    NO_SKETCH,
    {**NO_SKETCH, "dit_inputs": "hidden"},
    {"patch_size": FRAMES},
]


# ---------------------------------------------------------------- what the DiT sees


@pytest.mark.parametrize("inputs", ["hidden", "hidden+context", "hidden+context+sketch"])
@torch.no_grad()
def test_dit_is_its_blocks_over_what_it_sees(inputs: str) -> None:
    """[time][hidden], then sketch and the patch before where they are named, then the noisy
    latents, through the blocks at positions 0, 1, 2 ...; the last P become the velocity."""
    model = small_model(dit_inputs=inputs)
    noisy, previous = torch.randn(2, 1, P, 8, generator=seeded(4))
    hidden = torch.randn(1, 64, generator=seeded(6))
    sketch = torch.randn(1, P, 64, generator=seeded(7))
    t = torch.tensor([0.3])
    rows = [model.dit.time(t), hidden]
    rows += list(sketch.unbind(1)) if "sketch" in inputs else []
    rows += list(model.dit.project_in(previous).unbind(1)) if "context" in inputs else []
    rows += list(model.dit.project_in(noisy).unbind(1))
    x = torch.stack(rows, dim=1)
    assert x.shape[1] == model.config.dit_length
    rope = rope_table(torch.arange(len(rows)), 32, 20_000.0)
    for block in model.dit.layers:
        x = block(x, rope)
    expected = model.dit.project_out(x)[:, -P:]
    assert largest(model.dit(noisy, t, hidden, sketch, previous) - expected) < 1e-6


def velocity_hears(**changes: Any) -> tuple[bool, bool, bool]:
    """Whether the DiT's velocity depends on hidden vector, sketch, patch before."""
    model = small_model(**changes)
    given = [
        torch.randn(shape, generator=seeded(i)).requires_grad_()
        for i, shape in enumerate([(1, 64), (1, P, 64), (1, P, 8)])
    ]
    noisy = torch.randn(1, P, 8, generator=seeded(9))
    velocity = model.dit(noisy, torch.tensor([0.5]), *given)
    gradients = torch.autograd.grad(velocity.sum(), given, materialize_grads=True)
    hidden, sketch, previous = (bool(gradient.any()) for gradient in gradients)
    return hidden, sketch, previous


def test_dit_hears_what_is_named() -> None:
    """Rows H, H+C and H+C+S of the paper's Table 4."""
    assert velocity_hears(dit_inputs="hidden") == (True, False, False)
    assert velocity_hears(dit_inputs="hidden+context") == (True, False, True)
    assert velocity_hears(dit_inputs="hidden+context+sketch") == (True, True, True)


# ---------------------------------------------------------------- no sketch


def test_hidden_hears_the_patches_before_it() -> None:
    """Without a sketch, patch i's hidden vector hears the whole prefix and the latents of patches
    before i, whatever the batch's sketch tokens are."""
    model = small_model(**NO_SKETCH)
    batch, draws = random_batch(small_config(), [FRAMES], N)
    latents = batch.latents.clone().requires_grad_()
    prefix = model.prefix(batch.conditions).detach().requires_grad_()
    empty = model.sketch_lm.embedding(model.tokens(batch.sketch))
    assert empty.shape == (1, N, 0, 64)
    outputs, hidden = model.listen(empty, patchify(latents, P), prefix)
    assert outputs.shape == (1, 1, 64) and hidden.shape == (1, N, 64)
    for patch in range(N):
        weights = torch.randn(64, generator=seeded(5))
        heard, before = torch.autograd.grad(
            (hidden[0, patch] * weights).sum(),
            (latents, prefix),
            retain_graph=True,
            materialize_grads=True,
        )
        frames = heard[0].abs().sum(-1).gt(0).tolist()
        assert frames == [frame < patch * P for frame in range(FRAMES)]
        assert before.abs().sum(-1).gt(0).all()


def test_no_sketch_loss() -> None:
    """Without a sketch the loss is the weighted flow loss; every parameter that the forward pass
    has gets a gradient (zero where nothing is learnt), as data-parallel training needs."""
    model = small_model(**NO_SKETCH)
    batch, draws = random_batch(small_config(), [7, 12], N)
    losses = model(batch, draws)
    assert (losses.sketch.item(), losses.sketch_count.item()) == (0.0, 0)
    assert losses.total.item() == pytest.approx(0.1 * losses.flow.item()) and losses.flow > 0
    losses.total.backward()
    assert all(p.grad is not None for p in model.parameters())
    moved = {name for name, p in model.named_parameters() if p.grad.any()}  # type: ignore[union-attr]
    tables = ("sketch_lm.embedding", "sketch_lm.head", "sketch_lm.norm")
    still = {name for name, _ in model.named_parameters()} - moved
    assert {name for name in still if not name.startswith(tables)} == set()


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("changes", OPTIONS, ids=str)
@torch.no_grad()
def test_every_option_changes_the_model(changes: dict[str, Any]) -> None:
    """No option is idle: from the same draw of weights the velocity is another."""
    said = []
    for model in (small_model(), small_model(**changes)):
        size = model.config.patch_size
        batch, draws = random_batch(small_config(), [FRAMES], N)
        shape = (1, FRAMES // size)
        draws.drop_hidden[:], draws.drop_sketch[:] = False, False
        draws = type(draws)(
            torch.full(shape, 0.4),
            draws.noise.view(*shape, size, 8),
            draws.drop_hidden[:, : shape[1]],
            draws.drop_sketch[:, : shape[1]],
            draws.drop_past,
        )
        said.append(model.predict(batch, draws).velocity.flatten())
    assert largest(said[0] - said[1]) > 1e-3


@torch.no_grad()
def test_prefix_order() -> None:
    """The same vectors, the lyrics' first."""
    first, second = (small_model(prefix_order=o) for o in ("reference-lyrics", "lyrics-reference"))
    second.load_state_dict(first.state_dict())
    given = [random_conditions(first.config, 1)]
    reference, lyrics = first.prefix(given).split([6, 12], dim=1)
    assert torch.equal(second.prefix(given), torch.cat([lyrics, reference], dim=1))


def keys(model: SongBloom) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def test_options_keep_the_names_of_the_weights() -> None:
    """Options change no name, and no shape but those that the sizes themselves are in."""
    plain = keys(small_model())
    for changes in OPTIONS:
        for name, shape in keys(small_model(**changes)).items():
            sized = "patch_size" in changes or "sketch_vocab_size" in changes
            assert len(shape) == len(plain[name])
            assert shape == plain[name] or sized, name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dit_inputs": "sketch"}, ["dit_inputs", "'sketch'"]),
        ({"prefix_order": "lyrics"}, ["prefix_order"]),
        ({"sketch_vocab_size": -1}, ["sketch_vocab_size is -1"]),
        ({"sketch_vocab_size": 0}, ["sketch_vocab_size 0", "hidden+context+sketch"]),
        ({"objective": {"masking": "papr"}}, ["masking", "'papr'"]),
    ],
)
def test_contradictions(changes: dict[str, Any], words: list[str]) -> None:
    """Values that are none, or that contradict each other, are refused with what could be."""
    with pytest.raises(UsageError) as caught:
        ModelConfig.from_dict({**small_config().to_dict(), **changes})
    assert all(word in caught.value.message for word in words) and caught.value.hint


# ---------------------------------------------------------------- presets


def test_presets_are_the_files() -> None:
    """Each file is a preset by its name and each name has a file."""
    folder = resources.files("songbloom") / "presets" / "ablations"
    assert sorted(f.name for f in folder.iterdir()) == sorted(f"{name}.toml" for name in ABLATIONS)


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_row_changes_one_thing(name: str) -> None:
    """Beside its own keys every row is the base, trains on 512 frames, and says what it is."""
    row, base = preset(f"ablations/{name}").to_dict(), preset("ablations/base").to_dict()
    trained = [preset_values(f"ablations/{n}")["train"] for n in (name, "base")]
    assert trained[0] == trained[1]
    changed = {key for key in base if row[key] != base[key]}
    assert changed == {
        "base": set(),
        "hidden": {"dit_inputs"},
        "hidden_context": {"dit_inputs"},
        "no_sketch": {"dit_inputs", "sketch_vocab_size"},
    }.get(name, {"sketch_vocab_size" if name.startswith("sketch") else "patch_size"})
    assert 512 % row["patch_size"] == 0
    assert preset(f"ablations/{name}").sampling.max_frames == 512
    path = resources.files("songbloom") / "presets" / "ablations" / f"{name}.toml"
    text = path.read_text("utf-8")
    assert "Paper" in text or "Figure 2" in text


def test_misspelt_ablation() -> None:
    """A misspelt name is answered with the nearest one."""
    with pytest.raises(UsageError) as caught:
        preset("ablations/hiden")
    assert "'ablations/hidden'" in caught.value.hint
