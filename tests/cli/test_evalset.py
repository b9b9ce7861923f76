"""`songbloom evalset`: what it prints, and what it refuses."""

import json
from pathlib import Path

import pytest
from cli.helpers import Cli, assert_refused
from evaluation.tunes import NAMES, track, write_songs

from songbloom import manifest


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five songs with their lyrics, one too short and one silent."""
    return write_songs(tmp_path_factory.mktemp("songs"))


def test_command_line(songs: Path, cli: Cli, home: Path) -> None:
    """make prints the requests, check what leaks, with the exit code 1."""
    made = cli("evalset", "make", songs, "--references", songs, "-o", "set", "--songs", "3")
    assert (made.code, made.out) == (0, "set/requests.jsonl\n"), made.err
    assert "left out: reference short: 3 s long" in made.err
    assert "--against" in made.err
    manifest.write(home / "manifest.jsonl", [track(songs / f"{n}.flac", n) for n in NAMES])
    found = cli("evalset", "check", "set", "--against", ".")
    assert found.code == 1
    assert found.out.count("exact") == 3
    as_json = cli("evalset", "check", "set", "--against", "manifest.jsonl", "--json")
    assert (as_json.code, json.loads(as_json.out)["leaking"]) == (1, 3)
    manifest.write(home / "other.jsonl", [])
    assert cli("evalset", "check", "set", "--against", "other.jsonl").code == 0


def test_bad_inputs_are_refused(songs: Path, cli: Cli, home: Path) -> None:
    """What, where, and what to type next."""
    (home / "empty").mkdir()
    both = ("--references", songs, "-o", "set")
    assert_refused(cli("evalset", "make", "nowhere", *both), 1, "no folder of lyrics")
    assert_refused(cli("evalset", "make", "empty", *both), 1, "no lyrics to use", "none found")
    empty = ("--references", "empty", "-o", "set")
    assert_refused(cli("evalset", "make", songs, *empty), 1, "no reference songs")
    assert_refused(cli("evalset", "make", songs, *both, "--songs", "0"), 2, "--songs is 0")
    assert_refused(cli("evalset", "make", songs, *both, "--songs", "99"), 2, "make 25 pairs")
    assert_refused(cli("evalset", "make", songs, *both, "--songs", "25"), 1, "cannot be shuffled")
    assert_refused(
        cli("evalset", "make", songs, *both, "--against", "no.jsonl"), 1, "cannot be read"
    )
    assert_refused(cli("evalset", "check", "empty", "--against", "no.jsonl"), 1, "set.json")
    assert not (home / "set").exists()
