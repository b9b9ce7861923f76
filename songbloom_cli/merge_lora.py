"""`songbloom merge-lora`: a model folder and an adapter become a model folder."""

from pathlib import Path
from typing import Annotated

import typer

from songbloom_cli import options, output


def register(app: typer.Typer) -> None:
    """Add this module's command to the app."""
    app.command("merge-lora")(merge_lora)


def merge_lora(
    context: typer.Context,
    base: Annotated[
        str,
        typer.Argument(
            metavar="BASE",
            help="The model that the adapter was trained from: a name or a model folder.",
            show_default=False,
            autocompletion=options.completing(options.installed_names),
        ),
    ],
    adapter: Annotated[
        Path,
        typer.Argument(
            metavar="ADAPTER",
            help="Adapter folder that train --lora wrote.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="MODEL", help="Model folder to write.", show_default=False
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="What the model calls itself (default: its folder's name).",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a model that is there.")] = False,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Add a LoRA adapter's weights to the model that it was trained from.

    An adapter of another model is refused. The new model.json names both.
    """
    from songbloom import hub

    folder = hub.resolve(base, options.models_folder(options.load(context)))

    from songbloom.training.lora import merge_model  # imports torch

    info = merge_model(folder, adapter, out, name=name, force=force)
    output.result_json(info) if as_json else output.result(str(out))
