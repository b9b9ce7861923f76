"""export-song and verify from the command line, with right and with wrong input."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli.helpers import Cli, assert_refused

from songbloom.files import sha256


def tone(seconds: float, rate: int = 48_000, level: float = 0.3) -> np.ndarray:
    """`[n, 2]`"""
    time = np.arange(round(seconds * rate)) / rate
    return np.stack([level * np.sin(2 * np.pi * f * time) for f in (220, 331)], axis=1)


@pytest.fixture
def song(cli: Cli, home: Path, mini_folder: Path) -> Path:
    """A song that `generate` has just made: song.flac and song.song."""
    (home / "song.txt").write_text("[verse]\nA bird is in the morning sky\n")
    soundfile.write(home / "clip.wav", tone(2.0), 48_000)
    wish = ("--prompt", "clip.wav", "-m", mini_folder, "--max-duration", "1.28", "--steps", "2")
    assert cli("generate", "song.txt", *wish).code == 0
    return home / "song.song"


def test_a_song_as_generate_made_it(cli: Cli, song: Path, mini_folder: Path) -> None:
    """The master's path alone is on stdout; verify shows what made it; song.toml notes it, and the
    song itself is what it was and can be rendered again."""
    before = sha256(song.with_suffix(".flac"))
    ran = cli("export-song", song, "-o", "master.mp3", "--title", "Bird", "--loudness", "-22")
    assert (ran.code, ran.out) == (0, "master.mp3\n"), ran.err
    assert "LUFS" in ran.err
    seen = json.loads(cli("verify", "master.mp3", "--json").out)
    assert seen["problems"] == [] and seen["made_by"]["seed"] == "0"
    assert seen["made_by"]["source_sha256"] == before == sha256(song.with_suffix(".flac"))
    assert seen["lufs"] == pytest.approx(-22, abs=0.5) and seen["lyrics_lines"] == 1
    assert f'sha256 = "{seen["sha256"]}"' in (song / "song.toml").read_text()
    assert "identical" in cli("rerender", song, "-m", mini_folder).err


def test_the_report_as_json(cli: Cli, song: Path) -> None:
    """--json prints one object; a clip too short for the watermark is warned of."""
    ran = cli("export-song", "song.flac", "--watermark", "--json")
    made = json.loads(ran.out)
    assert ran.code == 0 and made["file"] == "song.master.flac"
    assert made["warnings"] and "watermark" in made["warnings"][-1]
    ran = cli("verify", "song.master.flac")
    assert ran.code == 1 and "is declared, and is not found" in ran.err
    assert "not looked for" in ran.out


def test_a_clean_file(cli: Cli, home: Path) -> None:
    """A file that songbloom has nothing to do with is clean, and that is no error."""
    soundfile.write(home / "clean.wav", tone(6.0), 48_000)
    ran = cli("verify", "clean.wav")
    assert ran.code == 0 and ran.err == ""
    rows = dict(line.split(None, 1) for line in ran.out.splitlines())
    assert rows["watermark"].startswith("none") and rows["declared"] == rows["c2pa"] == "none"


WRONG: list[tuple[tuple[str, ...], int, str]] = [
    (("nothing.song",), 4, "no song bundle"),
    (("nothing.flac",), 1, "cannot be read"),
    (("text.wav",), 1, "text.wav"),
    (("empty.wav",), 1, "is empty"),
    (("nan.wav",), 1, "NaN"),
    (("silent.wav",), 1, "silent.wav: it is silent"),
    (("short.wav",), 1, "shorter than 0.4 s"),
    ((".",), 4, "no song bundle"),
    (("tone.wav", "--format", "exe"), 2, "--format exe"),
    (("tone.wav", "-o", "x.aac"), 2, "-o x.aac"),
    (("tone.wav", "-o", "x.mp3", "--format", "flac"), 2, "its suffix is not flac"),
    (("tone.wav", "-o", "tone.wav"), 2, "is the song itself"),
    (("tone.wav", "--loudness", "0"), 2, "--loudness 0"),
    (("tone.wav", "--true-peak", "3"), 2, "--true-peak 3"),
    (("tone.wav", "--watermark"), 2, "not known to be songbloom's"),
    (("tone.wav", "--c2pa", "cert.pem", "key.pem"), 2, "not known to be songbloom's"),
    (("tone.wav", "-o", "text.wav/x.flac"), 1, "cannot be written"),
]


@pytest.fixture
def wrong(home: Path) -> Path:
    """Files that are no songs, and one that is."""
    (home / "text.wav").write_text("these are words")
    (home / "empty.wav").touch()
    soundfile.write(home / "nan.wav", np.full((48_000, 2), np.nan, np.float32), 48_000, "FLOAT")
    soundfile.write(home / "silent.wav", np.zeros((96_000, 2)), 48_000)
    soundfile.write(home / "short.wav", tone(0.2), 48_000)
    soundfile.write(home / "tone.wav", tone(1.0), 48_000)
    return home


@pytest.mark.parametrize(("args", "code", "said"), WRONG, ids=lambda x: str(x))
def test_wrong_input(cli: Cli, wrong: Path, args: tuple[str, ...], code: int, said: str) -> None:
    """One line of what and one of what to do, and nothing is left behind."""
    before = sorted(wrong.iterdir())
    assert_refused(cli("export-song", *args), code, said)
    assert sorted(wrong.iterdir()) == before


@pytest.mark.parametrize("name", ["nothing.mp3", "text.wav", "empty.wav", "nan.wav", "."])
def test_verify_of_what_is_no_sound(cli: Cli, wrong: Path, name: str) -> None:
    """verify refuses what it cannot hear."""
    assert_refused(cli("verify", name), 1, name)


def test_verify_of_silence(cli: Cli, wrong: Path) -> None:
    """Silence has no loudness, and that is no error."""
    seen = json.loads(cli("verify", "silent.wav", "--json").out)
    assert (seen["lufs"], seen["true_peak_dbtp"]) == (None, None) and seen["problems"] == []
