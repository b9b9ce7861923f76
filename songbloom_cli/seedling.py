"""`songbloom seedling`: the embedded codecs, or the separator, from a synthetic corpus."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

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
    part: Annotated[
        Literal["codecs", "separator"],
        typer.Option("--part", help="VAE and sketch codec, or the separator that prepare uses."),
    ] = "codecs",
    work: Annotated[
        Path | None,
        typer.Option(
            "--work",
            metavar="DIR",
            help="Checkpoints and features. (default: runs/seedling or runs/separator)",
            show_default=False,
        ),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="What the model calls itself.")] = "seedling",
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", metavar="JSON", help="Steps and seeds.", show_default=False),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")] = 2,
    as_json: options.JsonOption = False,
    dry_run: options.DryRunOption = False,
) -> None:
    """Train the embedded model's codecs, or the separator, on a CPU; `train` teaches the model.

    Every step goes on where it stopped: the same command again continues.
    """
    import dataclasses

    from songbloom.training import seedling as training  # imports torch
    from songbloom.training import separator, sketch_corpus

    alone = part == "separator"
    folder = work or Path("runs", "separator" if alone else "seedling")
    chosen = (
        training.recipe_from(recipe, separator.SeparatorRecipe)
        if alone
        else training.recipe_from(recipe, training.Recipe)
    )
    if dry_run:
        plan = {
            "songs": len(sketch_corpus.song_folders(corpus)),
            "recipe": dataclasses.asdict(chosen),
            "work": str(folder),
            "output": str(out),
        }
        output.result_json(plan) if as_json else output.result(output.tree(plan))
        return
    training.use_threads(threads)
    with output.progress(enabled=not as_json) as bar:
        shown = output.event if as_json else _shown(bar)
        if isinstance(chosen, separator.SeparatorRecipe):
            info = separator.fit(corpus, folder, out, chosen, shown)
        else:
            info = training.make(corpus, folder, out, chosen, name=name, on_progress=shown)
    output.event({"event": "done", **info}) if as_json else output.result(str(out))


def _shown(bar: output.Progress) -> Callable[[dict[str, Any]], None]:
    def show(row: dict[str, Any]) -> None:
        told = ", ".join(
            f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in row.items()
        )
        bar.update(told, int(row.get("step", row.get("songs", 0))), int(row.get("of", 0) or 0))

    return show
