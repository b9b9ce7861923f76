"""One stage alone: `songbloom separate` and its sisters."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file
from stages.corpora import NO_SOUND, run, write_song

pytest.importorskip("pyworld", reason="the extra synth is not installed")


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound file with its lyrics beside it."""
    return write_song(tmp_path_factory.mktemp("songs"), "maple", 5, 0)


@pytest.mark.parametrize("stage", ["separate", "structure", "tokenize", "encode-latents"])
def test_a_stage_alone(song: Path, tmp_path: Path, stage: str) -> None:
    """Its files lie under the song's name and are printed; what it needs is done, and no more."""
    ran = run(stage, song, "-o", tmp_path, "--workers", 1)
    assert ran.code == 0, ran.err
    files = {Path(line).name: Path(line) for line in ran.out.splitlines()}
    assert all(path.parent == tmp_path / "maple" for path in files.values())
    fields = json.loads(files.pop(f"{stage}.json").read_text("utf-8"))
    duration = soundfile.info(song).duration
    if stage == "separate":
        vocals, rest = (soundfile.read(files[f"{n}.flac"])[0] for n in ("vocals", "accompaniment"))
        mix = soundfile.read(song)[0]
        assert vocals.shape == rest.shape == mix.shape
        assert np.abs(vocals + rest - mix).max() < 1e-3 * 10 ** (-fields["gain_db"] / 20)
    elif stage == "structure":
        assert fields["sections"][-1]["end"] == pytest.approx(duration, abs=0.002)
        assert "separate:" in ran.err and "tokenize:" not in ran.err
    elif stage == "tokenize":
        assert len(np.load(files["tokens.npy"])) == fields["frames"] == int(duration * 25)
        assert "separate:" not in ran.err
    else:
        latents = load_file(files["latents.safetensors"])["latents"]
        assert latents.shape == (int(duration * 25), 64)


def test_lyrics_from_elsewhere(song: Path, tmp_path: Path) -> None:
    """--lyrics aligns other words; wrong use is named, also for a file that is no sound."""
    words = tmp_path / "words.txt"
    words.write_text("[chorus]\nhello my friend\n")
    ran = run("align", song, "--lyrics", words, "-o", tmp_path / "out", "--workers", 1)
    assert ran.code == 0, ran.err
    fields = json.loads((tmp_path / "out" / "maple" / "align.json").read_text("utf-8"))
    assert [line["text"] for line in fields["lines"]] == ["hello my friend"]
    ran = run("align", song, "--lyrics", tmp_path / "none.txt", "-o", tmp_path / "other")
    assert ran.code == 2 and "is no file" in ran.err
    (tmp_path / "bad.flac").write_bytes(b"no sound")
    ran = run("tokenize", tmp_path / "bad.flac", "-o", tmp_path / "bad", "--json")
    assert ran.code == 1
    assert NO_SOUND in json.loads(ran.out.splitlines()[-1])["reason"]
