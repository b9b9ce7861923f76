"""`songbloom train`: a run, from one CPU process to many machines."""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from songbloom import config
from songbloom_cli import options, output

_Show = Callable[[Mapping[str, Any]], None]
_PLAIN_EVERY = 10.0  # seconds between lines of steps in a log
INTERRUPTED = 130
PROGRAM = "songbloom"


def register(app: typer.Typer) -> None:
    """Add this module's command to the app."""
    app.command()(train)


def train(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONFIG] [-- LAUNCHER-ARGS]",
            help="TOML file with a table [train] and perhaps [model]; words behind -- go to the "
            "launcher of the workers.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[str | None, options.setting("train", "data")] = None,
    preset: Annotated[
        str | None, options.setting("train", "preset", "-p", words=options.preset_names)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="RUN",
            help="Run folder (default: runs/PRESET-HASH, the hash over all settings that decide "
            "what is learnt). The same command again goes on with it.",
            show_default=False,
        ),
    ] = None,
    gpus: Annotated[int | None, options.setting("train", "gpus")] = None,
    cpu_ranks: Annotated[int | None, options.setting("train", "cpu_ranks")] = None,
    nodes: Annotated[int | None, options.setting("train", "nodes")] = None,
    zero: Annotated[int | None, options.setting("train", "zero")] = None,
    shard: Annotated[bool | None, options.setting("train", "shard")] = None,
    resume: Annotated[
        str,
        typer.Option(
            "--resume",
            metavar="auto|never|PATH",
            help="auto: go on with the run folder. never: refuse where there is one. A checkpoint "
            "or another run: begin from its state.",
        ),
    ] = "auto",
    init_from: Annotated[
        str | None, options.setting("train", "init_from", words=options.installed_names)
    ] = None,
    reading: Annotated[float | None, options.setting("train", "reading")] = None,
    reset_sketch: Annotated[bool | None, options.setting("train", "reset_sketch")] = None,
    freeze: Annotated[str | None, options.setting("train", "freeze")] = None,
    lora: Annotated[int | None, options.setting("train", "lora")] = None,
    codecs: Annotated[
        str | None, options.setting("train", "codecs", words=options.installed_names)
    ] = None,
    steps: Annotated[int | None, options.setting("train", "steps")] = None,
    max_steps: Annotated[int | None, options.setting("train", "max_steps")] = None,
    batch_size: Annotated[int | None, options.setting("train", "batch_size")] = None,
    micro_batch: Annotated[int | None, options.setting("train", "micro_batch")] = None,
    crop: Annotated[float | None, options.setting("train", "crop")] = None,
    learning_rate: Annotated[float | None, options.setting("train", "learning_rate")] = None,
    warmup_steps: Annotated[int | None, options.setting("train", "warmup_steps")] = None,
    seed: Annotated[int | None, options.setting("train", "seed")] = None,
    dtype: Annotated[str | None, options.setting("train", "dtype")] = None,
    activation_checkpointing: Annotated[
        bool | None, options.setting("train", "activation_checkpointing")
    ] = None,
    save_every: Annotated[int | None, options.setting("train", "save_every")] = None,
    sample_every: Annotated[int | None, options.setting("train", "sample_every")] = None,
    validation_songs: Annotated[int | None, options.setting("train", "validation_songs")] = None,
    on_corrupt: Annotated[str | None, options.setting("train", "on_corrupt")] = None,
    wandb: Annotated[str | None, options.setting("train", "wandb")] = None,
    hostfile: Annotated[
        Path | None,
        typer.Option(
            "--hostfile",
            metavar="FILE",
            help="Machines for DeepSpeed's launcher: 'HOST slots=N' a line.",
            show_default=False,
        ),
    ] = None,
    emit: Annotated[
        str | None,
        typer.Option(
            "--emit",
            metavar="slurm",
            help="Print a batch script that trains like this, and exit.",
            show_default=False,
        ),
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(
            "--gpu",
            metavar="NAME",
            help="GPU to plan for with --dry-run (default: this machine's, else a100-80).",
            show_default=False,
        ),
    ] = None,
    as_json: options.JsonOption = False,
    dry_run: options.DryRunOption = False,
) -> int | None:
    """Train a model on a prepared dataset; the same command again goes on where it stopped.

    Ctrl-C and SIGTERM save first. In the end RUN/model is a model folder for `songbloom generate`
    (with --lora, RUN/adapter for `songbloom merge-lora`).
    """
    from songbloom.training import launch, start

    config_file, launcher_args = _split(words or [])
    settings = start.load_settings(config_file, options.flags(context, "train"))
    argv = list(context.find_root().obj or [])
    if emit is not None:
        output.result(_script(emit, argv, settings.train.gpus, settings.train.nodes))
        return None
    if dry_run:
        _show_plan(settings, gpu, as_json=as_json)
        return None
    job = start.make_job(
        settings,
        run=out,
        resume=resume,
        models=options.models_folder(config.load(config_file)),
        command=[PROGRAM, *argv],
    )
    place = launch.join(os.environ)
    ranks, on_gpu = start.num_ranks(settings.train)
    if place is not None:
        launch.check_world(place, ranks)
    start.check_plan(start.make_plan(settings, ranks, None, on_gpu=on_gpu))
    if place is None and (ranks > 1 or hostfile is not None):
        started = launch.command(
            argv,
            ranks=ranks,
            nodes=settings.train.nodes,
            hostfile=hostfile,
            launcher_args=launcher_args,
        )
        return launch.launch(started, ranks_here=ranks // settings.train.nodes)

    def work() -> int:
        with output.progress(enabled=not as_json) as bar:
            show = output.event if as_json else _shown(bar)
            outcome = start.work(job, place, on_gpu=on_gpu, on_event=show)
        if outcome.interrupted:
            return INTERRUPTED
        if outcome.product is not None and as_json:
            output.event({"event": "done", "step": outcome.step, "model": str(outcome.product)})
        elif outcome.product is not None:
            output.result(str(outcome.product))
        return 0

    return launch.as_worker(work)


def _split(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The configuration file, if one is named, and what is for the launcher."""
    named = words[:1] if words and not words[0].startswith("-") else []
    return (Path(named[0]) if named else None), list(words[len(named) :])


def _script(kind: str, argv: Sequence[str], gpus: int | None, nodes: int) -> str:
    from songbloom.errors import UsageError
    from songbloom.training import launch

    if kind != "slurm":
        raise UsageError(f"--emit {kind}: no such kind of script", "Known: slurm.")
    if not gpus:
        raise UsageError("--emit slurm: the number of GPUs is not given", "Add --gpus N.")
    return launch.slurm_script(argv, gpus=gpus, nodes=nodes).rstrip("\n")


def _show_plan(settings: Any, gpu: str | None, *, as_json: bool) -> None:
    """The plan, then the refusal of one that cannot fit."""
    from songbloom.training import planner, start

    train = settings.train
    ranks = train.gpus if train.gpus else (train.cpu_ranks if train.gpus == 0 else None)
    on_gpu = bool(train.gpus) or gpu is not None
    if ranks is None:
        ranks, on_gpu = (1, True) if gpu else start.num_ranks(train)
    plan = start.make_plan(settings, ranks, gpu, on_gpu=on_gpu)
    if as_json:
        output.result_json({**plan.to_dict(), "refusal": planner.refusal(plan)})
    else:
        output.result(output.tree(dict(planner.rows(plan))))
    start.check_plan(plan)


def _shown(bar: output.Progress) -> _Show:
    """Steps as progress on a terminal, as a plain line now and then in a log; all else as notes."""
    told_at = -math.inf

    def show(event: Mapping[str, Any]) -> None:
        nonlocal told_at
        kind = event["event"]
        if kind != "step":
            output.note(_told(event))
            return
        text = _step_text(event)
        bar.update(text, event["step"], event["of"])
        ended = event["step"] == event["of"] or "validation_loss" in event
        if not output.shows_progress() and (ended or time.monotonic() - told_at > _PLAIN_EVERY):
            told_at = time.monotonic()
            output.note(text)

    return show


def _step_text(row: Mapping[str, Any]) -> str:
    validated = row.get("validation_loss")
    checked = "" if validated is None else f"  validation {validated:.4f}"
    return (
        f"step {row['step']}/{row['of']}  loss {row['loss']:.4f}  lm {row['lm_loss']:.4f} "
        f"(chance {row['lm_chance']:.2f})  flow {row['flow_loss']:.4f}{checked}  "
        f"lr {row['lr']:.2e}  {row['audio_seconds_per_second']:.1f} s/s"
    )


def _told(event: Mapping[str, Any]) -> str:
    rest = ", ".join(f"{k} {v}" for k, v in event.items() if k not in ("event", "message"))
    return f"{event['event']}: {event.get('message', rest)}"
