"""Options that several commands share, and the way from flags to a checked configuration."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from songbloom import config

_Values = Callable[[str], list[str]]


def setting(table: str, key: str, *names: str) -> Any:
    """The option of one key of the configuration, which gives its help, name and choices.

    The flag's value is None when it is not given; limits are checked where all origins meet, in
    `songbloom.config`.
    """
    spec = config.keys(table)[key]
    choices = list(spec.metadata.get("choices", ()))
    return typer.Option(
        str(spec.metadata["flag"]),
        *names,
        help=config.doc(table, key),
        metavar="|".join(choices)
        or config.kind(table, key).__name__.upper().replace("STR", "TEXT"),
        show_default=False if spec.default is None else str(spec.default),
        autocompletion=completing(lambda: choices) if choices else None,
    )


def completing(known: Callable[[], list[str]]) -> _Values:
    """A shell completion that offers those of the `known` words that begin as typed."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in known() if word.startswith(incomplete)]

    return complete


def load(path: Path | None, flags: dict[str, object] | None = None) -> config.Loaded:
    """Configuration of a command: `flags` maps `table.key` to the flag's value or None."""
    return config.load(path, flags=flags)


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
