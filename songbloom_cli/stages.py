"""`songbloom separate`, `align`, `structure`, `tokenize`, `encode-latents`: one stage alone."""

from pathlib import Path
from typing import Annotated, Any

import typer

from songbloom_cli import options, output, prepare

PARTIAL = 3

OutOption = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="DIR", help="Folder: files go to DIR/SONG."),
]
LyricsOption = Annotated[
    Path | None,
    typer.Option(
        "--lyrics",
        metavar="FILE",
        help="Lyrics of a single sound file, where they do not lie beside it.",
        show_default=False,
    ),
]
WorkersOption = Annotated[int | None, options.setting("prepare", "workers")]
DeviceOption = Annotated[str | None, options.setting("prepare", "device")]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    app.command()(separate)
    app.command()(align)
    app.command()(structure)
    app.command()(tokenize)
    app.command("encode-latents")(encode_latents)


def separate(
    context: typer.Context,
    songs: prepare.SongsArgument,
    out: OutOption = Path("separated"),
    separate_backend: Annotated[str | None, options.setting("prepare", "separate_backend")] = None,
    separate_model: Annotated[str | None, options.setting("prepare", "separate_model")] = None,
    workers: WorkersOption = None,
    device: DeviceOption = None,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
) -> int:
    """Split songs into vocals and accompaniment (48 kHz stereo FLAC)."""
    return _run(context, "separate", songs, out, as_json=as_json)


def align(
    context: typer.Context,
    songs: prepare.SongsArgument,
    out: OutOption = Path("aligned"),
    lyrics: LyricsOption = None,
    align_backend: Annotated[str | None, options.setting("prepare", "align_backend")] = None,
    align_model: Annotated[str | None, options.setting("prepare", "align_model")] = None,
    workers: WorkersOption = None,
    device: DeviceOption = None,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
) -> int:
    """Find when each line and word of the lyrics is sung, and how surely."""
    return _run(context, "align", songs, out, lyrics, as_json=as_json)


def structure(
    context: typer.Context,
    songs: prepare.SongsArgument,
    out: OutOption = Path("structure"),
    lyrics: LyricsOption = None,
    structure_backend: Annotated[
        str | None, options.setting("prepare", "structure_backend")
    ] = None,
    structure_model: Annotated[str | None, options.setting("prepare", "structure_model")] = None,
    workers: WorkersOption = None,
    device: DeviceOption = None,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
) -> int:
    """Find a song's sections: intro, verse, chorus, bridge, inst, outro."""
    return _run(context, "structure", songs, out, lyrics, as_json=as_json)


def tokenize(
    context: typer.Context,
    songs: prepare.SongsArgument,
    out: OutOption = Path("tokens"),
    tokenize_backend: Annotated[str | None, options.setting("prepare", "tokenize_backend")] = None,
    tokenize_model: Annotated[str | None, options.setting("prepare", "tokenize_model")] = None,
    codebook: Annotated[str | None, options.setting("prepare", "codebook")] = None,
    workers: WorkersOption = None,
    device: DeviceOption = None,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
) -> int:
    """Make sketch tokens of songs, 25 a second (tokens.npy, int32)."""
    return _run(context, "tokenize", songs, out, as_json=as_json)


def encode_latents(
    context: typer.Context,
    songs: prepare.SongsArgument,
    out: OutOption = Path("latents"),
    vae_backend: Annotated[str | None, options.setting("prepare", "vae_backend")] = None,
    vae_model: Annotated[str | None, options.setting("prepare", "vae_model")] = None,
    workers: WorkersOption = None,
    device: DeviceOption = None,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
) -> int:
    """Make VAE latents of songs, 25 a second (latents.safetensors, float16 [T, 64])."""
    return _run(context, "encode-latents", songs, out, as_json=as_json)


def _run(
    context: typer.Context,
    stage: str,
    songs: Path,
    out: Path,
    lyrics: Path | None = None,
    *,
    as_json: bool,
) -> int:
    """Results on stdout, a file a line; exit code 3 when some songs failed, 1 when all did."""
    from songbloom.stages import crews
    from songbloom.stages.single import run_stage

    settings = options.load(context, "prepare").config.prepare
    with output.progress(enabled=not as_json) as bar:
        made = run_stage(
            stage,
            songs,
            out,
            settings,
            lambda logs: crews.LocalCrew(settings, logs),
            output.event if as_json else prepare.shown(bar),
            lyrics=lyrics,
        )
    for song in made:
        _tell(song, as_json=as_json)
    failed = sum(1 for song in made if song.reason)
    return 0 if not failed else PARTIAL if failed < len(made) else 1


def _tell(song: Any, *, as_json: bool) -> None:
    if as_json:
        files = [str(file) for file in song.files]
        output.event({"event": "result", "id": song.id, "files": files, "reason": song.reason})
    elif song.reason:
        output.error(f"{song.id}: {song.reason}", "Mend the file, or leave it out.")
    else:
        for file in song.files:
            output.result(str(file))
