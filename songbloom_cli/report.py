"""`songbloom report`: a prepared dataset as one page to look at and listen to."""

from pathlib import Path
from typing import Annotated

import typer

from songbloom_cli import options, output


def register(app: typer.Typer) -> None:
    """Add this module's command to the app."""
    app.command()(report)


def report(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Folder that `songbloom prepare` made.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The page. (default: DATA/report.html)",
            show_default=False,
        ),
    ] = None,
    tracks: Annotated[
        int, typer.Option("--tracks", min=0, help="How many songs can be opened in the page.")
    ] = 12,
    track: Annotated[
        list[str] | None,
        typer.Option(
            "--track",
            metavar="ID",
            help="Open this song in place of drawn ones; may be given again.",
            show_default=False,
        ),
    ] = None,
    no_audio: Annotated[bool, typer.Option("--no-audio", help="Leave the sound out.")] = False,
    stems: Annotated[
        bool, typer.Option("--stems", help="Put in vocals and accompaniment as well.")
    ] = False,
    max_size: Annotated[
        float,
        typer.Option(
            "--max-size", metavar="MB", min=1, help="Songs beyond this size come without sound."
        ),
    ] = 25.0,
    as_json: options.JsonOption = False,
) -> None:
    """Show a prepared dataset in one HTML page.

    Totals, what was left out and why, and for some songs the words and sections on a timeline with
    the sound. The page needs no network and can be sent as it is.
    """
    from songbloom.stages import report as page  # imports numpy

    wish = page.Wish(tracks, tuple(track or ()), not no_audio, stems, round(max_size * 1e6))
    with output.progress(enabled=not as_json) as bar:
        made = page.write_report(
            data,
            out or data / "report.html",
            wish,
            lambda done, of: bar.update(f"song {done + 1} of {of}", done, of),
        )
    if as_json:
        output.result_json(
            {
                "output": str(made.output),
                "bytes": made.bytes,
                "shown": made.shown,
                "silent": made.silent,
                **made.summary,
            }
        )
        return
    output.note(
        f"{made.summary['songs']} songs, {len(made.shown)} to be opened, "
        f"{len(made.silent)} of these without sound, {output.size(made.bytes)}"
    )
    output.result(str(made.output))
