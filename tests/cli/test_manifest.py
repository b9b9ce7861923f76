"""Laws of `songbloom manifest`: each command for people and in JSON, and its refusals."""

import json
from pathlib import Path

import pytest
from cli.helpers import Cli, assert_refused

from songbloom import manifest
from songbloom.manifest import Decision, Track

SONGS = (
    Track("a", "a.flac", title="Tea", artist="Ann", language="en", duration=60.0, state="ready"),
    Track("b", "b.flac", duration=3.0, state="rejected", stage="ingest", reason="too short",
          decisions=(Decision("min_duration", 3.0, 10.0, False),)),
    Track("c", "c.flac", language="zh", duration=90.0, state="ready"),
)  # fmt: skip


@pytest.fixture
def data(home: Path) -> Path:
    """A folder with a manifest and the songs that it names."""
    for song in SONGS:
        (home / song.audio).write_bytes(b"x")
    manifest.write(home / "manifest.jsonl", SONGS)
    return home


def test_show_is_a_table_or_a_song_in_full(cli: Cli, data: Path) -> None:
    """The folder stands for its manifest; what is not shown is told."""
    ran = cli("manifest", "show", data)
    assert ran.code == 0 and "Ann - Tea" in ran.out and "too short" in ran.out
    assert len(ran.out.splitlines()) == 4
    assert "the first 1 songs" in cli("manifest", "show", data, "--limit", 1).err
    assert "min_duration" in cli("manifest", "show", data, "b").out
    rows = cli("manifest", "show", data, "c", "--json").out.splitlines()
    assert [json.loads(row)["id"] for row in rows] == ["c"]
    ran = cli("manifest", "show", data, "nobody")
    assert ran.code == 1 and "no song 'nobody'" in ran.err


def test_stats_in_json_are_those_of_the_library(cli: Cli, data: Path) -> None:
    """And for people a tree."""
    assert json.loads(cli("manifest", "stats", data, "--json").out) == manifest.stats(SONGS)
    assert "min_duration" in cli("manifest", "stats", data / "manifest.jsonl").out


def test_filter_writes_rows(cli: Cli, data: Path) -> None:
    """To stdout as JSON lines, or to a file."""
    ran = cli("manifest", "filter", data, "state=ready", "duration>60")
    assert ran.code == 0 and [json.loads(row)["id"] for row in ran.out.splitlines()] == ["c"]
    ran = cli("manifest", "filter", data, "state=ready", "-o", "new.jsonl")
    assert (ran.code, ran.out) == (0, "new.jsonl\n")
    assert list(manifest.read(data / "new.jsonl")) == [SONGS[0], SONGS[2]]
    assert_refused(cli("manifest", "filter", data, "mood=good"), 2, "mood", "Fields:")


def test_validate_ends_with_1_on_findings(cli: Cli, data: Path) -> None:
    """With the line and the id of each; 0 where all is well."""
    assert cli("manifest", "validate", data).code == 0
    (data / "c.flac").unlink()
    ran = cli("manifest", "validate", data)
    assert ran.code == 1 and "manifest.jsonl:3: c: audio:" in ran.out
    ran = cli("manifest", "validate", data, "--json")
    assert ran.code == 1 and json.loads(ran.out)["line"] == 3
    (data / "prepare.json").write_text(json.dumps({"songs": "elsewhere"}))
    assert len(cli("manifest", "validate", data).out.splitlines()) == 3
    assert cli("manifest", "validate", data, "--songs", data).code == 1


def test_merge_and_split_write_manifests(cli: Cli, data: Path) -> None:
    """Split, and merge again: the same bytes."""
    ran = cli("manifest", "split", data, "train=0.6,test=0.4", "-o", "parts", "--json")
    assert ran.code == 0 and sum(json.loads(ran.out)["songs"].values()) == 3
    ran = cli("manifest", "merge", "parts/train.jsonl", "parts/test.jsonl", "-o", "all.jsonl")
    assert ran.code == 0
    assert Path("all.jsonl").read_bytes() == (data / "manifest.jsonl").read_bytes()
    ran = cli("manifest", "split", data, "train=0.6,test=0.4", "-o", "parts")
    assert "3 groups" in ran.err and "no fingerprint" in ran.err and "train" in ran.out
    assert_refused(cli("manifest", "split", data, "train=2", "-o", "x"), 2, "add up to 1")


@pytest.mark.parametrize("command", ["show", "stats", "validate", "merge"])
def test_a_manifest_that_is_not_there_is_told(cli: Cli, home: Path, command: str) -> None:
    """In a line of what, and one of what to do."""
    assert_refused(cli("manifest", command, "gone.jsonl"), 1, "gone.jsonl")
