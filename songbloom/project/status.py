"""Where a project, a dataset or a run stands, read from its folder alone and without torch."""

import contextlib
import dataclasses
import fcntl
import json
import sqlite3
import urllib.parse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from songbloom import config, manifest
from songbloom.data.shards import read_info
from songbloom.errors import SongBloomError
from songbloom.manifest import Track
from songbloom.project import chain as project_chain
from songbloom.stages.chain import Chain
from songbloom.stages.stage import STAGES, Backend
from songbloom.tables import FiltersConfig, PrepareConfig

STATES = ("ready", "failed", "rejected", "pending")
_TAIL = 1 << 16  # bytes of metrics.jsonl that surely hold its last row


def status(path: Path) -> dict[str, Any]:
    """What a folder is (`kind`: project, dataset, run) and where it stands.

    * project: `stages`, of each `stage`, `state`, `why`, `output`.
    * dataset: songs by state (`ready`, `failed`, `rejected`, `pending`), `songs`, `hours`,
      `dataset_hash` (None before it is complete), and `stages`: stage -> songs that are `done`
      with it, or `failed`, `rejected` or `pending` there.
    * run: `state` (running, stopped, done), `step` of `of`, the last `loss` and `validation_loss`,
      `checkpoint` (the latest), `best`, `model` (a model or adapter folder).

    `SongBloomError` for anything else.
    """
    path = Path(path)
    folder = path.parent if path.name == config.FILE_NAME and path.is_file() else path
    if (folder / config.FILE_NAME).is_file():
        return _project(folder)
    if (folder / "run.json").is_file():
        return run_status(folder)
    if any((folder / name).is_file() for name in ("prepare.json", "dataset.json")) or (
        _ledger(folder).is_file()
    ):
        return _dataset(folder)
    what = "is no project, dataset or run" if folder.exists() else "is not there"
    raise SongBloomError(
        f"{path}: {what}; expected a folder with songbloom.toml, dataset.json or run.json",
        f"Make a project: songbloom init {path}",
    )


def run_status(folder: Path) -> dict[str, Any]:
    """The progress of a training run. `SongBloomError` when run.json cannot be read."""
    try:
        described = json.loads((folder / "run.json").read_text("utf-8"))
        train = described["train"]
        steps = int(train["steps"])
        wanted = min(int(train["max_steps"] or steps), steps)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SongBloomError(
            f"{folder}: its run.json cannot be read ({error!r})",
            "Name a folder that songbloom train made.",
        ) from error
    row = _last_row(folder / "metrics.jsonl")
    kinds = (folder / "model" / "model.json", folder / "adapter" / "adapter.json")
    made = next((path.parent for path in kinds if path.is_file()), None)
    step = int(row.get("step", 0))
    stopped = "done" if made is not None and step >= wanted else "stopped"
    return {
        "kind": "run",
        "path": str(folder),
        "state": "running" if _is_held(folder) else stopped,
        "step": step,
        "of": max(wanted, step),
        "loss": row.get("loss"),
        "validation_loss": _last_validation(folder / "metrics.jsonl"),
        "checkpoint": _line(folder / "latest"),
        "best": _line(folder / "best"),
        "model": None if made is None else str(made),
    }


def _project(folder: Path) -> dict[str, Any]:
    project = project_chain.open_project(folder)
    stages = []
    for found in project_chain.standing(project, project_chain.selected((), project)):
        stages.append(dataclasses.asdict(found) | {"why": list(found.why)})
    return {"kind": "project", "path": str(folder), "stages": stages}


def _dataset(folder: Path) -> dict[str, Any]:
    states, stages = _counts(folder)
    info = None
    if (folder / "dataset.json").is_file():
        info = read_info(folder)
    complete = info is not None and info.complete
    if info is not None and not sum(states.values()):  # made by something else than `prepare`
        states["ready"] = info.songs
    return {
        "kind": "dataset",
        "path": str(folder),
        "running": _is_held(folder),
        "songs": sum(states.values()),
        **{state: states[state] for state in STATES},
        "hours": 0.0 if info is None else info.hours,
        "dataset_hash": info.dataset_hash if info is not None and complete else None,
        "stages": stages,
    }


def _counts(folder: Path) -> tuple[Counter[str], dict[str, dict[str, int]]]:
    """Songs by state, and by stage and state: as the ledger has them, else the manifest."""
    described = folder / "prepare.json"
    if _ledger(folder).is_file() and not described.is_file():
        return _in_the_first_run(folder)
    if _ledger(folder).is_file():
        try:
            chain = _chain(folder, json.loads(described.read_text("utf-8")))
        except (SongBloomError, OSError, ValueError, KeyError, TypeError):
            pass  # a folder that cannot be written, or another version's
        else:
            try:
                return _tally(chain.songs())
            finally:
                chain.close()
    rows = folder / "manifest.jsonl"
    return _tally(manifest.read(rows) if rows.is_file() else ())


def _chain(folder: Path, described: dict[str, Any]) -> Chain:
    """The chain that made a dataset, as its prepare.json describes it."""
    backends = {
        stage: Backend(made["name"], made["why"], made["identity"], made["licence"])
        for stage, made in described["backends"].items()
    }
    settings = PrepareConfig(**described["settings"])
    filters = FiltersConfig(**described["filters"])
    return Chain(folder / described["songs"], folder / "work", settings, filters, backends)


def _in_the_first_run(folder: Path) -> tuple[Counter[str], dict[str, dict[str, int]]]:
    """While nothing describes the dataset yet, results are counted as they lie in the ledger."""
    stages = {stage: {"done": 0, "failed": 0} for stage in STAGES}
    source = f"file:{urllib.parse.quote(str(_ledger(folder).absolute()))}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(source, uri=True)) as ledger:
            songs = ledger.execute("SELECT count(*) FROM tracks").fetchone()[0]
            query = "SELECT stage, state, count(*) FROM results GROUP BY stage, state"
            for stage, state, count in ledger.execute(query):
                stages[stage][state] = count
    except (sqlite3.Error, KeyError) as error:
        raise SongBloomError(
            f"{_ledger(folder)}: cannot be read ({error})", "Look again in a moment."
        ) from error
    failed = sum(found["failed"] for found in stages.values())
    return Counter(failed=failed, pending=max(0, songs - failed)), stages


def _tally(songs: Iterable[Track]) -> tuple[Counter[str], dict[str, dict[str, int]]]:
    states = Counter[str]()
    places = Counter[tuple[str, str]]()
    for track in songs:
        states[track.state] += 1
        places[track.stage if track.state != "ready" else "", track.state] += 1
    stages = {}
    for number, stage in enumerate(STAGES):
        beyond = sum(
            songs
            for (place, _), songs in places.items()
            if place not in STAGES or STAGES.index(place) > number
        )
        here = {state: places[stage, state] for state in STATES[1:]}
        stages[stage] = {"done": beyond, **here}
    return states, stages


def _ledger(folder: Path) -> Path:
    return folder / "work" / "ledger.sqlite"


def _is_held(folder: Path) -> bool:
    """Whether a process works in a folder (`songbloom.files.lock`)."""
    try:
        with open(folder / ".lock") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _line(path: Path) -> str | None:
    try:
        return path.read_text("utf-8").strip() or None
    except (OSError, ValueError):
        return None


def _rows(path: Path) -> list[dict[str, Any]]:
    """The last rows of a log; a row that is just being written is none yet."""
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, path.stat().st_size - _TAIL))
            lines = stream.read().split(b"\n")
    except OSError:
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _last_row(path: Path) -> dict[str, Any]:
    return next(reversed(_rows(path)), {})


def _last_validation(path: Path) -> float | None:
    found = [row["validation_loss"] for row in _rows(path) if "validation_loss" in row]
    return found[-1] if found else None
