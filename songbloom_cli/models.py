"""`songbloom import`, `pull`, `models`, `model show`: models on this machine and their sizes."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from songbloom_cli import options, output

_model = typer.Typer(help="Look into models.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    app.command("import")(import_release)
    app.command()(pull)
    app.command()(models)
    _model.command()(show)
    app.add_typer(_model, name="model")


def _releases() -> list[str]:
    from songbloom import hub

    return list(hub.RELEASES)


def _presets() -> list[str]:
    from songbloom.model.config import PRESETS

    return list(PRESETS)


def import_release(
    context: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Folder of a SongBloom release: NAME.yaml, NAME.pt, the VAE and the vocabulary.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="MODEL_FOLDER",
            help="Model folder to write (default: the release's name in the models folder).",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Which of several releases in the folder.", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a model that is there.")] = False,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Make a model folder of a released checkpoint.

    No pickled code is run. Missing or unexpected tensors are refused by name.
    """
    target = out or options.models_folder(options.load(context)) / (name or folder.name)

    from songbloom.model.release import import_release as import_folder  # imports torch

    report = import_folder(folder, target, name=name, force=force)
    if as_json:
        output.result_json(report)
    else:
        output.note(f"{report['parameters']:,} parameters, {report['tensors']} tensors")
        output.note(f"licence: {report['licence']}")
        output.result(str(report["path"]))


def pull(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="songbloom_full_150s, songbloom_full_150s_dpo or songbloom_full_240s.",
            show_default=False,
            autocompletion=options.completing(_releases),
        ),
    ],
    accept_licence: Annotated[
        bool,
        typer.Option(
            "--accept-licence",
            help="Accept the weights' licence: academic use only, no production.",
        ),
    ] = False,
    revision: Annotated[str | None, options.setting("hub", "revision")] = None,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Fetch a released model from its hub and import it.

    The hub repositories are named under [hub] in songbloom.toml, so that mirrors can be used.
    """
    from songbloom import hub

    loaded = options.load(context, "hub")
    settings = loaded.config.hub
    if as_json or not output.shows_progress():  # the hub client draws bars of its own
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    path = hub.pull(
        name,
        repos=settings.repos(),
        accept_licence=accept_licence,
        folder=options.models_folder(loaded),
        revision=settings.revision,
        on_progress=output.event if as_json else _fetching,
    )
    output.event({"event": "done", "name": name, "path": path}) if as_json else output.result(
        str(path)
    )


def _fetching(event: Mapping[str, Any]) -> None:
    output.note(f"{event['number']}/{event['files']} {event['file']} from {event['repo']}")


def models(
    context: typer.Context,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """List the models on this machine: embedded and installed."""
    import dataclasses

    from songbloom import hub

    found = hub.installed(options.models_folder(options.load(context)))
    if as_json:
        output.result_json({"models": [dataclasses.asdict(model) for model in found]})
        return
    rows = [
        (
            model.name,
            "embedded" if model.embedded else "installed",
            f"{model.parameters / 1e6:.1f} M",
            output.size(model.size_bytes),
            model.licence,
            str(model.path),
        )
        for model in found
    ]
    header = ("NAME", "WHERE", "PARAMETERS", "SIZE", "LICENCE", "PATH")
    output.result(output.table(rows, header))


def show(
    preset: Annotated[
        str,
        typer.Argument(
            metavar="PRESET",
            help="nano, seedling, tiny, full, full_150s or full_240s.",
            show_default=False,
            autocompletion=options.completing(_presets),
        ),
    ],
    as_json: options.JsonOption = False,
) -> None:
    """Print a preset's sizes and parameter counts, without making its weights."""
    from songbloom.model.config import preset as find_preset
    from songbloom.model.summary import summarize

    summary = summarize(find_preset(preset))
    output.result_json(summary) if as_json else output.result(output.tree(summary))
