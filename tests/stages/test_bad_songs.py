"""A corpus with bad files of every kind: good songs come through, bad ones have their reasons."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from stages.corpora import NO_SOUND, prepare, rows, write_song

pytest.importorskip("pyworld", reason="the extra synth is not installed")

RATE = 48_000
LYRICS = "[verse]\nthe river runs along the road\n"
OTHER_WORDS = """[verse]
purple elephants juggling enormous umbrellas
seventeen astronauts swallowed the library
"""
THREE_HOURS = 3 * 3600


def noise(seconds: float, channels: int = 2, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Something to hear, [samples, channels]."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((int(seconds * rate), channels)) * 0.1).astype(np.float32)


def sound(
    name: str, seconds: float = 12, *, rate: int = RATE, **how: object
) -> "Callable[[Path], None]":
    """A maker of a sound file with lyrics; `change` alters its samples."""
    change = how.get("change", lambda x: x)
    subtype, channels = how.get("subtype"), int(how.get("channels", 2))  # type: ignore[call-overload]

    def make(folder: Path) -> None:
        samples = change(noise(seconds, channels, rate, seed=len(name)))  # type: ignore[operator]
        soundfile.write(folder / name, samples, rate, subtype=subtype)
        (folder / name).with_suffix(".txt").write_text(LYRICS)

    return make


def raw(name: str, data: bytes) -> "Callable[[Path], None]":
    """A maker of a file with these bytes, and lyrics."""

    def make(folder: Path) -> None:
        (folder / name).write_bytes(data)
        (folder / name).with_suffix(".txt").write_text(LYRICS)

    return make


def good_but(name: str, change: "Callable[[Path], object]") -> "Callable[[Path], None]":
    """A maker of a real song whose sound file is changed after it was written."""

    def make(folder: Path) -> None:
        change(write_song(folder, name, 5, 1))

    return make


def three_hours(folder: Path) -> None:
    second = (np.sign(np.sin(np.arange(16_000) * 0.1)) * 1000).astype(np.int16)
    with soundfile.SoundFile(folder / "long.flac", "w", 16_000, 1, subtype="PCM_16") as sink:
        for _ in range(THREE_HOURS):
            sink.write(second)
    (folder / "long.txt").write_text(LYRICS)


def lyrics_of(name: str, data: bytes | None) -> "Callable[[Path], None]":
    """A maker of sound whose lyrics file holds these bytes; None: there is none."""

    def make(folder: Path) -> None:
        sound(f"{name}.flac", 12.5)(folder)
        (folder / f"{name}.txt").unlink()
        if data is not None:
            (folder / f"{name}.txt").write_bytes(data)

    return make


def nan(x: np.ndarray) -> np.ndarray:
    x[1000] = np.nan
    return x


# name -> (how it is made, what its reason says, or "" for songs that are good in spite of it)
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (
        good_but("truncated", lambda p: os.truncate(p, p.stat().st_size // 2)),
        "breaks off",
    ),
    "garbled": (
        good_but(
            "garbled",
            lambda p: p.write_bytes(p.read_bytes()[:9000] + bytes(3000) + p.read_bytes()[12000:]),
        ),
        "breaks off",
    ),  # fmt: skip
    "empty": (raw("empty.flac", b""), "is empty"),
    "text": (raw("text.mp3", b"this is no sound\n" * 100), NO_SOUND),
    "random": (raw("random.flac", np.random.default_rng(0).bytes(5000)), NO_SOUND),
    "header": (raw("header.wav", b"RIFF\x24\x00\x00\x00WAVEfmt "), NO_SOUND),
    "nan": (sound("nan.wav", subtype="FLOAT", change=nan), "holds NaN or infinite"),
    "infinite": (
        sound("infinite.wav", subtype="FLOAT", change=lambda x: x + np.inf),
        "holds NaN or infinite",
    ),
    "silent": (sound("silent.flac", change=lambda x: x * 0), "too quiet"),
    "half-silent": (
        sound("half-silent.flac", change=lambda x: np.concatenate([x, x * 0, x * 0])),
        "too much silence",
    ),
    "faint": (sound("faint.flac", change=lambda x: x * 0.001), "too quiet"),
    "clipped": (sound("clipped.flac", change=lambda x: np.sign(x).repeat(4, 0)), "clipped"),
    "telephone": (sound("telephone.wav", rate=8_000, channels=1), "sample rate"),
    "short": (sound("short.flac", 3), "too short"),
    "one-sample": (sound("one-sample.wav", 1 / RATE), "too short"),
    "no-samples": (sound("no-samples.wav", 0), "holds no sound"),
    "long": (three_hours, "too long"),
    "no-lyrics": (lyrics_of("no-lyrics", None), "lyrics are missing"),
    "empty-lyrics": (lyrics_of("empty-lyrics", b""), "lyrics are"),
    "binary-lyrics": (lyrics_of("binary-lyrics", bytes(range(256)) * 20), "lyrics are unreadable"),
    "only-tags": (lyrics_of("only-tags", b"[intro]\n[outro]\n"), "lyrics are"),
    "chinese": (lyrics_of("chinese", "[verse]\n月亮代表我的心\n".encode()), "language is zh"),
    "other-words": (
        good_but("other-words", lambda p: p.with_suffix(".txt").write_text(OTHER_WORDS)),
        "do not match",
    ),
    "noise": (lyrics_of("noise", b"[verse]\nnobody sings these words at all\n"), "do not match"),
}


def strange_songs(folder: Path) -> None:
    """Songs that are good in spite of it all, and things that are no songs."""
    six = write_song(folder, "six", 5, 4)
    samples, rate = soundfile.read(six)
    soundfile.write(six, np.tile(samples, 3), rate)
    named = folder / "a b\n☃"
    write_song(named, "söng 🎵", 5, 5)
    latin = write_song(folder, "latin", 5, 6)
    words = latin.with_suffix(".txt").read_text()
    latin.with_suffix(".txt").write_bytes(words.encode("utf-16"))
    for suffix in (".flac", ".txt"):
        shutil.copy(latin.with_suffix(suffix), folder / f"same{suffix}")
    (folder / "loop").mkdir()
    (folder / "loop" / "again").symlink_to(folder)
    (folder / "dangling.flac").symlink_to(folder / "nowhere")
    (folder / "folder.flac").mkdir()
    os.mkfifo(folder / "pipe.wav")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole corpus, prepared."""
    folder = tmp_path_factory.mktemp("bad") / "songs"
    folder.mkdir()
    strange_songs(folder)
    for make, _ in BAD.values():
        make(folder)
    config = folder.parent / "songbloom.toml"
    config.write_text('[filters]\nlanguages = "en"\n')
    last = prepare(folder, folder.parent / "data", "--config", config, "--workers", 2, code=3)
    assert last["pending"] == 0 and last["dataset_hash"]
    return folder.parent / "data"


def test_good_songs_come_through(done: Path) -> None:
    """Six channels, a path with blanks, emoji and a line feed, lyrics in UTF-16."""
    ready = {name for name, row in rows(done).items() if row["state"] == "ready"}
    assert ready == {"six", "latin", "a b%0A☃/söng 🎵"}


@pytest.mark.parametrize("name", BAD)
def test_bad_songs_have_their_reason(done: Path, name: str) -> None:
    """A line that says what is wrong, and the stage that found it."""
    row = rows(done)[name]
    assert row["state"] in ("failed", "rejected") and row["stage"], row
    assert BAD[name][1] in row["reason"], row
    assert "\n" not in row["reason"]
    refused = [d for d in row["decisions"] if not d["kept"]]
    assert (row["state"] == "rejected") == bool(refused)


def test_copies_and_what_is_no_song(done: Path) -> None:
    """Of two files with one content the first stays; loops, pipes and folders are no songs."""
    found = rows(done)
    assert found["same"]["state"] == "rejected" and "latin" in found["same"]["reason"]
    assert not {"pipe", "folder", "loop", "loop/again"} & found.keys()
    assert found.get("dangling", {"state": "failed"})["state"] == "failed"


def test_memory_stays_flat(tmp_path: Path) -> None:
    """A file of three hours takes no more memory than one of twelve seconds."""
    peaks = []
    for name, make in (("short", sound("short.flac")), ("long", three_hours)):
        (tmp_path / name).mkdir()
        make(tmp_path / name)
        words = ["prepare", tmp_path / name, "-o", tmp_path / f"{name}.data", "--stages", "ingest"]
        code = (
            "import resource, sys\nfrom songbloom_cli.main import run\n"
            "if __name__ == '__main__':\n"
            f"    run({[str(w) for w in [*words, '--workers', 1]]!r})\n"
            "    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
        )
        (tmp_path / "script.py").write_text(code)
        out = subprocess.run(
            [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=True
        )
        peaks.append(int(out.stdout.splitlines()[-1]))
        assert rows(tmp_path / f"{name}.data")
    assert peaks[1] < peaks[0] + 30_000, peaks  # kB
