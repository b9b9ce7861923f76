"""`songbloom tools`: WhisperX, MuQ and others in a Python environment of their own."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from songbloom_cli import options, output

_app = typer.Typer(
    help="Make and check the environment of tools that cannot live beside songbloom.",
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    _app.command()(install)
    _app.command("list")(list_tools)
    _app.command()(check)
    app.add_typer(_app, name="tools")


def _names() -> list[str]:
    from songbloom.stages.tools_environment import TOOLS

    return list(TOOLS)


_NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME",
        help="Tools: muq, whisperx, stable-audio-tools, audiobox-aesthetics.",
        show_default=False,
        autocompletion=options.completing(_names),
    ),
]


def install(
    names: _NamesArgument = None,
    python: Annotated[
        Path | None,
        typer.Option(
            "--python",
            metavar="PROGRAM",
            help="Python to make the environment of, 3.10 to 3.13 (default: songbloom's own).",
            show_default=False,
        ),
    ] = None,
    torch: Annotated[
        str,
        typer.Option(
            "--torch",
            metavar="SPEC",
            help="What pip is asked for in place of torch from the list, options included: for "
            "another version of CUDA, say.",
            show_default=False,
        ),
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Make the environment anew, whatever is there.")
    ] = False,
    as_json: options.JsonOption = False,
    dry_run: options.DryRunOption = False,
) -> None:
    """Install tools; all of them if none is named.

    They go into an environment of their own, in the user's data folder, from lists that pin every
    package. Weights are not installed. An interrupted installation goes on where it stopped.
    """
    from songbloom.stages import tools_environment

    if dry_run:
        plan = dataclasses.asdict(
            tools_environment.plan(names or (), torch=torch, base=python, force=force)
        )
        output.result_json(plan) if as_json else output.result(output.tree(plan))
        return
    if named := os.environ.get(tools_environment.PYTHON_VARIABLE):
        output.warning(f"{tools_environment.PYTHON_VARIABLE} is set: stages use {named} instead")
    with output.progress(enabled=not as_json) as bar:
        program = tools_environment.install(
            names or (),
            torch=torch,
            base=python,
            force=force,
            on_progress=_told if as_json else _shown(bar),
        )
    if as_json:
        output.event(
            {"event": "done", "python": str(program), "tools": tools_environment.installed()}
        )
    else:
        output.note("Try them: songbloom tools check")
        output.result(str(program))


def list_tools(as_json: options.JsonOption = False) -> None:
    """List the tools: what for, whether installed, which licence."""
    from songbloom.stages import tools_environment

    found = tools_environment.installed()
    keys = ("name", "version", "use", "licence")
    rows = [
        (name, found.get(name, ""), kind.use, kind.licence)
        for name, kind in tools_environment.TOOLS.items()
    ]
    if as_json:
        output.result_json([dict(zip(keys, row, strict=True)) for row in rows])
    else:
        output.result(output.table(rows, ["NAME", "VERSION", "FOR", "LICENCE"]))


def check(names: _NamesArgument = None, as_json: options.JsonOption = False) -> None:
    """Import tools in a worker, as their stages would.

    Without a name, those that are installed. Exit code 4 when one is missing.
    """
    from songbloom.errors import MissingAssetError, SongBloomError, UsageError
    from songbloom.stages import tools, tools_environment

    known = list(tools_environment.TOOLS)
    for name in names or ():
        if name not in known:
            raise UsageError(f"{name}: no such tool", f"The tools are: {', '.join(known)}.")
    wanted = list(names or tools_environment.installed())
    if not wanted:
        raise MissingAssetError("no tool is installed", "Type: songbloom tools install")
    report: dict[str, Any] = {}
    code = 0
    for name in wanted:
        try:
            report[name] = dataclasses.asdict(tools.check(name))
        except SongBloomError as error:
            code = max(code, error.exit_code)
            if not as_json:
                output.error(error.message, error.hint)
            else:
                report[name] = {"error": error.message, "hint": error.hint}
    if as_json or report:
        output.result_json(report) if as_json else output.result(output.tree(report))
    raise typer.Exit(code)


def _told(event: dict[str, Any]) -> None:
    if event["event"] == "step":
        output.event(event)


def _shown(bar: output.Progress) -> Callable[[dict[str, Any]], None]:
    step: dict[str, Any] = {}

    def show(event: dict[str, Any]) -> None:
        if event["event"] == "step":
            step.clear()
        step.update(event)
        words = f"{step['step']}: {step.get('text', 'starts')[:60]}"
        bar.update(words, step["number"] - 1, step["steps"])

    return show
