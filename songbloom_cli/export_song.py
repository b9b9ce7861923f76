"""`songbloom export-song` and `verify`: finished songs, and where a sound file comes from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from songbloom_cli import options, output


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    app.command("export-song")(export_song)
    app.command()(verify)


def export_song(
    context: typer.Context,
    song: Annotated[
        Path,
        typer.Argument(
            metavar="SONG",
            help="The folder NAME.song beside a song, or the song's sound file.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="File to write, or a folder (default: NAME.master.flac beside the song).",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="flac|wav|mp3|ogg|opus",
            help="File format (default: what OUT ends in, else flac).",
            show_default=False,
            autocompletion=options.completing(lambda: ["flac", "wav", "mp3", "ogg", "opus"]),
        ),
    ] = None,
    loudness: Annotated[
        float,
        typer.Option(
            "--loudness", metavar="LUFS", help="Loudness of the whole song, after ITU-R BS.1770."
        ),
    ] = -14.0,
    true_peak: Annotated[
        float,
        typer.Option(
            "--true-peak", metavar="DBTP", help="No peak is higher, between samples neither."
        ),
    ] = -1.0,
    title: Annotated[
        str, typer.Option(help="Title in the tags (default: NAME).", show_default=False)
    ] = "",
    artist: Annotated[str, typer.Option(help="Artist in the tags.", show_default=False)] = "",
    stems: Annotated[
        bool, typer.Option("--stems", help="Write vocals and accompaniment beside it.")
    ] = False,
    watermark: Annotated[
        bool,
        typer.Option(
            "--watermark",
            help="Put in an inaudible watermark, which tags and manifest declare.",
        ),
    ] = False,
    c2pa: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--c2pa",
            metavar="CERT KEY",
            help="Sign a C2PA manifest into the file with this certificate and key (PEM): FLAC, "
            "WAV and MP3.",
            show_default=False,
        ),
    ] = None,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Make a finished song: mastered, tagged with its lyrics, and saying where it comes from.

    Mastering is one gain and a limiter for true peaks, nothing else. The song itself is left as it
    is; its song.toml notes what was exported.
    """
    from songbloom.export import song as songs  # imports torch

    wanted = songs.ExportOptions(
        format=format,
        loudness=loudness,
        true_peak=true_peak,
        title=title,
        artist=artist,
        stems=stems,
        watermark=watermark,
        c2pa=c2pa,
        separation=options.load(context).config.prepare,
    )
    with output.progress(enabled=not as_json) as bar:
        report = songs.export_song(song, out, wanted, bar.update)
    if as_json:
        output.result_json(report)
        return
    for warning in report["warnings"]:
        output.warning(warning)
    output.note(_told(report))
    for file in (report["file"], *report.get("stems", {}).get("files", ())):
        output.result(file)


def _told(report: Mapping[str, Any]) -> str:
    parts = [f"{report['lufs']} LUFS", f"{report['true_peak_dbtp']} dBTP"]
    if report["limited_db"]:
        parts.append(f"peaks lowered by up to {report['limited_db']} dB")
    if report["watermark"]:
        parts.append(f"watermark {report['watermark']['sdr_db']} dB below the song")
    if report["c2pa"]:
        parts.append("C2PA manifest")
    return ", ".join(parts)


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A sound file.", show_default=False)],
    as_json: options.JsonOption = False,
) -> int:
    """Look for songbloom's watermark, a C2PA manifest and tags in a sound file.

    Exit code 1 when they contradict the sound or each other.
    """
    from songbloom.export.verify import verify as look

    report = look(file)
    if as_json:
        output.result_json(report)
    else:
        output.result(output.tree(_shown(report)))
    for problem in report["problems"]:
        output.error(problem, "The file is not as it was exported; get it from its source again.")
    return 1 if report["problems"] else 0


def _shown(report: Mapping[str, Any]) -> dict[str, Any]:
    mark, manifest = report["watermark"], report["c2pa"]
    if not mark["tried"]:
        heard = "not looked for: shorter than 5 s"
    else:
        there = "found" if mark["found"] else "none"
        heard = f"{there} (score {mark['score']:g}, found from {mark['threshold']:g})"
    if isinstance(manifest, Mapping):
        manifest = f"{manifest['state']}, signed by {manifest['signer']}"
    return {
        "file": report["file"],
        "seconds": report["seconds"],
        "loudness": f"{report['lufs']} LUFS, true peak {report['true_peak_dbtp']} dBTP",
        "watermark": heard,
        "declared": mark["declared"] or "none",
        "c2pa": manifest or "none",
        "lyrics": f"{report['lyrics_lines']} lines",
        "made_by": report["made_by"] or "not said",
    }
