"""`songbloom generate`, `rerender`, `lrc`: songs, and what lies beside them."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from songbloom_cli import options, output

_Show = Callable[[Mapping[str, Any]], None]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    app.command()(generate)
    app.command()(rerender)
    app.command()(lrc)


def generate(
    context: typer.Context,
    lyrics: Annotated[
        str,
        typer.Argument(
            metavar="LYRICS",
            help="Text file of lyrics, - for standard input, or a .jsonl batch with idx, lyrics "
            "and prompt_wav a line.",
            show_default=False,
        ),
    ],
    prompt: Annotated[
        Path | None,
        typer.Option(
            "--prompt",
            metavar="CLIP",
            help="Reference clip whose style the song takes: about 10 seconds of music.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Song file, or folder of songs (default: the current folder). A song of a batch "
            "that is there already is not made again.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None, options.setting("generate", "model", "-m", words=options.installed_names)
    ] = None,
    seed: Annotated[int | None, options.setting("generate", "seed")] = None,
    n_samples: Annotated[int | None, options.setting("generate", "n_samples")] = None,
    max_duration: Annotated[float | None, options.setting("generate", "max_duration")] = None,
    num_steps: Annotated[int | None, options.setting("generate", "num_steps")] = None,
    sketch_cfg_scale: Annotated[
        float | None, options.setting("generate", "sketch_cfg_scale")
    ] = None,
    latent_cfg_scale: Annotated[
        float | None, options.setting("generate", "latent_cfg_scale")
    ] = None,
    temperature: Annotated[float | None, options.setting("generate", "temperature")] = None,
    top_k: Annotated[int | None, options.setting("generate", "top_k")] = None,
    prompt_start: Annotated[float | None, options.setting("generate", "prompt_start")] = None,
    rng: Annotated[str | None, options.setting("generate", "rng")] = None,
    format: Annotated[str | None, options.setting("generate", "format")] = None,
    device: Annotated[str | None, options.setting("generate", "device")] = None,
    dtype: Annotated[str | None, options.setting("generate", "dtype")] = None,
    batch_size: Annotated[int | None, options.setting("generate", "batch_size")] = None,
    lexicon: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Words said in your own way: a word and its symbols a line.",
            show_default=False,
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            metavar="CODE",
            help="Language of the lyrics, where it is not to be guessed (models with the front end "
            "v1): en, zh, yue, ja, ko, es, fr, de.",
            show_default=False,
        ),
    ] = None,
    best_of: Annotated[
        int | None,
        typer.Option(
            "--best-of",
            metavar="N",
            help="Sing every song N times, score all and keep the best as NAME; all of them stay "
            "in OUT/candidates.",
            show_default=False,
        ),
    ] = None,
    select: Annotated[
        str,
        typer.Option(
            "--select",
            metavar="A,B",
            help="Metrics that --best-of chooses by: the best mean rank, then the first of them.",
        ),
    ] = "per,mcc",
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            metavar="NAME|FILE",
            help="Which protocol of `songbloom evaluate` says how those metrics measure.",
        ),
    ] = "offline",
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
    dry_run: options.DryRunOption = False,
) -> None:
    """Make a song from lyrics in the style of a reference clip.

    Beside NAME.flac a folder NAME.song keeps all that made it, for `rerender` and `lrc`. With
    --json, events are printed one a line.
    """
    from songbloom import hub
    from songbloom.requests import read_requests

    loaded = options.load(context, "generate")
    settings = loaded.config.generate
    model_path = hub.resolve(settings.model, options.models_folder(loaded))
    requests = read_requests(lyrics, prompt, sys.stdin.buffer, hub.limits_of(model_path))

    from songbloom.generation import song  # imports torch
    from songbloom.generation.options import GenerateOptions

    values = dataclasses.asdict(settings)
    del values["model"]
    wanted = GenerateOptions(**values, lexicon=lexicon, language=language)
    target = out or Path(".")
    plan: Callable[..., Any] = song.plan
    make: Callable[..., Any] = song.generate
    if best_of is not None:
        plan, make = _best_of(best_of, select, protocol)
    if dry_run:
        planned = plan(requests, model_path, target, wanted)
        if as_json:
            output.result_json(planned)
            return
        for message in planned.pop("warnings"):
            output.warning(message)
        output.result(output.tree(planned))
        return
    alone = len(requests) * settings.n_samples == 1
    with output.progress(enabled=not as_json) as bar:
        show = output.event if as_json else _shown(bar)
        make(requests, model_path, target, wanted, _without_errors(show) if alone else show)


def _best_of(
    count: int, select: str, protocol: str
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What plans and makes songs as the best of so many."""
    from songbloom.evaluation import protocol as protocols
    from songbloom.evaluation import selection
    from songbloom.evaluation.candidates import Policy

    policy = Policy(count, tuple(name.strip() for name in select.split(",") if name.strip()))
    chosen: dict[str, Any] = {"policy": policy, "protocol": protocols.load(protocol)}
    return functools.partial(selection.plan, **chosen), functools.partial(
        selection.best_of, **chosen
    )


def _without_errors(show: _Show) -> _Show:
    """A lone song's error is raised as well, and told once."""
    return lambda event: None if event["event"] == "error" else show(event)


def _shown(bar: output.Progress) -> _Show:
    """What a person sees of the engine's events; songs that are done are the result."""

    def show(event: Mapping[str, Any]) -> None:
        kind, idx = event["event"], event.get("idx")
        name = f"{idx}: " if idx else ""
        if kind == "patch":
            bar.update(
                f"{name}patch {event['patch'] + 1}, {event['seconds']:.1f} s of song, "
                f"{event['rtf']:.2f} s of work for each",
                event["seconds"],
                event["of_seconds"],
            )
        elif kind == "candidate":
            output.note(f"{name}candidate {event['file']}")
        elif kind == "score" and "done" in event:
            bar.update(f"{event['id']}: {event['stage']}", event["done"], event["of"])
        elif kind == "warning":
            output.warning(f"{name}{event['message']}")
        elif kind == "error":
            output.error(f"{name}{event['message']}")
        elif kind == "skip":
            output.note(f"{name}is there already")
            output.result(event["file"])
        elif kind == "done":
            chosen = f", {event['selection']['policy']}" if "selection" in event else ""
            output.note(f"{name}{event['seconds']:.1f} s of song, seed {event['seed']}{chosen}")
            output.result(event["file"])

    return show


def rerender(
    context: typer.Context,
    bundle: options.BundleArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Song file to write (default: NAME.flac beside the bundle, again).",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Name or folder of the model that made the song (default: the name it recorded).",
            metavar="TEXT",
            show_default=False,
            autocompletion=options.completing(options.installed_names),
        ),
    ] = None,
    device: Annotated[str | None, options.setting("generate", "device")] = None,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Write a song again from its bundle: the same bytes.

    The model does not sing again; only its VAE decodes what it sang.
    """
    from songbloom import hub

    given = context.params.pop("model")  # not the configured one: a song names its own
    loaded = options.load(context, "generate")
    folder = options.models_folder(loaded)
    model_path = None if given is None else hub.resolve(given, folder)

    from songbloom.generation import bundle as bundles  # imports torch

    report = bundles.rerender(
        bundle,
        out,
        device=loaded.config.generate.device,
        model_path=model_path,
        models=str(folder),
    )
    if as_json:
        output.result_json(report)
        return
    output.note("identical to the song" if report["identical"] else "not the song's recorded bytes")
    output.result(report["file"])


def lrc(
    bundle: options.BundleArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="LRC file to write (default: standard output).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Print a song's lyrics with times, as LRC."""
    from songbloom.files import write_text
    from songbloom.generation.bundle import lrc as bundle_lrc

    text = bundle_lrc(bundle)
    if out is None:
        output.result(text.rstrip("\n"))
    else:
        write_text(out, text)
        output.result(str(out))
