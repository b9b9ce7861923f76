"""`songbloom listen`: blind listening tests, made and analysed."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from songbloom.errors import UsageError
from songbloom_cli import options, output

_app = typer.Typer(rich_markup_mode=None, help="Blind listening tests of generated songs.")


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    _app.command()(make)
    _app.command()(analyse)
    app.add_typer(_app, name="listen")


def make(
    systems: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]FOLDER",
            help="A folder of songs a system, as `songbloom evaluate` reads them; songs called "
            "alike are compared.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Folder for the raters; the key is written beside it as OUT.key.json.",
            show_default=False,
        ),
    ],
    kind: Annotated[
        str,
        typer.Option(
            "--kind", metavar="mos|ab", help="Score each song, or choose between two of a pair."
        ),
    ] = "mos",
    songs: Annotated[
        int, typer.Option("--songs", metavar="N", min=1, help="How many songs a system.")
    ] = 20,
    references: Annotated[
        Path | None,
        typer.Option(
            "--references",
            metavar="DIR",
            help="Folder of the reference clips. (default: FOLDER/references)",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Of the songs, their order and the sides.")
    ] = 0,
    loudness: Annotated[
        float,
        typer.Option(
            "--loudness",
            metavar="LUFS",
            help="Of every song; less where the peak of any would pass -1 dBTP.",
        ),
    ] = -14.0,
    max_duration: Annotated[
        float | None,
        typer.Option(
            "--max-duration",
            metavar="S",
            help="Seconds of each song, from its start. (default: all)",
            show_default=False,
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option("--repeats", metavar="N", min=0, help="Trials that come again.")
    ] = 2,
    anchors: Annotated[
        int,
        typer.Option(
            "--anchors", metavar="N", min=0, help="Muffled songs among those to be scored (mos)."
        ),
    ] = 1,
    sound_format: Annotated[
        str, typer.Option("--format", metavar="flac|ogg|mp3", help="Of the sounds.")
    ] = "flac",
    title: Annotated[str, typer.Option("--title", help="Of the page.")] = "Listening test",
    as_json: options.JsonOption = False,
    dry_run: options.DryRunOption = False,
) -> None:
    """Make a blind listening test: a page with sounds for raters, and a key to keep.

    Put the folder on any web server, or send it; raters open index.html, score, and send back the
    file that they download. All songs are equally loud and none says where it is from.
    """
    from songbloom.evaluation import listening  # imports numpy and scipy

    wish = listening.Wish(
        kind,  # type: ignore[arg-type]  # it checks this itself
        songs,
        seed,
        loudness,
        max_duration,
        repeats,
        anchors,
        sound_format,
        title,
    )
    named = _named(systems)
    if dry_run:
        plan = listening.plan(named, wish, references=references)
        output.result_json(plan) if as_json else output.result(output.tree(plan))
        return
    with output.progress(enabled=not as_json) as bar:
        made = listening.make(
            named,
            out,
            wish,
            lambda done, of: bar.update("sounds, measured and written", done, of),
            references=references,
        )
    if as_json:
        facts = {"output": str(made.output), "key": str(made.key)}
        output.result_json({**dataclasses.asdict(made), **facts})
        return
    if made.left_out:
        output.warning(f"{made.left_out} songs are not in every folder and are left out")
    for what, count in made.without.items():
        if count:
            output.warning(f"{count} songs come without {what}; nothing is asked about it")
    if made.loudness < loudness:
        output.note(f"{made.loudness:.1f} LUFS, so that no peak is cut")
    output.note(
        f"{made.trials} trials of {made.songs} songs, {made.seconds / 60:.0f} minutes a rater; "
        f"keep {made.key} from raters"
    )
    output.result(str(made.output / "index.html"))


def analyse(
    answers: Annotated[
        list[Path],
        typer.Argument(
            metavar="ANSWERS", help="The .jsonl files that raters sent.", show_default=False
        ),
    ],
    key: Annotated[
        Path,
        typer.Option(
            "--key",
            metavar="FILE",
            help="OUT.key.json that `songbloom listen make` wrote.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write it as Markdown (.md) or JSON (.json).",
            show_default=False,
        ),
    ] = None,
    keep_all: Annotated[
        bool, typer.Option("--keep-all", help="Leave out no rater, however careless.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the intervals' draws.")] = 0,
    as_json: options.JsonOption = False,
) -> None:
    """Tell what raters' answers say: mean opinion scores, or which system wins.

    Raters who contradict themselves when songs come again, rate muffled songs above clear ones or
    always answer the same are left out, and told with the reason.
    """
    from songbloom.evaluation import answers as library  # imports scipy
    from songbloom.evaluation.statistics import Statistics
    from songbloom.files import write_text

    if out is not None and out.suffix not in (".md", ".json"):
        raise UsageError(f"{out}: expected a name that ends in .md or .json", "Name it so.")
    found = library.analyse(
        answers,
        key,
        screening=None if keep_all else library.Screening(),
        statistics=Statistics(seed=seed),
    )
    if out is not None:
        json_text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
        write_text(out, library.markdown(found) if out.suffix == ".md" else json_text)
    if as_json:
        output.result_json(found)
        return
    output.note(library.summary(found))
    for title, header, rows in library.tables(found):
        output.result(f"\n{title}\n\n{output.table(rows, header)}")


def _named(systems: list[str]) -> dict[str, Path]:
    """Folders by the systems' names, which are the folders' own unless given."""
    named: dict[str, Path] = {}
    for text in systems:
        name, _, folder = text.rpartition("=")
        path = Path(folder)
        name = name or path.resolve().stem
        if name in named:
            raise UsageError(
                f"two systems are called '{name}'", f"Name them, for example: other={folder}"
            )
        named[name] = path
    return named
