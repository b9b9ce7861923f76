"""Real music: Debian's packages of songs for Frets on Fire, CC BY-SA 3.0 and MIT-like."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from stages.corpora import prepare, rows, run

from songbloom.data.shards import open_shards

pytestmark = pytest.mark.slow

SONGS = Path("/usr/share/games/fretsonfire/data/songs")
PACKAGES = ("fretsonfire-songs-muldjord", "fretsonfire-songs-sectoid")


@pytest.fixture(scope="module")
def recordings() -> Path:
    """The songs, installed where this may be done."""
    if not SONGS.is_dir():
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            pytest.skip(f"needs Debian's packages {' and '.join(PACKAGES)}")
        got = subprocess.run(["apt-get", "install", "-y", *PACKAGES], capture_output=True)
        if got.returncode:
            pytest.skip("Debian's packages cannot be installed here")
    return SONGS


def test_real_songs_become_a_training_set(recordings: Path, tmp_path: Path) -> None:
    """Metal of three minutes without lyrics: sections are listened for (the embedded backends find
    hardly any), tokens and latents are as long as the song, the report opens them, and the trainer
    takes them."""
    config = tmp_path / "songbloom.toml"
    config.write_text('[filters]\nlyrics = "optional"\n')
    last = prepare(recordings, tmp_path / "data", "--config", config, "--limit", 2)
    assert last["ready"] == 2, last["reasons"]
    shards = open_shards(tmp_path / "data")
    for number, name in enumerate(shards.ids):
        song, row = shards.read(number), rows(tmp_path / "data")[name]
        assert row["duration"] > 120 and len(song.sketch) == int(row["duration"] * 25)
        assert row["results"]["structure"]["method"] == "similarity"
        assert song.sections[0].start == 0 and song.sections[-1].end == row["duration"]
        assert len(song.references) > 5
    ran = run("report", tmp_path / "data", "-o", tmp_path / "report.html")
    assert ran.code == 0 and (tmp_path / "report.html").stat().st_size > 1_000_000
    ran = run(
        "train", "--data", tmp_path / "data", "--preset", "nano", "-o", tmp_path / "run",
        "--max-steps", 1, "--gpus", 0, "--batch-size", 4, "--crop", 5.12, "--validation-songs", 0,
    )  # fmt: skip
    assert ran.code == 0, ran.err
