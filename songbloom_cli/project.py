"""`songbloom init`, `run` and `status`: a project from songs to a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from songbloom_cli import options, output

_HANDED_ON = ("-q", "--quiet", "--debug")


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    app.command()(init)
    app.command()(run)
    app.command()(status)


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Folder of the project.", show_default=False)
    ] = Path(),
) -> None:
    """Make a folder a project: songbloom.toml with every setting, and songs/ for the songs.

    What is there already is kept.
    """
    from songbloom.project import chain

    made = chain.create(folder)
    output.note(f"made {', '.join(made)}" if made else "it is a project already: nothing was made")
    output.result(str(folder))


def run(
    context: typer.Context,
    stages: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STAGE]...",
            help="The last stages to make, of prepare and train; all where none is named.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--project", metavar="DIR", help="Folder of the project.")
    ] = Path(),
    as_json: options.JsonOption = False,
    dry_run: options.DryRunOption = False,
) -> int:
    """Make what is missing or stale of a project: prepare, then train.

    What is fresh is skipped. The same command again goes on where it stopped.
    """
    from songbloom.project import chain

    project = chain.open_project(folder)
    chosen = chain.selected(stages or (), project)
    if dry_run:
        found = [_facts(one) for one in chain.standing(project, chosen)]
        output.result_json({"stages": found}) if as_json else output.result(_table(found))
        return 0
    flags = [word for word in context.find_root().obj or [] if word in _HANDED_ON]

    def show(one: Any) -> None:
        if as_json:
            output.event({"event": "chain", **_facts(one)})
        else:
            output.note(_line(_facts(one)))

    return chain.run(project, chosen, [*flags, *(["--json"] if as_json else [])], show)


def status(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="[PATH]", help="A project, a dataset, or a run.", show_default=False
        ),
    ] = Path(),
    as_json: options.JsonOption = False,
) -> None:
    """Tell where a project, a dataset or a run stands."""
    from songbloom.project import status as library

    found = library.status(path)
    if as_json:
        output.result_json(found)
    elif found["kind"] == "project":
        output.result(_table(found["stages"]))
    elif found["kind"] == "dataset":
        output.result(_dataset(found))
    else:
        output.result(output.tree(found))


def _facts(one: Any) -> dict[str, Any]:
    return {"stage": one.stage, "state": one.state, "why": list(one.why), "output": one.output}


def _line(one: Mapping[str, Any]) -> str:
    return f"{one['stage']}: {one['state']}" + (f": {_why(one)}" if one["why"] else "")


def _why(one: Mapping[str, Any]) -> str:
    """The first reasons, and how many more there are."""
    first, rest = one["why"][:3], len(one["why"][3:])
    return "; ".join(first) + (f"; and {rest} more" if rest else "")


def _table(stages: list[dict[str, Any]]) -> str:
    rows = [[one["stage"], one["state"], one["output"] or "-", _why(one)] for one in stages]
    return output.table(rows, ("stage", "state", "made", "why"))


def _dataset(found: dict[str, Any]) -> str:
    stages = found.pop("stages")
    names = list(dict.fromkeys(name for counts in stages.values() for name in counts))
    rows = [[stage, *(str(counts.get(n, 0)) for n in names)] for stage, counts in stages.items()]
    return f"{output.tree(found)}\n\n{output.table(rows, ('stage', *names))}"
