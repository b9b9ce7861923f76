"""Loudness and true peak after ITU-R BS.1770, against the standard, ffmpeg and pyloudnorm."""

import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile

from songbloom import loudness

RATES = (48_000, 44_100, 22_050, 192_000)


def sine(dbfs: float, seconds: float, rate: int = 48_000, hz: float = 997.0) -> np.ndarray:
    """Stereo `[2, n]`."""
    wave = 10 ** (dbfs / 20) * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[None], 2, axis=0).astype(np.float32)


def music(rate: int) -> np.ndarray:
    """Noise that swells, and a note that begins later, `[2, n]`."""
    time = np.arange(8 * rate) / rate
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(time)) * np.exp(np.sin(time))
    note = 0.3 * np.sin(2 * np.pi * 220 * time) * (time > 3)
    return np.stack([noise, note]).astype(np.float32)


def ffmpeg(samples: np.ndarray, rate: int, folder: Path) -> tuple[float, float]:
    """(LUFS, dBTP) of ffmpeg's meter."""
    soundfile.write(folder / "x.wav", samples.T, rate, subtype="FLOAT")
    meter = "ebur128=peak=true:metadata=1,ametadata=print:file=-"
    command = ["ffmpeg", "-v", "error", "-i", folder / "x.wav", "-af", meter, "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lufs = float(re.findall(r"r128\.I=(\S+)", said)[-1])
    peaks = re.findall(r"true_peaks_ch\d=(\S+)", said)
    return lufs, 20 * math.log10(max(map(float, peaks)))


@pytest.mark.parametrize(
    ("parts", "lufs"),
    [
        ([(-23, 20)], -23.0),
        ([(-33, 20)], -33.0),
        ([(-36, 10), (-23, 60), (-36, 10)], -23.0),
        ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23.0),
        ([(-26, 20), (-20, 20.1), (-26, 20)], -23.0),
    ],
)
def test_integrated_loudness_of_the_reference_signals(
    parts: list[tuple[float, float]], lufs: float
) -> None:
    """Cases 1 to 5 of EBU Tech 3341, whose tolerance is 0.1 LU."""
    samples = np.concatenate([sine(*part, hz=1000.0) for part in parts], axis=1)
    assert loudness.integrated(samples, 48_000) == pytest.approx(lufs, abs=0.1)


@pytest.mark.parametrize("rate", RATES)
def test_a_full_sine_in_one_channel(rate: int) -> None:
    """BS.1770: a 0 dBFS sine of 997 Hz in one channel has -3.01 LUFS, at any sample rate."""
    assert loudness.integrated(sine(0, 3, rate)[:1], rate) == pytest.approx(-3.01, abs=0.05)


@pytest.mark.parametrize("phase", [0.0, 45.0, 60.0, 67.5])
def test_true_peak_between_samples(phase: float) -> None:
    """EBU Tech 3341, cases 15 to 19: the peak that no sample shows, within +0.2 and -0.4 dB."""
    parts = {0.0: 4, 45.0: 4, 60.0: 6, 67.5: 8}[phase]
    angle = 2 * np.pi * np.arange(48_000) / parts + math.radians(phase)
    fade = np.clip(np.minimum(np.arange(48_000), np.arange(48_000)[::-1]) / 4800, 0, 1)
    wave = 0.5 * fade * np.sin(angle)[None]
    assert -6.4 < loudness.true_peak(wave, 48_000) < -5.8


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
@pytest.mark.parametrize("rate", RATES)
def test_agrees_with_ffmpeg(rate: int, tmp_path: Path) -> None:
    """Loudness and true peak are those of libebur128's sibling in ffmpeg."""
    samples = music(rate)
    lufs, peak = ffmpeg(samples, rate, tmp_path)
    assert loudness.integrated(samples, rate) == pytest.approx(lufs, abs=0.02)
    assert loudness.true_peak(samples, rate) == pytest.approx(peak, abs=0.1)


def test_agrees_with_pyloudnorm() -> None:
    """It divides the standard's high pass by 1.005, which is -0.043 dB at 48 kHz; else the same."""
    samples = music(48_000)
    theirs = pyloudnorm.Meter(48_000).integrated_loudness(samples.T.astype(np.float64))
    scale = 20 * math.log10(_leading_coefficient(48_000))
    assert loudness.integrated(samples, 48_000) == pytest.approx(theirs + scale, abs=2e-3)


def _leading_coefficient(rate: int) -> float:
    k = math.tan(math.pi * 38.13547087602444 / rate)
    return 1 + k / 0.5003270373238773 + k * k


def test_nothing_to_hear() -> None:
    """Silence, and less than a block of 400 ms, have no loudness; silence has no peak."""
    assert loudness.integrated(np.zeros((2, 96_000), np.float32), 48_000) == -math.inf
    assert loudness.integrated(sine(-3, 0.39), 48_000) == -math.inf
    assert loudness.integrated(np.zeros((2, 0), np.float32), 48_000) == -math.inf
    assert loudness.true_peak(np.zeros((1, 500), np.float32), 48_000) == -math.inf
    assert loudness.true_peak(np.zeros((2, 0), np.float32), 48_000) == -math.inf


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """A song read in pieces of any size has the same loudness and peaks."""
    samples = music(44_100)[:, :99_999]
    whole = loudness.integrated(samples, 44_100), loudness.true_peak(samples, 44_100)
    for size in (4096, 12_345):
        monkeypatch.setattr(loudness, "_CHUNK", size)
        parts = loudness.integrated(samples, 44_100), loudness.true_peak(samples, 44_100)
        assert parts == pytest.approx(whole, abs=1e-9)
