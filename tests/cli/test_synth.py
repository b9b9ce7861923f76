"""synth from the command line; what the songs are like is tested with the library."""

import json
from pathlib import Path

import pytest
from cli.helpers import Cli, assert_refused

from songbloom.files import sha256
from songbloom.synth.corpus import STEMS


def test_plan(cli: Cli, home: object) -> None:
    """--dry-run tells songs, seconds, disk and processor time, from a number or from hours."""
    plan = json.loads(cli("synth", "--songs", 2, "-o", "c", "--dry-run", "--json").out)
    assert plan["songs"] == 2 and plan["done"] == 0 and plan["duration"] > 10
    assert plan["bytes"] > 0 and plan["cpu_seconds"] > 0
    hours = json.loads(cli("synth", "--hours", 0.02, "-o", "c", "--dry-run", "--json").out)
    assert hours["duration"] >= 72
    assert "songs" in cli("synth", "--songs", 2, "-o", "c", "--dry-run").out


def test_plan_of_scores_like_songs(cli: Cli, home: Path) -> None:
    """It tells of how many songs the styles are; a folder that is not whole is none of them."""
    for name, files in (("a", STEMS), ("b", STEMS[:1])):
        (home / "songs" / name).mkdir(parents=True)
        for file in ("truth.json", *(f"{stem}.flac" for stem in files)):
            (home / "songs" / name / file).touch()
    words = ("--scores", "--songs", 4, "--like", "songs", "-o", "c", "--dry-run", "--json")
    assert json.loads(cli("synth", *words).out)["styles"] == 1
    assert not (home / "c").exists()


def test_language(cli: Cli, home: object) -> None:
    """Each language has songs of its own; a mixed corpus has both."""
    plans = [
        json.loads(cli("synth", "--songs", 4, "-o", "c", "--dry-run", "--json", *more).out)
        for more in ((), ("--language", "zh"), ("--language", "mixed"))
    ]
    assert len({plan["duration"] for plan in plans}) == 3
    assert_refused(cli("synth", "--songs", 1, "-o", "c", "--language", "fr"), 2, "en, zh, mixed")


def test_songs(cli: Cli, home) -> None:  # type: ignore[no-untyped-def]
    """A folder a song with its five files; again makes nothing new; events with --json."""
    pytest.importorskip("pyworld", reason="the synth extra is not installed")
    pytest.importorskip("espeakng_loader", reason="the synth extra is not installed")
    ran = cli("synth", "--songs", 1, "--seed", 3, "-o", "c", "--workers", 1)
    assert (ran.code, ran.out) == (0, "c\n"), ran.err
    folder = home / "c" / "song_00001"
    names = {*(f"{stem}.flac" for stem in STEMS), "lyrics.txt", "truth.json"}
    assert {path.name for path in folder.iterdir()} == names
    digest = sha256(folder / "audio.flac")
    again = cli("synth", "--songs", 1, "--seed", 3, "-o", "c", "--json")
    assert json.loads(again.out) == {"event": "done", "output": "c"} | {
        key: json.loads(again.out)[key] for key in ("made", "kept", "duration")
    }
    assert json.loads(again.out)["made"] == 0 and sha256(folder / "audio.flac") == digest
    assert_refused(cli("synth", "--songs", 1, "--seed", 4, "-o", "c"), 2, "c", "seed")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("-o", "c"), ("--songs", "--hours")),
        (("--songs", "1", "--hours", "1", "-o", "c"), ("--songs", "--hours")),
        (("--songs", "1"), ("--output", "synth --help")),
        (("--songs", "one", "-o", "c"), ("--songs",)),
        (("--songs", "1", "-o", "c", "--workers", "0"), ("--workers", "1 or more")),
        (("--songs", "1", "-o", "c", "--seed", "-1"), ("--seed", "0 or more")),
        (("--songs", "1", "-o", "c", "--like", "d"), ("--like", "--scores")),
        (
            ("--scores", "--songs", "1", "-o", "c", "--like", "d", "--language", "zh"),
            ("--like", "--language"),
        ),
        (("--scores", "--songs", "1", "-o", "c", "--like", "d"), ("d: holds no", "truth.json")),
        (("--scores", "--songs", "1", "-o", "c", "--like", "d", "--dry-run"), ("d: holds no",)),
    ],
)
def test_wrong_arguments(cli: Cli, args: tuple[str, ...], words: tuple[str, ...]) -> None:
    """What cannot be meant: exit 2 and two lines, nothing made."""
    assert_refused(cli("synth", *args), 2, *words)


def test_without_the_extra(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its packages, synth names the extra to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ran = cli("synth", "--songs", 1, "-o", "c", "-q")
    assert_refused(ran, 4, "pyworld", "pip install 'songbloom[synth]'")
