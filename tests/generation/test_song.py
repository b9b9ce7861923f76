"""Songs as files: the same inputs the same bytes, bundles that render again, what is redone."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from generation.conftest import LYRICS, Stage, make_model
from model.small import largest
from safetensors.torch import load_file

from songbloom.errors import PartialError, SongBloomError
from songbloom.files import sha256
from songbloom.generation.bundle import lrc, read_bundle, rerender
from songbloom.generation.options import GenerateOptions
from songbloom.generation.song import generate, plan
from songbloom.lyrics import parse
from songbloom.requests import Request
from songbloom.toml import loads

Rows = list[dict[str, Any]]


def sing(stage: Stage, out: Path, **options: Any) -> Rows:
    return generate(stage.requests, stage.model, out, GenerateOptions(**options))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its path, hidden ones included; but for the times, which are never the same."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    files = (path for path in files if path.name != "speed.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_same_seed_same_bytes(stage: Stage, tmp_path: Path) -> None:
    """Two runs give the same bytes in every file, the bundle's included; another seed does not."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        sing(stage, tmp_path / name / "x.flac", seed=seed)
    first, second, third = (contents(tmp_path / name) for name in "abc")
    bundle = {"song.toml", "lyrics.txt", "arrays.safetensors", "timeline.json"}
    assert set(first) == {"x.flac", *(f"x.song/{name}" for name in bundle)}
    assert first == second
    for name in ("x.flac", "x.song/arrays.safetensors", "x.song/song.toml"):
        assert first[name] != third[name]
    assert first["x.song/lyrics.txt"] == third["x.song/lyrics.txt"]


def test_samples_are_seeds(stage: Stage, tmp_path: Path) -> None:
    """Sample k of a seed is the song of seed + k, byte for byte, and samples differ."""
    rows = sing(stage, tmp_path / "three", seed=5, n_samples=3)
    assert [row["seed"] for row in rows] == [5, 6, 7]
    assert len({row["sha256"] for row in rows}) == 3
    (alone,) = sing(stage, tmp_path / "alone.flac", seed=6)
    assert alone["sha256"] == rows[1]["sha256"]


def test_batches_are_single_songs(stage: Stage, tmp_path: Path) -> None:
    """Batched songs have the single songs' tokens, and their latents within 1e-5."""
    sing(stage, tmp_path / "single", n_samples=3)
    sing(stage, tmp_path / "batched", n_samples=3, batch_size=2)
    for k in range(3):
        one, two = (
            load_file(tmp_path / name / f"song_s{k}.song" / "arrays.safetensors")
            for name in ("single", "batched")
        )
        assert torch.equal(one["sketch_tokens"], two["sketch_tokens"])
        assert largest(one["latents"] - two["latents"]) < 1e-5


def test_the_bundle_says_how(stage: Stage, tmp_path: Path) -> None:
    """song.toml has every parameter, seed and hash; typed arrays; lyrics verbatim."""
    (row,) = sing(stage, tmp_path / "x.flac", seed=3, top_k=7, temperature=0.5, rng="release")
    folder = tmp_path / "x.song"
    song = loads((folder / "song.toml").read_text("utf-8"))
    assert (song["seed"], song["rng"]) == (3, "release")
    assert (song["sampling"]["top_k"], song["sampling"]["temperature"]) == (7, 0.5)
    assert song["sampling"]["num_steps"] == 3, "the model's own default is written out"
    assert song["audio"]["sha256"] == row["sha256"] == sha256(tmp_path / "x.flac")
    assert song["model"]["sha256"] == sha256(stage.model / "model.safetensors")
    assert song["model"]["vae_sha256"] == sha256(stage.model / "vae.safetensors")
    assert song["reference"]["sha256"] == sha256(stage.clip)
    assert song["made_with"]["torch"] == torch.__version__
    arrays = load_file(folder / "arrays.safetensors")
    assert arrays["sketch_tokens"].dtype == torch.int64
    assert arrays["latents"].dtype == torch.float32
    assert arrays["latents"].shape == (20, 8) and arrays["sketch_tokens"].shape == (20,)
    assert (folder / "lyrics.txt").read_text("utf-8") == LYRICS + "\n"
    assert soundfile.info(tmp_path / "x.flac").frames == 20 * 1920
    timeline = json.loads((folder / "timeline.json").read_text("utf-8"))
    assert [section["tag"] for section in timeline["sections"]] == ["verse", "chorus"]


@pytest.mark.parametrize("kind", ["flac", "wav", "mp3", "ogg"])
def test_rerender_is_identical(stage: Stage, tmp_path: Path, kind: str) -> None:
    """Every format renders again to the identical file, and audibly so."""
    (row,) = sing(stage, tmp_path, format=kind)
    path = tmp_path / f"song.{kind}"
    before = path.read_bytes()
    samples, rate = soundfile.read(path)
    assert rate == 48_000 and np.abs(samples).max() > 0.01
    path.unlink()
    report = rerender(tmp_path / "song.song", None, model_path=stage.model)
    assert path.read_bytes() == before
    assert report["identical"] and report["sha256"] == row["sha256"]
    assert report["seconds"] == row["seconds"] == pytest.approx(0.8)


def test_rerender_elsewhere(stage: Stage, tmp_path: Path) -> None:
    """Another format gives the same song in it, says that the bytes are other, and the sound file
    may be named in place of the bundle."""
    sing(stage, tmp_path)
    report = rerender(tmp_path / "song.flac", tmp_path / "copy.wav", model_path=stage.model)
    assert not report["identical"]
    flac, wav = (soundfile.read(tmp_path / name)[0] for name in ("song.flac", "copy.wav"))
    assert np.abs(flac - wav).max() < 2**-22, "24 bits each, rounded by each format's own rule"


def test_rerender_wants_the_same_vae(stage: Stage, mini_folder: Path, tmp_path: Path) -> None:
    """A model with another VAE is refused by its path, and the song stays."""
    sing(stage, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(SongBloomError, match=str(mini_folder)):
        rerender(tmp_path / "song.song", None, model_path=mini_folder)
    assert contents(tmp_path) == before


def test_what_is_finished_is_not_made_again(stage: Stage, tmp_path: Path) -> None:
    """The same command skips; an altered or missing file, or another input, makes it again."""
    out = tmp_path / "x.flac"
    (row,) = sing(stage, out)
    before, stamp = contents(tmp_path), out.stat().st_mtime_ns
    (again,) = sing(stage, out)
    assert again == {**row, "skipped": True}
    assert (contents(tmp_path), out.stat().st_mtime_ns) == (before, stamp)
    spoilers = [
        lambda: out.write_bytes(out.read_bytes()[:-1]),
        lambda: out.unlink(),
        lambda: (tmp_path / "x.song" / "song.toml").unlink(),
        lambda: (tmp_path / "x.song" / "arrays.safetensors").write_bytes(b""),
    ]
    for spoil in spoilers:
        spoil()
        (mended,) = sing(stage, out)
        assert not mended["skipped"]
        assert contents(tmp_path) == before
    for change in ({"seed": 9}, {"num_steps": 2}, {"top_k": 3}, {"prompt_start": 0.2}):
        (changed,) = sing(stage, out, **change)
        assert not changed["skipped"], change
        assert contents(tmp_path) != before


def test_a_failed_item_does_not_stop_the_others(stage: Stage, tmp_path: Path) -> None:
    """A bad clip among three fails alone: the others are the songs they are without it."""
    (tmp_path / "bad.wav").write_text("this is no sound", encoding="utf-8")
    good = stage.requests[0]
    requests = [
        replace(good, idx="one"),
        replace(good, idx="two", reference=tmp_path / "bad.wav"),
        replace(good, idx="three"),
    ]
    events: list[dict[str, Any]] = []
    options = GenerateOptions(batch_size=3)
    with pytest.raises(PartialError, match="1 of 3") as caught:
        generate(requests, stage.model, tmp_path / "out", options, events.append)
    assert caught.value.exit_code == 3
    assert [e["idx"] for e in events if e["event"] == "error"] == ["two"]
    assert sorted(p.name for p in (tmp_path / "out").glob("*.flac")) == [
        "one_s0.flac",
        "three_s0.flac",
    ]
    with pytest.raises(SongBloomError, match="bad.wav") as alone:
        generate(requests[1:2], stage.model, tmp_path / "lone.flac", GenerateOptions())
    assert not isinstance(alone.value, PartialError)


def reference(folder: Path, name: str, samples: np.ndarray, rate: int = 48_000) -> Path:
    soundfile.write(folder / name, samples, rate, subtype="FLOAT")
    return folder / name


def warnings_of(stage: Stage, clip: Path, out: Path, lyrics: str = LYRICS) -> list[str]:
    events: list[dict[str, Any]] = []
    request = Request("x", parse(lyrics), clip)
    generate([request], stage.model, out, GenerateOptions(), events.append)
    return [e["message"] for e in events if e["event"] == "warning"]


def test_clips_that_say_little(stage: Stage, tmp_path: Path) -> None:
    """A silent clip and one too short for a latent frame are warned about, and sung with."""
    silent = reference(tmp_path, "silent.wav", np.zeros(48_000))
    short = reference(tmp_path, "short.wav", np.full(1000, 0.1))
    assert any("silent" in w for w in warnings_of(stage, silent, tmp_path / "a.flac"))
    assert any("43 ms" in w for w in warnings_of(stage, short, tmp_path / "b.flac"))
    assert not any("clip" in w for w in warnings_of(stage, stage.clip, tmp_path / "c.flac"))


def test_the_clip_is_heard_as_mono_and_cut(stage: Stage, tmp_path: Path) -> None:
    """Left and right are averaged, what lies after the model's reference length is not heard, and
    `prompt_start` is where hearing begins."""
    noise = 0.3 * np.random.default_rng(0).standard_normal((96_000, 2)).astype(np.float32)
    # The file's own hash is in the bundle, not in the song: sounds are compared.
    clips = {
        "whole": noise,
        "mono": noise.mean(axis=1),
        "longer": np.concatenate([noise[:48_000], -noise[:1000]]),
        "late": np.concatenate([noise[:4800] * 0, noise]),
        "other": noise[::-1],
    }
    sounds = {}
    for name, samples in clips.items():
        clip = reference(tmp_path, f"{name}.wav", samples)
        start = 0.1 if name == "late" else 0.0
        request = Request(name, parse(LYRICS), clip)
        options = GenerateOptions(prompt_start=start, format="wav")
        (row,) = generate([request], stage.model, tmp_path / f"{name}_song.wav", options)
        sounds[name] = row["sha256"]
    assert sounds["whole"] == sounds["mono"] == sounds["longer"] == sounds["late"]
    assert sounds["other"] != sounds["whole"]


def test_long_lyrics_are_warned_about(stage: Stage, tmp_path: Path) -> None:
    """Symbols beyond the model's lyric length are not heard, and a warning counts them; another
    one says how long the song would be."""
    warnings = warnings_of(stage, stage.clip, tmp_path / "x.flac", "[verse] " + "la " * 40)
    assert any("64" in warning and "symbols" in warning for warning in warnings)
    assert any("s of song; the model sings 1 s" in warning for warning in warnings)


def test_a_song_that_ends_at_once(stage: Stage, tmp_path: Path) -> None:
    """EOS in the first patch: one patch of zero latents as released, a warning, and a bundle that
    renders again identically."""
    make_model(tmp_path / "short", end_bias=1e4)
    events: list[dict[str, Any]] = []
    (row,) = generate(
        stage.requests, tmp_path / "short", tmp_path / "x.flac", GenerateOptions(), events.append
    )
    assert row["seconds"] == pytest.approx(4 / 25)
    assert any("first patch" in e["message"] for e in events if e["event"] == "warning")
    read = read_bundle(tmp_path / "x.song")
    assert read.sketch.shape == (0,)
    assert read.latents.shape == (4, 8) and not read.latents.any()
    report = rerender(tmp_path / "x.song", None, model_path=tmp_path / "short")
    assert report["identical"]


def test_events(stage: Stage, tmp_path: Path) -> None:
    """A song tells its start, each patch with the seconds so far, and its end."""
    events: list[dict[str, Any]] = []
    generate(stage.requests, stage.model, tmp_path / "x.flac", GenerateOptions(), events.append)
    kinds = [e["event"] for e in events if e["event"] != "warning"]  # the lyrics are too long
    assert kinds == ["start", *["patch"] * 5, "done"]
    patches = [e for e in events if e["event"] == "patch"]
    assert [e["seconds"] for e in patches] == pytest.approx([0.16, 0.32, 0.48, 0.64, 0.8])
    assert all(e["rtf"] > 0 for e in patches)
    assert events[-1]["sha256"] == sha256(tmp_path / "x.flac")


def test_plan_is_what_happens(stage: Stage, tmp_path: Path) -> None:
    """A dry run writes nothing and names the files and the length that a run then has."""
    options = GenerateOptions(n_samples=2)
    planned = plan(stage.requests, stage.model, tmp_path / "out", options)
    assert list(tmp_path.iterdir()) == []
    rows = generate(stage.requests, stage.model, tmp_path / "out", options)
    assert planned["files"] == [row["file"] for row in rows]
    assert planned["max_seconds_each"] == rows[0]["seconds"]


def test_lrc(stage: Stage, tmp_path: Path) -> None:
    """LRC: tags, then a stamp [mm:ss.xx] for every line in order, marked when estimated."""
    sing(stage, tmp_path / "x.flac")
    lines = lrc(tmp_path / "x.song").splitlines()
    assert lines[:3] == [
        "[ti:x]",
        "[length:00:00.80]",
        "[re:songbloom, line times are estimated]",
    ]
    words = ["Light in the morning", "Follow me home", "Sing it again"]
    assert [line.partition("]")[2] for line in lines[3:]] == words
    stamps = [line.partition("]")[0] for line in lines[3:]]
    assert stamps[0] == "[00:00.00" and stamps == sorted(stamps)


@pytest.mark.parametrize(
    ("seconds", "stamp"),
    [(0.0, "00:00.00"), (59.994, "00:59.99"), (59.996, "01:00.00"), (3725.5, "62:05.50")],
)
def test_lrc_stamps(stage: Stage, tmp_path: Path, seconds: float, stamp: str) -> None:
    """Times round to hundredths, carrying into minutes; lines that were not sung are left out."""
    sing(stage, tmp_path / "x.flac")
    path = tmp_path / "x.song" / "timeline.json"
    timeline = json.loads(path.read_text("utf-8"))
    timeline["timing"] = "sketch"
    lines = timeline["sections"][0]["lines"]
    lines[0]["start"], lines[1]["start"] = None, seconds
    path.write_text(json.dumps(timeline), encoding="utf-8")
    told = lrc(tmp_path / "x.song").splitlines()
    assert told[2] == f"[{stamp}]Follow me home"
    assert not any("Light" in line or "estimated" in line for line in told)
