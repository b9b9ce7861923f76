"""generate, rerender, lrc: songs from the command line, with right and with wrong input."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli.helpers import Cli, Ran, assert_refused
from safetensors.numpy import load_file

from songbloom.files import sha256

LYRICS = "[verse]\nA bird is in the morning sky\n\n[chorus]\nSing with me\n"
SHORT = ("--max-duration", "1.28", "--steps", "2")  # two patches


@pytest.fixture
def here(home: Path, mini_folder: Path) -> Path:
    """A folder with lyrics, a clip, and the miniature release as the configured model."""
    (home / "song.txt").write_text(LYRICS)
    soundfile.write(home / "clip.wav", tone(3.0, 44_100), 44_100)
    (home / "songbloom.toml").write_text(
        f'[generate]\nmodel = "{mini_folder}"\nnum_steps = 2\nmax_duration = 1.28\n'
    )
    return home


def tone(seconds: float, rate: int) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return np.stack([0.3 * np.sin(2 * np.pi * f * time) for f in (220, 331)], axis=1)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


BUNDLE = {"song.toml", "lyrics.txt", "arrays.safetensors", "timeline.json", "speed.json"}


# ---------------------------------------------------------------- right input


def test_a_song(cli: Cli, here: Path) -> None:
    """One song: the file at 48 kHz stereo, its bundle, its path alone on stdout, rerender, LRC."""
    before = files(here)
    ran = cli("generate", "song.txt", "--prompt", "clip.wav")
    assert (ran.code, ran.out) == (0, "song.flac\n"), ran.err
    assert "1.3 s of song" in ran.err
    assert files(here) - before == {"song.flac", *(f"song.song/{name}" for name in BUNDLE)}
    header = soundfile.info(here / "song.flac")
    assert (header.samplerate, header.channels, header.frames) == (48_000, 2, 32 * 1920)

    digest = sha256(here / "song.flac")
    (here / "song.flac").unlink()
    model = json.loads(cli("config", "show", "--json").out)["generate"]["model"]
    again = cli("rerender", "song.song", "--model", model)
    assert (again.code, again.out) == (0, "song.flac\n"), again.err
    assert sha256(here / "song.flac") == digest

    lines = cli("lrc", "song.song").out.splitlines()
    assert [line for line in lines if line.endswith("Sing with me")]
    assert cli("lrc", "song.song", "-o", "x.lrc").out == "x.lrc\n"
    assert (here / "x.lrc").read_text().splitlines() == lines


def test_same_seed_same_bytes(cli: Cli, here: Path) -> None:
    """A seed names a song: the same again in another folder, and another with another seed."""
    hashes = []
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        ran = cli("generate", "song.txt", "--prompt", "clip.wav", "-o", out, "--seed", seed)
        assert ran.out == f"{out}/song.flac\n"
        hashes.append(sha256(here / out / "song.flac"))
    assert hashes[0] == hashes[1] != hashes[2]


def test_lyrics_from_a_pipe(cli: Cli, here: Path) -> None:
    """- reads standard input and gives the same song as the file."""
    ran = cli("generate", "-", "--prompt", "clip.wav", "-o", "x.wav", stdin=LYRICS.encode())
    assert (ran.code, ran.out) == (0, "x.wav\n")
    cli("generate", "song.txt", "--prompt", "clip.wav", "-o", "y.wav")
    assert sha256(here / "x.wav") == sha256(here / "y.wav")


@pytest.mark.parametrize("kind", ["wav", "mp3", "ogg"])
def test_formats(cli: Cli, here: Path, kind: str) -> None:
    """--format names the file's format, and so does the suffix of -o."""
    assert cli("generate", "song.txt", "--prompt", "clip.wav", "--format", kind).code == 0
    cli("generate", "song.txt", "--prompt", "clip.wav", "-o", f"named.{kind}")
    for name in ("song", "named"):
        assert soundfile.info(here / f"{name}.{kind}").samplerate == 48_000


def test_samples(cli: Cli, here: Path) -> None:
    """--n-samples makes differing songs NAME_s0, NAME_s1; the first has the seed's own bytes."""
    ran = cli("generate", "song.txt", "--prompt", "clip.wav", "--n-samples", 2)
    assert ran.out.split() == ["song_s0.flac", "song_s1.flac"]
    cli("generate", "song.txt", "--prompt", "clip.wav", "-o", "alone.flac")
    hashes = [sha256(here / f"{name}.flac") for name in ("song_s0", "song_s1", "alone")]
    assert hashes[0] == hashes[2] != hashes[1]


def test_batch_size_changes_rounding_at_most(cli: Cli, here: Path) -> None:
    """Two samples made together have the sketch of those made one by one, and their sound."""
    for size in (1, 2):
        args = ("--n-samples", 2, "--batch-size", size, "-o", f"by{size}")
        assert cli("generate", "song.txt", "--prompt", "clip.wav", *args).code == 0
    for sample in (0, 1):
        one, two = (
            load_file(here / f"by{n}/song_s{sample}.song/arrays.safetensors") for n in (1, 2)
        )
        assert np.array_equal(one["sketch_tokens"], two["sketch_tokens"])
        assert np.abs(one["latents"] - two["latents"]).max() < 1e-4


def test_events(cli: Cli, here: Path) -> None:
    """--json prints an event a line: start, each patch with seconds and real-time factor, done."""
    ran = cli("generate", "song.txt", "--prompt", "clip.wav", "--json", "--top-k", 10**6)
    events = [json.loads(line) for line in ran.out.splitlines()]
    kinds = [event["event"] for event in events]
    assert (ran.code, ran.err) == (0, "")
    assert [k for k in kinds if k != "warning"] == ["start", "patch", "patch", "done"]
    assert any("top_k" in e["message"] for e in events if e["event"] == "warning"), "clamped"
    patches = [e for e in events if e["event"] == "patch"]
    assert [e["seconds"] for e in patches] == [0.64, 1.28]
    assert all(e["rtf"] > 0 for e in patches)
    assert events[-1]["file"] == "song.flac"


def test_dry_run_makes_nothing(cli: Cli, here: Path) -> None:
    """--dry-run tells files, time, disk and memory, and leaves the folder as it was."""
    before = files(here)
    plan = json.loads(
        cli("generate", "song.txt", "--prompt", "clip.wav", "--dry-run", "--json").out
    )
    assert plan["files"] == ["song.flac"] and plan["max_seconds_each"] == 1.28
    assert {"estimated_seconds_each", "weights_bytes", "disk_bytes_each"} <= plan.keys()
    ran = cli("generate", "song.txt", "--prompt", "clip.wav", "--dry-run")
    assert "song.flac" in ran.out and "warnings" not in ran.out
    assert files(here) == before


def test_dry_run_looks_at_the_lyrics(cli: Cli, here: Path) -> None:
    """What a run would warn of or refuse before it begins is told without one."""
    (here / "long.txt").write_text("[verse]\n" + "we walk along the river\n" * 40)
    given = ("--prompt", "clip.wav", "--dry-run")
    assert "s of song; the model sings" in cli("generate", "long.txt", *given).err
    assert_refused(cli("generate", "song.txt", *given, "--language", "es"), 2, "'es'")
    assert_refused(cli("generate", "song.txt", *given, "--lexicon", "no.txt"), 1, "no.txt")


def batch(here: Path, *names: str) -> None:
    rows = [
        {"idx": name, "lyrics": f"[verse] Sing {name} with me.", "prompt_wav": "clip.wav"}
        for name in names
    ]
    (here / "batch.jsonl").write_text("\n".join(map(json.dumps, rows)))


def test_batch_goes_on(cli: Cli, here: Path) -> None:
    """A batch run again makes only what is missing, and the result is that of one run."""
    batch(here, "one", "two", "three")
    first = cli("generate", "batch.jsonl", "-o", "out")
    names = [f"out/{name}_s0.flac" for name in ("one", "two", "three")]
    assert (first.code, first.out.split()) == (0, names)
    hashes = {name: sha256(here / name) for name in names}
    stamps = {name: (here / name).stat().st_mtime_ns for name in names}
    (here / names[1]).unlink()
    again = cli("generate", "batch.jsonl", "-o", "out", "--json")
    events = [json.loads(line) for line in again.out.splitlines()]
    assert [e["idx"] for e in events if e["event"] == "skip"] == ["one", "three"]
    assert [e["idx"] for e in events if e["event"] == "done"] == ["two"]
    assert {name: sha256(here / name) for name in names} == hashes
    assert (here / names[0]).stat().st_mtime_ns == stamps[names[0]]


def test_one_bad_clip_does_not_stop_a_batch(cli: Cli, here: Path) -> None:
    """Exit code 3: the good songs are made and printed, the bad one is named."""
    batch(here, "one", "two", "three")
    (here / "broken.wav").write_text("no sound")
    text = (here / "batch.jsonl").read_text().splitlines()
    text[1] = text[1].replace("clip.wav", "broken.wav")
    (here / "batch.jsonl").write_text("\n".join(text))
    ran = cli("generate", "batch.jsonl", "-o", "out", "-q")
    assert ran.code == 3
    assert ran.out.split() == ["out/one_s0.flac", "out/three_s0.flac"]
    assert "two" in ran.err and "broken.wav" in ran.err and "1 of 3" in ran.err
    assert not list((here / "out").glob("*two*"))


# ---------------------------------------------------------------- clips


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ("no reference clip",)),
        (b"", ("empty",)),
        (b"These are words, not sound.\n" * 100, ("not a sound file",)),
        ("folder", ("no reference clip",)),
        ("nan", ("NaN",)),
        ("short of the start", ("--prompt-start", "3.00")),
    ],
    ids=["missing", "0 bytes", "text", "folder", "NaN", "start past the end"],
)
def test_bad_clips(
    cli: Cli, here: Path, content: bytes | str | None, words: tuple[str, ...]
) -> None:
    """A clip that cannot be used: exit 1, two lines, no file."""
    clip = here / "bad.wav"
    if isinstance(content, bytes):
        clip.write_bytes(content)
    elif content == "folder":
        clip.mkdir()
    elif content == "nan":
        soundfile.write(clip, np.full((48_000, 2), np.nan, np.float32), 48_000, subtype="FLOAT")
    elif content is not None:
        shutil.copy(here / "clip.wav", clip)
    before = files(here)
    start = ("--prompt-start", "60") if content == "short of the start" else ()
    ran = cli("generate", "song.txt", "--prompt", clip, "-q", *start)
    told = [word for word in words if word != "--prompt-start"]
    assert_refused(ran, 1, "bad.wav", *told)
    assert files(here) == before


def test_silent_clip_is_a_warning(cli: Cli, here: Path) -> None:
    """Silence as reference: a warning that names it, and a song all the same."""
    soundfile.write(here / "silent.wav", np.zeros(48_000), 48_000)
    ran = cli("generate", "song.txt", "--prompt", "silent.wav")
    assert ran.code == 0 and (here / "song.flac").exists()
    assert "warning" in ran.err and "silent.wav" in ran.err and "silent" in ran.err


@pytest.mark.parametrize(
    "kind", ["flac", "mp3", "ogg", "aiff", "mono 8 kHz", "30 s", "eight hours"]
)
def test_clips_of_every_kind(cli: Cli, here: Path, kind: str) -> None:
    """Any format, rate, channel count and length is a clip; eight hours cost no more than ten s."""
    clip = here / f"it.{kind if kind.isalnum() and not kind[0].isdigit() else 'wav'}"
    if kind == "mono 8 kHz":
        soundfile.write(clip, tone(3, 8000)[:, 0], 8000)
    elif kind == "30 s":
        soundfile.write(clip, tone(30, 16_000), 16_000)
    elif kind == "eight hours":
        soundfile.write(clip, tone(12, 8000)[:, 0], 8000, subtype="PCM_U8")
        lengthen(clip, 8 * 3600 * 8000)
    else:
        soundfile.write(clip, tone(3, 44_100), 44_100)
    ran = cli("generate", "song.txt", "--prompt", clip, "-o", "out.flac")
    assert (ran.code, ran.out) == (0, "out.flac\n"), ran.err


def lengthen(wav: Path, frames: int) -> None:
    """Make an 8-bit mono WAV that long without writing its samples: the file gets a hole."""
    data = bytearray(wav.read_bytes())
    at = data.index(b"data")
    data[at + 4 : at + 8] = frames.to_bytes(4, "little")
    data[4:8] = (at + frames).to_bytes(4, "little")
    wav.write_bytes(data)
    os.truncate(wav, at + 8 + frames)


# ---------------------------------------------------------------- lyrics


@pytest.mark.parametrize(
    "content",
    [b"", b"\n \n", b"[verse]\n[chorus]\n", b"\x00\x01\x02", b"[verse]\n\x9d\x81", None],
    ids=["0 bytes", "blank", "only tags", "binary", "no encoding", "missing"],
)
def test_bad_lyrics(cli: Cli, here: Path, content: bytes | None) -> None:
    """Lyrics that cannot be sung: exit 1, two lines with the file's name, no file."""
    if content is not None:
        (here / "bad.txt").write_bytes(content)
    before = files(here)
    assert_refused(cli("generate", "bad.txt", "--prompt", "clip.wav"), 1, "bad.txt")
    assert files(here) == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[choruss]\nSing with me\n", ("[choruss]", "[chorus]")),
        ("[verse]\nSing ☃ with me ツ\n", ("☃",)),
        ("[verse]\n" + "Sing with me again\n" * 10_000, ("characters are more than a song",)),
    ],
    ids=["unknown tag", "unknown characters", "10,000 lines"],
)
def test_odd_lyrics_are_warned_about(
    cli: Cli, here: Path, text: str, words: tuple[str, ...]
) -> None:
    """What is probably not meant is told in a warning, and the song is made."""
    (here / "odd.txt").write_text(text, "utf-8")
    ran = cli("generate", "odd.txt", "--prompt", "clip.wav")
    assert (ran.code, ran.out) == (0, "odd.flac\n"), ran.err
    assert "warning" in ran.err and all(word in ran.err for word in words)


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--steps", "-1"), ("--steps", "1 or more")),
        (("--steps", "0"), ("--steps", "1 or more")),
        (("--temperature", "-0.5"), ("--temperature",)),
        (("--temperature", "nan"), ("--temperature", "finite")),
        (("--sketch-cfg", "-1"), ("--sketch-cfg",)),
        (("--top-k", "-1"), ("--top-k",)),
        (("--max-duration", "0"), ("--max-duration",)),
        (("--n-samples", "0"), ("--n-samples",)),
        (("--seed", "-1"), ("--seed",)),
        (("--seed", str(2**64)), ("--seed",)),
        (("--prompt-start", "-1"), ("--prompt-start",)),
        (("--format", "aiff"), ("--format", "flac")),
        (("--device", "tpu"), ("--device", "cuda")),
        (("--dtype", "float16"), ("--dtype", "bfloat16")),
        (("--rng", "dice"), ("--rng", "release")),
        (("--config", "gone.toml"), ("gone.toml",)),
    ],
)
def test_bad_options(cli: Cli, here: Path, args: tuple[str, ...], words: tuple[str, ...]) -> None:
    """A value that cannot be meant is refused with the flag as typed and what is expected."""
    ran = cli("generate", "song.txt", "--prompt", "clip.wav", *args)
    assert_refused(ran, 1 if args[0] == "--config" else 2, *words)


def test_no_clip_named(cli: Cli, here: Path) -> None:
    """Without --prompt the flag is asked for."""
    assert_refused(cli("generate", "song.txt"), 2, "--prompt")


def test_device_that_is_not_there(cli: Cli, here: Path) -> None:
    """cuda on a machine without one is refused, not quietly replaced."""
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    ran = cli("generate", "-q", "song.txt", "--prompt", "clip.wav", "--device", "cuda")
    assert_refused(ran, 2, "cuda", "--device cpu")


def test_model_that_is_not_there(cli: Cli, here: Path) -> None:
    """A model that is not installed: exit 4 and how to get one."""
    ran = cli("generate", "song.txt", "--prompt", "clip.wav", "--model", "songbloom_full_150s")
    assert_refused(ran, 4, "songbloom pull songbloom_full_150s")
    ran = cli("generate", "song.txt", "--prompt", "clip.wav", "--model", "./nothing")
    assert_refused(ran, 4, "nothing", "model.json")


@pytest.mark.parametrize("file", ["model.safetensors", "vae.safetensors", "vocabulary.json"])
@pytest.mark.parametrize("how", ["truncated", "altered", "missing"])
def test_tampered_models(cli: Cli, here: Path, mini_folder: Path, file: str, how: str) -> None:
    """A model folder with a file that is not the one it states is refused by that file's name."""
    model = Path(shutil.copytree(mini_folder, here / "model"))
    data = bytearray((model / file).read_bytes())
    data[len(data) // 2] ^= 1
    if how == "missing":
        (model / file).unlink()
    else:
        (model / file).write_bytes(data if how == "altered" else data[:-7])
    ran = cli("generate", "song.txt", "--prompt", "clip.wav", "-m", "./model", "-q")
    assert_refused(ran, 1, file)
    assert not (here / "song.flac").exists()


# ---------------------------------------------------------------- the disk


def test_unwritable_output(cli: Cli, here: Path) -> None:
    """A place where nothing can be written is named, and nothing is left there."""
    (here / "file").write_text("in the way")
    before = files(here)
    for out in ("file/song.flac", "/proc/song.flac"):
        ran = cli("generate", "song.txt", "--prompt", "clip.wav", "-o", out, "-q")
        assert_refused(ran, 1, out.rpartition("/")[0], "-o")
    assert files(here) == before


def test_full_disk(here: Path) -> None:
    """A disk that takes no more (a limit on file size stands for it): exit 1, no half file."""
    before = files(here)
    command = [sys.executable, "-m", "songbloom_cli", "-q", "generate", "song.txt"]
    done = subprocess.run(
        [*command, "--prompt", "clip.wav"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert_refused(Ran(done.returncode, done.stdout, done.stderr), 1, "song.flac")
    assert files(here) == before


# ---------------------------------------------------------------- bundles


@pytest.mark.parametrize("command", ["rerender", "lrc"])
def test_no_bundle(cli: Cli, here: Path, command: str) -> None:
    """A folder that is no bundle, or is not there, is refused by name."""
    (here / "empty.song").mkdir()
    for name in ("gone.song", "empty.song"):
        assert_refused(cli(command, name), 4, name)


def test_damaged_bundle(cli: Cli, here: Path) -> None:
    """A bundle whose arrays are cut short is refused, and the song stays as it was."""
    cli("generate", "song.txt", "--prompt", "clip.wav")
    digest = sha256(here / "song.flac")
    arrays = here / "song.song" / "arrays.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-8])
    assert_refused(cli("rerender", "song.song"), 1, "arrays.safetensors")
    assert sha256(here / "song.flac") == digest
    (here / "song.song" / "song.toml").write_text("[")
    assert_refused(cli("lrc", "song.song"), 1, "song.song")
