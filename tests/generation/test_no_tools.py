"""The embedded model sings alone: what its corpus was spoken and played with is not there."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from generation.conftest import Stage

# An interpreter that can import none of the tools and start no program, be it another Python.
ALONE = """
import sys

TOOLS = "espeakng_loader pyworld piper festival flite fluidsynth tinysoundfont sf2utils".split()
PROGRAMS = "subprocess.Popen os.system os.exec os.posix_spawn os.spawn os.fork".split()


def refuse(event, arguments):
    if event == "import" and arguments[0].split(".")[0] in TOOLS or event in PROGRAMS:
        raise PermissionError(f"{event} {arguments[0]}: taken away")


sys.addaudithook(refuse)
"""
COMMAND = """
from songbloom_cli.main import run

code = run(sys.argv[1:])
makers = [name for name in sys.modules if name.startswith("songbloom.synth")]
sys.exit(code or (f"loaded {makers}" if makers else 0))
"""
SINGER = """
from songbloom.synth.score import compose
from songbloom.synth.voice import sing

sing(compose(1, 0, num_lines=1))
"""


def alone(folder: Path, code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python code without the tools, and no program to be found."""
    return subprocess.run(
        [sys.executable, "-c", ALONE + code, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PATH": "", "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_it_sings_without_them(stage: Stage, tmp_path: Path) -> None:
    """`generate` with the embedded model gives seconds of sound where no tool can be had, and
    loads nothing of what makes songs otherwise."""
    command = ("generate", str(stage.lyrics), "--prompt", str(stage.clip), "-o", "song.flac")
    done = alone(tmp_path, COMMAND, *command, "--max-duration", "2", "--steps", "4")
    assert done.returncode == 0, done.stderr
    samples, rate = soundfile.read(tmp_path / "song.flac")
    assert len(samples) > rate and np.abs(samples).max() > 0.01


@pytest.mark.parametrize(
    "code, wanted",
    [
        (SINGER, "subprocess.Popen"),
        (COMMAND, "subprocess.Popen"),
        ("import pyworld", "import pyworld"),
        ("import espeakng_loader", "import espeakng_loader"),
    ],
    ids=["singer", "synth", "vocoder", "speech"],
)
def test_they_would_be_missed(tmp_path: Path, code: str, wanted: str) -> None:
    """Whoever reaches for a tool fails there: the singer of the corpus, and so `synth`."""
    done = alone(tmp_path, code, "synth", "--songs", "1", "-o", "corpus", "--workers", "1")
    assert done.returncode != 0
    assert wanted in done.stderr and "taken away" in done.stderr
    assert not list(tmp_path.rglob("*.flac"))
