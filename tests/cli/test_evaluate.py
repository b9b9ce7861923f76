"""`songbloom evaluate`: songs in, scores and reports out; what cannot be meant is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli.helpers import Cli, assert_refused
from evaluation.toys import LYRICS, songs, tone

METRICS = ("--metrics", "signal,speed", "--workers", 1)
FILES = {"evaluation.json", "report.md", "report.html"}


@pytest.fixture
def out(home: Path) -> Path:
    """Three songs of another system."""
    return songs(home / "out", 3)


def test_good_and_bad_songs(cli: Cli, out: Path) -> None:
    """The good songs are scored, the broken one is named, and the exit code is 3; both names of
    the command give the same bytes, and the second run of all measures nothing."""
    (out / "broken.flac").write_bytes(b"fLaC")
    ran = cli("evaluate", "out", *METRICS)
    assert ran.code == 3, ran.err
    assert ran.out.startswith("metric") and "signal (bs1770)" in ran.out
    assert "broken" in ran.err and "Protocol offline" in ran.err
    folder = out / "evaluation"
    assert {path.name for path in folder.iterdir()} == FILES | {"cache"}
    result = json.loads((folder / "evaluation.json").read_text())
    assert [song["name"] for song in result["songs"]][0] == "broken"
    assert [row["songs"] for row in result["metrics"].values()] == [3, 3]
    (out / "broken.flac").unlink()
    again = cli("eval", "out", *METRICS, "--json", "-o", "second", "--cache", folder / "cache")
    assert again.code == 0, again.err
    assert json.loads(again.out) == json.loads(Path("second/evaluation.json").read_text())
    assert json.loads(again.out)["metrics"]["signal"]["songs"] == 3


def test_reports_and_comparisons(cli: Cli, out: Path) -> None:
    """A result is shown again, as a page with its songs, and compared with itself."""
    assert cli("evaluate", "out", *METRICS, "-q").code == 0
    shown = cli("eval", "report", "out/evaluation")
    assert (shown.code, "signal (bs1770)" in shown.out) == (0, True)
    page = cli("eval", "report", "out/evaluation", "-o", "page.html", "--json")
    told = json.loads(page.out)
    assert (told["shown"], told["silent"]) == ([f"song_{n:04d}" for n in range(3)], [])
    same = cli("eval", "compare", "out/evaluation", "out/evaluation/evaluation.json", "--json")
    row = json.loads(same.out)["metrics"]["signal"]
    assert (row["difference"], row["verdict"]) == (0, "no difference")
    less = ("--metrics", "signal", "-o", "other", "--cache", "out/evaluation/cache")
    assert cli("eval", "run", "out", *less).code == 0
    refused = cli("eval", "compare", "out/evaluation", "other")
    assert_refused(refused, 2, "only A has speed")


def test_a_dry_run_writes_no_result(cli: Cli, out: Path) -> None:
    """What would be measured, and nothing of a result."""
    ran = cli("evaluate", "out", *METRICS, "--limit", 2, "--dry-run", "--json")
    plan = json.loads(ran.out)
    assert (plan["songs"], plan["metrics"]["signal"]["to_measure"]) == (2, 2)
    assert not (out / "evaluation" / "evaluation.json").exists()


def test_a_protocol_is_printed_and_taken(cli: Cli, out: Path) -> None:
    """What `protocol` prints is a protocol, with the same id."""
    text = cli("eval", "protocol", "offline").out
    Path("mine.toml").write_text(text)
    first = cli("evaluate", "out", *METRICS, "--dry-run", "--json")
    second = cli("evaluate", "out", *METRICS, "--protocol", "mine.toml", "--dry-run", "--json")
    assert json.loads(first.out)["protocol"] == json.loads(second.out)["protocol"]
    assert json.loads(cli("eval", "protocol", "paper", "--json").out)["name"] == "paper"


def test_wrong_words(cli: Cli, out: Path) -> None:
    """Every mistake is refused in two lines."""
    Path("empty").mkdir()
    for args, code, words in (
        (["none"], 1, "none: is not there"),
        (["empty"], 1, "holds no songs"),
        (["out", "--metrics", "pre"], 2, "no metric 'pre'"),
        (["out", "--protocol", "ofline"], 2, "offline"),
        (["out", "--references", "none"], 1, "none: is no folder"),
        (["out", *METRICS, "--sound", "loud"], 2, "embed, link, none"),
        (["out", "--limit", "0"], 2, "--limit"),
        (["report", "out"], 1, "cannot be read"),
        (["protocol", "ofline"], 2, "offline"),
    ):
        assert_refused(cli("evaluate", *args), code, words)
    assert "songbloom evaluate FOLDER" in cli("eval", "--help").out
    assert "--protocol" in cli("evaluate", "run", "--help").out


@pytest.mark.slow
def test_fifty_songs_and_a_kill(home: Path) -> None:
    """An evaluation of fifty good songs and five broken ones that is killed and started again, by
    two workers, ends in the bytes of one that was not, by one; the fifty are scored, the exit code
    is 3."""
    folder = songs(home / "out", 50)
    for number in range(5):
        (folder / f"bad_{number}.txt").write_text(LYRICS)
    soundfile.write(folder / "bad_0.wav", np.zeros(16000), 8000)
    soundfile.write(folder / "bad_1.wav", np.full(16000, np.nan), 8000, subtype="FLOAT")
    tone(folder / "bad_2.wav", seconds=0.5)
    (folder / "bad_3.flac").write_bytes(b"fLaC" + bytes(99))
    (folder / "bad_4.mp3").touch()

    def start(out: str, workers: int = 2) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "songbloom_cli", "evaluate", "out", "--metrics", "signal"]
        command += ["--workers", str(workers), "-o", out, "--sound", "none", "-q"]
        return subprocess.Popen(command)

    assert start("whole", workers=1).wait() == 3
    killed = start("again")
    scores = home / "again" / "cache" / "scores.sqlite-wal"
    while killed.poll() is None and not (scores.exists() and scores.stat().st_size > 150_000):
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert start("again").wait() == 3
    for name in FILES:
        assert (home / "whole" / name).read_bytes() == (home / "again" / name).read_bytes()
    result = json.loads((home / "again" / "evaluation.json").read_text())
    assert (result["metrics"]["signal"]["songs"], result["metrics"]["signal"]["failed"]) == (50, 5)
