"""What moves the weights: PyTorch's own parts, or DeepSpeed, behind the same five methods.

    backward(loss)     gradients of one micro batch
    step(rate, decay)  clip, update, average; returns the gradient norm before clipping
    save(folder)       weights, optimizer and average, every rank its part
    load(folder)       the same back, on any number of ranks
    weights()          whole tensors on rank 0, for export and for sampling

This is the only file that knows DeepSpeed. Losses must come in as the rank's share of a mean over
all ranks, times the number of ranks: gradients are averaged.

The plain engine checkpoints through torch.distributed.checkpoint into safetensors; nothing is
unpickled. DeepSpeed's own format is pickles; they are read by torch's restricted unpickler, which
makes tensors, plain values and three small classes of DeepSpeed's, and runs no code of a file's.
"""

import importlib.util
import io
import math
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, cast

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.model.songbloom import Batch, FlowDraws, Losses, SongBloom
from songbloom.training.optim import AdamWSettings, build_adamw

_FLAT = StateDictOptions(flatten_optimizer_state_dict=True)


@dataclass(frozen=True)
class EngineSettings:
    """How the weights are moved.

    `zero` 0 is the plain engine, 1 to 3 are DeepSpeed's stages. `shard` spreads weights, gradients
    and optimizer of the plain engine over the ranks (FSDP2). `average` keeps a moving average of
    the weights. `accumulation` is the number of micro batches a step.
    """

    optimizer: AdamWSettings
    grad_clip: float = 1.0
    average: bool = False
    accumulation: int = 1
    zero: int = 0
    shard: bool = False
    bfloat16: bool = False


class Engine(Protocol):
    """The five methods, and the forward pass under the engine's precision."""

    def losses(self, batch: Batch, draws: FlowDraws, *, last: bool) -> Losses:
        """The training pass of a micro batch; gradients are exchanged after the step's `last`."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of the micro batch."""

    def step(self, rate: float, decay: float) -> float:
        """Clip, update with learning rate `rate`, average with `decay`; the norm before clipping.

        `FloatingPointError`, and nothing is updated, where the norm is not finite.
        """

    def save(self, folder: Path) -> None:
        """Write the whole state; all ranks call it."""

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, on any number of ranks; all ranks call it."""

    def weights(self, *, averaged: bool) -> dict[str, Tensor]:
        """Whole fp32 tensors on the CPU of rank 0 (elsewhere empty); all ranks call it."""


def build_engine(model: SongBloom, settings: EngineSettings, device: torch.device) -> Engine:
    """The engine that `settings` ask for, with `model` moved to `device`."""
    model.to(device)
    if settings.zero:
        return DeepSpeedEngine(model, settings, device)
    return PlainEngine(model, settings, device)


def read_weights(folder: Path, *, zero: int, averaged: bool) -> dict[str, Tensor]:
    """Whole fp32 tensors out of what an engine saved, by one process, however many ranks saved it.

    Of a model with frozen weights, those of DeepSpeed's average are the trained ones alone.
    `MissingAssetError` where DeepSpeed's own files are wanted and it is not installed.
    """
    if not zero:
        return _read_plain(folder, averaged=averaged)
    if averaged:
        return load_file(folder / _AVERAGE)
    _deepspeed()
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    with _restricted_unpickling(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        tensors = get_fp32_state_dict_from_zero_checkpoint(str(folder), tag=_TAG)
    return {name: tensor.to(torch.float32) for name, tensor in tensors.items()}


def _read_plain(folder: Path, *, averaged: bool) -> dict[str, Tensor]:
    """The model's tensors and not the optimizer's; over them the average's, which are trained."""
    reader = dcp.HuggingFaceStorageReader(str(folder))
    found = reader.read_metadata().state_dict_metadata
    wanted = ("model.", "average.") if averaged else ("model.",)
    tensors: dict[str, Any] = {
        name: torch.empty(entry.size)  # type: ignore[union-attr]  # all are tensors
        for name, entry in found.items()
        if name.startswith(wanted)
    }
    with _first_failure(), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "torch.distributed is disabled"
        )  # that is what no_dist says
        dcp.load(tensors, storage_reader=reader, no_dist=True)
    return {**_under(tensors, "model."), **_under(tensors, "average.")}


def world_size() -> int:
    """Number of ranks; 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's rank; 0 without a process group."""
    return dist.get_rank() if dist.is_initialized() else 0


class Average:
    """Exponential moving average of the local parts of parameters, in float32."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self.parameters = list(parameters)
        self.averages = [p.detach().clone().float() for p in self.parameters]

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """average <- decay * average + (1 - decay) * parameter."""
        if self.averages:
            current = [p.detach().float() for p in self.parameters]
            torch._foreach_lerp_(self.averages, current, 1 - decay)

    @contextmanager
    def in_place(self, wanted: bool) -> Iterator[None]:
        """The averages stand where the parameters were, if `wanted`."""
        if not wanted:
            yield
            return
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange averages and parameters; twice is nothing."""
        for parameter, average in zip(self.parameters, self.averages, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(kept)


class PlainEngine:
    """One process, DDP, or FSDP2; AdamW in float32 and bfloat16 autocast."""

    def __init__(self, model: SongBloom, settings: EngineSettings, device: torch.device) -> None:
        self.model, self.settings, self.device = model, settings, device
        self.wrapped: nn.Module = self._wrap()
        self.trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.optimizer = build_adamw(model, settings.optimizer)
        self.average = Average(self.trained.values() if settings.average else ())

    def _wrap(self) -> nn.Module:
        if self.settings.shard and world_size() > 1:
            for block in (*self.model.sketch_lm.layers, *self.model.dit.layers):
                fully_shard(block)
            return cast(nn.Module, fully_shard(self.model))
        if world_size() > 1:
            devices = [self.device] if self.device.type == "cuda" else None
            return DistributedDataParallel(
                self.model, device_ids=devices, gradient_as_bucket_view=True
            )
        return self.model

    def losses(self, batch: Batch, draws: FlowDraws, *, last: bool) -> Losses:
        if isinstance(self.wrapped, FSDPModule):
            self.wrapped.set_requires_gradient_sync(last)
        elif isinstance(self.wrapped, DistributedDataParallel):
            self.wrapped.require_backward_grad_sync = last  # what its no_sync() sets
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bfloat16):
            losses = self.wrapped(batch, draws)
        if isinstance(self.wrapped, FSDPModule) and not torch.is_grad_enabled():
            self.wrapped.reshard()  # its root waits for a backward pass, which does not come
        return losses

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def step(self, rate: float, decay: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        norm = nn.utils.clip_grad_norm_(self.trained.values(), self.settings.grad_clip)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        if not torch.isfinite(norm):
            raise FloatingPointError(f"the gradient norm is {norm.item()}")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update(decay)
        return float(norm)

    def save(self, folder: Path) -> None:
        writer = dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True)
        with _first_failure():
            dcp.save(self._tensors(), storage_writer=writer)

    def load(self, folder: Path) -> None:
        tensors = self._tensors()
        reader = dcp.HuggingFaceStorageReader(str(folder))
        reader.read_metadata()  # raises at once what dcp.load would log a page about
        with _first_failure():
            dcp.load(tensors, storage_reader=reader)
        self.model.load_state_dict(_under(tensors, "model."))
        options = get_optimizer_state_dict(self.model, self.optimizer, options=_FLAT)
        state: dict[str, Any] = {**options, **_under(tensors, "optimizer.")}
        set_optimizer_state_dict(self.model, self.optimizer, state, options=_FLAT)
        for average, loaded in zip(
            self.average.averages, _under(tensors, "average.").values(), strict=True
        ):
            average.copy_(loaded)

    def _tensors(self) -> dict[str, Tensor]:
        """Everything that changes, by name. The optimizer's settings are the config's business."""
        optimizer = get_optimizer_state_dict(self.model, self.optimizer, options=_FLAT)
        names = self.trained if self.settings.average else ()
        return {
            **{f"model.{k}": v for k, v in self.model.state_dict().items()},
            **{f"optimizer.{k}": v for k, v in optimizer.items() if isinstance(v, Tensor)},
            **{f"average.{k}": v for k, v in zip(names, self.average.averages, strict=True)},
        }

    def weights(self, *, averaged: bool) -> dict[str, Tensor]:
        with self.average.in_place(averaged):
            return _on_first_rank(self.model, _whole_tensor)


class DeepSpeedEngine:
    """DeepSpeed ZeRO stages 1 to 3."""

    def __init__(self, model: SongBloom, settings: EngineSettings, device: torch.device) -> None:
        deepspeed = _deepspeed()
        self.model, self.settings, self.device = model, settings, device
        self.trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.engine, *_ = deepspeed.initialize(
            model=model,
            optimizer=build_adamw(model, settings.optimizer),
            config=_deepspeed_config(settings),
            dist_init_required=False,
        )
        self.average = Average(self._partitions() if settings.average else ())
        self._last = True

    def _partitions(self) -> list[Tensor]:
        """This rank's flat fp32 pieces of the trained parameters."""
        optimizer = self.engine.optimizer
        if self.settings.zero == 3:
            return list(optimizer.fp32_partitioned_groups_flat)
        return list(optimizer.single_partition_of_fp32_groups)

    def losses(self, batch: Batch, draws: FlowDraws, *, last: bool) -> Losses:
        self._last = last
        return self.engine(batch, draws)

    def backward(self, loss: Tensor) -> None:
        self.engine.backward(loss, scale_wrt_gas=False)
        if not self._last:
            self.engine.step()  # counts the micro batch; nothing moves before the last one

    def step(self, rate: float, decay: float) -> float:
        for group in self.engine.optimizer.param_groups:
            group["lr"] = rate
        self.engine.step()
        norm = float(self.engine.get_global_grad_norm())
        if not math.isfinite(norm):  # DeepSpeed has left the weights alone by itself
            raise FloatingPointError(f"the gradient norm is {norm}")
        self.average.update(decay)
        return norm

    def save(self, folder: Path) -> None:
        self.engine.save_checkpoint(str(folder), tag=_TAG, save_latest=False)
        if self.settings.average:
            averaged = self.weights(averaged=True)  # whole, so that any number of ranks can load it
            if rank() == 0:
                save_file({n: averaged[n] for n in self.trained}, folder / _AVERAGE)
        barrier()

    def load(self, folder: Path) -> None:
        with _restricted_unpickling():
            self._load(folder)
        if self.settings.average:
            self._load_average(load_file(folder / _AVERAGE))

    def _load(self, folder: Path) -> None:
        tag, ranks = _TAG, len(list((folder / _TAG).glob("*optim_states.pt")))
        if ranks != world_size():
            tag = _to_universal(folder)
            self.engine._config.load_universal_checkpoint = True
        decays = [group["weight_decay"] for group in self.engine.optimizer.param_groups]
        path, _ = self.engine.load_checkpoint(str(folder), tag=tag)
        self.engine._config.load_universal_checkpoint = False
        if path is None:
            raise SongBloomError(f"{folder}: DeepSpeed finds no checkpoint there")
        self._mend_optimizer(decays)

    def _mend_optimizer(self, decays: list[float]) -> None:
        """Undo what DeepSpeed 0.19's universal loading of ZeRO-3 does to an optimizer.

        It gives all parameter groups the settings of the first, and their states one shared step
        counter, which then advances once a group.
        """
        optimizer = self.engine.optimizer.optimizer
        for group, decay in zip(optimizer.param_groups, decays, strict=True):
            group["weight_decay"] = decay
        for state in optimizer.state.values():
            state["step"] = state["step"].clone()

    def _load_average(self, averaged: Mapping[str, Tensor]) -> None:
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_local_fp32_param

        with self.average.in_place(True):
            for name, parameter in self.trained.items():
                value = averaged[name].to(self.device)
                if self.settings.zero < 3:
                    safe_set_full_fp32_param(parameter, value)
                else:  # the setter of whole tensors fails where the ranks do not divide them
                    part = _own_part(value, getattr(parameter, "ds_tensor").numel())  # noqa: B009
                    safe_set_local_fp32_param(parameter, part)

    def weights(self, *, averaged: bool) -> dict[str, Tensor]:
        with self.average.in_place(averaged):
            return _on_first_rank(self.model, self._whole)

    def _whole(self, parameter: nn.Parameter) -> Tensor:
        """All of a parameter: its fp32 master where it is trained, itself where it is frozen."""
        import deepspeed
        from deepspeed.utils import safe_get_full_fp32_param

        if parameter.requires_grad:
            return safe_get_full_fp32_param(parameter)
        with deepspeed.zero.GatheredParameters([parameter], enabled=self.settings.zero == 3):
            return parameter.detach().clone()


_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_TAG, _AVERAGE, _UNIVERSAL = "deepspeed", "average.safetensors", "universal"


def _deepspeed() -> Any:
    """The library, quiet, and without its compiled CPU collectives (minutes of g++ for nothing)."""
    if importlib.util.find_spec("deepspeed") is None:
        raise MissingAssetError(
            "--zero needs DeepSpeed, which is not installed",
            "Type: pip install 'songbloom[deepspeed]', or leave --zero out for the plain engine.",
        )
    import deepspeed

    os.environ.setdefault("LOCAL_RANK", "0")  # it insists, also where one process trains alone
    deepspeed.utils.logger.setLevel("WARNING")
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def _deepspeed_config(settings: EngineSettings) -> dict[str, Any]:
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,  # only for DeepSpeed's own arithmetic
        "gradient_accumulation_steps": settings.accumulation,
        "gradient_clipping": settings.grad_clip,
        "zero_optimization": {"stage": settings.zero},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # its CPU Adam does not resume bit for bit
    }
    if settings.bfloat16:  # master weights stay float32, as in the plain engine
        config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    return config


@contextmanager
def _restricted_unpickling() -> Iterator[None]:
    """DeepSpeed asks torch to unpickle anything; here torch refuses all but harmless classes."""
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    before = os.environ.get(_WEIGHTS_ONLY)
    os.environ[_WEIGHTS_ONLY] = "1"
    try:
        with torch.serialization.safe_globals([LossScaler, ZeroStageEnum, fragment_address]):
            yield
    finally:
        del os.environ[_WEIGHTS_ONLY]
        if before is not None:
            os.environ[_WEIGHTS_ONLY] = before


def _to_universal(folder: Path) -> str:
    """Rewrite a checkpoint so that another number of ranks can read it; its tag."""
    if rank() == 0 and not (folder / _UNIVERSAL).exists():
        from deepspeed.checkpoint import ds_to_universal

        unfinished = folder / f".{_UNIVERSAL}"
        shutil.rmtree(unfinished, ignore_errors=True)
        arguments = SimpleNamespace(
            input_folder=str(folder / _TAG),
            output_folder=str(unfinished),
            num_extract_workers=1,
            num_merge_workers=1,
            keep_temp_folder=False,
            strict=False,
            inject_missing_state=True,
        )
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            ds_to_universal.main(arguments)
        os.replace(unfinished, folder / _UNIVERSAL)
    barrier()
    return _UNIVERSAL


def _whole_tensor(parameter: Tensor) -> Tensor:
    return parameter.full_tensor() if isinstance(parameter, DTensor) else parameter


def _on_first_rank(model: nn.Module, whole: Callable[[nn.Parameter], Tensor]) -> dict[str, Tensor]:
    """Copies of all parameters on the CPU of rank 0; every rank takes part in `whole`."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        tensor = whole(parameter).detach()
        if rank() == 0:
            tensors[name] = tensor.to("cpu", torch.float32, copy=True)
    return tensors


def _own_part(value: Tensor, size: int) -> Tensor:
    """This rank's `size` elements of a flattened tensor, the last rank's filled up with zeros."""
    flat = nn.functional.pad(value.flatten(), (0, size * world_size() - value.numel()))
    return flat[rank() * size :][:size]


@contextmanager
def _first_failure() -> Iterator[None]:
    """What went wrong on the first rank, in place of all ranks' tracebacks in a BaseException."""
    try:
        yield
    except CheckpointException as error:
        raise next(iter(error.failures.values()))[0] from error


def barrier() -> None:
    """Wait for all ranks."""
    if dist.is_initialized():
        dist.barrier()


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
