"""What a training run will cost, before it starts: parameters, arithmetic, memory, time and disk.

Torch-free arithmetic over a `ModelConfig` and a `PlanSettings`; the same numbers serve the
throughput meter. Operations and parameters are exact. Activations were checked against a trace of
every tensor of a step of `full` at 3744 frames: within 3 %, but for 0.5 GiB too much where autocast
and activation checkpointing meet. The state follows from how the engines work; MFU and what CUDA
and NCCL hold are assumed.

The paper's run (arXiv 2506.07634: 24 + 12 layers, 16 A100, batch 128, about 150,000 steps, "about a
week"): a song of 149.76 s costs 21.3 TFLOP forward, 64 forward and backward; 128 of them 8.2
PFLOP, 150,000 times 1.23 ZFLOP. At the A100's 312 TFLOP/s of dense bf16 that is 2.9 days of 16 GPUs
at their peak, and 7.1 days at the 40 % of it that well-written training reaches. So "about a week"
follows from crops of 150 s, the longest the 150 s model learns, and an MFU of 0.40 (with
activation checkpointing the same hardware would need 9.5 days, or run at 0.53). The paper states
neither its crop length nor its MFU: songs of 120 s on average would need 0.32 for the same week.

B songs a micro batch, T frames, P patch size, N patches, S = 1 + N (P + 1) interleaved positions,
D dim, F ffn_dim, V sketch vocabulary, L layers, R ranks.
"""

import dataclasses
import difflib
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from songbloom.errors import UsageError
from songbloom.model.config import ModelConfig
from songbloom.units import FRAME_RATE, Frames, Seconds

GIB = 2**30
_TERA = 1e12
_DAY: Seconds = 86_400.0

# DeepSpeed's defaults, in elements: what it reduces and (at stage 3) keeps gathered at a time. The
# bucket is allocated whole, however small the model; on a CPU only what is touched takes memory.
REDUCE_BUCKET = 500_000_000
LIVE_PARAMETERS = 1_000_000_000
# CUDA context, cuBLAS and cuDNN workspaces; and NCCL's buffers where there is more than one rank.
_CONTEXT = int(0.8 * GIB)
_NCCL = int(0.7 * GIB)
_FRAGMENTATION = 0.05  # of the activations: what the caching allocator holds and cannot use


@dataclass(frozen=True)
class Hardware:
    """A device: its usable memory, its dense peak rates, and the share of them to expect.

    `memory` is what torch reports as total, less than the number on the box. `mfu` is assumed, not
    measured: 0.40 where NVLink joins the GPUs, 0.30 on PCIe cards.
    """

    name: str
    memory: int  # bytes
    bfloat16_tflops: float
    float32_tflops: float
    mfu: float
    device_names: tuple[str, ...] = ()  # words of the name that the driver gives


def _gpu(
    name: str, gib: float, bfloat16: float, float32: float, mfu: float, *device_names: str
) -> Hardware:
    return Hardware(name, int(gib * GIB), bfloat16, float32, mfu, device_names)


# Vendors' data sheets, dense (not the doubled "sparse") tensor rates with fp32 accumulation; fp32
# without TF32. V100 has no bf16 units: it runs bf16 at fp32's rate.
HARDWARE: tuple[Hardware, ...] = (
    _gpu("a100-40", 39.4, 312, 19.5, 0.40, "A100", "40GB"),
    _gpu("a100-80", 79.1, 312, 19.5, 0.40, "A100", "80GB"),
    _gpu("h100", 79.1, 989, 67, 0.40, "H100"),
    _gpu("h200", 139.7, 989, 67, 0.40, "H200"),
    _gpu("l40s", 44.3, 362, 91.6, 0.30, "L40S"),
    _gpu("a6000", 47.4, 155, 38.7, 0.30, "A6000"),
    _gpu("rtx-4090", 23.5, 165, 82.6, 0.30, "4090"),
    _gpu("rtx-3090", 23.5, 71, 35.6, 0.30, "3090"),
    _gpu("v100-32", 31.7, 15.7, 15.7, 0.30, "V100", "32GB"),
    _gpu("v100-16", 15.7, 15.7, 15.7, 0.30, "V100", "16GB"),
    # A rank of two cores or so; give `memory` and `mfu` from the machine at hand.
    _gpu("cpu", 8.0, 0.05, 0.10, 0.50),
)


def hardware(name: str) -> Hardware:
    """The device called `name` in the table. `UsageError` with the nearest name."""
    table = {entry.name: entry for entry in HARDWARE}
    if name not in table:
        near = difflib.get_close_matches(name.lower(), table, n=1)
        guess = f"Did you mean '{near[0]}'? " if near else ""
        raise UsageError(f"{name}: no such device to plan for", f"{guess}Known: {', '.join(table)}")
    return table[name]


def recognise(device_name: str) -> Hardware | None:
    """The table's entry for the name a driver gives ("NVIDIA A100-SXM4-80GB"), or None."""
    for entry in HARDWARE:
        if entry.device_names and all(word in device_name for word in entry.device_names):
            return entry
    return None


@dataclass(frozen=True)
class PlanSettings:
    """A run to be planned.

    `gpus` are ranks (CPU ranks where `gpu` is "cpu"). `zero` 0 is the plain engine, whose
    `sharding` is "none" (DDP) or "full" (FSDP2). `frames` is the crop; None is the longest song the
    model sings, cut to whole patches. `keep` is how many periodic checkpoints stay on disk, beside
    the best one. `trainable` is the number of trained parameters, None for all (adapters: few).
    Measured values replace assumed ones: `mfu`, `memory` (bytes a rank can use) and
    `activation_factor` (measured over predicted activations).
    """

    gpus: int = 1
    zero: Literal[0, 1, 2, 3] = 0
    sharding: Literal["none", "full"] = "none"
    gpu: str = "a100-80"
    micro_batch: int = 1
    global_batch: int = 128
    frames: Frames | None = None
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    activation_checkpointing: bool = False
    ema: bool = True
    max_steps: int = 150_000
    keep: int = 3
    trainable: int | None = None
    mfu: float | None = None
    memory: int | None = None
    activation_factor: float = 1.0

    @property
    def accumulation(self) -> int:
        """Micro batches a rank sums before a step."""
        return self.global_batch // (self.gpus * self.micro_batch)


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of one song's forward pass (a multiply-add is two)."""

    sketch_transformer: float  # linear layers, prefix included
    sketch_attention: float  # the causal half only, as FlashAttention computes it
    sketch_head: float
    dit: float  # attention included
    encoders: float  # patch encoder, reference, time

    @property
    def forward(self) -> float:
        """All parts."""
        return sum(dataclasses.astuple(self))

    def training(self, trained: float = 1.0) -> float:
        """Forward and backward: as much again for the gradients of activations, and for those of
        weights, of which `trained` is the share that has any."""
        return (2 + trained) * self.forward


@dataclass(frozen=True)
class Memory:
    """Bytes of one rank at the peak of a step."""

    weights: int
    casts: int  # autocast's bfloat16 copies of the weights
    gradients: int
    optimizer: int
    ema: int
    activations: int
    buffers: int  # gathered weights and gradients under way
    overhead: int

    @property
    def total(self) -> int:
        """The sum."""
        return sum(dataclasses.astuple(self))


@dataclass(frozen=True)
class Plan:
    """What a run costs. Times assume that every crop is full and that `mfu` is reached."""

    model: ModelConfig
    settings: PlanSettings
    hardware: Hardware
    frames: Frames
    parameters: dict[str, int]
    flops: Flops  # one song
    memory: Memory
    available: int  # bytes of a rank
    step_flops: float  # model FLOPs of a step, all ranks, without recomputation
    tokens: int  # positions of the sketch transformer in a step, all ranks, prefix included
    audio_seconds: Seconds  # learned in a step
    step_seconds: Seconds
    checkpoint_bytes: int
    disk_bytes: int

    @property
    def days(self) -> float:
        """Of the whole run."""
        return self.step_seconds * self.settings.max_steps / _DAY

    @property
    def fits(self) -> bool:
        """Whether a rank has the memory."""
        return self.memory.total <= self.available

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dict, for JSON."""
        values = dataclasses.asdict(self)
        values["memory"]["total"] = self.memory.total
        return values | {
            "total_parameters": sum(self.parameters.values()),
            "days": self.days,
            "fits": self.fits,
        }


def parameters(model: ModelConfig) -> dict[str, int]:
    """Parameters by part, as `songbloom.model.summary` counts them on real modules."""
    dim, latent, vocabulary = model.dim, model.latent_dim, model.sketch_vocab_size
    block = 4 * dim**2 + 3 * dim * model.ffn_dim + 2 * dim  # qkv and out; gate, up, down; norms
    return {
        "lyrics": (model.lyric_vocab_size + model.max_sentences) * dim,
        "reference": latent * dim,
        "sketch_embedding": (vocabulary + 2) * dim,
        "sketch_transformer": model.ar_layers * block + dim,
        "sketch_head": dim**2 + (dim + 1) * (vocabulary + 1),
        "patch_encoder": (model.patch_size * latent + 1) * dim + (dim + 1) * dim,
        "time_embedding": model.time_features_dim // 2
        + model.time_features_dim * dim
        + (dim + 1) * dim,
        "dit": model.dit_layers * block,
        "latent_projections": (latent + 1) * dim + (dim + 1) * latent,
        "bos": dim,
    }


def default_frames(model: ModelConfig) -> Frames:
    """The longest song the model sings, in whole patches."""
    return max(1, model.sampling.max_frames // model.patch_size) * model.patch_size


def sequence_length(model: ModelConfig, frames: Frames) -> int:
    """Positions of the sketch transformer for one song's crop, prefix included."""
    return model.sequence_length(_patches(model, frames))


def flops(model: ModelConfig, frames: Frames) -> Flops:
    """One song's forward pass over a crop of `frames`, padded to whole patches.

    A linear layer costs 2 operations a weight and position. Attention costs 2 S^2 D for the scores
    and as much for the values; the sketch transformer's is causal, so half of it. The DiT sees each
    patch on its own. The head works on T + 1 positions.
    """
    dim, patches = model.dim, _patches(model, frames)
    block = 4 * dim**2 + 3 * dim * model.ffn_dim
    length, painted = sequence_length(model, frames), model.dit_length
    predictions = patches * model.sketch_size + 1
    encoder = model.patch_size * model.latent_dim * dim + dim**2
    time = model.time_features_dim // 2 + model.time_features_dim * dim + dim**2
    projections = (model.dit_context_size + 2 * model.patch_size) * model.latent_dim * dim
    reference = model.reference_frames * model.latent_dim * dim
    return Flops(
        sketch_transformer=2.0 * length * model.ar_layers * block,
        sketch_attention=2.0 * length**2 * dim * model.ar_layers,
        sketch_head=2.0 * predictions * (dim**2 + dim * (model.sketch_vocab_size + 1)),
        dit=patches * model.dit_layers * (2.0 * painted * block + 4.0 * painted**2 * dim),
        encoders=2.0 * (patches * (encoder + time + projections) + reference),
    )


def plan(model: ModelConfig, settings: PlanSettings) -> Plan:
    """The whole reckoning. `UsageError` for batches that do not divide, or an unknown GPU."""
    _check(settings)
    device = hardware(settings.gpu)
    frames = default_frames(model) if settings.frames is None else settings.frames
    counts = parameters(model)
    total = sum(counts.values())
    trained = _trained(settings, total)
    song = flops(model, frames)
    work = settings.global_batch * song.training(trained / total)
    # fp32: weights; two moments and the average of what is trained.
    checkpoint = 4 * total + (12 if settings.ema else 8) * trained
    return Plan(
        model=model,
        settings=settings,
        hardware=device,
        frames=frames,
        parameters=counts,
        flops=song,
        memory=_memory(model, settings, frames, total),
        available=device.memory if settings.memory is None else settings.memory,
        step_flops=work,
        tokens=sequence_length(model, frames) * settings.global_batch,
        audio_seconds=settings.global_batch * frames / FRAME_RATE,
        step_seconds=_step_seconds(work, song, settings, device),
        checkpoint_bytes=checkpoint,
        # The kept ones, the best one, and the one being written before another is removed.
        disk_bytes=checkpoint * (settings.keep + 2),
    )


def peak_tflops(device: Hardware, dtype: str) -> float:
    """Dense peak of one device for matrix work in `dtype`."""
    return device.bfloat16_tflops if dtype == "bfloat16" else device.float32_tflops


def refusal(made: Plan) -> str | None:
    """None for a plan that fits; else what it lacks and the smallest change that would mend it."""
    if made.fits:
        return None
    have, need = _size(made.available), _size(made.memory.total)
    lack = f"the plan needs {need} a rank, {made.hardware.name} has {have}"
    mended = smallest_change(made)
    if mended is None:
        return (
            f"{lack}; no smaller batch, sharding, number of GPUs or crop down to half makes it fit"
        )
    return f"{lack}; it fits with {changes(made, mended)} ({_size(mended.memory.total)})"


def smallest_change(made: Plan) -> Plan | None:
    """The first plan that fits, or None: by one kind of change, else by two, and so on; from the
    cheapest kind to the dearest, and from the smallest step of each."""
    for count in range(1, len(_CHANGES) + 1):
        for kinds in itertools.combinations(_CHANGES, count):
            for settings in _changed(made.settings, made, kinds):
                candidate = plan(made.model, settings)
                if candidate.fits:
                    return candidate
    return None


def changes(before: Plan, after: Plan) -> str:
    """How to type the difference of two plans: "--micro-batch 1 --zero 2"."""
    old, new = before.settings, after.settings
    flags = {
        f"--micro-batch {new.micro_batch}": old.micro_batch != new.micro_batch,
        "--activation-checkpointing": old.activation_checkpointing != new.activation_checkpointing,
        f"--zero {new.zero}": old.zero != new.zero,
        "--shard": old.sharding != new.sharding,
        f"--gpus {new.gpus}": old.gpus != new.gpus,
        f"--crop {after.frames / FRAME_RATE:g}": before.frames != after.frames,
    }
    return " ".join(flag for flag, changed in flags.items() if changed)


def rows(made: Plan) -> list[tuple[str, str]]:
    """The plan for a reader: (what, how much)."""
    s, total = made.settings, sum(made.parameters.values())
    parts = {k: v for k, v in made.parameters.items() if v >= total / 100}
    kinds = {k: v for k, v in dataclasses.asdict(made.memory).items() if v}
    hours = made.audio_seconds / 3600
    batch = f"{s.gpus} ranks x {s.accumulation} micro batches of {s.micro_batch}"
    return [
        ("parameters", f"{total / 1e6:,.1f} M ({_list(parts, lambda n: f'{n / 1e6:,.1f}')})"),
        ("crop", f"{made.frames / FRAME_RATE:.2f} s, {made.frames} frames"),
        ("batch", f"{s.global_batch} songs a step: {batch}"),
        ("tokens a step", f"{made.tokens:,} ({hours:.3g} h of audio)"),
        ("arithmetic", f"{_work(made.step_flops)} a step"),
        (
            "memory a rank",
            f"{_size(made.memory.total)} of {_size(made.available)} ({_list(kinds, _size)})",
        ),
        ("step", f"{_span(made.step_seconds)} on {s.gpus} x {made.hardware.name} ({_rate(made)})"),
        (
            "run",
            f"{_span(made.step_seconds * s.max_steps)} for {s.max_steps:,} steps "
            f"({hours * s.max_steps:,.0f} h of audio)",
        ),
        (
            "disk",
            f"{_size(made.disk_bytes)}: {s.keep} checkpoints, the best one and one being written, "
            f"{_size(made.checkpoint_bytes)} each",
        ),
    ]


def _list(values: dict[str, int], text: Callable[[int], str]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {text(value)}" for name, value in values.items())


def _size(count: int) -> str:
    unit, name = (GIB, "GiB") if count >= GIB // 10 else (2**20, "MiB")
    return f"{count / unit:,.1f} {name}"


def _work(operations: float) -> str:
    for unit, name in ((1e15, "PFLOP"), (1e12, "TFLOP")):
        if operations >= unit:
            return f"{operations / unit:,.2f} {name}"
    return f"{operations / 1e9:.3g} GFLOP"


def _span(seconds: Seconds) -> str:
    for unit, name in ((_DAY, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 1.5 * unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:.3g} seconds"


def _rate(made: Plan) -> str:
    rate = made.hardware.mfu if made.settings.mfu is None else made.settings.mfu
    kind = "assumed" if made.settings.mfu is None else "measured"
    return f"{kind} MFU {rate:.2f}"


def _check(settings: PlanSettings) -> None:
    for name in ("gpus", "micro_batch", "global_batch", "frames", "max_steps"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}; expected at least 1")
    share = settings.gpus * settings.micro_batch
    if settings.global_batch % share:
        raise UsageError(
            f"a global batch of {settings.global_batch} does not divide into {settings.gpus} ranks "
            f"x micro batches of {settings.micro_batch}",
            f"Take a multiple of {share} for the global batch.",
        )
    if settings.zero and settings.sharding == "full":
        raise UsageError("ZeRO and full sharding are two engines", "Leave one of them out.")


def _patches(model: ModelConfig, frames: Frames) -> int:
    return math.ceil(frames / model.patch_size)


def _step_seconds(work: float, song: Flops, settings: PlanSettings, device: Hardware) -> Seconds:
    """Arithmetic done, over the rate it is done at. Communication is within the MFU."""
    if settings.activation_checkpointing:
        work += settings.global_batch * song.forward
    rate = device.mfu if settings.mfu is None else settings.mfu
    return work / (rate * _TERA * peak_tflops(device, settings.dtype) * settings.gpus)


def _memory(model: ModelConfig, settings: PlanSettings, frames: Frames, total: int) -> Memory:
    saved = _activations(model, settings, frames) * settings.activation_factor
    distributed = settings.gpus > 1 and settings.gpu != "cpu"
    context = 0 if settings.gpu == "cpu" else _CONTEXT
    context += _NCCL if distributed else 0
    state = _deepspeed_state if settings.zero else _plain_state
    return Memory(
        **state(model, settings, total),
        activations=int(saved),
        overhead=int(context + _FRAGMENTATION * saved),
    )


def _plain_state(model: ModelConfig, settings: PlanSettings, total: int) -> dict[str, int]:
    """fp32 weights, which are AdamW's master copy, under autocast. DDP's gradients are views of
    what it exchanges. Under full sharding two blocks are whole at a time, the rest of the model all
    along, and gradients stay whole over the micro batches of a step."""
    ranks, trained = settings.gpus, _trained(settings, total)
    sharded = settings.sharding == "full" and ranks > 1
    share = ranks if sharded else 1
    block = _block_parameters(model)
    gathered = total - (model.ar_layers + model.dit_layers - 4) * block  # weights and gradients
    return {
        "weights": 4 * total // share,
        "casts": 2 * total if settings.dtype == "bfloat16" else 0,
        "gradients": 4 * trained // (share if settings.accumulation == 1 else 1),
        "optimizer": 8 * trained // share,
        "ema": 4 * trained // share if settings.ema else 0,
        "buffers": 4 * gathered if sharded else 0,
    }


def _trained(settings: PlanSettings, total: int) -> int:
    return total if settings.trainable is None else settings.trainable


def _deepspeed_state(model: ModelConfig, settings: PlanSettings, total: int) -> dict[str, int]:
    """fp32 weights under autocast, and beside them, sharded over the ranks: from stage 1 the master
    copy, both moments, the step's gradients and the average, from stage 2 the gradients, at stage 3
    the weights. There are two buckets, one for what autocast casts and one for the rest."""
    ranks, trained = settings.gpus, _trained(settings, total)
    bfloat16, whole = settings.dtype == "bfloat16", settings.zero < 3
    bucket = min(total, REDUCE_BUCKET) if settings.gpu == "cpu" else REDUCE_BUCKET
    live = min(total, LIVE_PARAMETERS)
    return {
        "weights": 4 * total // (1 if whole else ranks),
        "casts": 2 * total if bfloat16 and whole else 0,
        "gradients": 4 * trained // (ranks if settings.zero >= 2 else 1),
        "optimizer": 16 * trained // ranks,
        "ema": 4 * trained // ranks if settings.ema else 0,
        "buffers": 4 * (bucket * (2 if bfloat16 else 1) if whole else bucket + live),
    }


def _block_parameters(model: ModelConfig) -> int:
    return 4 * model.dim**2 + 3 * model.dim * model.ffn_dim + 2 * model.dim


def _activations(model: ModelConfig, settings: PlanSettings, frames: Frames) -> float:
    """Bytes alive at the peak, where the backward pass begins: what all blocks have kept, and the
    larger of the loss's logits and one block's gradients under way (the widest: of gate and up)."""
    heard = settings.micro_batch * sequence_length(model, frames)
    painted = settings.micro_batch * _patches(model, frames) * model.dit_length
    size = 2 if settings.dtype == "bfloat16" else 4
    block = _kept_by_block(model, size)
    predictions = _patches(model, frames) * model.sketch_size + 1
    logits = settings.micro_batch * predictions * (model.sketch_vocab_size + 1)
    loss = 12.0 * logits  # fp32: log-probabilities, their gradient, the logits' gradient
    under_way = size * 2 * (model.ffn_dim + model.dim) * max(heard, painted)
    positions = model.ar_layers * heard + model.dit_layers * painted
    if settings.activation_checkpointing:
        kept = 4 * model.dim * positions
        return kept + max(loss, under_way + block * max(heard, painted))
    return block * positions + max(loss, under_way)


def _kept_by_block(model: ModelConfig, size: int) -> int:
    """Bytes a block keeps for its backward pass, for each position: both norms' inputs (the
    residual stream, fp32 under autocast too) and outputs; q, k, v before rotation and q, k after;
    the attention's output; gate and up, SiLU(gate) and the product; and fp32 sums of softmax and
    norms."""
    vectors = 2 * model.dim + 5 * model.dim + model.dim + 4 * model.ffn_dim
    return 2 * 4 * model.dim + size * vectors + 4 * (model.num_heads + 4)


_Change = Callable[[PlanSettings, Plan], Iterator[PlanSettings]]


def _changed(
    settings: PlanSettings, made: Plan, kinds: tuple[_Change, ...]
) -> Iterator[PlanSettings]:
    if not kinds:
        yield settings
        return
    for changed in kinds[0](settings, made):
        yield from _changed(changed, made, kinds[1:])


def _fewer_songs(settings: PlanSettings, made: Plan) -> Iterator[PlanSettings]:
    for songs in range(settings.micro_batch - 1, 0, -1):
        if settings.global_batch % (settings.gpus * songs) == 0:
            yield dataclasses.replace(settings, micro_batch=songs)


def _recompute(settings: PlanSettings, made: Plan) -> Iterator[PlanSettings]:
    if not settings.activation_checkpointing:
        yield dataclasses.replace(settings, activation_checkpointing=True)


def _shard_more(settings: PlanSettings, made: Plan) -> Iterator[PlanSettings]:
    if settings.zero:
        for stage in (1, 2, 3)[settings.zero :]:
            yield dataclasses.replace(settings, zero=stage)
    elif settings.sharding == "none":
        yield dataclasses.replace(settings, sharding="full")


def _more_gpus(settings: PlanSettings, made: Plan) -> Iterator[PlanSettings]:
    for gpus in range(settings.gpus + 1, settings.global_batch // settings.micro_batch + 1):
        if settings.global_batch % (gpus * settings.micro_batch) == 0:
            yield dataclasses.replace(settings, gpus=gpus)


def _shorter_crop(settings: PlanSettings, made: Plan) -> Iterator[PlanSettings]:
    """Down by about five seconds at a time, to half: a song is learned from long crops."""
    step = 8 * made.model.patch_size
    for frames in range(made.frames - step, made.frames // 2, -step):
        yield dataclasses.replace(settings, frames=frames)


_CHANGES: tuple[_Change, ...] = (_fewer_songs, _recompute, _shard_more, _more_gpus, _shorter_crop)
