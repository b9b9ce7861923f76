"""`songbloom export`: a training checkpoint or a model becomes a model folder to hand over."""

import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from songbloom_cli import options, output

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def register(app: typer.Typer) -> None:
    """Add this module's command to the app."""
    app.command()(export)


def export(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|CHECKPOINT|MODEL",
            help="A run of songbloom train (its latest checkpoint), one of its checkpoints/step-N, "
            "or a model: a name or a folder.",
            show_default=False,
            autocompletion=options.completing(options.installed_names),
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Folder to write.", show_default=False
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            metavar="songbloom|release",
            help="songbloom: a model folder. release: the released .pt and yaml, which other "
            "programs load; it is imported back and compared.",
            autocompletion=options.completing(lambda: ["songbloom", "release"]),
        ),
    ] = "songbloom",
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="ema|raw",
            help="A run's moving average, or its weights as they are (default: the average, where "
            "the run keeps one).",
            show_default=False,
            autocompletion=options.completing(lambda: ["ema", "raw"]),
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="float32|bfloat16|float16",
            help="Number format of the weights; the VAE stays as it is (default: float32 for a "
            "run, a model's own).",
            show_default=False,
            autocompletion=options.completing(lambda: ["float32", "bfloat16", "float16"]),
        ),
    ] = None,
    quantise: Annotated[
        str | None,
        typer.Option(
            metavar="int8",
            help="Eight-bit weights in both transformers; what that changes is measured.",
            show_default=False,
            autocompletion=options.completing(lambda: ["int8"]),
        ),
    ] = None,
    shard_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Most in one file of weights, like 2GB or 500MB (default: one file).",
            show_default=False,
        ),
    ] = None,
    lora: Annotated[
        str,
        typer.Option(
            metavar="merged|apart",
            help="Of a run with LoRA: the model with the adapter merged in, or the adapter.",
            autocompletion=options.completing(lambda: ["merged", "apart"]),
        ),
    ] = "merged",
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What the model calls itself (default: as the run or the model is called).",
            show_default=False,
        ),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="evaluation.json, for the model's card.", show_default=False
        ),
    ] = None,
    codecs: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Where the model is now whose codecs made the run's training set (default: as "
            "run.json says).",
            show_default=False,
        ),
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Where the model is now that the run began from (default: as run.json says).",
            show_default=False,
        ),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME",
            help="Upload the folder to this repository of the hub, which is made if it is not "
            "there; private.",
            show_default=False,
        ),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a model that is there.")] = False,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
    dry_run: options.DryRunOption = False,
) -> None:
    """Make a model folder to hand over, with its card, out of a checkpoint or another model.

    Checkpoints of any engine and any number of ranks are put together by this one process.
    """
    models = options.models_folder(options.load(context))

    from songbloom.export import model, sources  # import torch
    from songbloom.export import push as upload

    wanted = model.ExportOptions(
        to=to,
        averaged=_averaged(weights),
        lora=lora,
        dtype=dtype,
        shard_bytes=None if shard_size is None else _bytes(shard_size),
        quantise=quantise,
        name=name,
        scores=scores,
        force=force,
    )
    found = sources.find(source, models=models, codecs=codecs, init_from=init_from)
    if dry_run:
        plan = model.plan(found, out, wanted)
        output.result_json(plan) if as_json else output.result(output.tree(plan))
        return
    with output.progress(enabled=not as_json) as bar:
        report = model.export_model(found, out, wanted, bar.update)
        for warning in report.get("warnings", ()):
            output.warning(warning)
        if push is not None:
            bar.update(f"pushing to {push}")
            # the hub client draws bars of its own, here beside ours
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # ours is enough
            report["pushed"] = upload.push(out, push, public=public, message=_message(report))
    _show(report, as_json)


def _show(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.result_json(report)
        return
    for name, value in report.get("quantisation", {}).get("change", {}).items():
        output.note(f"{name}: {value:g}")
    if "licence" in report:
        output.note(f"licence: {report['licence']}")
    output.result(str(report["path"]))
    if "pushed" in report:
        output.result(str(report["pushed"]))


def _message(report: dict[str, Any]) -> str:
    digest = report.get("weights_sha256") or next(iter(report["sha256"].values()))
    return f"{report['name']}: {report['kind']} {digest[:12]}"


def _averaged(weights: str | None) -> bool | None:
    from songbloom.errors import UsageError

    if weights not in (None, "ema", "raw"):
        raise UsageError(f"--weights {weights}: not known", "Choose from: ema, raw.")
    return None if weights is None else weights == "ema"


def _bytes(size: str) -> int:
    from songbloom.errors import UsageError

    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?B?)", size.strip().upper())
    unit = "" if match is None else match[2] if match[2].endswith("B") else f"{match[2]}B"
    if match is None or unit not in _UNITS:
        raise UsageError(f"--shard-size {size}: not a size", "Type one like 2GB or 500MB.")
    return int(float(match[1]) * _UNITS[unit])
