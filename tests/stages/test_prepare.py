"""`songbloom prepare`: from a folder to a training set, the same bytes whatever happened."""

import importlib.util
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from stages.corpora import SONGS, begin, contents, events, prepare, rows, run, write_song

from songbloom.data.shards import open_shards
from songbloom.model.checkpoint import read_info
from songbloom.model.seedling_vae import SeedlingVAE, SeedlingVAEConfig
from songbloom.model.sketch_codec import SketchCodec, SketchCodecConfig
from songbloom.stages.stage import STAGES
from songbloom.training import seedling, seedling_vae

pytest.importorskip("pyworld", reason="the extra synth is not installed")

TRAIN = ("train", "--preset", "seedling", "--max-steps", 1, "--gpus", 0, "--batch-size", 4)
TRAIN += ("--crop", 5.12, "--validation-songs", 0)


@pytest.fixture(scope="session")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three songs, English and Mandarin, and a copy of one of them."""
    folder = tmp_path_factory.mktemp("songs")
    for name, *what in SONGS:
        write_song(folder, name, *what)
    for suffix in (".flac", ".txt"):
        shutil.copy(folder / f"maple{suffix}", folder / f"zebra{suffix}")
    return folder


@pytest.fixture(scope="session")
def prepared(songs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training set that one worker makes of them."""
    data = tmp_path_factory.mktemp("prepared") / "data"
    last = prepare(songs, data, "--workers", 1)
    assert last["ready"] == len(SONGS) and last["rejected"] == 1 and not last["failed"]
    return data


def assert_same(one: Path, other: Path) -> None:
    """Same manifest, training set and card; prepare.json may tell of another number of workers."""
    ours, theirs = contents(one), contents(other)
    ours.pop("prepare.json"), theirs.pop("prepare.json")
    assert ours == theirs


def test_songs_become_a_training_set(prepared: Path, songs: Path) -> None:
    """Every song has tokens and latents of its length, sections without gaps, and its own lines'
    phonemes; the copy is refused in favour of the first."""
    shards = open_shards(prepared)
    assert list(shards.ids) == [name for name, *_ in SONGS]
    for number, name in enumerate(shards.ids):
        song, row = shards.read(number), rows(prepared)[name]
        assert len(song.sketch) == len(song.latents) == int(row["duration"] * 25)
        assert song.sections[0].start == 0
        for one, other in zip(song.sections, song.sections[1:], strict=False):
            assert one.end == other.start
        assert any(section.lines for section in song.sections)
        assert len(np.unique(song.sketch)) > 5 and np.abs(song.latents).max() > 0.1
    copy = rows(prepared)["zebra"]
    assert copy["state"] == "rejected" and "maple" in copy["reason"]
    assert str(prepared) not in (prepared / "manifest.jsonl").read_text()


def test_a_finished_set_is_left_alone(prepared: Path, songs: Path, tmp_path: Path) -> None:
    """The same command again does nothing, and the same bytes are there."""
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    before = contents(data)
    last = prepare(songs, data, "--workers", 1)
    assert last["stages"] == {} and contents(data) == before


def test_only_what_changed_is_done_again(prepared: Path, songs: Path, tmp_path: Path) -> None:
    """Other lyrics: aligned and structured again. A song that is gone leaves the set. Files that
    were deleted are made again when they are needed."""
    mine, data = tmp_path / "songs", tmp_path / "data"
    shutil.copytree(songs, mine)
    shutil.copytree(prepared, data)
    assert prepare(mine, data)["stages"] == {}  # copytree keeps times
    (mine / "maple.txt").write_text("[verse]\nsomething else\n", encoding="utf-8")
    (mine / "zebra.flac").unlink()
    config = tmp_path / "songbloom.toml"
    config.write_text("[filters]\nmin_alignment = 0.0\n")
    shutil.rmtree(data / "work" / "separate")
    done = prepare(mine, data, "--workers", 1, "--config", config)
    assert done["stages"] == {"ingest": 1, "separate": 1, "align": 1, "structure": 1}
    (mine / "willow.flac").unlink()
    last = prepare(mine, data, "--workers", 1, "--config", config)
    assert last["stages"] == {} and last["ready"] == 2
    assert list(open_shards(data).ids) == ["maple", "pine 松"]


def test_workers_leave_no_trace(prepared: Path, songs: Path, tmp_path: Path) -> None:
    """Three workers, batches of two: the same bytes."""
    config = tmp_path / "songbloom.toml"
    config.write_text("[prepare]\nbatch = 2\n")
    prepare(songs, tmp_path / "data", "--workers", 3, "--config", config)
    assert_same(prepared, tmp_path / "data")


def test_slices_make_the_whole(prepared: Path, songs: Path, tmp_path: Path) -> None:
    """Four slices, merged: the same manifest and dataset hash, also where a slice is empty."""
    parts = []
    for number in range(1, 5):
        parts.append(tmp_path / f"part-{number}")
        ran = run("prepare", songs, "-o", parts[-1], "--workers", 1, "--slice", f"{number}/4")
        assert ran.code in (0, 1), ran.err
    counts = [len(rows(part)) for part in parts]
    assert sum(counts) == len(SONGS) + 1 and max(counts) < len(SONGS) + 1
    ran = run("merge", *parts, "-o", tmp_path / "whole", "--json")
    assert ran.code == 0, ran.err
    whole = json.loads((tmp_path / "whole" / "dataset.json").read_text())
    assert (
        whole["dataset_hash"] == json.loads((prepared / "dataset.json").read_text())["dataset_hash"]
    )
    assert rows(tmp_path / "whole") == rows(prepared)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_kill_9_leaves_no_trace(prepared: Path, songs: Path, tmp_path: Path, kills: int) -> None:
    """Killed at random moments and started again: the same bytes as undisturbed."""
    rng, data = np.random.default_rng(kills), tmp_path / "data"
    words = ("prepare", songs, "-o", data, "--workers", 2)
    for _ in range(kills):
        process = begin(words, tmp_path / "log")
        time.sleep(rng.uniform(0.5, 12.0))
        process.kill()
        process.wait()
    prepare(songs, data, "--workers", 2)
    assert_same(prepared, data)
    assert not list(data.rglob("work/*/*/.*"))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_ray_leaves_no_trace(prepared: Path, songs: Path, tmp_path: Path) -> None:
    """Two actors of a Ray cluster: the same bytes."""
    prepare(songs, tmp_path / "data", "--workers", 2, "--ray", "local")
    assert_same(prepared, tmp_path / "data")


def test_the_trainer_takes_it(prepared: Path, tmp_path: Path) -> None:
    """`songbloom train` learns from it, and its songs' lyrics are in the model's symbols."""
    ran = run(*TRAIN, "--data", prepared, "-o", tmp_path / "run", "--json")
    assert ran.code == 0, ran.err
    steps = [event for event in events(ran) if event["event"] == "step"]
    assert len(steps) == 1 and 0 < steps[0]["lm_loss"] < 20


@pytest.fixture
def own_codecs(tmp_path: Path) -> Path:
    """Codecs as `songbloom seedling` writes them, but of no training."""
    torch.manual_seed(1)
    for name in ("vae", "sketch"):
        (tmp_path / name).mkdir()
    seedling_vae.save(SeedlingVAE(SeedlingVAEConfig()), tmp_path / "vae")
    SketchCodec(SketchCodecConfig()).save(tmp_path / "sketch")
    recipe = seedling.Recipe()
    seedling.assemble(
        tmp_path / "vae", tmp_path / "sketch", tmp_path / "own", name="own", recipe=recipe
    )
    return tmp_path / "own"


def test_codecs_of_our_own_take_the_place_of_the_packaged(
    prepared: Path, songs: Path, own_codecs: Path, tmp_path: Path
) -> None:
    """Tokens and latents are made again and nothing else; the set says whose they are, the trainer
    asks for that model, and what it trains has these codecs."""
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    models = ("--tokenize-model", own_codecs, "--vae-model", own_codecs)
    done = prepare(songs, data, "--workers", 1, *models)
    assert done["stages"] == {"tokenize": 3, "encode-latents": 3}
    made, own = json.loads((data / "dataset.json").read_text()), read_info(own_codecs)
    assert made["vae_hash"] == own["sha256"]["vae.safetensors"]
    assert made["codebook_hash"] == own["codebook_hash"]
    words = (*TRAIN, "--data", data, "-o", tmp_path / "run")
    refused = run(*words)
    assert refused.code == 1 and "--codecs MODEL" in refused.err
    ran = run(*words, "--codecs", own_codecs)
    assert ran.code == 0, ran.err
    trained = read_info(tmp_path / "run" / "model")
    for name in ("vae.safetensors", "sketch.safetensors"):
        assert trained["sha256"][name] == own["sha256"][name]


def test_a_dry_run_tells_and_changes_nothing(songs: Path, tmp_path: Path) -> None:
    """Hours, time and disk of every stage after trying one song; no file is left."""
    data = tmp_path / "data"
    ran = run("prepare", songs, "-o", data, "--dry-run", "--sample", 1, "--json")
    assert ran.code == 0, ran.err
    plan = json.loads(ran.out)
    assert plan["songs"] == 4 and plan["tried_songs"] == 1
    assert list(plan["stages"]) == list(STAGES)
    assert all(stage["real_time_factor"] > 0 and stage["why"] for stage in plan["stages"].values())
    large = plan["at_100000_hours"]
    assert 1.0e12 < large["dataset_bytes"] < 2.0e12  # design: about 1.2 TB of latents and tokens
    assert not data.exists()


@pytest.mark.parametrize(
    "words, code, message",
    [
        (("no-such-folder",), 1, "is not there"),
        (("SONGS", "--stages", "sing"), 2, "no stage 'sing'"),
        (("SONGS", "--slice", "5/4"), 2, "is no slice"),
        (("SONGS", "--separate-model", "no-such-model"), 4, "no-such-model"),
        (("SONGS", "--align-backend", "guess"), 2, "--align-backend"),
    ],
)
def test_wrong_words_are_named(
    songs: Path, tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    """One line says what is wrong, another what to type; nothing is made."""
    given = [songs if word == "SONGS" else word for word in words]
    ran = run("prepare", *given, "-o", tmp_path / "data")
    assert ran.code == code and message in ran.err, ran.err
    assert len(ran.err.splitlines()) == 2
    assert not (tmp_path / "data" / "dataset.json").exists()


def test_one_at_a_time(songs: Path, tmp_path: Path) -> None:
    """A second process that prepares into the same folder is refused."""
    from songbloom.errors import SongBloomError
    from songbloom.files import sole_user

    with sole_user(tmp_path / "data", SongBloomError("busy")):
        ran = run("prepare", songs, "-o", tmp_path / "data")
    assert ran.code == 1 and "another process" in ran.err
