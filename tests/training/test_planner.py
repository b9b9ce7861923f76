"""The planner: exact where it can be, checked against traces, consistent with the paper."""

import dataclasses
import json
import subprocess
import sys

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from songbloom.errors import UsageError
from songbloom.model.conditioning import Conditions, LyricIds
from songbloom.model.config import PRESETS, ModelConfig, preset
from songbloom.model.songbloom import Batch, FlowDraws, SongBloom, draw_flow
from songbloom.model.summary import summarize
from songbloom.training.planner import (
    GIB,
    PlanSettings,
    changes,
    default_frames,
    flops,
    hardware,
    parameters,
    plan,
    recognise,
    refusal,
    rows,
    sequence_length,
    smallest_change,
)

PAPER = PlanSettings(gpus=16, zero=2, global_batch=128, max_steps=150_000)
# Two blocks of each kind, wide enough that vectors outweigh bookkeeping.
WIDE = ModelConfig(
    dim=256,
    num_heads=4,
    ar_layers=2,
    dit_layers=2,
    ffn_dim=1024,
    sketch_vocab_size=1000,
    lyric_length=64,
    reference_frames=25,
)


def crop(model: ModelConfig, songs: int, frames: int) -> tuple[Batch, FlowDraws]:
    lyrics = LyricIds(*(torch.zeros(model.lyric_length, dtype=torch.int64) for _ in range(3)))
    conditions = Conditions(lyrics, torch.zeros(model.reference_frames, model.latent_dim))
    batch = Batch(
        torch.zeros(songs, frames, dtype=torch.int64),
        torch.zeros(songs, frames, model.latent_dim),
        torch.full((songs,), frames),
        [conditions] * songs,
    )
    generators = [torch.Generator().manual_seed(i) for i in range(songs)]
    return batch, draw_flow(model, frames // model.patch_size, generators)


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_the_modules(name: str) -> None:
    """The planner's parameters are those of the real modules, part by part."""
    assert parameters(preset(name)) == summarize(preset(name))["parameters"]


def test_parameters_of_odd_models_are_the_modules() -> None:
    """So they are where sizes differ from every preset, and for the ablations."""
    odd = dataclasses.replace(preset("nano"), patch_size=4, latent_dim=7, time_features_dim=64)
    bare = dataclasses.replace(odd, sketch_vocab_size=0, dit_inputs="hidden")
    for model in (odd, bare):
        assert parameters(model) == summarize(model)["parameters"]


def ablation(**changed: object) -> ModelConfig:
    return dataclasses.replace(preset("nano"), **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "model",
    [
        preset("nano"),
        ablation(patch_size=8),
        ablation(dit_inputs="hidden"),
        ablation(dit_inputs="hidden+context", sketch_vocab_size=0),
    ],
    ids=["nano", "patch 8", "hidden only", "no sketch"],
)
def test_forward_operations_are_those_of_pytorch(model: ModelConfig) -> None:
    """FLOPs of a forward pass are what PyTorch counts operator by operator (which counts causal
    attention whole, where the planner counts half)."""
    songbloom = SongBloom(model)
    songbloom.init_weights(torch.Generator().manual_seed(0))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        songbloom(*crop(model, 2, 96))
    song = flops(model, 96)
    assert counter.get_total_flops() == 2 * (song.forward + song.sketch_attention)


def test_backward_costs_twice_the_forward() -> None:
    """Forward and backward together are three forwards, but for inputs that need no gradient."""
    songbloom = SongBloom(WIDE)
    songbloom.init_weights(torch.Generator().manual_seed(0))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        songbloom(*crop(WIDE, 1, 320)).total.backward()
    song = flops(WIDE, 320)
    whole = song.training() + 3 * song.sketch_attention
    assert counter.get_total_flops() == pytest.approx(whole, rel=0.02)


@pytest.mark.parametrize("gpu", ["a100-40", "a100-80"])
def test_the_paper_takes_about_a_week(gpu: str) -> None:
    """`full` on 16 A100 with ZeRO-2, 128 songs a step, 150,000 steps: a week, and it fits."""
    made = plan(preset("full"), dataclasses.replace(PAPER, gpu=gpu))
    assert 6.5 < made.days < 8
    assert made.fits and refusal(made) is None
    assert made.frames == 3744 and made.audio_seconds == 128 * 149.76


def test_docstring_numbers() -> None:
    """The reckoning told in the module's docstring is the one computed."""
    made = plan(preset("full"), PAPER)
    assert made.flops.forward / 1e12 == pytest.approx(21.3, abs=0.05)
    assert made.step_flops / 1e15 == pytest.approx(8.2, abs=0.05)
    assert made.step_flops * 150_000 / 1e21 == pytest.approx(1.23, abs=0.005)
    assert plan(preset("full"), dataclasses.replace(PAPER, mfu=1.0)).days == pytest.approx(
        2.9, 0.02
    )
    assert made.days == pytest.approx(7.1, abs=0.05)
    again = dataclasses.replace(PAPER, activation_checkpointing=True)
    assert plan(preset("full"), again).days == pytest.approx(9.5, abs=0.05)
    shorter = plan(preset("full"), dataclasses.replace(PAPER, frames=3000, mfu=0.32))
    assert shorter.days == pytest.approx(7.1, abs=0.15)


@pytest.mark.parametrize("dtype, checkpointing", [("bfloat16", False), ("float32", True)])
def test_activations_are_those_of_a_traced_step(dtype: str, checkpointing: bool) -> None:
    """Predicted activations are the traced peak of a step within 10 %, where the CPU's kernels keep
    what a GPU's keep: it holds attention's output twice and RMSNorm's normalised input."""
    frames, songs = 640, 2
    traced = _traced_peak(WIDE, songs, frames, dtype, checkpointing)
    settings = PlanSettings(
        micro_batch=songs,
        global_batch=songs,
        frames=frames,
        dtype=dtype,  # type: ignore[arg-type]
        activation_checkpointing=checkpointing,
    )
    memory = plan(WIDE, settings).memory
    size = 4 if dtype == "float32" else 2
    heard = songs * sequence_length(WIDE, frames)
    painted = songs * frames // WIDE.patch_size * WIDE.dit_length
    layers = (0, 1) if checkpointing else (WIDE.ar_layers, WIDE.dit_layers)
    extra = WIDE.dim * (size * (layers[0] * heard + layers[1] * painted) + 8 * layers[0] * heard)
    assert memory.activations == pytest.approx(traced - memory.casts - extra, rel=0.10)


def _traced_peak(
    model: ModelConfig, songs: int, frames: int, dtype: str, checkpointing: bool
) -> int:
    """Bytes beyond weights and gradients at the peak of a step, from PyTorch's own tracker; nothing
    is computed."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker

    with FakeTensorMode():
        songbloom = SongBloom(model)
        songbloom.sketch_lm.activation_checkpointing = checkpointing
        songbloom.dit.activation_checkpointing = checkpointing
        patches = frames // model.patch_size
        batch, _ = crop(model, songs, patches * model.patch_size)
        draws = FlowDraws(
            torch.zeros(songs, patches),
            torch.zeros(songs, patches, model.patch_size, model.latent_dim),
            *(torch.zeros(songs, patches, dtype=torch.bool) for _ in range(2)),
            torch.zeros(songs, dtype=torch.bool),
        )
        for parameter in songbloom.parameters():
            parameter.grad = torch.zeros_like(parameter)
        tracker = MemTracker()
        tracker.track_external(songbloom)
        with tracker:
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
                loss = songbloom(batch, draws).total
            loss.backward()
        peak = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]
        state = 8 * sum(p.numel() for p in songbloom.parameters())
    return int(peak["Total"]) - state


def test_each_stage_shards_what_it_says() -> None:
    """Over R ranks stage 1 keeps 1/R of the optimizer, 2 also of gradients, 3 also of weights."""
    whole = plan(preset("full"), PlanSettings(zero=1)).memory
    one, two, three = (
        plan(preset("full"), PlanSettings(gpus=16, zero=stage)).memory  # type: ignore[arg-type]
        for stage in (1, 2, 3)
    )
    assert one.optimizer == whole.optimizer // 16 and one.gradients == whole.gradients
    assert two.gradients == whole.gradients // 16 and two.weights == whole.weights
    assert three.weights == whole.weights // 16
    assert one.ema == whole.ema // 16


def test_full_sharding_takes_less_than_replicas() -> None:
    """FSDP2 over 8 ranks keeps an eighth of the state, beside what is whole under way."""
    replicas = plan(preset("full"), PlanSettings(gpus=8, global_batch=8)).memory
    sharded = plan(preset("full"), PlanSettings(gpus=8, global_batch=8, sharding="full")).memory
    for name in ("weights", "gradients", "optimizer", "ema"):
        assert getattr(sharded, name) == getattr(replicas, name) // 8
    assert replicas.total - sharded.total > 15 * GIB


def test_more_of_anything_takes_more_memory() -> None:
    """Songs and frames add activations; recomputation takes them away and adds time."""
    base = plan(preset("full"), PAPER)
    more = dataclasses.replace(PAPER, micro_batch=2)
    longer = dataclasses.replace(PAPER, frames=6000)
    again = dataclasses.replace(PAPER, activation_checkpointing=True)
    assert plan(base.model, more).memory.activations > 1.9 * base.memory.activations
    assert plan(base.model, longer).memory.activations > 1.4 * base.memory.activations
    assert plan(base.model, again).memory.activations < 0.25 * base.memory.activations
    assert plan(base.model, again).step_seconds == pytest.approx(4 / 3 * base.step_seconds)


@pytest.mark.parametrize(
    "settings, mended",
    [
        (dataclasses.replace(PAPER, micro_batch=8), "--micro-batch 2"),
        (dataclasses.replace(PAPER, gpu="rtx-3090"), "--activation-checkpointing"),
        (PlanSettings(gpus=2, gpu="a6000", micro_batch=1), "--activation-checkpointing"),
        (
            PlanSettings(gpus=4, zero=1, gpu="rtx-3090", activation_checkpointing=True),
            "--zero 3",
        ),
        (
            PlanSettings(gpus=2, zero=3, gpu="rtx-4090", activation_checkpointing=True),
            "--gpus 4",
        ),
        (
            PlanSettings(gpu="rtx-3090"),
            "--activation-checkpointing --shard --gpus 4",
        ),
    ],
)
def test_a_plan_that_cannot_fit_is_refused_with_the_smallest_change(
    settings: PlanSettings, mended: str
) -> None:
    """Smaller micro batch, recomputation, higher stage, more GPUs, shorter crop: the first that
    suffices is named, and a plan so changed does fit."""
    made = plan(preset("full"), settings)
    assert not made.fits
    fitting = smallest_change(made)
    assert fitting is not None and fitting.fits
    assert changes(made, fitting) == mended
    assert mended in (refusal(made) or "")


def test_no_change_helps_where_none_can() -> None:
    """A model too large for any number of such devices is refused without false advice."""
    made = plan(preset("full_240s"), PlanSettings(memory=GIB, global_batch=8))
    assert smallest_change(made) is None
    assert "needs" in (refusal(made) or "") and "fits with" not in (refusal(made) or "")


def test_a_shorter_crop_is_the_last_resort() -> None:
    """Where everything else is at its end, the longest crop that fits is offered."""
    settings = PlanSettings(zero=3, activation_checkpointing=True, global_batch=1)
    need = plan(preset("full"), settings).memory.total
    made = plan(preset("full"), dataclasses.replace(settings, memory=int(need - 0.2 * GIB)))
    fitting = smallest_change(made)
    assert fitting is not None
    assert made.frames / 2 < fitting.frames < made.frames
    assert fitting.settings == dataclasses.replace(made.settings, frames=fitting.frames)
    assert changes(made, fitting) == f"--crop {fitting.frames / 25:g}"


def test_measured_values_replace_assumed_ones() -> None:
    """`mfu`, `memory` and `activation_factor` move time, room and activations, and nothing else."""
    base = plan(preset("full"), PAPER)
    faster = plan(preset("full"), dataclasses.replace(PAPER, mfu=0.8))
    assert faster.days == pytest.approx(base.days / 2) and faster.memory == base.memory
    fuller = plan(preset("full"), dataclasses.replace(PAPER, activation_factor=1.5))
    assert fuller.memory.activations == pytest.approx(1.5 * base.memory.activations)
    assert plan(preset("full"), dataclasses.replace(PAPER, memory=GIB)).available == GIB


def test_adapters_cost_no_gradients_of_frozen_weights() -> None:
    """With few trained parameters state shrinks to the weights and the work to two thirds."""
    whole = plan(preset("full"), PlanSettings())
    adapters = plan(preset("full"), PlanSettings(trainable=1_000_000))
    assert adapters.memory.weights == whole.memory.weights
    assert adapters.memory.gradients + adapters.memory.optimizer == 12_000_000
    assert adapters.step_flops == pytest.approx(2 / 3 * whole.step_flops, rel=0.001)
    assert adapters.checkpoint_bytes < 0.3 * whole.checkpoint_bytes


@pytest.mark.parametrize(
    "settings, said",
    [
        (PlanSettings(gpus=3), "does not divide"),
        (PlanSettings(gpus=16, micro_batch=16), "does not divide"),
        (PlanSettings(gpus=0), "gpus is 0"),
        (PlanSettings(frames=0), "frames is 0"),
        (PlanSettings(gpu="a100"), "no such device"),
        (PlanSettings(zero=2, sharding="full"), "two engines"),
    ],
)
def test_impossible_settings_are_usage_errors(settings: PlanSettings, said: str) -> None:
    """What cannot be meant is refused by name."""
    with pytest.raises(UsageError, match=said):
        plan(preset("nano"), settings)


@pytest.mark.parametrize(
    "driver, name",
    [
        ("NVIDIA A100-SXM4-80GB", "a100-80"),
        ("NVIDIA A100-PCIE-40GB", "a100-40"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA RTX A6000", "a6000"),
        ("Tesla V100-SXM2-32GB", "v100-32"),
    ],
)
def test_devices_are_recognised_by_the_drivers_name(driver: str, name: str) -> None:
    """The peak for a measured MFU comes from the GPU at hand."""
    assert recognise(driver) == hardware(name)


def test_unknown_devices_have_no_peak() -> None:
    """No peak is made up for a device that the table lacks."""
    assert recognise("NVIDIA GT 710") is None and recognise("cpu") is None


@pytest.mark.parametrize("name", PRESETS)
def test_plans_are_json_and_text(name: str) -> None:
    """Every preset's plan can be shown and sent, with a crop of whole patches."""
    made = plan(preset(name), PlanSettings(gpu="cpu", dtype="float32", global_batch=2))
    values = json.loads(json.dumps(made.to_dict()))
    assert values["days"] == made.days and values["memory"]["total"] == made.memory.total
    assert made.frames % made.model.patch_size == 0 and default_frames(made.model) == made.frames
    assert all(what and how_much for what, how_much in rows(made))


def test_planning_needs_no_torch() -> None:
    """Importing the planner and planning is instant: torch stays out."""
    code = (
        "import sys; from songbloom.training.planner import PlanSettings, plan; "
        "from songbloom.model.config import preset; "
        "plan(preset('full'), PlanSettings()); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
