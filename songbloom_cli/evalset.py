"""`songbloom evalset`: test sets of lyrics and reference clips, kept apart from a training set."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from songbloom_cli import options, output

_app = typer.Typer(
    help="Make test sets, and check that training has not heard them.", rich_markup_mode=None
)


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    for command in (make, check):
        _app.command()(command)
    app.add_typer(_app, name="evalset")


_AGAINST = "Manifest of the training set, or the folder that holds it"


def make(
    lyrics: Annotated[
        Path,
        typer.Argument(
            metavar="LYRICS",
            help="Folder of lyrics in any format, or a .jsonl file with idx and lyrics a line.",
            show_default=False,
        ),
    ],
    references: Annotated[
        Path,
        typer.Option(
            "--references",
            metavar="DIR",
            help="Songs that clips of ten seconds are cut from: a folder or a manifest.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="SET", help="Folder for the test set.", show_default=False
        ),
    ],
    songs: Annotated[
        int | None,
        typer.Option("--songs", help="How many (default: one for each of the lyrics)."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another seed, another draw.")] = 0,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="MANIFEST",
            help=f"{_AGAINST}; what training has heard is left out.",
            show_default=False,
        ),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Make a test set as the paper does: lyrics and clips of unseen songs, shuffled.

    No lyrics meet the song that they are from. `songbloom generate SET/requests.jsonl` sings it.
    """
    from songbloom.evaluation import testset  # imports numpy

    with output.progress(enabled=not as_json) as bar:
        made = testset.make(
            lyrics,
            references,
            out,
            songs=songs,
            seed=seed,
            against=None if against is None else _manifest(against),
            on_event=lambda event: bar.update("reference clips", event["done"], event["wanted"]),
        )
    if as_json:
        output.result_json({"output": str(out), **made})
        return
    for item in made["left_out"]:
        output.note(f"left out: {item['kind']} {item['source']}: {item['reason']}")
    if made["against"] is None:
        output.warning("not compared with a training set; name its manifest with --against")
    else:
        _tell_unseen(made["against"])
    output.note(f"{len(made['songs'])} songs, test set {made['hash'][:16]}")
    output.result(str(out / "requests.jsonl"))


def check(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="SET", help="A folder of `songbloom evalset make`.", show_default=False
        ),
    ],
    against: Annotated[
        Path,
        typer.Option("--against", metavar="MANIFEST", help=f"{_AGAINST}.", show_default=False),
    ],
    as_json: options.JsonOption = False,
) -> None:
    """Check what of a test set training has heard: exit code 1 if anything.

    Songs by their bytes, by their sound (fingerprints) and by their artist, lyrics by their bytes.
    """
    from songbloom.evaluation import testset  # imports numpy

    leaks = testset.check(folder, _manifest(against))
    counts = dataclasses.asdict(leaks)
    if as_json:
        output.result_json({**counts, "leaking": len(leaks.names)})
    else:
        rows = [(k.name, k.kind, k.track, f"{k.similarity:.2f}") for k in leaks.found]
        if rows:
            output.result(output.table(rows, ("song", "leak", "in training as", "alike")))
        _tell_unseen(counts)
        output.note(f"{len(leaks.names)} songs leak; {leaks.tracks} tracks were compared")
    if leaks.found:
        raise typer.Exit(1)


def _tell_unseen(counts: dict[str, int]) -> None:
    """What could not be compared."""
    for key, what in (
        ("without_hash", "exact copies"),
        ("without_fingerprint", "near-duplicates"),
        ("without_artist", "songs of the same artist"),
    ):
        if counts[key]:
            lacks = key.removeprefix("without_")
            output.warning(
                f"{counts[key]} of {counts['tracks']} tracks have no {lacks}: {what} of them are "
                "not found"
            )
    if counts["unnamed"]:
        output.warning(f"{counts['unnamed']} references name no artist to compare")


def _manifest(path: Path) -> Path:
    """The manifest that a path means."""
    return path / "manifest.jsonl" if path.is_dir() else path
