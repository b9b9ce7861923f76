"""Reading songs in random order: one raw file, safetensors, Arrow IPC and Parquet, in one run.

    python benchmarks/formats.py          # 600 songs of 1500-6000 frames, 0.3 GB; needs pyarrow
    python benchmarks/formats.py --cold   # pages dropped before each reading

Every reader opens its files and copies each song's tokens and latents out, all in the same order.
Best of `--repeats`: GB/s, and the ratio to the raw file.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from loader import forget
from safetensors import safe_open
from safetensors.numpy import save_file

CHANNELS, PER_FILE = 64, 64
SCHEMA = pa.schema({"sketch": pa.large_list(pa.int32()), "latents": pa.large_list(pa.float16())})
Song = tuple[np.ndarray, np.ndarray]  # sketch int32 [T], latents float16 [T * C]


class Songs:
    """The same songs in every format, and a reader of each."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, rng = folder, np.random.default_rng(0)
        self.frames = rng.integers(1500, 6000, count).tolist()
        self.begins = np.cumsum([0, *self.frames]) * (4 + 2 * CHANNELS)
        self.order = rng.permutation(count).tolist()
        with open(folder / "raw.bin", "wb") as raw:
            for first in range(0, count, PER_FILE):
                songs = [_song(rng, n) for n in self.frames[first : first + PER_FILE]]
                raw.writelines(array for song in songs for array in song)
                _write(folder / f"{first // PER_FILE}", songs)

    def raw(self) -> None:
        """One memory map."""
        content = np.memmap(self.folder / "raw.bin", np.uint8, mode="r")
        for song in self.order:
            begin, end = self.begins[song : song + 2]
            middle = begin + 4 * self.frames[song]
            _take(content[begin:middle].view(np.int32), content[middle:end].view(np.float16))

    def safetensors_map(self) -> None:
        """safetensors by the offsets of its header, through a memory map."""
        files = {}
        for song in self.order:
            number, row = divmod(song, PER_FILE)
            if number not in files:
                content = np.memmap(self.folder / f"{number}.safetensors", np.uint8, mode="r")
                begin = 8 + int(content[:8].view(np.uint64)[0])
                files[number] = (content[begin:], json.loads(content[8:begin].tobytes()))
            content, header = files[number]
            spans = [header[f"{row}.{name}"]["data_offsets"] for name in ("sketch", "latents")]
            sketch, latents = (content[begin:end] for begin, end in spans)
            _take(sketch.view(np.int32), latents.view(np.float16))

    def safe_open(self) -> None:
        """safetensors through its own library."""
        files = {}
        for song in self.order:
            number, row = divmod(song, PER_FILE)
            if number not in files:
                files[number] = safe_open(self.folder / f"{number}.safetensors", "np")
            file = files[number]
            _take(file.get_tensor(f"{row}.sketch"), file.get_tensor(f"{row}.latents"))

    def arrow(self) -> None:
        """Arrow IPC through a memory map."""
        files = {}
        for song in self.order:
            number, row = divmod(song, PER_FILE)
            if number not in files:
                source = pa.memory_map(str(self.folder / f"{number}.arrow"))
                files[number] = pa.ipc.open_file(source).read_all()
            _take(*_columns(files[number], row))

    def parquet(self) -> None:
        """Parquet, a row group a song, neither compressed nor dictionary-coded."""
        files = {}
        for song in self.order:
            number, row = divmod(song, PER_FILE)
            if number not in files:
                path = self.folder / f"{number}.parquet"
                files[number] = pq.ParquetFile(path, memory_map=True)
            _take(*_columns(files[number].read_row_group(row), 0))


def _song(rng: np.random.Generator, frames: int) -> Song:
    latents = rng.standard_normal(frames * CHANNELS, np.float32).astype(np.float16)
    return rng.integers(0, 16_384, frames).astype(np.int32), latents


def _write(path: Path, songs: list[Song]) -> None:
    tensors = {}
    for row, (sketch, latents) in enumerate(songs):
        tensors |= {f"{row}.sketch": sketch, f"{row}.latents": latents}
    save_file(tensors, path.with_suffix(".safetensors"))
    columns = {"sketch": [sketch for sketch, _ in songs], "latents": [x for _, x in songs]}
    table = pa.table(columns, SCHEMA)
    with pa.ipc.new_file(str(path.with_suffix(".arrow")), SCHEMA) as writer:
        writer.write_table(table)
    plain = {"compression": "none", "use_dictionary": False, "row_group_size": 1}
    pq.write_table(table, path.with_suffix(".parquet"), **plain)


def _columns(table: pa.Table, row: int) -> Song:
    sketch, latents = (table[name][row].values for name in ("sketch", "latents"))
    return sketch.to_numpy(), latents.to_numpy(zero_copy_only=False)


def _take(sketch: np.ndarray, latents: np.ndarray) -> None:
    np.array(sketch), np.array(latents)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--songs", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cold", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        songs = Songs(Path(name), arguments.songs)
        readers = (
            songs.raw, songs.safetensors_map, songs.safe_open, songs.arrow, songs.parquet,
        )  # fmt: skip
        best = dict.fromkeys((reader.__name__ for reader in readers), float("inf"))
        for _ in range(arguments.repeats):
            for reader in readers:
                if arguments.cold:
                    forget(Path(name))
                started_at = time.perf_counter()
                reader()
                elapsed = time.perf_counter() - started_at
                best[reader.__name__] = min(best[reader.__name__], elapsed)
    for name, seconds in best.items():
        speed = songs.begins[-1] / 1e9 / seconds
        print(f"{name:18}{speed:8.2f} GB/s{best['raw'] / seconds:8.2f}")


if __name__ == "__main__":
    main()
