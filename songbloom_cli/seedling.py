"""`songbloom seedling`: the embedded model from a synthetic corpus to a model folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from songbloom_cli import options, output


def register(app: typer.Typer) -> None:
    """Add this module's command to the app."""
    app.command()(seedling)


def seedling(
    corpus: Annotated[Path, typer.Argument(help="A folder of songs that synth made.")],
    out: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="MODEL", help="Model folder to write.", show_default=False
        ),
    ],
    work: Annotated[
        Path, typer.Option("--work", metavar="DIR", help="Checkpoints and features.")
    ] = Path("runs/seedling"),
    name: Annotated[str, typer.Option("--name", help="What the model calls itself.")] = "seedling",
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", metavar="JSON", help="Steps and seeds.", show_default=False),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")] = 2,
    as_json: options.JsonOption = False,
    dry_run: options.DryRunOption = False,
) -> None:
    """Train the embedded model: codecs, then the sketch transformer and the flow, on a CPU.

    Every step goes on where it stopped: the same command again continues.
    """
    import dataclasses

    from songbloom.training import seedling as training  # imports torch

    chosen = training.recipe_from(recipe)
    if dry_run:
        plan = {
            "songs": len(training.song_folders(corpus)),
            "recipe": dataclasses.asdict(chosen),
            "work": str(work),
            "output": str(out),
        }
        output.result_json(plan) if as_json else output.result(output.tree(plan))
        return
    training.use_threads(threads)
    with output.progress(enabled=not as_json) as bar:
        shown = output.event if as_json else _shown(bar)
        info = training.make(corpus, work, out, chosen, name=name, on_progress=shown)
    output.event({"event": "done", **info}) if as_json else output.result(str(out))


def _shown(bar: output.Progress) -> Callable[[dict[str, Any]], None]:
    def show(row: dict[str, Any]) -> None:
        told = ", ".join(
            f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in row.items()
        )
        bar.update(told, int(row.get("step", row.get("songs", 0))), int(row.get("of", 0) or 0))

    return show
