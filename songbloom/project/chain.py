"""A project: songs, settings, and the chain of stages from them to a model.

    songbloom.toml    every setting (`songbloom.config`)
    songs/            what to learn from; or songs.jsonl, a manifest of songs elsewhere
    dataset/          what prepare makes
    runs/NAME/        what train makes; NAME has a hash of what decides what is learnt
    songbloom.lock    JSON: the facts that each stage was made from, and a mark of what it made

A stage is fresh while the facts and the mark are those of the lock. Facts have names that a user
knows, so that the reason why a stage is stale can be read off them. Stages run as commands of their
own, which save what they have when they are interrupted; the lock is written after each.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from songbloom import config
from songbloom.errors import SongBloomError, UsageError
from songbloom.files import sole_user, write_text
from songbloom.stages import chain, sources
from songbloom.stages.stage import digest
from songbloom.training import start
from songbloom.training.job import FREE, default_folder, flat

FORMAT = 1  # of songbloom.lock
LOCK_FILE = "songbloom.lock"
INTERRUPTED = 130
PARTIAL = 3
Facts = dict[str, Any]
# Settings of [prepare] that leave no trace in the training set.
_PREPARE_FREE = {"workers", "device", "batch", "item_timeout", "retries", "stems"}
_TRAIN_FREE = FREE - {"max_steps"}
_GITIGNORE = "songs/\ndataset/\nruns/\n.lock\n"
_OUTSIDE = "was changed outside of songbloom run"


@dataclass(frozen=True)
class Project:
    """An open project. `SongBloomError` and `UsageError` for settings that cannot be."""

    root: Path

    @property
    def settings_file(self) -> Path:
        """`songbloom.toml`."""
        return self.root / config.FILE_NAME

    @cached_property
    def settings(self) -> config.Config:
        """Every setting but those that presets of models give."""
        return config.load(self.settings_file).config

    @cached_property
    def training(self) -> start.Settings:
        """[train] and [model] on top of the preset."""
        return start.load_settings(self.settings_file, {})

    @property
    def songs(self) -> Path:
        """What to learn from."""
        manifest = self.root / "songs.jsonl"
        return manifest if manifest.is_file() else self.root / "songs"

    @property
    def dataset(self) -> Path:
        """The training set: `[train] data` if it is set, else what prepare makes."""
        return self.root / (self.training.train.data or "dataset")

    def locked(self) -> dict[str, Any]:
        """Stage -> what the lock says of it. `SongBloomError` for a lock that is none."""
        path = self.root / LOCK_FILE
        try:
            data = json.loads(path.read_text("utf-8"))
            stages: dict[str, Any] = data["stages"]
            if data["format"] != FORMAT or not all(
                isinstance(made[key], kind)
                for made in stages.values()
                for key, kind in (("from", dict), ("output", str), ("mark", str))
            ):
                raise ValueError(f"not of format {FORMAT}")
            return stages
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SongBloomError(
                f"{path}: is not a lock that can be read ({error})",
                "Delete it: songbloom run then looks at every stage anew.",
            ) from error


@dataclass(frozen=True)
class Stage:
    """A stage of the chain.

    `facts` are what it follows from, `output` what it makes, `mark` tells of an output that is
    whole which one it is ("" else), `command` is how it is made.
    """

    name: str
    facts: Callable[[Project], Facts]
    output: Callable[[Project], Path]
    mark: Callable[[Path], str]
    command: Callable[[Project], list[str]]


@dataclass(frozen=True)
class Standing:
    """Where a stage stands: `fresh`, `stale` (and why), `new`, `waits` for a stage before it, or
    `blocked` by an error in its settings or by what is not installed."""

    stage: str
    state: str
    why: tuple[str, ...] = ()
    output: str = ""


def _prepare_facts(project: Project) -> Facts:
    settings, filters = project.settings.prepare, project.settings.filters
    facts = _settings("prepare", dataclasses.asdict(settings), _PREPARE_FREE)
    facts |= _settings("filters", dataclasses.asdict(filters), set())
    for stage, backend in chain.backends(settings).items():
        facts[f"the backend of {stage}"] = f"{backend.name} {backend.hash[:12]}"
    return facts | {project.songs.name: _songs(project.songs)}


def _train_facts(project: Project) -> Facts:
    facts = _settings("train", dataclasses.asdict(project.training.train), _TRAIN_FREE)
    facts |= _settings("model", flat(project.training.model.to_dict()), set())
    facts = json.loads(json.dumps(facts))  # tuples as lists, as in the lock
    return {**facts, "the training set": _dataset_mark(project.dataset)[:12]}


def _run_folder(project: Project) -> Path:
    """Named after what is learnt: another training set or setting has another folder."""
    train = dataclasses.replace(project.training.train, data=_dataset_mark(project.dataset))
    return project.root / default_folder(train, project.training.model)


def _dataset_mark(folder: Path) -> str:
    """The hash of a training set that is complete."""
    described = _json(folder / "dataset.json")
    return str(described.get("dataset_hash", "")) if described.get("complete") else ""


def _run_mark(folder: Path) -> str:
    """A hash over the descriptions of what a run made, which hold the hashes of its weights."""
    for path in (folder / "model" / "model.json", folder / "adapter" / "adapter.json"):
        if path.is_file():
            return hashlib.sha256(path.read_bytes()).hexdigest()
    return ""


STAGES = (
    Stage(
        "prepare",
        _prepare_facts,
        lambda project: project.root / "dataset",
        _dataset_mark,
        lambda project: ["prepare", str(project.songs), "-o", "dataset", *_config(project)],
    ),
    Stage(
        "train",
        _train_facts,
        _run_folder,
        _run_mark,
        lambda project: [
            *("train", str(project.settings_file), "--data", str(project.dataset)),
            *("-o", str(_run_folder(project))),
        ],
    ),
)
PLANNED = ("evaluate", "export")  # of the chain; commands of their own as yet


def open_project(path: Path) -> Project:
    """The project in a folder. `SongBloomError` where there is none."""
    root = Path(path)
    if not (root / config.FILE_NAME).is_file():
        raise SongBloomError(
            f"{root}: is no project (it has no {config.FILE_NAME})",
            f"Make one: songbloom init {root}",
        )
    return Project(root.absolute())


def create(folder: Path) -> list[str]:
    """Make a folder a project; the names of what was written. What is there is kept."""
    folder = Path(folder)
    made = []
    try:
        if not (folder / "songs").exists():
            (folder / "songs").mkdir(parents=True)
            made.append("songs/")
    except OSError as error:
        raise SongBloomError(
            f"{folder}: cannot be made a project ({error.strerror or error})",
            "Name a folder that you may write to.",
        ) from error
    for name, text in ((config.FILE_NAME, _template()), (".gitignore", _GITIGNORE)):
        if not (folder / name).exists():
            write_text(folder / name, text)
            made.append(name)
    return made


def selected(names: Sequence[str], project: Project) -> list[Stage]:
    """The stages named and those before them; all for none. `UsageError` for others."""
    known = [stage.name for stage in STAGES]
    for name in names:
        if name in PLANNED:
            raise UsageError(
                f"run {name}: is no stage of a project yet; the stages are {', '.join(known)}",
                f"Type it by itself: songbloom {name} --help",
            )
        if name not in known:
            raise UsageError(f"run {name}: no such stage", f"Stages: {', '.join(known)}.")
    last = max((known.index(name) for name in names), default=len(known) - 1)
    foreign = project.dataset != project.root / "dataset"
    return [
        stage
        for stage in STAGES[: last + 1]
        if stage.name != "prepare" or not foreign or "prepare" in names
    ]


def standing(project: Project, stages: Sequence[Stage] = STAGES) -> list[Standing]:
    """Where each stage stands."""
    locked = project.locked()
    found: list[Standing] = []
    for stage in stages:
        one = _standing(project, stage, locked.get(stage.name))
        before = next((each.stage for each in found if each.state != "fresh"), None)
        if before is not None and one.state in ("fresh", "new"):
            one = dataclasses.replace(one, state="waits", why=(f"{before} comes first",))
        found.append(one)
    return found


def run(
    project: Project,
    stages: Sequence[Stage],
    flags: Sequence[str],
    on_stage: Callable[[Standing], None],
) -> int:
    """Make what is not fresh, in order; the exit code of the first stage that stops the chain.

    `flags` are added to every command. A stage of which some songs failed (3) does not stop it.
    `SongBloomError` where another process runs the project.
    """
    busy = SongBloomError(
        f"{project.root}: another songbloom run works here", "Wait for it, or stop it."
    )
    worst = 0
    with sole_user(project.root, busy):
        for stage in stages:
            now = _standing(project, stage, project.locked().get(stage.name))
            facts = stage.facts(project)  # raises what blocks it
            on_stage(now)
            if now.state == "fresh":
                continue
            code = _call([*stage.command(project), *flags], project.root)
            mark = stage.mark(stage.output(project))
            if code not in (0, PARTIAL) or (code and not mark):
                return code
            if not mark:
                raise SongBloomError(
                    f"{stage.name}: ended well, but {stage.output(project)} is not whole",
                    f"Look at it: songbloom status {stage.output(project)}",
                )
            _write_lock(project, stage, facts, mark)
            worst = max(worst, code)
    return worst


def _standing(project: Project, stage: Stage, made: Mapping[str, Any] | None) -> Standing:
    try:
        facts = stage.facts(project)
        output = stage.output(project)
    except SongBloomError as error:
        return Standing(stage.name, "blocked", (f"{error.message} {error.hint}".strip(),))
    if made is None:
        return Standing(stage.name, "new", ("was never made",))
    why = _differences(made["from"], facts)
    output = project.root / made["output"]
    mark = stage.mark(output)
    if mark != made["mark"]:
        why.append(f"{made['output']} {_OUTSIDE if mark else 'is gone, or not whole'}")
    return Standing(stage.name, "stale" if why else "fresh", tuple(why), made["output"])


def _differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    missing = object()
    return [
        f"{name} was {_shown(was.get(name))}, now {_shown(now.get(name))}"
        for name in [*now, *(name for name in was if name not in now)]
        if was.get(name, missing) != now.get(name, missing)
    ]


def _shown(value: object) -> str:
    return "not set" if value is None else str(value)


def _write_lock(project: Project, stage: Stage, facts: Facts, mark: str) -> None:
    output = os.path.relpath(stage.output(project), project.root)
    made = {"from": facts, "output": output, "mark": mark}
    known = project.locked() | {stage.name: made}
    stages = {each.name: known[each.name] for each in STAGES if each.name in known}
    text = json.dumps({"format": FORMAT, "stages": stages}, indent=1, ensure_ascii=False)
    write_text(project.root / LOCK_FILE, text + "\n")


def _call(words: Sequence[str], folder: Path) -> int:
    """A songbloom command to its end; its exit code."""
    process = subprocess.Popen(
        [sys.executable, "-m", "songbloom_cli", *words],
        cwd=folder,
        start_new_session=True,  # Ctrl-C on the terminal reaches this process alone
    )
    with _forwarding(process) as signals:
        code = process.wait()
    return INTERRUPTED if signals and code != 0 else (code if code >= 0 else 1)


@contextlib.contextmanager
def _forwarding(process: "subprocess.Popen[bytes]") -> Iterator[list[int]]:
    """Hand SIGINT and SIGTERM on as the interruption that a command saves at; yields them."""
    seen: list[int] = []

    def forward(number: int, _: object) -> None:
        seen.append(number)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, forward) for number in numbers}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _config(project: Project) -> tuple[str, str]:
    return "--config", str(project.settings_file)


def _settings(table: str, values: Mapping[str, Any], free: set[str]) -> Facts:
    return {f"[{table}] {key}": value for key, value in values.items() if key not in free}


def _songs(path: Path) -> str:
    """How many songs there are, and a hash of their names, sizes and times."""
    found = sources.find(path)
    count, running = 0, ""
    for track in found.tracks:
        count += 1
        files = [name for name in (track.audio, track.lyrics) if name]
        stamps = [_stamp(found.root / name) for name in files]
        running = digest([running, track.id, *stamps, track.lyrics_text])
    return f"{count} songs ({running[:12]})"


def _stamp(path: Path) -> list[int]:
    try:
        seen = path.stat()
    except OSError:
        return []
    return [seen.st_size, seen.st_mtime_ns]


def _json(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is none."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _template() -> str:
    """songbloom.toml of a new project: the keys of its stages with their defaults, switched off.

    What is not in the file is left to the presets.
    """
    lines = [
        "# Settings of this project. Take the # from a #key to set it; it shows the default.",
        "# Put songs into songs/ (song_001/audio.flac and song_001/lyrics.txt), then type",
        "#     songbloom run",
        "",
    ]
    blocks = config.example().split("\n\n")
    for block in blocks:
        if any(f"\n[{table}]\n" in block for table in ("prepare", "filters", "train")):
            lines += [_switched_off(line) for line in block.splitlines()] + [""]
    return "\n".join(lines).replace('#preset = "full"', 'preset = "seedling"')


def _switched_off(line: str) -> str:
    """`key = value` and the example's `# key = value` as `#key = value`."""
    key, separator, value = line.removeprefix("# ").partition(" = ")
    return f"#{key} = {value}" if separator and key.isidentifier() else line
