"""The sound itself, with no opinion on music: loudness, true peak, clipping, silence.

The value is the mean integrated loudness (ITU-R BS.1770, LUFS). It says how songs were mastered,
not how good they are: neither direction is better.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from songbloom import loudness
from songbloom.errors import UsageError
from songbloom.evaluation.items import Item
from songbloom.evaluation.metric import Measured, ratio
from songbloom.stages import sound
from songbloom.units import Hz

_VERSION = 1
_FULL = 0.999  # of full scale; three samples in a row up there are clipped
_RUN = 3
_SILENT = 1e-6  # mean square of 100 ms: -60 dBFS
_HOT = -1.0  # dBTP; lossy encoders may clip what is above (EBU R 128)


def load(settings: Mapping[str, Any], work: Path) -> "Signal":
    """The metric; it has no settings."""
    if settings:
        raise UsageError(f"signal: unknown setting '{next(iter(settings))}'", "It has none.")
    return Signal()


class Signal:
    """See the module."""

    name = "signal"
    unit = "LUFS"
    better = None
    needs: frozenset[str] = frozenset()
    corpus = False

    def identity(self) -> dict[str, Any]:
        """Loudness as of BS.1770-5, and the limits of clipping and silence."""
        limits = {"clipped_at": _FULL, "clipped_run": _RUN, "silent_dbfs": -60}
        return {"backend": "bs1770", "version": _VERSION, **limits}

    def measure(self, item: Item) -> Measured:
        """Loudness in LUFS, true peak in dBTP, shares of clipped samples and of silence."""
        with sound.stream(item.audio) as song:
            samples, rate = np.concatenate(list(song.blocks), axis=1), song.sample_rate
        clipped = clipped_share(samples)
        stereo = sound.to_stereo(samples) if len(samples) > 2 else samples
        silent = silences(samples, rate)
        details = {
            "loudness": max(loudness.integrated(stereo, rate), -70.0),
            "true_peak": loudness.true_peak(stereo, rate),
            "clipped_share": clipped,
            "silent_share": float(silent.mean()),
            "longest_silence": _longest(silent) / 10,
            "channels": len(samples),
            "sample_rate": rate,
            "seconds": samples.shape[1] / rate,
        }
        return Measured(float(details["loudness"]), 1.0, details)

    def combine(self, songs: Sequence[Measured]) -> float:
        """Mean loudness."""
        return ratio(songs)

    def parts(self, songs: Sequence[Measured]) -> dict[str, Any]:
        """The highest true peak, songs above -1 dBTP, mean shares of clipping and silence."""
        peaks = [song.details["true_peak"] for song in songs]
        return {
            "true_peak": max(peaks),
            "songs_above_-1_dbtp": sum(peak > _HOT for peak in peaks),
            "clipped_share": _mean(songs, "clipped_share"),
            "silent_share": _mean(songs, "silent_share"),
        }


def clipped_share(samples: np.ndarray) -> float:
    """Share of the samples `[channels, n]` that stand at full scale with two neighbours or more."""
    high = np.pad(np.abs(samples) >= _FULL, ((0, 0), (1, 1))).astype(np.int8)
    count = 0
    for channel in high:
        edges = np.diff(channel)
        runs = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
        count += int(runs[runs >= _RUN].sum())
    return count / samples.size


def silences(samples: np.ndarray, sample_rate: Hz) -> np.ndarray:
    """Which tenths of a second of `[channels, n]` are below -60 dBFS; a rest is left out."""
    size = sample_rate // 10
    whole = samples[:, : samples.shape[1] // size * size]
    power = np.square(whole, dtype=np.float64).reshape(len(samples), -1, size).mean(axis=(0, 2))
    return np.asarray(power < _SILENT)


def _longest(silent: np.ndarray) -> int:
    """How many in a row at most."""
    edges = np.diff(np.pad(silent.astype(np.int8), 1))
    runs = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
    return int(runs.max(initial=0))


def _mean(songs: Sequence[Measured], key: str) -> float:
    return float(np.mean([song.details[key] for song in songs]))
