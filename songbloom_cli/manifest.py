"""`songbloom manifest`: look at the rows of a manifest, choose, check, join and split them."""

import dataclasses
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from songbloom_cli import options, output

if TYPE_CHECKING:
    from songbloom.manifest import Track

_MOST_FINDINGS = 100  # shown to people

_app = typer.Typer(
    help="Show, count, choose, check, join and split the rows of a manifest.", rich_markup_mode=None
)


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    for command in (show, stats, filter, validate, merge, split):
        _app.command()(command)
    app.add_typer(_app, name="manifest")


_FileArgument = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="A manifest, or the folder that holds it.", show_default=False
    ),
]
_OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="File for the rows (default: standard output).",
        show_default=False,
    ),
]


def show(
    file: _FileArgument,
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Songs to show in full.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="Rows to show at most; 0 for all.")] = 100,
    as_json: options.JsonOption = False,
) -> None:
    """Show the songs of a manifest in a table, or some of them in full."""
    from songbloom import manifest

    tracks = manifest.read(_manifest(file))
    if ids:
        tracks = _named(tracks, file, ids)
    elif limit:
        tracks = islice(tracks, limit + 1)
    if as_json:
        for track in tracks if ids or not limit else islice(tracks, limit):
            output.event(manifest.to_row(track))
    elif ids:
        for track in tracks:
            output.result(output.tree(manifest.to_row(track)))
    else:
        rows = [_row(track) for track in tracks]
        shown = rows[:limit] if limit else rows
        output.result(output.table(shown, ("id", "state", "stage", "length", "language", "")))
        if len(shown) < len(rows):
            output.note(f"the first {limit} songs; --limit 0 shows all")


def stats(file: _FileArgument, as_json: options.JsonOption = False) -> None:
    """Count songs and hours by state, language, and reason why they were left out."""
    from songbloom import manifest

    counted = manifest.stats(manifest.read(_manifest(file)))
    output.result_json(counted) if as_json else output.result(output.tree(counted))


def filter(
    file: _FileArgument,
    conditions: Annotated[
        list[str],
        typer.Argument(
            metavar="CONDITION...",
            help="FIELD, a sign (= != < <= > >= ~) and a value: state=ready, language=en,zh, "
            "'duration>30', artist~^The, 'separate.voice<0.2'. All of them must be met.",
            show_default=False,
        ),
    ],
    out: _OutputOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Keep the rows that meet all conditions.

    = and != take several values with commas, and none for an empty field; ~ takes a regular
    expression. A field with a dot is one of a stage's results.
    """
    from songbloom import manifest

    _write(manifest.select(manifest.read(_manifest(file)), conditions), out, as_json)


def validate(
    file: _FileArgument,
    songs: Annotated[
        Path | None,
        typer.Option(
            "--songs",
            metavar="DIR",
            help="The folder that the paths in the manifest begin at (default: the one that it "
            "was made from, else its own).",
            show_default=False,
        ),
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every file, and compare its hash.")
    ] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Check a manifest: rows, ids, their order, and the files that they name."""
    from songbloom import manifest

    path = _manifest(file)
    root = songs or _songs_of(path)
    found = 0
    for finding in manifest.validate(path, root, deep=deep):
        found += 1
        if as_json:
            output.event(dataclasses.asdict(finding))
        elif found <= _MOST_FINDINGS:
            of = f"{finding.id}: " if finding.id else ""
            output.result(f"{path}:{finding.line}: {of}{finding.message}")
    if found > _MOST_FINDINGS and not as_json:
        output.note(f"{found - _MOST_FINDINGS} more; --json shows all")
    output.note(f"{path}: {found or 'no'} finding{'s' * (found != 1)}")
    if found:
        raise typer.Exit(1)


def merge(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Manifests, or the folders that hold them.",
            show_default=False,
        ),
    ],
    out: _OutputOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Join manifests in order of ids; rows that are alike count once.

    Slices of a data set are joined with `songbloom merge`, which takes their shards along.
    """
    from songbloom import manifest

    _write(manifest.merge([_manifest(file) for file in files]), out, as_json)


def split(
    file: _FileArgument,
    shares: Annotated[
        str,
        typer.Argument(
            metavar="SHARES", help="For example: train=0.98,test=0.02", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for a manifest of each split, NAME.jsonl.",
            show_default=False,
        ),
    ],
    seed: Annotated[int, typer.Option("--seed", help="Another seed, another draw.")] = 0,
    as_json: options.JsonOption = False,
) -> None:
    """Split songs so that no song, artist or near-duplicate is in two splits.

    Near-duplicates are found by audio fingerprint. A song stays in its split when others are added.
    """
    from songbloom.stages import splits  # imports numpy and scipy

    path = _manifest(file)
    made = splits.split(path, out, splits.parse_shares(shares), seed=seed)
    if as_json:
        output.result_json({**dataclasses.asdict(made), "output": str(out)})
        return
    rows = [
        (name, str(count), f"{made.duration[name] / 3600:.2f}", str(out / f"{name}.jsonl"))
        for name, count in made.songs.items()
    ]
    output.result(output.table(rows, ("split", "songs", "hours", "file")))
    output.note(f"{made.groups} groups stay together; the largest has {made.largest} songs")
    if made.unheard:
        output.warning(
            f"{made.unheard} songs have no fingerprint: near-duplicates of them are not found"
        )


def _manifest(path: Path) -> Path:
    """The manifest that a path means."""
    return path / "manifest.jsonl" if path.is_dir() else path


def _songs_of(path: Path) -> Path:
    """The folder that a manifest's paths begin at, as far as `prepare` wrote it down."""
    try:
        described = json.loads((path.parent / "prepare.json").read_text("utf-8"))
        return path.parent / str(described["songs"])
    except (OSError, ValueError, KeyError, TypeError):
        return path.parent


def _named(tracks: "Iterator[Track]", file: Path, ids: list[str]) -> "Iterator[Track]":
    from songbloom.errors import SongBloomError

    missing = dict.fromkeys(ids)
    for track in tracks:
        if track.id in missing:
            missing.pop(track.id)
            yield track
    if missing:
        raise SongBloomError(
            f"{file}: no song '{next(iter(missing))}'",
            f"List them: songbloom manifest show {file}",
        )


def _row(track: "Track") -> tuple[str, ...]:
    length = "-" if track.duration is None else f"{track.duration:.0f} s"
    name = " - ".join(word for word in (track.artist, track.title) if word)
    what = " ".join((track.reason or name).split())
    return track.id, track.state, track.stage or "-", length, track.language or "-", what


def _write(tracks: "Iterator[Track]", out: Path | None, as_json: bool) -> None:
    """Rows to a file, or as they are to standard output."""
    from songbloom import manifest

    if out is None:
        for track in tracks:
            output.result(manifest.to_line(track).decode("utf-8").removesuffix("\n"))
        return
    count = manifest.write(out, tracks)
    summary: dict[str, Any] = {"songs": count, "output": str(out)}
    if as_json:
        output.result_json(summary)
    else:
        output.note(f"{count} songs")
        output.result(str(out))
