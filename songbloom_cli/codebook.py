"""`songbloom codebook`: fit the codebook that MuQ's embeddings are rounded to, and look into it."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from songbloom_cli import options, output

_app = typer.Typer(help="Codebooks for MuQ's sketch tokens.", rich_markup_mode=None)

_FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="A codebook.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    _app.command()(fit)
    _app.command()(show)
    _app.command()(check)
    app.add_typer(_app, name="codebook")


def fit(
    context: typer.Context,
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="EMBEDDINGS|SONGS...",
            help="Files or folders of embeddings (.npy, .safetensors), or songs to embed first.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Codebook to write.", show_default=False
        ),
    ],
    size: Annotated[int, typer.Option("--size", help="How many codes.")] = 16384,
    seed: Annotated[int, typer.Option("--seed", help="Seed of every random draw.", min=0)] = 0,
    passes: Annotated[int, typer.Option("--passes", help="Times to go over the music.")] = 4,
    layer: Annotated[
        int, typer.Option("--layer", help="Hidden state of MuQ; -1 is the last.")
    ] = -1,
    normalise: Annotated[
        str,
        typer.Option("--normalise", metavar="none|unit", help="Make vectors of length 1, or not."),
    ] = "none",
    tokenize_model: Annotated[str | None, options.setting("prepare", "tokenize_model")] = None,
    device: Annotated[str | None, options.setting("prepare", "device")] = None,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
    dry_run: options.DryRunOption = False,
) -> None:
    """Fit a codebook by k-means to embeddings, or to songs that MuQ embeds.

    Songs' embeddings are kept beside the codebook, in FILE.embeddings (184 MB an hour of music).
    An interrupted fit goes on, and ends in the same bytes.
    """
    settings = options.load(context, "prepare").config.prepare

    from songbloom.errors import PartialError, UsageError
    from songbloom.stages import codebook, embeddings, tokenize

    if normalise not in codebook.NORMALISATIONS:
        raise UsageError(f"--normalise {normalise}: expected none or unit", "Choose one of them.")
    plan = codebook.Plan(size=size, seed=seed, passes=passes)
    songs = [path for path in data if not embeddings.files(path)]
    files = [file for path in data for file in embeddings.files(path)]
    source = codebook.Source(layer=layer, normalise=normalise)
    model = None
    if songs or settings.tokenize_model:
        model = tokenize.muq_folder(settings)
        source = dataclasses.replace(source, model=tokenize.muq_hash(model))
    if dry_run:
        _result(_plan(files, songs, plan), as_json)
        return
    failed: tuple[str, ...] = ()
    with output.progress(enabled=not as_json) as bar:
        tell: Callable[[dict[str, Any]], None] = output.event if as_json else _shown(bar)
        if songs and model is not None:
            embedder = tokenize.MuqEmbedder(model, layer, settings.device, settings.item_timeout)
            kept = out.with_name(f"{out.name}.embeddings")
            try:
                embedded = embeddings.embed_songs(songs, embedder, source, kept, tell)
            finally:
                embedder.close()
            files, failed = [*files, *embedded.paths], embedded.failed
        stream = codebook.Stream(files)
        book = codebook.fit(
            stream, out, plan, source=source, device=settings.device, on_progress=tell
        )
    for reason in failed:
        output.warning(reason)
    if not source.model:
        output.warning("the codebook does not say whose embeddings it is for: --tokenize-model")
    if as_json:
        output.event({"event": "done", **_described(out, book), "failed": list(failed)})
    else:
        output.note(output.tree(_described(out, book)))
        output.result(str(out))
    if failed:
        raise PartialError(
            f"{len(failed)} songs could not be embedded; the codebook was fitted to the others",
            "Mend or remove them, then type the same again.",
        )


def show(file: _FileArgument, as_json: options.JsonOption = False) -> None:
    """Show a codebook's size, hash and source, and how its fit used it."""
    from songbloom.stages.codebook import Codebook

    _result(_described(file, Codebook.load(file)), as_json)


def check(
    context: typer.Context,
    file: _FileArgument,
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="EMBEDDINGS|DATA...",
            help="Embeddings (.npy, .safetensors, folders of them), or one training set.",
            show_default=False,
        ),
    ],
    device: Annotated[str | None, options.setting("prepare", "device")] = None,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Check how music uses a codebook: dead codes, entropy, commonest code, error, chance."""
    settings = options.load(context, "prepare").config.prepare

    from songbloom.stages import codebook, embeddings

    book = codebook.Codebook.load(file)
    if len(data) == 1 and (data[0] / "dataset.json").is_file():
        usage = codebook.usage(codebook.count_dataset(data[0], book))
    else:
        stream = codebook.Stream([f for path in data for f in embeddings.files(path) or [path]])
        counted = codebook.count(stream, book.centroids, book.source, settings.device)
        usage = codebook.usage(*counted)
    _result({"path": str(file), "hash": book.hash, **dataclasses.asdict(usage)}, as_json)


def _described(path: Path, book: Any) -> dict[str, Any]:
    from songbloom.stages.codebook import hours, usage

    used = usage(book.counts, book.error)
    return {
        "path": str(path),
        "hash": book.hash,
        "dim": book.dim,
        **dataclasses.asdict(book.source),
        "seed": book.seed,
        "passes": book.passes,
        "hours": round(hours(used.frames), 4),
        **dataclasses.asdict(used),
    }


def _plan(files: Iterable[Path], songs: list[Path], plan: Any) -> dict[str, Any]:
    """What a fit would do, as far as files tell without being embedded."""
    from songbloom.stages import codebook, sources

    paths = list(files)
    told: dict[str, Any] = {"files": len(paths), "songs": _count(songs, sources.find)}
    if paths:
        stream = codebook.Stream(paths)
        steps = plan.steps(len(stream))
        told |= {
            "frames": len(stream),
            "hours": round(codebook.hours(len(stream)), 4),
            "steps": steps,
            "tera_flop": round(2e-12 * len(stream) * plan.size * stream.dim * (plan.passes + 1), 3),
            "memory_bytes": 4 * stream.dim * (plan.blocks * codebook.BLOCK * 3 + plan.size * 3),
            "disk_bytes": 4 * stream.dim * plan.size * 2,
        }
    return told


def _count(songs: list[Path], find: Callable[[Path], Any]) -> int:
    return sum(1 for path in songs for _ in find(path).tracks)


def _result(data: dict[str, Any], as_json: bool) -> None:
    output.result_json(data) if as_json else output.result(output.tree(data))


def _shown(bar: output.Progress) -> Callable[[dict[str, Any]], None]:
    def show(event: dict[str, Any]) -> None:
        if event["event"] == "embed":
            bar.update(f"{event['done']} songs embedded")
        else:
            text = f"step {event['step']} of {event['steps']}, error {event['error']:.4g}"
            bar.update(text, event["step"], event["steps"])

    return show
