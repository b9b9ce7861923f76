"""Small corpora, and the real command over them."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cli.helpers import Ran

from songbloom import audio
from songbloom.synth.render import render
from songbloom.synth.score import compose
from songbloom.units import SAMPLE_RATE
from songbloom_cli.main import run as run_songbloom

# What is said of a file without sound: without ffmpeg, it could be one that only ffmpeg reads.
NO_SOUND = "is not a sound file" if shutil.which("ffmpeg") else "libsndfile cannot read it"
# Two sing English in different voices, one Mandarin; each lasts about a dozen seconds.
SONGS = (("maple", 5, 0, "en"), ("pine 松", 5, 3, "en"), ("willow", 5, 1, "zh"))


def write_song(folder: Path, name: str, seed: int, index: int, language: str = "en") -> Path:
    """Render a short composed song as `name.flac` + `name.txt`; the sound file."""
    score = compose(seed, index, num_lines=2, language=language)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.flac"
    audio.save(path, render(score).mix, SAMPLE_RATE)
    path.with_suffix(".txt").write_text(score.lyrics, encoding="utf-8")
    path.with_suffix(".json").write_text(score.to_json(), encoding="utf-8")
    return path


def run(*words: object) -> Ran:
    """Run a command line in this process (workers are processes of their own)."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_songbloom([str(word) for word in words])
    return Ran(code, out.getvalue(), err.getvalue())


def events(ran: Ran) -> list[dict[str, Any]]:
    """What --json printed, a line each."""
    return [json.loads(line) for line in ran.out.splitlines()]


def prepare(songs: Path, data: Path, *more: object, code: int = 0) -> dict[str, Any]:
    """`songbloom prepare --json`: its last event; `stages` has what was done at each."""
    ran = run("prepare", songs, "-o", data, "--json", *more)
    assert ran.code == code, ran.err
    told = events(ran)
    done: dict[str, int] = {}
    for event in told:
        if event["event"] == "song":
            done[event["stage"]] = done.get(event["stage"], 0) + 1
    return {**told[-1], "stages": done}


def begin(words: Sequence[object], log: Path) -> "subprocess.Popen[bytes]":
    """Start a command line in a process of its own, in the background."""
    command = [sys.executable, "-m", "songbloom_cli", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(log, "ab") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)


def rows(data: Path) -> dict[str, dict[str, Any]]:
    """The manifest by ids."""
    lines = (data / "manifest.jsonl").read_text("utf-8").splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


def contents(data: Path) -> dict[str, bytes]:
    """The files that people take away; what lies in `work` is for the next run."""
    files = (p for p in data.rglob("*") if p.is_file() and "work" not in p.relative_to(data).parts)
    return {str(p.relative_to(data)): p.read_bytes() for p in files if p.name != ".lock"}
