"""How fast songs were made, as `songbloom generate` recorded it in their bundles.

The value is the real-time factor: seconds of work for each second of song; songs made together in
a batch share its work. The clock starts when the model is loaded and the inputs are encoded, and
stops when the last sample is decoded. Songs without a record (other systems') do not count.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from songbloom.errors import SongBloomError, UsageError
from songbloom.evaluation.items import Item
from songbloom.evaluation.metric import Measured, ratio

FILE = "speed.json"
_VERSION = 1


def load(settings: Mapping[str, Any], work: Path) -> "Speed":
    """The metric; it has no settings."""
    if settings:
        raise UsageError(f"speed: unknown setting '{next(iter(settings))}'", "It has none.")
    return Speed()


class Speed:
    """See the module."""

    name = "speed"
    unit = "x"
    better: Literal["lower"] = "lower"
    needs = frozenset({"bundle"})
    corpus = False

    def identity(self) -> dict[str, Any]:
        """Where the numbers come from. On what machine is a result, and stands in the parts."""
        return {"backend": "recorded", "version": _VERSION}

    def measure(self, item: Item) -> Measured:
        """What was recorded: real-time factor, seconds to the first audio, and on what."""
        file = None if item.bundle is None else item.bundle / FILE
        if file is None or not file.is_file():
            return Measured(0.0, 0.0)
        try:
            recorded = json.loads(file.read_text("utf-8"))
            work = float(recorded["work_seconds"]) / int(recorded["songs_together"])
            seconds = float(recorded["song_seconds"])
            if not (work > 0 and seconds > 0):
                raise ValueError("times that are not above 0")
        except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
            raise SongBloomError(
                f"{file}: is no record of speed ({error})", "Generate the song again."
            ) from error
        return Measured(work, seconds, {"real_time_factor": work / seconds, **recorded})

    def combine(self, songs: Sequence[Measured]) -> float:
        """Work of all songs for each second of them."""
        return ratio(songs)

    def parts(self, songs: Sequence[Measured]) -> dict[str, Any]:
        """Songs with a record, seconds to the first audio (median, slowest), devices."""
        known = [song.details for song in songs if song.weight]
        first = [row["first_audio_seconds"] for row in known]
        return {
            "recorded": len(known),
            "first_audio_seconds": float(np.median(first)) if first else None,
            "slowest_first_audio_seconds": max(first, default=None),
            "devices": sorted({f"{row['device']} {row['dtype']}" for row in known}),
        }
