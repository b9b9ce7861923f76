"""Mastering to a loudness: one gain for the whole song, and a limiter for the peaks above it.

Nothing else is changed: no equaliser, no compressor. What is done is a gain over time, so the same
gain applied to a song's stems gives stems that add up to the master.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, signal

from songbloom import loudness
from songbloom.errors import SongBloomError
from songbloom.loudness import LUFS, Decibels
from songbloom.units import Hz, Seconds

MOST_LIMITED: Decibels = 6.0  # that peaks are lowered by; more would be heard
_LOOK: Seconds = 0.005  # before and after a peak, in which the gain goes down and up again
_RELEASE: Seconds = 0.080  # time constant of the way up behind it
_STEP: Seconds = 0.001  # of the release
_CLOSE: LUFS = 0.02
_EXACT: Decibels = 0.005
_ROUNDS = 8


@dataclass(frozen=True)
class Mastering:
    """The gain that makes a master: `gain_db` for the whole song times `curve` `[n]`, at most 1."""

    gain_db: Decibels
    curve: np.ndarray

    @property
    def limited_db(self) -> Decibels:
        """The most that the curve takes away, 0 or more."""
        return -20 * math.log10(float(self.curve.min())) + 0.0

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """The master of `[channels, n]`, float32."""
        return np.asarray(samples * (10 ** (self.gain_db / 20) * self.curve), dtype=np.float32)


def master(samples: np.ndarray, sample_rate: Hz, *, target: LUFS, ceiling: Decibels) -> Mastering:
    """The gain that brings `[channels, n]` to `target` LUFS with no true peak above `ceiling` dBTP.

    Where that would lower a peak by more than 6 dB the song stays softer than `target`.
    `SongBloomError` for a song without loudness: silence, or less than 400 ms.
    """
    now = loudness.integrated(samples, sample_rate)
    if math.isinf(now):
        raise SongBloomError(
            "it is silent, or shorter than 0.4 s, and so has no loudness",
            "Export a song that can be heard.",
        )
    heights = np.concatenate([*loudness.peaks(samples, sample_rate)])
    most = ceiling - 20 * math.log10(float(heights.max())) + MOST_LIMITED
    gain = min(target - now, most)
    for _ in range(_ROUNDS):
        curve = limiting(heights, sample_rate, 10 ** ((ceiling - gain) / 20))
        reached = loudness.integrated(Mastering(gain, curve).apply(samples), sample_rate)
        if abs(target - reached) < _CLOSE or (gain == most and reached < target):
            break
        gain = min(gain + target - reached, most)
    return Mastering(gain, _exact(curve, samples, heights, sample_rate, ceiling - gain))


def _exact(
    curve: np.ndarray, samples: np.ndarray, heights: np.ndarray, sample_rate: Hz, ceiling: Decibels
) -> np.ndarray:
    """The curve with which the wave's own true peak meets the ceiling.

    The wave of a song under a gain that changes is not quite the wave times the gain: what is too
    much is taken from the ceiling.
    """
    aim = ceiling
    for _ in range(_ROUNDS if curve.min() < 1 else 0):
        over = loudness.true_peak(Mastering(0.0, curve).apply(samples), sample_rate) - ceiling
        if over <= _EXACT:
            break
        aim -= over
        curve = limiting(heights, sample_rate, 10 ** (aim / 20))
    return curve


def limiting(heights: np.ndarray, sample_rate: Hz, ceiling: float) -> np.ndarray:
    """The gain `[n]`, at most 1, that keeps the wave of these `heights` `[n]` below `ceiling`.

    It goes down within 5 ms before a peak and comes back with a time constant of 80 ms, without a
    corner: the least gain needed within 5 ms each side, held up by the release, and then averaged
    over those same 5 ms, so that no average is above the gain that its middle needs.
    """
    if heights.max(initial=0.0) <= ceiling:
        return np.ones(len(heights))
    needed = np.minimum(1.0, ceiling / np.maximum(heights, 1e-12))
    width = 2 * round(_LOOK * sample_rate) + 1
    held = _released(ndimage.minimum_filter1d(needed, width), sample_rate)
    window = signal.windows.hann(width + 2)[1:-1]
    padded = np.pad(held, width // 2, mode="edge")
    return np.minimum(1.0, signal.oaconvolve(padded, window / window.sum(), mode="valid"))


def _released(held: np.ndarray, sample_rate: Hz) -> np.ndarray:
    """The same gain, rising no faster than the release; it changes in steps of 1 ms."""
    step = max(1, round(_STEP * sample_rate))
    least = np.minimum.reduceat(held, np.arange(0, len(held), step))
    keep, gain = math.exp(-_STEP / _RELEASE), 1.0
    steps = np.empty(len(least))
    for number, bound in enumerate(least.tolist()):
        gain = min(bound, 1 - (1 - gain) * keep)
        steps[number] = gain
    return np.repeat(steps, step)[: len(held)]
