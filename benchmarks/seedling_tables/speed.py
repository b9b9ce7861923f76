"""How fast the whole model sings: `songbloom generate` as anybody starts it, on all cores.

`real_time_factor`: seconds of work a second of song, the model loaded; `first_audio` seconds of it
until the first audio streams; `start` the rest of the command: Python, the model, the clip's
latents, the file written. Medians over songs; `slowest_first_audio` is the worst.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seedling_tables.songs import Song
from songbloom.evaluation import speed
from songbloom.evaluation.items import Item
from songbloom.model.checkpoint import Model


def table(songs: Sequence[Song], model: Model) -> dict[str, Any]:
    """Times of the songs, made once more."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [_timed(song, model, Path(folder)) for song in songs]
    first = [row["first_audio_seconds"] for row in rows]
    return {
        "songs": len(rows),
        "threads": rows[0]["threads"],
        "song_seconds": _median(row["song_seconds"] for row in rows),
        "real_time_factor": _median(row["real_time_factor"] for row in rows),
        "first_audio": _median(first),
        "slowest_first_audio": round(max(first), 2),
        "start": _median(row["command"] - row["work_seconds"] for row in rows),
    }


def _timed(song: Song, model: Model, folder: Path) -> dict[str, Any]:
    target = folder / f"{song.truth.name}.flac"
    command = [sys.executable, "-m", "songbloom_cli", "generate", str(song.truth / "lyrics.txt")]
    command += ["--prompt", str(song.clip), "-o", str(target), "--model", str(model.folder)]
    command += ["--device", "cpu"]
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - begun
    item = Item(target.stem, target, bundle=target.with_suffix(".song"))
    return {**speed.Speed().measure(item).details, "command": seconds}


def _median(values: Any) -> float:
    return round(statistics.median(values), 2)
