"""The public commands give the released model's song: import, then generate with --rng release."""

import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file

LINE = (
    "[intro] [intro] , [verse] City lights flicker.Dreams pass fast , "
    "[chorus] 风轻轻吹过古道.岁月 ,  [outro]"
)


def songbloom(*args: object) -> None:
    command = [sys.executable, "-m", "songbloom_cli", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "extra"), [("gen_greedy", ("--temperature", 0)), ("gen_sample", ())]
)
def test_generation(
    tmp_path: Path,
    release_mini: Path,
    expected: dict[str, torch.Tensor],
    name: str,
    extra: tuple[object, ...],
) -> None:
    """From the raw lyric line, double space included, and a sound file: tokens exact."""
    (tmp_path / "lyrics.txt").write_text(LINE, encoding="utf-8")
    clip = expected["prompt_wav"][0].numpy()
    soundfile.write(tmp_path / "clip.wav", clip, 48_000, subtype="FLOAT")
    songbloom("import", release_mini, "-o", tmp_path / "model")
    songbloom(
        *("generate", tmp_path / "lyrics.txt", "--prompt", tmp_path / "clip.wav"),
        *("--model", tmp_path / "model", "-o", tmp_path / "song.flac"),
        *("--rng", "release", "--seed", 99, "--max-duration", 5.12, *extra),
    )
    arrays = load_file(tmp_path / "song.song" / "arrays.safetensors")
    assert torch.equal(arrays["sketch_tokens"], expected[f"{name}.tokens"][0])
    difference = (arrays["latents"] - expected[f"{name}.latents"][0].T).abs().max()
    assert difference < 1e-5
    sound, rate = soundfile.read(tmp_path / "song.flac")
    assert (rate, sound.shape) == (48_000, (128 * 1920, 2))
