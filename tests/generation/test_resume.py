"""A batch that is killed goes on where it stopped, and ends in the bytes of an undisturbed run."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from generation.conftest import LYRICS, Stage

NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def batch(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JSONL batch of three songs with lyrics of their own."""
    path = tmp_path_factory.mktemp("batch") / "batch.jsonl"
    rows = [
        {"idx": name, "lyrics": f"{LYRICS} number {name}", "prompt_wav": str(stage.clip)}
        for name in NAMES
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def start(stage: Stage, batch: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "songbloom_cli", "generate", str(batch), "--json"]
    return subprocess.Popen(
        [*command, "--model", str(stage.model), "-o", str(out), "--device", "cpu"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "XDG_CONFIG_HOME": str(out.parent)},
    )


def kill_when(process: subprocess.Popen[str], moment: Callable[[dict[str, Any]], bool]) -> None:
    """Kill the process outright at the first event that is the moment."""
    assert process.stdout is not None
    for line in process.stdout:
        if moment(json.loads(line)):
            os.kill(process.pid, signal.SIGKILL)
            break
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL


def finish(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    out, _ = process.communicate()
    assert process.returncode == 0
    return [json.loads(line) for line in out.splitlines()]


def visible(folder: Path) -> dict[str, bytes]:
    """Every file but hidden ones, which a kill may leave and no command reads, and the times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not name.startswith(".") and path.name != "speed.json":
            found[name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def undisturbed(
    stage: Stage, batch: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    finish(start(stage, batch, out))
    songs = visible(out)
    assert len(songs) == 3 * 5
    return songs


def test_killed_within_and_between_songs(
    stage: Stage, batch: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """Killed inside the first song, then inside the second, then right after it: what is there is
    whole each time, finished songs are skipped, and the end is the undisturbed run's bytes."""
    out = tmp_path / "out"
    moments: list[tuple[Callable[[dict[str, Any]], bool], list[str]]] = [
        (lambda e: e["event"] == "patch" and e["patch"] == 2, []),
        (lambda e: e["event"] == "patch" and e["idx"] == "two", ["one"]),
        (lambda e: e["event"] == "done" and e["idx"] == "two", ["one", "two"]),
    ]
    for moment, done in moments:
        kill_when(start(stage, batch, out), moment)
        files = visible(out) if out.exists() else {}
        # After its last event a song may be whole already; never is a part of a file there.
        assert {f"{name}_s0.flac" for name in done} <= set(files)
        assert all(undisturbed[name] == data for name, data in files.items())
    events = finish(start(stage, batch, out))
    assert [e["idx"] for e in events if e["event"] == "skip"][:2] == ["one", "two"]
    assert visible(out) == undisturbed


def test_killed_while_writing(
    stage: Stage, batch: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """Between bundle and sound file, the worst moment: a bundle without its song is made again,
    and temporary files that a kill left behind disturb nothing."""
    out = tmp_path / "out"
    finish(start(stage, batch, out))
    (out / "two_s0.flac").unlink()
    (out / ".three_s0.flac.abc123.flac").write_bytes(b"half")
    (out / ".three_s0.song.abc123").mkdir()
    (out / ".three_s0.song.abc123" / "song.toml").write_bytes(b"half")
    events = finish(start(stage, batch, out))
    assert [e["idx"] for e in events if e["event"] == "done"] == ["two"]
    assert visible(out) == undisturbed
