"""A bad song costs itself, whatever it does to the worker; the rest is done."""

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from songbloom.errors import MissingAssetError, UsageError
from songbloom.manifest import Track
from songbloom.stages import runner, worker
from songbloom.stages.crews import Crew, LocalCrew, RayCrew, devices
from songbloom.stages.ledger import Result
from songbloom.stages.stage import Item
from songbloom.stages.worker import Job
from songbloom.tables import PrepareConfig

STAGE = "stages.trouble"
MakeCrew = Callable[..., Crew]


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[MakeCrew]:
    """Make a crew of processes; it is ended with the test."""
    made: list[Crew] = []

    def make(size: int = 2, retries: int = 0) -> Crew:
        made.append(LocalCrew(PrepareConfig(retries=retries), tmp_path / "logs", size=size))
        return made[-1]

    yield make
    for each in made:
        each.close()


def jobs(tmp_path: Path, titles: list[str], timeout: float = 60.0) -> list[Job]:
    made = []
    for number, title in enumerate(titles):
        track = Track(id=f"{number:03d}", audio="-", title=title)
        item = Item(track, tmp_path / "no-such-file")
        made.append(Job(track.id, item, tmp_path / "out" / track.id, timeout))
    return made


def run(crew: Crew, tmp_path: Path, titles: list[str], **more: float) -> dict[str, Result]:
    timeout = more.get("timeout", 60.0)
    done = runner.run(crew, STAGE, jobs(tmp_path, titles, timeout), batch=int(more.get("batch", 1)))
    return {job.key: result for job, result in done}


@pytest.mark.parametrize("batch", [1, 4])
def test_a_death_costs_one_song(crew: MakeCrew, tmp_path: Path, batch: int) -> None:
    """Killed, crashed and raising songs fail with their reasons, also out of the middle of a
    batch; every other one is done, once, and its files are there."""
    titles = ["", "", "kill", "", "raise", "", "", "crash", "", "refuse", ""]
    results = run(crew(), tmp_path, titles, batch=batch)
    assert sorted(results) == [f"{n:03d}" for n in range(len(titles))]
    failed = {key: result.reason for key, result in results.items() if result.reason}
    assert failed == {
        "002": "the worker died (killed)",
        "004": "ValueError: no good: 004",
        "007": "the worker died (Segmentation fault)",
        "009": "a clear reason",
    }
    there = {folder.name for folder in (tmp_path / "out").iterdir() if folder.name[0] != "."}
    assert there == results.keys() - failed.keys()
    assert all(results[key].bytes == 3 for key in there)


def test_a_hang_is_stopped(crew: MakeCrew, tmp_path: Path) -> None:
    """A song that takes longer than it may is ended, for good, and the next ones are done."""
    started_at = time.monotonic()
    results = run(crew(size=1), tmp_path, ["", "hang", ""], timeout=1.0)
    assert results["001"] == Result(reason="took too long and was stopped", passing=False)
    assert not results["000"].reason and not results["002"].reason
    assert time.monotonic() - started_at < 300


def test_passing_errors_are_tried_again(
    crew: MakeCrew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As often as `retries` says; a song that still fails may pass at the next run."""
    monkeypatch.setattr(worker, "FIRST_PAUSE", 0.0)
    titles = [f"flaky {tmp_path / 'a'} 2", f"flaky {tmp_path / 'b'} 3"]
    local = worker.Worker(PrepareConfig(retries=2), "cpu")
    first, second = local.run(STAGE, jobs(tmp_path, titles))
    assert first.fields["id"] == "000" and not first.reason
    assert "Input/output error" in second.reason and second.passing
    assert (tmp_path / "b").read_text() == "xxx"


@pytest.mark.parametrize("title, error", [("full", OSError), ("missing", MissingAssetError)])
def test_what_befalls_all_ends_the_run(
    crew: MakeCrew, tmp_path: Path, title: str, error: type[Exception]
) -> None:
    """A full disk or a missing model is no fault of a song."""
    with pytest.raises(error):
        run(crew(), tmp_path, ["", title, ""])


def test_workers_keep_their_model(crew: MakeCrew, tmp_path: Path) -> None:
    """Songs of one worker are done in one process."""
    results = run(crew(size=1), tmp_path, [""] * 5)
    assert len({result.fields["process"] for result in results.values()}) == 1


def test_workers_die_with_their_master(tmp_path: Path) -> None:
    """kill -9 of the process that made them leaves no worker behind."""
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from stages.test_runner import STAGE, jobs\n"
        "from songbloom.stages.crews import LocalCrew\n"
        "from songbloom.tables import PrepareConfig\n"
        "if __name__ == '__main__':\n"
        f"    folder = Path({str(tmp_path)!r})\n"
        "    crew = LocalCrew(PrepareConfig(), folder, size=1)\n"
        "    print(crew.submit(0, STAGE, jobs(folder, [''])).result()[0].fields['process'])\n"
        "    crew.submit(0, STAGE, jobs(folder, ['hang']))\n"
        "    sys.stdout.flush()\n"
        "    time.sleep(600)\n"
    )
    script = tmp_path / "master.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, str(script)]
    master = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    assert master.stdout is not None
    process = int(master.stdout.readline())
    master.kill()
    master.wait()
    deadline = time.monotonic() + 120
    while Path(f"/proc/{process}").exists():
        assert time.monotonic() < deadline, "the worker outlived its master"
        time.sleep(0.05)


def test_devices_are_taken_in_turn() -> None:
    """`cuda:0,1` names two; what names none is refused."""
    with pytest.raises(UsageError, match="is no device"):
        devices("cuda:x")
    assert devices("cuda:0,1") == ["cuda:0", "cuda:1"]
    assert devices("cuda:3") == ["cuda:3"]
    assert devices("cpu") == ["cpu"]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_ray_does_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Actors of a Ray cluster give the same results, and a death costs one song there too."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    crew = RayCrew(PrepareConfig(), "local", size=2)
    try:
        results = run(crew, tmp_path, ["", "", "kill", "", "raise", ""], batch=2)
    finally:
        crew.close()
    failed = {key: result.reason for key, result in results.items() if result.reason}
    assert failed.keys() == {"002", "004"} and failed["004"] == "ValueError: no good: 004"
    assert len(results) == 6
