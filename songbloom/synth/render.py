"""A score as sound: vocals, backing and their mix."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import signal

from songbloom.synth import backing
from songbloom.synth.score import Score
from songbloom.synth.voice import sing
from songbloom.units import SAMPLE_RATE

PEAK = 0.9
VOCAL_OVER_BACKING = (4.0, 8.0)  # dB of RMS over the sung parts


@dataclass(frozen=True)
class Rendering:
    """Float32 `[2, samples]` each, 48 kHz; `mix` is `vocals + backing` and peaks at most at 0.9."""

    vocals: np.ndarray
    backing: np.ndarray
    mix: np.ndarray


def render(score: Score, font: Path | None = None) -> Rendering:
    """Sing and play a score, with a soundfont's instruments or this package's own.

    `MissingAssetError` when the speech program, the vocoder or FluidSynth is not installed,
    `UsageError` for a file that is no soundfont.
    """
    vocals = _room(sing(score), 0.5 + (score.style % 11) / 11.0)
    band = backing.play(score, font)
    band *= np.float32(_gain(vocals, band, score))
    return _mixed(vocals, band)


def _mixed(vocals: np.ndarray, band: np.ndarray) -> Rendering:
    mix = vocals + band
    scale = np.float32(PEAK / max(float(np.abs(mix).max()), 1e-9))
    return Rendering(vocals * scale, band * scale, mix * scale)


def _gain(vocals: np.ndarray, band: np.ndarray, score: Score) -> float:
    """What brings the backing 4-8 dB below the vocals, measured while the voice sings."""
    low, high = VOCAL_OVER_BACKING
    wanted = low + (high - low) * (score.style % 101) / 100.0
    sung = np.zeros(vocals.shape[1], dtype=bool)
    for line in score.lines:
        sung[round(line.start * SAMPLE_RATE) : round(line.end * SAMPLE_RATE)] = True
    level = np.sqrt(np.mean(vocals[:, sung] ** 2)) / (np.sqrt(np.mean(band[:, sung] ** 2)) + 1e-9)
    return float(level * 10 ** (-wanted / 20))


def _room(dry: np.ndarray, amount: float) -> np.ndarray:
    """A small stereo room around a centred voice: `[samples]` to `[2, samples]`."""
    wet = np.stack([signal.oaconvolve(dry, echo)[: len(dry)] for echo in _echoes()])
    return (dry[None] + np.float32(0.5 * amount) * wet).astype(np.float32)


@functools.cache
def _echoes() -> tuple[np.ndarray, np.ndarray]:
    """Two decaying noises, 0.35 s, energy one tenth: fixed, so the same song is the same bytes."""
    t = np.arange(round(0.35 * SAMPLE_RATE)) / SAMPLE_RATE
    shape = np.exp(-t / 0.07) * (t > 0.012)
    tails = []
    for seed in (1, 2):
        tail = np.random.default_rng(seed).standard_normal(len(t)) * shape
        tail = signal.lfilter([0.4], [1, -0.6], tail)
        tails.append((tail / np.sqrt(10 * np.sum(tail**2))).astype(np.float32))
    return tails[0], tails[1]
