"""`songbloom evaluate`, alias `eval`: scores of generated songs, and what is read from them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from songbloom_cli import options, output, paper, prepare

NAMES = ("evaluate", "eval")
PARTIAL = 3
_RUN = "run"  # what `songbloom evaluate FOLDER` is short for


def _protocols() -> list[str]:
    from songbloom.evaluation.protocol import PRESETS

    return list(PRESETS)


_app = typer.Typer(
    rich_markup_mode=None,
    help="Score generated songs: songbloom evaluate FOLDER. "
    "Its options: songbloom evaluate run --help.",
)
_SoundOption = Annotated[
    str,
    typer.Option(
        "--sound",
        metavar="embed|link|none",
        help="How the page has the songs: in itself, where they are, or not at all.",
    ),
]
_ResultArgument = typer.Argument(
    metavar="RESULT",
    help="evaluation.json, or the folder that `songbloom evaluate` wrote.",
    show_default=False,
)


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app, under both names."""
    _app.command(_RUN)(run)
    _app.command("compare")(compare)
    _app.command("protocol")(protocol)
    _app.command("report")(report)
    _app.command("paper")(paper.paper)
    app.add_typer(_app, name=NAMES[0])
    app.add_typer(_app, name=NAMES[1], hidden=True)


def complete(args: list[str]) -> list[str]:
    """`evaluate FOLDER` as what it is short for, `evaluate run FOLDER`; other words as they are."""
    known = [command.name for command in _app.registered_commands]
    if len(args) < 2 or args[0] not in NAMES or args[1] in (*known, "--help"):
        return args
    return [args[0], _RUN, *args[1:]]


def run(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Folder of songs (NAME.flac with NAME.song of ours, or any NAME.wav with "
            "NAME.txt), one song, or a .csv or .jsonl table with name, audio, lyrics, reference.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Folder of the result (default: FOLDER/evaluation; for x.csv x/evaluation).",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            metavar="NAME|FILE",
            help="What pins the scores: offline, paper, a file.",
            autocompletion=options.completing(_protocols),
        ),
    ] = "offline",
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="A,B",
            help="Only these of the protocol's and other metrics.",
            show_default=False,
        ),
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(
            "--references",
            metavar="DIR",
            help="Folder of the reference clips (default: FOLDER/references).",
            show_default=False,
        ),
    ] = None,
    test_set: Annotated[
        Path | None,
        typer.Option(
            "--set",
            metavar="SET",
            help="Test set of `songbloom evalset make`, whose lyrics and clips count: every song "
            "of it is scored, and one that is not in FOLDER fails.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            help="Processes that work at the same time; they do not change the result "
            "(default: one a core).",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", metavar="N", min=1, help="Only the first N songs.", show_default=False
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="DIR",
            help="Where measurements are kept, for several results to share (default: OUT/cache).",
            show_default=False,
        ),
    ] = None,
    sound: _SoundOption = "embed",
    as_json: options.JsonOption = False,
    dry_run: options.DryRunOption = False,
) -> int:
    """Score generated songs by a pinned protocol.

    OUT holds evaluation.json and, to be read, report.md and the page report.html. The same command
    again goes on where it stopped, and measures again only what changed. Exit code 3: some songs
    could not be measured, and the result says why.
    """
    from songbloom.errors import UsageError
    from songbloom.evaluation import asked, candidates
    from songbloom.evaluation import evaluate as library
    from songbloom.evaluation import items as songs
    from songbloom.evaluation import protocol as protocols
    from songbloom.evaluation import report as reports

    wish = reports.Wish(sound=sound)  # type: ignore[arg-type]  # checks it
    wanted = protocols.load(protocol)
    if metrics is not None:
        wanted = wanted.only([name.strip() for name in metrics.split(",") if name.strip()])
    if test_set is None:
        items = songs.find(folder, references=references, limit=limit)
    elif references is not None:
        raise UsageError("--references: a test set has its own", "Leave out --references or --set.")
    else:
        items = asked.answers(songs.find(folder), test_set)[:limit]
    wanted = candidates.followed(wanted, items)
    many = folder.is_dir() and not songs.is_song(folder)
    target = out or (folder if many else folder.with_suffix("")) / "evaluation"
    task = library.Task(items, wanted, cache or target / "cache", workers)
    if dry_run:
        plan = library.plan(task)
        output.result_json(plan) if as_json else output.result(output.tree(plan))
        return 0
    with output.progress(enabled=not as_json) as bar:
        result = library.evaluate(task, _quiet if as_json else prepare.shown(bar))
        library.write(result, target / "evaluation.json")
        sounds = {item.name: item.audio for item in items}
        for name in ("report.md", "report.html"):
            reports.write(result, target / name, sounds, wish, _steps(bar))
    if as_json:
        output.result_json(result)
    else:
        output.note(reports.protocol_line(result))
        output.result(output.table(reports.rows(result), reports.HEADER))
        output.note(str(target / "report.html"))
    return PARTIAL if result["failed"] else 0


def report(
    result: Annotated[Path, _ResultArgument],
    out: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="A page (.html) or Markdown (.md); without it the table is printed.",
            show_default=False,
        ),
    ] = None,
    songs: Annotated[
        Path | None,
        typer.Option(
            "--songs",
            metavar="FOLDER",
            help="What was scored, for its sound (default: where OUT was by default).",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int, typer.Option("--tracks", metavar="N", min=0, help="How many songs can be opened.")
    ] = 20,
    sound: _SoundOption = "embed",
    as_json: options.JsonOption = False,
) -> None:
    """Show a result again: as a table, as Markdown, or as one page with the worst songs first."""
    from songbloom.errors import SongBloomError
    from songbloom.evaluation import items
    from songbloom.evaluation import report as library
    from songbloom.evaluation.evaluate import read

    found = read(result)
    if out is None:
        if as_json:
            output.result_json(found)
            return
        output.note(library.protocol_line(found))
        output.result(output.table(library.rows(found), library.HEADER))
        return
    folder = songs or (result if result.is_dir() else result.parent).resolve().parent
    sounds: dict[str, Path] = {}
    try:
        sounds = {item.name: item.audio for item in items.find(folder)}
    except SongBloomError:
        if songs is not None:
            raise
    wish = library.Wish(songs=count, sound=sound)  # type: ignore[arg-type]  # checks it
    with output.progress(enabled=not as_json) as bar:
        written = library.write(found, out, sounds, wish, _steps(bar))
    if as_json:
        facts = {"output": str(written.output), "bytes": written.bytes}
        output.result_json({**facts, "shown": written.shown, "silent": written.silent})
        return
    if written.silent:
        output.warning(f"{len(written.silent)} songs are without sound; name them with --songs")
    output.result(str(written.output))


def compare(
    one: Annotated[Path, _ResultArgument],
    other: Annotated[Path, _ResultArgument],
    as_json: options.JsonOption = False,
) -> None:
    """Compare two systems over the songs of both: differences, intervals, p-values.

    Refused unless both were scored by the same protocol over the same test set.
    """
    from songbloom.evaluation import compare as library
    from songbloom.evaluation.evaluate import read
    from songbloom.evaluation.report import shown

    found = library.compare(read(one), read(other))
    if as_json:
        output.result_json(found)
        return
    rows = [
        [
            row["title"],
            *(shown(row[key], row["unit"]) for key in ("one", "other", "difference")),
            " to ".join(shown(end, row["unit"]) for end in row["interval"] or ()) or "-",
            _number(row["p"]),
            _number(row["p_holm"]),
            str(row["songs"]),
            row["verdict"],
        ]
        for row in found["metrics"].values()
    ]
    output.note(f"protocol {found['protocol']['name']} {found['protocol']['id']}")
    header = ("metric", "A", "B", "A - B", "interval", "p", "p (Holm)", "songs", "")
    output.result(output.table(rows, header))


def protocol(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE", help="offline, paper, or a TOML file.", show_default=False
        ),
    ] = "offline",
    as_json: options.JsonOption = False,
) -> None:
    """Print a protocol as TOML, to be changed and given to --protocol."""
    from songbloom.evaluation import protocol as library

    library.load(name)
    text = library.text(name)
    output.result_json(library.values(text, name)) if as_json else output.result(text.rstrip("\n"))


def _quiet(event: Mapping[str, Any]) -> None:
    """With --json the result is one object; who follows it reads the exit code."""


def _steps(bar: output.Progress) -> Callable[[int, int], None]:
    return lambda done, of: bar.update(f"report: song {done + 1} of {of}", done, of)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
