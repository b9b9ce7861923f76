"""`songbloom config show`: every setting, and where it comes from."""

import dataclasses
from typing import Annotated

import typer

from songbloom_cli import options, output

_config = typer.Typer(help="Look into the settings.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    _config.command()(show)
    app.add_typer(_config, name="config")


def show(
    context: typer.Context,
    config: options.ConfigOption = None,
    origin: Annotated[
        bool, typer.Option("--origin", help="Tell where each value comes from.")
    ] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Print every setting as TOML, as the other commands would take it."""
    from songbloom.config import keys, tables, toml_value

    loaded = options.load(context)
    values = dataclasses.asdict(loaded.config)
    if as_json:
        report = {"path": loaded.path, **values}
        output.result_json({**report, "origins": dict(loaded.origins)} if origin else report)
        return
    output.note(f"# {loaded.path or 'no songbloom.toml: defaults and environment'}")
    for number, table in enumerate(tables()):
        output.result(f"{chr(10) if number else ''}[{table}]")
        for key in keys(table):
            value = values[table][key]
            text = f"# {key} =" if value is None else f"{key} = {toml_value(value)}"
            mark = f"  # {loaded.origins[f'{table}.{key}']}" if origin else ""
            output.result(f"{text}{mark}")
