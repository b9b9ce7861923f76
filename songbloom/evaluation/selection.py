"""Best of N: sing several times, score every candidate, keep all, choose one.

    OUT/NAME.flac, NAME.song        the chosen candidate; [selection] in song.toml says why
    OUT/candidates/NAME_s0.flac ... all of them with their bundles
    OUT/candidates/evaluation.json  their scores, as `songbloom evaluate` would print them

Scores are cached there, and songs that are made are not made again, so a killed run goes on.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from songbloom import audio
from songbloom.errors import PartialError, SongBloomError, UsageError
from songbloom.evaluation import candidates, evaluate, metrics
from songbloom.evaluation.candidates import Policy
from songbloom.evaluation.evaluate import Task
from songbloom.evaluation.items import Item
from songbloom.evaluation.protocol import Protocol
from songbloom.files import atomic_path
from songbloom.generation import song
from songbloom.generation.bundle import Bundle, bundle_path, read_bundle, write_bundle
from songbloom.generation.options import GenerateOptions
from songbloom.requests import Request
from songbloom.stages.crews import Crew

FOLDER = "candidates"
Event = dict[str, Any]


def check(policy: Policy, protocol: Protocol, folder: Path) -> Mapping[str, str]:
    """Which way each metric of a policy is, before anything is sung.

    `UsageError` for a metric that cannot tell single songs apart, `MissingAssetError` for one whose
    backend is not installed.
    """
    better = {}
    for name in protocol.only(policy.metrics).metrics:
        metric = metrics.load(name, protocol.settings.get(name, {}), folder)
        if metric.corpus or metric.better is None:
            why = (
                "has a value for sets of songs only" if metric.corpus else "has no better or worse"
            )
            raise UsageError(f"--select {name}: {why}", "For example: --select per,mcc")
        metric.identity()  # tells what is not installed
        better[name] = metric.better
    return better


def plan(
    requests: Sequence[Request],
    model_path: Path,
    output: Path,
    options: GenerateOptions,
    *,
    policy: Policy,
    protocol: Protocol,
) -> dict[str, Any]:
    """What `best_of` would do: `song.plan` of all candidates, and the songs that are `kept`."""
    target, folder = _targets(requests, output)
    check(policy, protocol, folder)
    planned = song.plan(requests, model_path, target, _candidate_options(options, policy))
    finals = [str(path) for path in _finals(requests, output, options)]
    return {**planned, "selection": str(policy), "kept": finals}


def best_of(
    requests: Sequence[Request],
    model_path: Path,
    output: Path,
    options: GenerateOptions,
    on_event: Callable[[Event], None] = lambda event: None,
    *,
    policy: Policy,
    protocol: Protocol,
    make_crew: Callable[[Task], Crew] = evaluate.local_crew,
) -> list[dict[str, Any]]:
    """Make every song as the best of `policy.count` candidates; a row for each, as `song.generate`.

    `protocol` has the settings of the metrics, `make_crew` the workers that measure. Songs fail
    apart: `PartialError` at the end.
    """
    target, folder = _targets(requests, output)
    wanted = _candidate_options(options, policy)
    better = check(policy, protocol, folder)
    made: dict[str, list[Event]] = {}

    def follow(event: Event) -> None:
        if event["event"] in ("done", "skip"):
            made.setdefault(event["idx"], []).append(event)
            event = {**event, "event": "candidate"}
        on_event(event)

    failed: list[SongBloomError] = []
    try:
        song.generate(requests, model_path, target, wanted, follow)
    except PartialError as error:  # what was made is chosen from
        failed.append(error)
    items = {r.idx: [_item(r, row) for row in made.get(r.idx, ())] for r in requests}
    task = Task(_in_order(items), protocol.only(policy.metrics), folder / "cache")
    result = _scores(task, folder, on_event, make_crew)
    rows = []
    for request, final in zip(requests, _finals(requests, output, options), strict=True):
        try:
            if len(items[request.idx]) == policy.count:  # else it failed, and was told
                selection = _select(items[request.idx], result, policy, better)
                rows.append(_keep(items[request.idx], selection, final, on_event))
        except SongBloomError as error:
            failed.append(error)
            on_event({"event": "error", "idx": request.idx, "message": error.message})
    if failed and len(requests) > 1:
        raise PartialError(
            f"{len(requests) - len(rows)} of {len(requests)} songs failed; the first: "
            f"{failed[0].message}",
            "Mend those inputs and run the same command again: what is done is kept.",
        )
    if failed:
        raise failed[0]
    return rows


def _targets(requests: Sequence[Request], output: Path) -> tuple[Path, Path]:
    """Where `song.generate` should put the candidates: its output, and the folder that is in."""
    if _is_file(requests, output):
        folder = output.with_suffix(f".{FOLDER}")
        return folder / output.name, folder
    return output / FOLDER, output / FOLDER


def _candidate_options(options: GenerateOptions, policy: Policy) -> GenerateOptions:
    """The options that candidates are made with. `UsageError` beside --n-samples."""
    if options.n_samples != 1:
        raise UsageError(
            f"--n-samples {options.n_samples} and --best-of {policy.count}: one of them only",
            "Leave out --n-samples: all candidates are kept.",
        )
    return dataclasses.replace(options, n_samples=policy.count)


def _is_file(requests: Sequence[Request], output: Path) -> bool:
    return len(requests) == 1 and output.suffix.lstrip(".").lower() in audio.FORMATS


def _finals(requests: Sequence[Request], output: Path, options: GenerateOptions) -> list[Path]:
    if _is_file(requests, output):
        return [output]
    return [output / f"{request.idx}.{options.format}" for request in requests]


def _item(request: Request, row: Event) -> Item:
    path = Path(row["file"])
    return Item(path.stem, path, request.lyrics.line, request.reference, bundle_path(path))


def _in_order(items: Mapping[str, Sequence[Item]]) -> tuple[Item, ...]:
    return tuple(sorted((x for some in items.values() for x in some), key=lambda item: item.name))


def _scores(
    task: Task,
    folder: Path,
    on_event: Callable[[Event], None],
    make_crew: Callable[[Task], Crew],
) -> dict[str, Any]:
    """The evaluation of all candidates, written beside them."""
    if not task.items:
        return {"songs": [], "failed": []}
    result = evaluate.evaluate(task, lambda event: on_event({**event, "event": "score"}), make_crew)
    evaluate.write(result, folder / "evaluation.json")
    return result


def _select(
    items: Sequence[Item], result: Mapping[str, Any], policy: Policy, better: Mapping[str, str]
) -> dict[str, Any]:
    """[selection]: how one of the candidates is chosen. `SongBloomError` if none has a score."""
    measured = {row["name"]: row["measured"] for row in result["songs"]}
    scores = [
        {name: measured[item.name].get(name, {}).get("value") for name in policy.metrics}
        for item in items
    ]
    if not any(value is not None for score in scores for value in score.values()):
        names = {item.name for item in items}
        reasons = [row["reason"] for row in result["failed"] if row["name"] in names]
        raise SongBloomError(
            f"no candidate could be scored: {(reasons or ['nothing to count'])[0]}",
            "The candidates are kept; choose by other metrics with --select.",
        )
    place, ranks = candidates.best(scores, better)
    rows = []
    for item, rank, score in zip(items, ranks, scores, strict=True):
        known = {name: value for name, value in score.items() if value is not None}
        rows.append({"file": item.audio.name, "mean_rank": rank, **known})
    return {
        "policy": str(policy),
        "backends": {name: result["metrics"][name]["backend"] for name in policy.metrics},
        "chosen": items[place].audio.name,
        "candidates": rows,
    }


def _keep(
    items: Sequence[Item],
    selection: Mapping[str, Any],
    final: Path,
    on_event: Callable[[Event], None],
) -> dict[str, Any]:
    """Copy the chosen candidate to its place, with the reasons in its bundle; its row."""
    bundles = [read_bundle(bundle_path(item.audio)) for item in items]
    chosen = next(b for b in bundles if b.audio_path.name == selection["chosen"])
    sound = {**chosen.song["audio"], "file": final.name}
    described = {**chosen.song, "audio": sound, "selection": selection}
    there = _is_there(final, described)
    if not there:
        with atomic_path(final) as temporary:
            shutil.copyfile(chosen.audio_path, temporary)
            write_bundle(
                bundle_path(final),
                song=described,
                lyrics=(chosen.folder / "lyrics.txt").read_bytes().decode("utf-8"),
                sketch=chosen.sketch,
                latents=chosen.latents,
                timeline=chosen.timeline,
                speed=_speed(bundles, chosen),
            )
    row = {
        "idx": described["idx"],
        "sample": described["sample"],
        "file": str(final),
        "bundle": str(bundle_path(final)),
        "seconds": sound["seconds"],
        "sha256": sound["sha256"],
        "seed": described["seed"],
        "skipped": there,
        "selection": selection,
    }
    on_event({"event": "skip" if there else "done", **row})
    return row


def _is_there(final: Path, described: Mapping[str, Any]) -> bool:
    """Whether the same choice lies there already."""
    try:
        return final.is_file() and read_bundle(bundle_path(final)).song == described
    except SongBloomError:
        return False


def _speed(bundles: Sequence[Bundle], chosen: Bundle) -> dict[str, Any]:
    """speed.json of a chosen song: the work of all candidates, since none is heard before that.

    Scoring is not in it.
    """
    records = [json.loads((one.folder / "speed.json").read_text("utf-8")) for one in bundles]
    work = round(sum(row["work_seconds"] / row["songs_together"] for row in records), 3)
    own = json.loads((chosen.folder / "speed.json").read_text("utf-8"))
    once = {"work_seconds": work, "first_audio_seconds": work, "songs_together": 1}
    return {**own, **once, "candidates": len(records)}
