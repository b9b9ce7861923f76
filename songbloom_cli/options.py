"""Options that several commands share, and the way from flags to a checked configuration."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from songbloom import config

_Words = Callable[[], list[str]]


def setting(table: str, key: str, *names: str, words: _Words | None = None) -> Any:
    """The option of one key of the configuration, which gives its help, name and choices.

    `words` are offered by shell completion. The flag's value is None when it is not given; limits
    are checked where all origins meet, in `songbloom.config`.
    """
    meta = config.keys(table)[key].metadata
    choices = list(meta.get("choices", ()))
    notes = [str(meta["unit"])] if "unit" in meta else []
    notes.append(f"default: {config.default_text(table, key)}")
    return typer.Option(
        str(meta["flag"]),
        *names,
        help=f"{meta['doc']} ({'; '.join(notes)})",
        metavar="|".join(choices)
        or config.kind(table, key).__name__.upper().replace("STR", "TEXT"),
        show_default=False,
        autocompletion=completing(lambda: choices) if choices else words and completing(words),
    )


def completing(known: _Words) -> Callable[[str], list[str]]:
    """A shell completion that offers those of the `known` words that begin as typed."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in known() if word.startswith(incomplete)]

    return complete


def load(context: typer.Context, table: str | None = None) -> config.Loaded:
    """Configuration of a command: what --config names, under its flags that are keys of `table`.

    A flag's parameter is called like its key.
    """
    return config.load(context.params.get("config"), flags=flags(context, table) if table else {})


def flags(context: typer.Context, table: str) -> dict[str, object]:
    """The flags of a command that are keys of `table`, by `table.key`; None for one not given."""
    given = context.params
    return {f"{table}.{key}": given[key] for key in config.keys(table) if key in given}


def models_folder(loaded: config.Loaded) -> Path:
    """Where this configuration keeps models."""
    from songbloom import hub

    return hub.models_folder(loaded.config.models.folder)


def installed_names() -> list[str]:
    """Names of the models on this machine, for shell completion."""
    from songbloom import hub

    return [model.name for model in hub.installed(models_folder(config.load()))]


def preset_names() -> list[str]:
    """The presets, for shell completion."""
    from songbloom.model.config import ABLATIONS, PRESETS

    return [*PRESETS, *(f"ablations/{name}" for name in ABLATIONS)]


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML file to read in place of ./songbloom.toml or the user's own.",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON: one object, or one event a line for long work.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Tell what would be done, with time, disk and memory.")
]
BundleArgument = Annotated[
    Path,
    typer.Argument(
        metavar="BUNDLE", help="The folder NAME.song beside a song.", show_default=False
    ),
]
