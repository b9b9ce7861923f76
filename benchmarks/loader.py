"""How fast training songs come off the disk, and what the index of a large dataset costs.

    python benchmarks/loader.py                      # 600 songs of one to four minutes, 0.3 GB
    python benchmarks/loader.py --cold               # pages dropped before each reading
    python benchmarks/loader.py --rows 1500000       # the index alone: writing and opening it

Readers take the same songs in the same order, in turn, in one process. "map" copies each song's
tokens and latents out of a memory map of one raw file. "batches" makes padded int64 and float32
batches from that map, the least that training needs. "loader" is ours, with lyrics, references and
dropout, on 0, 1 and 2 threads. Best of `--repeats`: GB/s of what lies on disk, ratios to the first
two, and milliseconds of processor a song, which other work on the machine does not lengthen much.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from songbloom.data.dataset import Dataset
from songbloom.data.loader import Loader, permutation
from songbloom.data.shards import (
    DatasetHeader,
    SungLine,
    SungSection,
    TrainingSong,
    open_shards,
)
from songbloom.data.writer import ShardWriter
from songbloom.model.config import preset

CHANNELS, BATCH = 64, 4
CONFIG = preset("tiny")
HEADER = DatasetHeader(CONFIG.frontend, "vae", "codebook", CONFIG.sketch_vocab_size)


def random_song(number: int) -> TrainingSong:
    """One to four minutes, a line of thirty symbols every five seconds, four ten-second clips."""
    rng = np.random.default_rng(number)
    frames = int(rng.integers(1500, 6000))
    lines = [SungLine(5.0 * i, 5.0 * i + 4, "AH0 T " * 15) for i in range(frames // 125)]
    parts = [tuple(lines[i : i + 4]) for i in range(0, len(lines), 4)]
    return TrainingSong(
        id=f"song-{number:07d}",
        sketch=rng.integers(0, HEADER.sketch_vocab_size, frames),
        latents=rng.standard_normal((frames, CHANNELS), dtype=np.float32),
        sections=tuple(SungSection("verse", p[0].start, p[-1].end + 1, p) for p in parts),
        references=rng.standard_normal((4, 250, CHANNELS), dtype=np.float32),
        reference_starts=tuple(int(start) for start in rng.integers(0, frames - 250, 4)),
    )


def write_raw(path: Path, dataset: Dataset) -> list[tuple[int, int]]:
    """All songs' tokens and latents in one file, song after song: (first byte, frames) of each."""
    spans: list[tuple[int, int]] = []
    with open(path, "wb") as stream:
        for track in range(len(dataset)):
            song = dataset.shards.read(track)
            spans.append((stream.tell(), song.num_frames))
            stream.write(song.sketch.tobytes() + song.latents.tobytes())
    return spans


class RawMap:
    """The file of `write_raw`, mapped."""

    def __init__(self, path: Path, spans: list[tuple[int, int]]) -> None:
        self.spans, self.content = spans, np.memmap(path, np.uint8, mode="c")

    def song(self, track: int) -> tuple[np.ndarray, np.ndarray]:
        """(sketch, latents), views of the file."""
        begin, frames = self.spans[track]
        middle, end = begin + 4 * frames, begin + (4 + 2 * CHANNELS) * frames
        latents = self.content[middle:end].view(np.float16).reshape(frames, CHANNELS)
        return self.content[begin:middle].view(np.int32), latents

    def copy(self, order: np.ndarray) -> None:
        """Read every song."""
        for track in order:
            sketch, latents = self.song(track)
            sketch.copy(), latents.copy()

    def batches(self, order: np.ndarray) -> None:
        """Read every song into a padded batch."""
        for at in range(0, len(order), BATCH):
            songs = [self.song(track) for track in order[at : at + BATCH]]
            longest = max(len(sketch) for sketch, _ in songs)
            tokens = torch.zeros(BATCH, longest, dtype=torch.int64)
            batch = torch.zeros(BATCH, longest, CHANNELS)
            for row, (sketch, latents) in enumerate(songs):
                tokens[row, : len(sketch)] = torch.from_numpy(sketch)
                batch[row, : len(sketch)] = torch.from_numpy(latents)


def read_epoch(folder: Path, workers: int) -> None:
    """Open a dataset and take one epoch through the loader."""
    dataset = Dataset(open_shards(folder), CONFIG)
    loader = Loader(dataset, global_batch=BATCH, micro_batch=BATCH, workers=workers)
    for _ in loader:
        if loader.consumed >= len(dataset):
            return


def forget(folder: Path) -> None:
    """Drop a folder's pages from the cache; those of open maps would stay."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def measure_reading(
    folder: Path, songs: int, repeats: int, cold: bool
) -> dict[str, tuple[float, float]]:
    """GB/s and processor milliseconds a song of each reader."""
    writer = ShardWriter(folder / "dataset", HEADER)
    for number in range(songs):
        writer.add(random_song(number))
    writer.finish()
    dataset = Dataset(open_shards(folder / "dataset"), CONFIG)
    spans, order = write_raw(folder / "raw.bin", dataset), permutation(len(dataset), 0, 0)
    del dataset
    readers: dict[str, Callable[[], None]] = {
        "map": lambda: RawMap(folder / "raw.bin", spans).copy(order),
        "batches": lambda: RawMap(folder / "raw.bin", spans).batches(order),
        **{
            f"loader, {workers} threads": partial(read_epoch, folder / "dataset", workers)
            for workers in (0, 1, 2)
        },
    }
    best = dict.fromkeys(readers, (float("inf"), float("inf")))
    for _ in range(repeats):
        for name, reader in readers.items():
            if cold:
                forget(folder)
            started_at, processor = time.perf_counter(), time.process_time()
            reader()
            elapsed, spent = time.perf_counter() - started_at, time.process_time() - processor
            best[name] = (min(best[name][0], elapsed), min(best[name][1], spent))
    size = (folder / "raw.bin").stat().st_size / 1e9
    return {name: (size / wall, 1e3 * spent / songs) for name, (wall, spent) in best.items()}


def measure_index(folder: Path, rows: int) -> dict[str, float]:
    """Seconds and peak memory of writing, then of opening, `rows` songs of one frame."""
    results: dict[str, float] = {}
    for what in ("write", "open"):
        command = [sys.executable, __file__, "--part", what, "--rows", str(rows), str(folder)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        results |= {f"{what} {key}": value for key, value in json.loads(done.stdout).items()}
    results["index.jsonl MB"] = (folder / "index.jsonl").stat().st_size / 1e6
    return results


def index_part(what: str, folder: Path, rows: int) -> dict[str, float]:
    """One half of `measure_index`, in this process."""
    started_at = time.perf_counter()
    if what == "write":
        header = DatasetHeader("release", "vae", "codebook", 16, latent_dim=1)
        writer = ShardWriter(folder, header, shard_bytes=1 << 20)
        one = np.zeros((1, 1), np.float16)
        for number in range(rows):
            track = f"artist {number % 9999:04d}/album/{number:07d} a song's title"
            writer.add(TrainingSong(track, one[0], one, (), one[None], (0,), "an artist"))
        writer.finish()
    else:
        open_shards(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.perf_counter() - started_at, "peak MB": peak}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="where to write (default: temporary)")
    parser.add_argument("--songs", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--rows", type=int, default=0, help="measure an index of so many songs")
    parser.add_argument("--part", choices=["write", "open"], help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.part:
        print(json.dumps(index_part(arguments.part, arguments.folder, arguments.rows)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder, songs = Path(name), arguments.songs
        results: dict[str, Any] = (
            measure_index(folder, arguments.rows)
            if arguments.rows
            else measure_reading(folder, songs, arguments.repeats, arguments.cold)
        )
    if arguments.json:
        print(json.dumps(results, indent=1))
    elif arguments.rows:
        for key, value in results.items():
            print(f"{key:18}{value:10.1f}")
    else:
        print(f"{'':18}{'GB/s':>10}{'/ map':>10}{'/ batches':>10}{'ms a song':>10}")
        for key, (speed, spent) in results.items():
            ratios = "".join(f"{speed / results[bare][0]:10.2f}" for bare in ("map", "batches"))
            print(f"{key:18}{speed:10.2f}{ratios}{spent:10.2f}")


if __name__ == "__main__":
    main()
