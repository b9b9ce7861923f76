"""`songbloom export`: a model folder out of a training checkpoint, or out of another model folder.

    source -> contents -> number format -> int8 -> files -> card

Weights go through memory once; of the released full model in float32 that is 7.5 GB.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from songbloom.errors import SongBloomError, UsageError
from songbloom.export import sources
from songbloom.export.card import write_card
from songbloom.export.quantise import estimate as int8_trial
from songbloom.export.quantise import measure, quantised, speeds
from songbloom.export.release import check_releasable, write_release
from songbloom.export.release import estimate as release_trial
from songbloom.export.sources import Checkpoint
from songbloom.files import sha256
from songbloom.model.checkpoint import Contents, read_info, weights_hash, write_contents
from songbloom.model.int8 import INT8, quantise

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_SPEED = 100e6  # bytes a second that an ordinary disk and the hashes take, for --dry-run


@dataclass(frozen=True)
class ExportOptions:
    """How a model leaves.

    `averaged` chooses a run's weights (None: the average where it keeps one); `dtype` None keeps
    the source's, float32 for a run; `shard_bytes` is the most in one file; `scores` is an
    evaluation.json. Raises `UsageError` at construction for what cannot be meant together.
    """

    to: str = "songbloom"
    averaged: bool | None = None
    lora: str = "merged"
    dtype: str | None = None
    shard_bytes: int | None = None
    quantise: str | None = None
    name: str | None = None
    scores: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        for value, known, what in (
            (self.dtype, DTYPES, "--dtype"),
            (self.quantise, (INT8,), "--quantise"),
            (self.to, ("songbloom", "release"), "--to"),
            (self.lora, ("merged", "apart"), "--lora"),
        ):
            if value is not None and value not in known:
                raise UsageError(f"{what} {value}: not known", f"Choose from: {', '.join(known)}.")
        if self.shard_bytes is not None and self.shard_bytes < 1:
            raise UsageError("--shard-size: expected at least one byte", "Try --shard-size 2GB.")
        whole = {"--quantise": self.quantise, "--shard-size": self.shard_bytes}
        if self.to == "release":
            _refuse("--to release", whole)
        if self.lora == "apart":
            released = "release" if self.to == "release" else None
            others = {"--dtype": self.dtype, "--to": released, "--scores": self.scores}
            _refuse("--lora apart", {**whole, **others})


def export_model(
    source: Checkpoint | Path,
    output: Path,
    options: ExportOptions,
    on_phase: Callable[[str], None] = lambda phase: None,
) -> dict[str, Any]:
    """Write a model (with `--lora apart` an adapter) folder; what was written, as a JSON object.

    The same source and options give the same files, but for the card of int8 weights, which holds
    speeds. `UsageError` for a folder that holds a model already, `SongBloomError` for what cannot
    be read or said.
    """
    output = Path(output)
    _check_output(source, output, options)
    if options.lora == "apart":
        return _export_adapter(source, output, options)
    scores = None if options.scores is None else read_scores(options.scores)
    on_phase("reading")
    contents = sources.read(source, averaged=options.averaged, name=options.name)
    if scores is not None:
        contents = _with_info(contents, evaluation=scores)
    whole = contents = as_dtype(contents, options.dtype)
    if options.to == "release":
        on_phase("writing, and importing it back")
        return write_release(contents, output)
    timed: dict[str, float] = {}
    if options.quantise:
        on_phase("quantising, and measuring what that changes")
        contents = quantised(whole)
        changed = {"kind": options.quantise, "change": measure(whole, contents)}
        contents = _with_info(contents, quantisation=changed)
        timed = speeds(whole, contents)
    on_phase("writing")
    _clear(output)
    info = write_contents(output, contents, shard_bytes=options.shard_bytes)
    write_card(output, info, speeds=timed)
    return {
        "name": info["name"],
        "path": str(output),
        "kind": "model",
        "parameters": info["parameters"],
        "licence": info.get("licence", "unknown"),
        "weights_sha256": weights_hash(info),
        "sha256": info["sha256"],
        **({"quantisation": {**info["quantisation"], "speeds": timed}} if timed else {}),
    }


def plan(source: Checkpoint | Path, output: Path, options: ExportOptions) -> dict[str, Any]:
    """What `export_model` would do, about: nothing is read but descriptions."""
    _check_output(source, Path(output), options)
    run = source if isinstance(source, Checkpoint) else None
    config, folder = sources.described(source)
    tensors = sources.shapes(config)
    stored, vae = _stored_bytes(source, tensors, options), _size(folder / "vae.safetensors")
    held = sum(tensor.nbytes for tensor in tensors.values())
    release = options.to == "release"
    disk = stored + vae * (2 if release else 1)
    singing = release_trial(config) if release else int8_trial(config) if options.quantise else 0.0
    return {
        "source": str(source if run is None else run.folder),
        "output": str(output),
        "to": options.to,
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "disk_bytes": disk,
        **({"temporary_disk_bytes": stored + vae} if release else {}),
        "memory_bytes": held * (2 if singing else 1) + stored,
        "estimated_seconds": round((held + 2 * disk) / _SPEED + singing, 1),
        **({} if run is None else {"step": run.step, "zero": run.zero}),
    }


def _stored_bytes(
    source: Checkpoint | Path, tensors: Mapping[str, Tensor], options: ExportOptions
) -> int:
    """What the model's weights will take on the disk; `tensors` are on the meta device."""
    if isinstance(source, Path) and options.dtype is None and not options.quantise:
        names = [name for name in read_info(source)["sha256"] if name.startswith("model")]
        return sum(_size(source / name) for name in names)
    written = {key: _cast(tensor, options.dtype or "float32") for key, tensor in tensors.items()}
    written = quantise(written) if options.quantise else written
    return sum(tensor.nbytes for tensor in written.values())


def _size(path: Path) -> int:
    return path.stat().st_size


def as_dtype(contents: Contents, dtype: str | None) -> Contents:
    """The contents with the model's weights in a number format; the VAE stays as it is.

    `SongBloomError` for int8 weights, and for a weight too large for the format.
    """
    if dtype is None:
        return contents
    name = contents.info["name"]
    if "quantisation" in contents.info:
        raise SongBloomError(
            f"{name}: its weights are quantised, and stay so", "Name the model it was made of."
        )
    tensors = {key: _cast(tensor, dtype) for key, tensor in contents.songbloom.items()}
    for key, tensor in tensors.items():
        if not tensor.isfinite().all() and contents.songbloom[key].isfinite().all():
            raise SongBloomError(f"{name}: {key} is too large for {dtype}", "Try --dtype bfloat16.")
    return dataclasses.replace(contents, songbloom=tensors)


def read_scores(path: Path) -> dict[str, Any]:
    """What a model carries of an evaluation.json: protocol, test set, and every metric's value."""
    try:
        found = json.loads(path.read_text("utf-8"))
        if found["format"] != 1:
            raise ValueError(f"format {found['format']}, expected 1")
        keys = ("value", "interval", "unit", "better", "songs", "failed", "backend")
        return {
            "protocol": {key: found["protocol"][key] for key in ("id", "name")},
            "test_set": dict(found["test_set"]),
            "metrics": {
                name: {key: metric[key] for key in keys if key in metric}
                for name, metric in found["metrics"].items()
            },
            "sha256": sha256(path),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SongBloomError(
            f"{path}: not the scores of a model ({error})",
            "Name the evaluation.json that songbloom evaluate wrote.",
        ) from error


def _export_adapter(
    source: Checkpoint | Path, output: Path, options: ExportOptions
) -> dict[str, Any]:
    if isinstance(source, Path) or source.job.train.lora is None:
        raise UsageError(
            "--lora apart: there is no adapter to be had here", "Name a run of train --lora."
        )
    folder = sources.read_adapter(source, output, averaged=options.averaged)
    return {
        "name": source.job.run.name,
        "path": str(folder),
        "kind": "adapter",
        "sha256": {name: sha256(folder / name) for name in ("adapter.safetensors", "adapter.json")},
    }


def _check_output(source: Checkpoint | Path, output: Path, options: ExportOptions) -> None:
    if isinstance(source, Path) and output.resolve() == source.resolve():
        raise UsageError(f"{output}: is the model itself", "Choose another -o.")
    if options.to == "release":
        check_releasable(source if isinstance(source, Path) else source.job)
    there = [
        file
        for pattern in ("model.json", "adapter.json", "*.yaml")
        for file in output.glob(pattern)
    ]
    if there and not options.force:
        raise UsageError(
            f"{output}: holds a model already ({there[0].name})",
            "Choose another -o, or add --force.",
        )


def _clear(output: Path) -> None:
    """Remove what an earlier model there consists of, its description first."""
    if not (output / "model.json").exists():
        return
    try:
        names = json.loads((output / "model.json").read_text("utf-8"))["sha256"]
    except (ValueError, KeyError, TypeError):
        names = {}
    (output / "model.json").unlink()
    for name in names:
        (output / Path(name).name).unlink(missing_ok=True)


def _refuse(where: str, told: Mapping[str, object]) -> None:
    """`UsageError` for the first of these flags that is told."""
    for flag, value in told.items():
        if value is not None:
            raise UsageError(f"{where} knows no {flag}", f"Leave {flag} out.")


def _cast(tensor: Tensor, dtype: str | None) -> Tensor:
    return tensor.to(DTYPES[dtype]) if dtype and tensor.is_floating_point() else tensor


def _with_info(contents: Contents, **more: Any) -> Contents:
    return dataclasses.replace(contents, info={**contents.info, **more})
