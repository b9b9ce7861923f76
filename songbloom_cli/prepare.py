"""`songbloom prepare`: a folder of songs in, a training set out."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from songbloom_cli import options, output

PARTIAL = 3
_PLAIN_EVERY = 10.0  # seconds between lines of progress in a log
_Show = Callable[[Mapping[str, Any]], None]

SongsArgument = Annotated[
    Path,
    typer.Argument(
        metavar="SONGS",
        help="Folder of songs (song_001/audio.flac + lyrics.txt, or name.flac + name.txt or "
        ".lrc), a sound file, or a JSONL manifest.",
        show_default=False,
    ),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Work on a Ray cluster: 'auto', 'local', or its address. Its machines must see the "
        "same folders.",
        show_default=False,
    ),
]
RetryOption = Annotated[
    bool, typer.Option("--retry-failed", help="Try songs again that failed for good.")
]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    app.command()(prepare)
    app.command()(merge)


def prepare(
    context: typer.Context,
    songs: SongsArgument,
    out: Annotated[
        Path, typer.Option("--output", "-o", metavar="DATA", help="Folder of the training set.")
    ] = Path("dataset"),
    stages: Annotated[
        str | None,
        typer.Option(
            "--stages",
            metavar="A,B",
            help="Only these of ingest, separate, align, structure, tokenize, encode-latents; "
            "without it all, and the training set.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[int | None, options.setting("prepare", "workers")] = None,
    device: Annotated[str | None, options.setting("prepare", "device")] = None,
    separate_backend: Annotated[str | None, options.setting("prepare", "separate_backend")] = None,
    separate_model: Annotated[str | None, options.setting("prepare", "separate_model")] = None,
    align_backend: Annotated[str | None, options.setting("prepare", "align_backend")] = None,
    align_model: Annotated[str | None, options.setting("prepare", "align_model")] = None,
    structure_backend: Annotated[
        str | None, options.setting("prepare", "structure_backend")
    ] = None,
    structure_model: Annotated[str | None, options.setting("prepare", "structure_model")] = None,
    tokenize_backend: Annotated[str | None, options.setting("prepare", "tokenize_backend")] = None,
    tokenize_model: Annotated[str | None, options.setting("prepare", "tokenize_model")] = None,
    codebook: Annotated[str | None, options.setting("prepare", "codebook")] = None,
    vae_backend: Annotated[str | None, options.setting("prepare", "vae_backend")] = None,
    vae_model: Annotated[str | None, options.setting("prepare", "vae_model")] = None,
    frontend: Annotated[str | None, options.setting("prepare", "frontend")] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", metavar="N", min=1, help="Only the first N songs.", show_default=False
        ),
    ] = None,
    part: Annotated[
        str,
        typer.Option(
            "--slice",
            metavar="I/N",
            help="One of N slices of the songs, for batch jobs; `songbloom merge` joins them.",
        ),
    ] = "1/1",
    ray: RayOption = None,
    retry_failed: RetryOption = False,
    sample: Annotated[
        int,
        typer.Option(
            "--sample",
            metavar="N",
            min=0,
            help="With --dry-run: songs to try the stages on, where none were done here.",
        ),
    ] = 2,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
    dry_run: options.DryRunOption = False,
) -> int:
    """Make a training set: separate, align, structure, tokenize, encode-latents.

    The same command again goes on where it stopped, and does again only what another setting or
    file changes. Exit code 3: some songs failed, and DATA/manifest.jsonl says why.
    """
    from songbloom.stages import prepare as library

    loaded = options.load(context, "prepare").config
    task = library.Task(
        songs=songs,
        output=out,
        settings=loaded.prepare,
        filters=loaded.filters,
        stages=library.stages_named(stages),
        part=library.Part.parse(part),
        limit=limit,
        retry_failed=retry_failed,
    )
    if dry_run:
        from songbloom.stages.estimate import estimate

        plan = estimate(task, sample=sample)
        output.result_json(plan) if as_json else output.result(output.tree(plan))
        return 0
    report = run(task, ray, as_json=as_json)
    return _tell(report, as_json=as_json)


def run(task: Any, ray: str | None, *, as_json: bool) -> Any:
    """Prepare, showing what happens; the report."""
    from songbloom.stages import crews
    from songbloom.stages.prepare import prepare as work

    def crew(logs: Path) -> crews.Crew:
        if ray is not None:
            return crews.RayCrew(task.settings, ray)
        return crews.LocalCrew(task.settings, logs)

    with output.progress(enabled=not as_json) as bar:
        return work(task, crew, output.event if as_json else shown(bar))


def merge(
    slices: Annotated[
        list[Path],
        typer.Argument(metavar="DATA...", help="Folders that `prepare --slice` made."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DATA", help="Folder of the whole.", show_default=False
        ),
    ],
    as_json: options.JsonOption = False,
) -> None:
    """Join training sets of disjoint songs, such as slices, to one."""
    from songbloom.stages.merging import merge as join

    info = join(slices, out)
    if as_json:
        output.result_json(_facts(info) | {"output": str(out)})
    else:
        output.note(f"{info.songs} songs, {info.hours:.2f} hours, hash {info.dataset_hash[:12]}")
        output.result(str(out))


def _tell(report: Any, *, as_json: bool) -> int:
    """The end of a run, and its exit code."""
    states, failed = report.states, report.states.get("failed", 0)
    if as_json:
        reasons = [
            {"state": state, "stage": stage, "reason": reason, "songs": songs}
            for (state, stage, reason), songs in sorted(report.reasons.items())
        ]
        facts = _facts(report.dataset) if report.dataset else {"dataset_hash": None}
        counts = {
            state: states.get(state, 0) for state in ("ready", "rejected", "failed", "pending")
        }
        output.event({"event": "done", **counts, **facts, "reasons": reasons,
                      "output": str(report.output)})  # fmt: skip
        return PARTIAL if failed else 0
    if report.reasons:
        rows = sorted(report.reasons.items(), key=lambda item: (-item[1], item[0]))
        lines = [[str(n), state, stage, reason] for (state, stage, reason), n in rows]
        output.note(output.table(lines, ("songs", "state", "stage", "reason")))
    output.note(", ".join(f"{n} {state}" for state, n in sorted(states.items()) if n))
    if report.dataset is not None:
        info = report.dataset
        output.note(
            f"{info.hours:.3f} hours in {len(info.shards)} shards, {info.dataset_hash[:12]}"
        )
        output.result(str(report.output))
    elif not states.get("pending"):
        output.error(f"{report.output}: no song is ready", _no_song_hint(report))
        return PARTIAL if failed else 1
    return PARTIAL if failed else 0


def _no_song_hint(report: Any) -> str:
    return f"Look at the reasons: songbloom manifest show {report.output / 'manifest.jsonl'}"


def _facts(info: Any) -> dict[str, Any]:
    return {"dataset_hash": info.dataset_hash, "songs": info.songs, "hours": info.hours}


def shown(bar: output.Progress) -> _Show:
    """Songs as progress on a terminal, as a plain line now and then in a log; failures always."""
    begun, told = time.monotonic(), 0.0

    def show(event: Mapping[str, Any]) -> None:
        nonlocal begun, told
        kind = event["event"]
        if kind == "stage":
            begun = time.monotonic()
            if event["waiting"]:
                output.note(f"{event['stage']}: {event['waiting']} songs, {event['backend']}")
        elif kind == "song":
            if event["state"] == "failed":
                output.warning(f"{event['id']}: {event['stage']} failed: {event['reason']}")
            left = (time.monotonic() - begun) / event["done"] * (event["of"] - event["done"])
            text = f"{event['stage']} {event['done']}/{event['of']}, {_duration(left)} left"
            bar.update(text, event["done"], event["of"])
            if not output.shows_progress() and time.monotonic() - told > _PLAIN_EVERY:
                told = time.monotonic()
                output.note(text)
        elif kind == "songs":
            output.note(f"{event['songs']} songs in {event['folder']}")
        else:
            output.warning(event["message"])

    return show


def _duration(seconds: float) -> str:
    """`3:07`, `2:03:07`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
