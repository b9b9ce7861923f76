"""`songbloom synth`: songs made here, with exactly known words, phones, notes and chords."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from songbloom.config import Loaded
from songbloom.errors import UsageError
from songbloom_cli import options, output


def register(app: typer.Typer) -> None:
    """Add this module's command to the app."""
    app.command()(synth)


def synth(
    context: typer.Context,
    out: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder of song folders.", show_default=False
        ),
    ],
    songs: Annotated[
        int | None, typer.Option("--songs", help="How many songs to make.", show_default=False)
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option("--hours", help="Make songs until they last this long.", show_default=False),
    ] = None,
    seed: Annotated[int | None, options.setting("synth", "seed")] = None,
    language: Annotated[str | None, options.setting("synth", "language")] = None,
    voices: Annotated[str | None, options.setting("synth", "voices")] = None,
    soundfont: Annotated[
        list[Path] | None,
        typer.Option(
            "--soundfont",
            metavar="FILE.sf2",
            help="Let this General MIDI soundfont take turns with the package's instruments. "
            "Repeatable; through FluidSynth.",
            show_default=False,
        ),
    ] = None,
    music21: Annotated[
        bool,
        typer.Option(
            "--music21", help="Songs from the public-domain scores of music21's corpus instead."
        ),
    ] = False,
    workers: Annotated[int | None, options.setting("synth", "workers")] = None,
    scores: Annotated[
        bool,
        typer.Option("--scores", help="A training set of scores alone: words and notes, no sound."),
    ] = False,
    codecs: Annotated[
        str,
        typer.Option("--codecs", metavar="MODEL", help="With --scores: whose codes they are."),
    ] = "seedling",
    like: Annotated[
        Path | None,
        typer.Option(
            "--like",
            metavar="DIR",
            help="With --scores: in the keys, tempos, voices and languages of these synthetic "
            "songs, each with a clip of one for its reference.",
            show_default=False,
        ),
    ] = None,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
    dry_run: options.DryRunOption = False,
) -> None:
    """Make songs with exactly known words and notes.

    Each is a folder with audio, stems, lyrics and truth.json. Songs that are there already are
    kept, so an interrupted run goes on.
    """
    loaded = options.load(context, "synth")
    settings = loaded.config.synth
    if scores and music21:
        raise UsageError("--scores: are made by rules alone", "Leave out --music21, or --scores.")
    if like and not scores:
        raise UsageError("--like: is for scores", f"For example: --scores --like {like}")
    if like and language:
        raise UsageError("--like: its songs say the languages", "Leave out --language, or --like.")
    if scores:
        _write_scores(out, songs, loaded, codecs, like, as_json=as_json, dry_run=dry_run)
        return

    from songbloom.synth import corpus  # imports numpy and scipy
    from songbloom.synth.voices import parse_engines

    wanted: dict[str, Any] = {
        "songs": songs,
        "hours": hours,
        "seed": settings.seed,
        "split": corpus.SCORES if music21 else "train",
        "language": settings.language,
        "engines": parse_engines(settings.voices),
    }
    if dry_run:
        plan = dataclasses.asdict(corpus.plan_corpus(out, **wanted))
        output.result_json(plan) if as_json else output.result(output.tree(plan))
        return
    with output.progress(enabled=not as_json) as bar:
        report = corpus.make_corpus(
            out,
            **wanted,
            fonts=soundfont or (),
            workers=settings.workers,
            on_progress=_told if as_json else _shown(bar),
        )
    if as_json:
        output.event({"event": "done", **dataclasses.asdict(report)})
    else:
        output.note(f"{report.made} songs made, {report.kept} were there, {report.duration:.0f} s")
        output.result(str(report.output))


def _write_scores(
    out: Path,
    songs: int | None,
    loaded: Loaded,
    codecs: str,
    like: Path | None,
    *,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Scores for `songbloom train --preset seedling_read`, or `seedling_follow`."""
    from songbloom import hub
    from songbloom.training import synthetic  # imports torch
    from songbloom.training.sketch_corpus import song_folders

    if songs is None:
        raise UsageError("--scores: how many songs?", "For example: --scores --songs 10000")
    model = hub.resolve(codecs, options.models_folder(loaded))
    if dry_run:
        plan = {"songs": songs, "bytes": songs * synthetic.SCORE_BYTES, "codecs": str(model)}
        plan |= {"styles": len(song_folders(like))} if like else {}
        output.result_json(plan) if as_json else output.result(output.tree(plan))
        return
    with output.progress(enabled=not as_json) as bar:
        wanted: dict[str, Any] = {
            "songs": songs,
            "seed": loaded.config.synth.seed,
            "codecs": model,
            "on_progress": lambda done: bar.update(f"score {done} of {songs}", done, songs),
        }
        if like:
            info = synthetic.write_like(out, like, **wanted)
        else:
            language = loaded.config.synth.language
            info = synthetic.write_dataset(out, **wanted, sound="none", language=language)
    if as_json:
        output.event({"event": "done", "songs": info.songs, "hours": info.hours})
    else:
        output.result(str(out))


def _told(done: int, songs: int, seconds: float) -> None:
    output.event({"event": "song", "done": done, "songs": songs, "seconds": seconds})


def _shown(bar: output.Progress) -> Callable[[int, int, float], None]:
    def show(done: int, songs: int, seconds: float) -> None:
        bar.update(f"song {done} of {songs}, {seconds:.0f} s of audio", done, songs)

    return show
