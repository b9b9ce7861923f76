"""`songbloom doctor`: what is installed here, what is used of it, what to type for the rest."""

import typer

from songbloom_cli import options, output


def register(app: typer.Typer) -> None:
    """Add this module's command to the app."""
    app.command()(doctor)


def doctor(
    context: typer.Context,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Tell what is installed and what is missing.

    Names the devices, the attention and the backend of every stage that are in use, and checks the
    hash of every model's files.
    """
    loaded = options.load(context)

    from songbloom.doctor import examine  # imports torch

    report = examine(options.models_folder(loaded), loaded.config.prepare)
    output.result_json(report) if as_json else output.result(output.tree(report))
