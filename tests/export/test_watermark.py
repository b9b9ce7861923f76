"""The watermark: found after coding and resampling, absent without, and inaudibly soft."""

import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from export.songs import sung

from songbloom.export import watermark
from songbloom.stages import sound
from songbloom.units import SAMPLE_RATE


@pytest.fixture(scope="module")
def song() -> np.ndarray:
    """16 seconds of a song `[2, n]`."""
    return sung(16)


@pytest.fixture(scope="module")
def marked(song: np.ndarray) -> np.ndarray:
    """The same with the watermark."""
    return watermark.embed(song, SAMPLE_RATE)


def score(samples: np.ndarray, rate: int = SAMPLE_RATE) -> float:
    return watermark.detect(samples, rate).score


def test_level(song: np.ndarray, marked: np.ndarray) -> None:
    """It lies 28 dB or more below the song, and moves what can be heard by 0.4 dB."""
    residual = marked - song
    sdr = 10 * math.log10(np.square(song).sum() / np.square(residual).sum())
    assert 28 < sdr < 34
    before, after = (np.concatenate([*watermark._levels(x)]) for x in (song, marked))
    moved = np.abs(after - before)[before > -50]
    assert np.median(moved) < watermark.STRENGTH
    assert np.percentile(moved, 95) < watermark.STRENGTH + 0.1


def test_nothing_is_heard_before_a_drum() -> None:
    """The residual of a click begins less than 22 ms before it and ends as soon after it."""
    click = np.zeros((1, SAMPLE_RATE), np.float32)
    click[0, 20_000] = 1
    added = np.flatnonzero(np.abs(watermark.embed(click, SAMPLE_RATE) - click)[0] > 1e-6)
    assert 20_000 - added[0] < 0.022 * SAMPLE_RATE and added[-1] - 20_000 < 0.022 * SAMPLE_RATE


def test_found_and_absent(song: np.ndarray, marked: np.ndarray) -> None:
    """The marked song is far above the threshold and the song itself far below."""
    assert score(song) < watermark.THRESHOLD - 2
    assert not watermark.detect(song, SAMPLE_RATE).present
    assert score(marked) > watermark.THRESHOLD + 6
    assert watermark.detect(marked, SAMPLE_RATE).present


def coded(samples: np.ndarray, folder: Path, *options: str) -> np.ndarray:
    """The sound after ffmpeg's encoder, at 48 kHz."""
    name = folder / f"coded.{options[0]}"
    soundfile.write(folder / "plain.wav", samples.T, SAMPLE_RATE, subtype="FLOAT")
    command = ["ffmpeg", "-v", "error", "-y", "-i", folder / "plain.wav", *options[1:], name]
    subprocess.run(command, check=True)
    return sound.read(name, SAMPLE_RATE)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
@pytest.mark.parametrize(
    "options",
    [("mp3", "-b:a", "128k"), ("mp3", "-b:a", "64k"), ("opus", "-b:a", "64k")],
)
def test_survives_coding(marked: np.ndarray, tmp_path: Path, options: tuple[str, ...]) -> None:
    """It is found after MP3 at 128 and at 64 kbit/s, and Opus at 64."""
    assert score(coded(marked, tmp_path, *options)) > watermark.THRESHOLD + 2


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_coding_adds_none(song: np.ndarray, tmp_path: Path) -> None:
    """A song without it is clean after MP3 at 128 kbit/s."""
    assert score(coded(song, tmp_path, "mp3", "-b:a", "128k")) < watermark.THRESHOLD - 1


@pytest.mark.parametrize("rate", [44_100, 32_000, 22_050])
def test_survives_resampling(song: np.ndarray, marked: np.ndarray, rate: int) -> None:
    """It is found at other sample rates, where a clean song stays clean."""
    there = soxr.resample(marked.T, SAMPLE_RATE, rate).T
    assert score(there, rate) > watermark.THRESHOLD + 2
    assert score(soxr.resample(song.T, SAMPLE_RATE, rate).T, rate) < watermark.THRESHOLD - 1


def test_survives_editing(marked: np.ndarray) -> None:
    """It is found in a mono mix that was cut at both ends, made softer, and rounded to 16 bits."""
    cut = 0.2 * marked.mean(axis=0, keepdims=True)[:, 23_457:-100_001]
    assert score(np.round(cut * 32768) / 32768) > watermark.THRESHOLD + 2


def test_a_song_at_another_rate_is_not_resampled() -> None:
    """Above what the watermark touches a song at 44.1 kHz is what it was."""
    time = np.arange(6 * 44_100) / 44_100
    fade = np.clip(np.minimum(time, time[::-1]) / 0.5, 0, 1)
    high = (0.5 * fade * np.sin(2 * np.pi * 15_000 * time))[None].astype(np.float32)
    assert np.abs(watermark.embed(high, 44_100) - high).max() < 1e-6
    silent = np.zeros((2, 44_100 * 6), np.float32)
    assert np.array_equal(watermark.embed(silent, 44_100), silent)


def test_marked_stems_add_up(song: np.ndarray, marked: np.ndarray) -> None:
    """The watermark is linear: that of a sum is the sum of the watermarks."""
    part = song * np.linspace(0, 1, song.shape[1], dtype=np.float32)
    both = watermark.embed(part, SAMPLE_RATE) + watermark.embed(song - part, SAMPLE_RATE)
    assert np.abs(both - marked).max() < 1e-6


def test_false_alarms_are_bounded(song: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of signs that the song does not know stay under Hoeffding's bound for all places."""
    folded = watermark._folded(song)
    spectrum, norm = np.fft.fft(folded, axis=0), np.sqrt(np.square(folded).sum())
    scores = []
    for seed in range(300):
        monkeypatch.setattr(watermark, "_SEED", seed)
        keys = np.conj(np.fft.fft(watermark.signs(), axis=0))
        scores.append(np.fft.ifft(spectrum * keys, axis=0).real.sum(axis=1) / norm)
    places = np.concatenate(scores)
    for limit in (2.0, 3.0, 4.0):
        assert np.mean(places >= limit) <= math.exp(-(limit**2) / 2)
    assert places.std() == pytest.approx(1.0, abs=0.05)
    assert places.max() < watermark.THRESHOLD - 0.5


@pytest.mark.parametrize("seconds", [0.0, 0.01, 4.9, 5.0])
def test_short_and_silent(seconds: float) -> None:
    """Nothing is found in silence, noise, or less than five seconds; nothing breaks."""
    size = round(seconds * SAMPLE_RATE)
    noise = 0.1 * np.random.default_rng(1).standard_normal((2, size)).astype(np.float32)
    for samples in (np.zeros((1, size), np.float32), noise):
        assert watermark.embed(samples, SAMPLE_RATE).shape == samples.shape
        assert not watermark.detect(samples, SAMPLE_RATE).present
