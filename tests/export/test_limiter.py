"""Mastering: the loudness that was asked for under a true-peak ceiling, and nothing else done."""

import numpy as np
import pytest

from songbloom import loudness
from songbloom.errors import SongBloomError
from songbloom.export import limiter
from songbloom.units import SAMPLE_RATE

SIZE = 4 * SAMPLE_RATE


def swell(peak: float, rate: int = SAMPLE_RATE) -> np.ndarray:
    """Soft noise with a burst in its middle, `[2, n]`."""
    noise = np.random.default_rng(3).standard_normal((2, 4 * rate)) * 0.03
    noise[:, 2 * rate : 2 * rate + rate // 20] *= peak
    return noise.astype(np.float32)


def test_gain_alone_where_that_is_enough() -> None:
    """A song whose peaks have room is multiplied by one number."""
    song = swell(1.0)
    made = limiter.master(song, SAMPLE_RATE, target=-23.0, ceiling=-1.0)
    assert made.limited_db == 0 and (made.curve == 1).all()
    gain = np.float32(10 ** (made.gain_db / 20))
    assert np.allclose(made.apply(song), gain * song, atol=1e-7)
    assert loudness.integrated(made.apply(song), SAMPLE_RATE) == pytest.approx(-23, abs=0.01)


@pytest.mark.parametrize("rate", [48_000, 44_100])
def test_peaks_meet_the_ceiling(rate: int) -> None:
    """Bursts are lowered to the ceiling, and the loudness is still the one asked for."""
    song = swell(6.0, rate)
    made = limiter.master(song, rate, target=-20.0, ceiling=-3.0)
    mastered = made.apply(song)
    assert 1 < made.limited_db <= limiter.MOST_LIMITED
    assert loudness.true_peak(mastered, rate) == pytest.approx(-3.0, abs=0.05)
    assert loudness.true_peak(mastered, rate) <= -3.0 + 0.01
    assert loudness.integrated(mastered, rate) == pytest.approx(-20.0, abs=0.05)


def test_far_from_peaks_nothing_happens() -> None:
    """A second before the burst the gain is one, and it comes back to one behind it."""
    curve = limiter.master(swell(6.0), SAMPLE_RATE, target=-20.0, ceiling=-3.0).curve
    burst = 2 * SAMPLE_RATE
    assert (curve[: burst - SAMPLE_RATE // 50] > 0.9999).all()
    assert curve[burst : burst + 500].min() < 0.9
    assert (curve[burst + 2 * SAMPLE_RATE - SAMPLE_RATE // 5 :] > 0.999).all()


def test_the_curve_is_smooth_and_low_enough() -> None:
    """At every sample it is at most what that sample needs, and it never jumps."""
    heights = np.abs(np.random.default_rng(0).standard_normal(SIZE // 4)) ** 3
    curve = limiter.limiting(heights, SAMPLE_RATE, 2.0)
    assert (curve * heights <= 2.0 * (1 + 1e-9)).all()
    assert np.abs(np.diff(curve)).max() < 0.02


def test_peaks_are_never_crushed() -> None:
    """Where more than 6 dB would have to go, the song stays softer than asked for."""
    song = swell(60.0)
    made = limiter.master(song, SAMPLE_RATE, target=-8.0, ceiling=-1.0)
    assert made.limited_db == pytest.approx(6.0, abs=0.1)
    assert loudness.integrated(made.apply(song), SAMPLE_RATE) < -9


@pytest.mark.parametrize("size", [0, 100, 19_000, 96_000])
def test_silence_is_refused(size: int) -> None:
    """Silence, and less than 0.4 s, have no loudness to be brought anywhere."""
    with pytest.raises(SongBloomError, match="no loudness"):
        limiter.master(np.zeros((2, size), np.float32), SAMPLE_RATE, target=-14, ceiling=-1)
