"""init, run and status: what is fresh is skipped, what is stale says why, stops lose nothing."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cli.helpers import Cli, assert_refused
from training.runs import CONFIG, SEEDLING

from songbloom import audio, config
from songbloom.project import chain
from songbloom.stages.ledger import Ledger, Result
from songbloom.training.synthetic import write_dataset

SMALL = CONFIG.replace("validation_songs = 8", "validation_songs = 0") + "steps = 3\n"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training set that something else made."""
    folder = tmp_path_factory.mktemp("set") / "data"
    write_dataset(folder, songs=3, num_lines=1, codecs=SEEDLING)
    return folder


@pytest.fixture
def trains(home: Path, dataset: Path) -> Path:
    """A project that only trains: its data come from elsewhere."""
    (home / "songbloom.toml").write_text(f'{SMALL}data = "{dataset}"\n', encoding="utf-8")
    return home


def song(folder: Path, seconds: float) -> None:
    """A sound without lyrics."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).normal(0, 0.1, (2, round(seconds * 48_000)))
    audio.save(folder / "audio.flac", noise.astype(np.float32), 48_000)


def set_key(project: Path, was: str, now: str) -> None:
    file = project / "songbloom.toml"
    text = file.read_text("utf-8")
    assert f"\n{was}\n" in text
    file.write_text(text.replace(f"\n{was}\n", f"\n{now}\n"), "utf-8")


def only_stage(cli: Cli, *more: object) -> dict:
    """The one stage that `status` tells of."""
    stages = json.loads(cli("status", "--json", *more).out)["stages"]
    assert len(stages) == 1
    return stages[0]


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """As if a process worked in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def test_init_makes_a_project_that_loads_to_the_defaults_and_keeps_what_is_there(
    cli: Cli, home: Path
) -> None:
    ran = cli("init", "new/song project")
    assert (ran.code, ran.out) == (0, "new/song project\n"), ran.err
    folder = home / "new/song project"
    assert sorted(path.name for path in folder.iterdir()) == [
        ".gitignore", "songbloom.toml", "songs",
    ]  # fmt: skip
    loaded = config.load(folder / "songbloom.toml")
    changed = [key for key, origin in loaded.origins.items() if origin != "default"]
    assert changed == ["train.preset"]
    text = (folder / "songbloom.toml").read_text("utf-8")
    for table in ("prepare", "filters", "train"):
        for key in config.keys(table):
            assert f"{key} = " in text
    (folder / "songbloom.toml").write_text("# mine\n")
    assert "nothing was made" in cli("init", "new/song project").err
    assert (folder / "songbloom.toml").read_text() == "# mine\n"


def test_every_key_of_a_new_project_can_be_switched_on(cli: Cli, home: Path) -> None:
    """`#key = value` without its # is a setting that the configuration takes."""
    cli("init")
    text = (home / "songbloom.toml").read_text("utf-8")
    lines = [
        line[1:] if line[:1] == "#" and line[1:2] != " " else line for line in text.split("\n")
    ]
    (home / "songbloom.toml").write_text("\n".join(lines), "utf-8")
    loaded = config.load(home / "songbloom.toml")
    for table in ("prepare", "filters", "train"):
        for key in config.keys(table):
            assert loaded.origins[f"{table}.{key}"] != "default", key


def test_run_trains_then_skips_then_says_why_not(
    cli: Cli, trains: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """new -> fresh -> skipped; a setting, the training set or the model changed -> stale, named."""
    assert only_stage(cli) == {
        "stage": "train", "state": "new", "why": ["was never made"], "output": "",
    }  # fmt: skip
    ran = cli("run")
    assert ran.code == 0, ran.err
    fresh = only_stage(cli)
    assert (fresh["state"], fresh["why"]) == ("fresh", [])
    model = trains / fresh["output"] / "model" / "model.json"
    assert model.is_file()

    lock = (trains / "songbloom.lock").read_text()
    again = cli("run", "--json")
    assert json.loads(again.out) == {"event": "chain", **fresh}
    assert (trains / "songbloom.lock").read_text() == lock

    set_key(trains, "steps = 3", "steps = 4")
    stale = only_stage(cli)
    assert (stale["state"], stale["why"]) == ("stale", ["[train] steps was 3, now 4"])
    dry = cli("run", "--dry-run")
    assert dry.code == 0 and "[train] steps was 3, now 4" in dry.out
    assert (trains / "songbloom.lock").read_text() == lock
    set_key(trains, "steps = 4", "steps = 3")
    set_key(trains, "ffn_dim = 64", "ffn_dim = 32")
    assert only_stage(cli)["why"] == ["[model] ffn_dim was 64, now 32"]
    set_key(trains, "ffn_dim = 32", "ffn_dim = 64")
    set_key(trains, "workers = 0", "workers = 1")  # leaves no trace in what is learnt
    assert only_stage(cli)["state"] == "fresh"
    monkeypatch.setenv("SONGBLOOM_TRAIN_STEPS", "2")  # counts for a stage, so for its standing too
    assert only_stage(cli)["why"] == ["[train] steps was 3, now 2"]
    monkeypatch.delenv("SONGBLOOM_TRAIN_STEPS")

    described = (dataset / "dataset.json").read_text()
    values = json.loads(described)
    (dataset / "dataset.json").write_text(json.dumps(values | {"dataset_hash": "f" * 64}))
    (why,) = only_stage(cli)["why"]
    assert why == f"the training set was {values['dataset_hash'][:12]}, now {'f' * 12}"
    other = chain.STAGES[1].output(chain.open_project(trains))
    assert other != trains / fresh["output"]
    (dataset / "dataset.json").write_text(described)

    model.write_text(model.read_text() + "\n")
    assert only_stage(cli)["why"] == [f"{fresh['output']} was changed outside of songbloom run"]
    model.unlink()
    assert only_stage(cli)["why"] == [f"{fresh['output']} is gone, or not whole"]
    assert cli("run").code == 0  # the run is there: only the model is written again
    assert only_stage(cli) == fresh


def test_an_interrupted_run_saves_ends_with_130_and_goes_on(cli: Cli, trains: Path) -> None:
    """SIGTERM, then SIGINT, then to the end; in between status tells how far it is."""
    set_key(trains, "steps = 3", "steps = 24")
    words = [sys.executable, "-m", "songbloom_cli", "run", "--json"]
    for number, step in ((signal.SIGTERM, 2), (signal.SIGINT, 6)):
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        reached = 0
        for event in map(json.loads, process.stdout):
            if event["event"] == "step":
                reached = event["step"]
                if reached == step:
                    process.send_signal(number)
        process.stdout.close()
        assert process.wait(60) == 130
        assert not (trains / "songbloom.lock").exists()
        (run,) = (trains / "runs").iterdir()
        left = json.loads(cli("status", run, "--json").out)
        assert (left["state"], left["step"], left["of"]) == ("stopped", reached, 24)
        assert left["checkpoint"] == f"step-{reached:08d}"
        assert only_stage(cli)["state"] == "new"
    assert cli("run").code == 0
    done = json.loads(cli("status", run, "--json").out)
    assert (done["state"], done["step"], done["of"]) == ("done", 24, 24)
    assert done["loss"] > 0 and done["model"] == str(run / "model")
    assert "loss" in cli("status", run).out


def test_a_stage_that_fails_stops_the_chain_with_its_code(cli: Cli, trains: Path) -> None:
    set_key(trains, 'preset = "nano"', 'preset = "nano"\ninit_from = "nowhere"')
    ran = cli("run", "-q")
    assert ran.code == 4
    assert not (trains / "songbloom.lock").exists()


def test_two_runs_of_a_project_at_once_are_refused(cli: Cli, trains: Path) -> None:
    with held(trains):
        assert_refused(cli("run"), 1, "another songbloom run")


def test_stages_that_are_not_there_are_named(cli: Cli, trains: Path) -> None:
    for stage in chain.PLANNED:
        assert_refused(cli("run", stage), 2, stage, "prepare, train")
    assert_refused(cli("run", "bake"), 2, "bake", "prepare, train")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "songbloom.lock"),
        ("[]", "songbloom.lock"),
        ('{"format": 99, "stages": {}}', "format 1"),
        ('{"format": 1, "stages": {"train": {"from": 3}}}', "songbloom.lock"),
    ],
)
def test_a_broken_lock_is_one_plain_error(cli: Cli, trains: Path, text: str, words: str) -> None:
    (trains / "songbloom.lock").write_text(text)
    assert_refused(cli("status"), 1, words, "Delete it")
    assert_refused(cli("run"), 1, words, "Delete it")


def test_without_a_project_the_error_says_how_to_make_one(cli: Cli, home: Path) -> None:
    assert_refused(cli("run"), 1, "songbloom.toml", "songbloom init")
    assert_refused(cli("status"), 1, "dataset.json", "run.json", "songbloom init")
    assert_refused(cli("status", "nowhere"), 1, "nowhere", "is not there")
    (home / "file").write_text("")
    assert_refused(cli("init", "file"), 1, "file")
    (home / "songbloom.toml").write_text("[trian]\n")
    assert_refused(cli("status"), 2, "trian", "train")


def test_the_chain_from_songs_on_waits_for_what_comes_first(cli: Cli, home: Path) -> None:
    """Songs that changed make prepare stale; the same training set comes out, and train stays."""
    song(home / "songs" / "a", 2.0)
    filters = "min_duration = 0.0\nmin_voice = 0.0\nlyrics = 'optional'\n"
    (home / "songbloom.toml").write_text(f"{SMALL}[filters]\n{filters}")

    def states() -> list[tuple[str, str]]:
        stages = json.loads(cli("status", "--json").out)["stages"]
        return [(stage["state"], "; ".join(stage["why"])) for stage in stages]

    assert states() == [("new", "was never made"), ("waits", "prepare comes first")]
    assert cli("run", "prepare", "-q").code == 0
    assert states() == [("fresh", ""), ("new", "was never made")]
    assert cli("run", "-q").code == 0
    assert states() == [("fresh", ""), ("fresh", "")]
    made = (home / "dataset" / "dataset.json").read_bytes()

    (home / "songs" / "broken.mp3").write_text("no sound")
    (stale, why), waits = states()
    assert stale == "stale" and why.startswith("songs was 1 songs (") and "now 2 songs (" in why
    assert waits == ("waits", "prepare comes first")
    ran = cli("run", "--json")
    assert ran.code == 3  # some songs failed, and what could be made is made
    assert (home / "dataset" / "dataset.json").read_bytes() == made
    assert states() == [("fresh", ""), ("fresh", "")]
    found = json.loads(cli("status", "dataset", "--json").out)
    assert (found["ready"], found["failed"], found["songs"]) == (1, 1, 2)
    assert found["stages"]["ingest"] == {"done": 1, "failed": 1, "rejected": 0, "pending": 0}
    assert found["dataset_hash"] == json.loads(made)["dataset_hash"]

    set_key(home, "min_duration = 0.0", "min_duration = 5.0")  # refuses the song that was good
    assert states()[0] == ("stale", "[filters] min_duration was 0.0, now 5.0")
    assert cli("run", "-q").code == 3
    assert "dataset is gone, or not whole" in states()[0][1]


def test_status_counts_songs_where_they_wait(cli: Cli, home: Path) -> None:
    """By stage and state, from the ledger and, where that is gone, from the manifest."""
    song(home / "songs" / "good", 12.0)
    song(home / "songs" / "short", 1.0)
    (home / "songs" / "broken.mp3").write_text("no sound")
    (home / "songbloom.toml").write_text("[filters]\nlyrics = 'optional'\n")
    assert cli("prepare", "songs", "-o", "d", "--stages", "ingest", "-q").code == 3
    found = json.loads(cli("status", "d", "--json").out)
    assert [found[state] for state in ("ready", "failed", "rejected", "pending")] == [0, 1, 1, 1]
    assert found["stages"]["ingest"] == {"done": 1, "failed": 1, "rejected": 1, "pending": 0}
    assert found["stages"]["separate"] == {"done": 0, "failed": 0, "rejected": 0, "pending": 1}
    shutil.rmtree(home / "d" / "work")
    assert json.loads(cli("status", "d", "--json").out) == found
    assert "separate" in cli("status", "d").out


def test_status_of_a_dataset_that_another_program_made(cli: Cli, dataset: Path) -> None:
    found = json.loads(cli("status", dataset, "--json").out)
    assert (found["kind"], found["songs"], found["ready"]) == ("dataset", 3, 3)
    assert len(found["dataset_hash"]) == 64 and found["hours"] > 0
    assert "dataset_hash" in cli("status", dataset).out


def test_status_while_the_first_prepare_works(cli: Cli, home: Path) -> None:
    """Results are counted as they come, and it is told that somebody works there."""
    ledger = Ledger(home / "d" / "work" / "ledger.sqlite")
    ledger.put("ingest", "a", Result({"duration": 1.0}))
    ledger.put("ingest", "b", Result(reason="is no sound"))
    with held(home / "d"):
        found = json.loads(cli("status", "d", "--json").out)
    ledger.close()
    assert found["stages"]["ingest"] == {"done": 1, "failed": 1}
    assert (found["running"], found["failed"], found["dataset_hash"]) == (True, 1, None)
    assert json.loads(cli("status", "d", "--json").out)["running"] is False


def test_status_of_a_run_reads_what_is_whole(cli: Cli, home: Path) -> None:
    """A row that is being written and a log that is missing are no errors; a broken run.json is."""
    run = home / "run"
    run.mkdir()
    (run / "run.json").write_text('{"train": {"steps": 9, "max_steps": null}, "model": {}}')
    assert json.loads(cli("status", "run", "--json").out)["step"] == 0
    (run / "metrics.jsonl").write_text(
        '{"step": 4, "loss": 2.5, "validation_loss": 3.0}\n{"step": 5, "loss": 2.0}\n{"step": 6,'
    )
    found = json.loads(cli("status", "run", "--json").out)
    assert (found["step"], found["loss"], found["validation_loss"]) == (5, 2.0, 3.0)
    (run / "run.json").write_text("{}")
    assert_refused(cli("status", "run"), 1, "run.json")


def test_it_needs_no_torch() -> None:
    code = "import sys, songbloom.project.chain, songbloom.project.status\n"
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ).returncode == 0
