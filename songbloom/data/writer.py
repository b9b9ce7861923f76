"""Writing a training set: songs in, shards out; goes on after a kill, joins slices.

The format is written down in `songbloom.data.shards`.
"""

import dataclasses
import itertools
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from songbloom.data.shards import (
    FORMAT_VERSION,
    DatasetHeader,
    DatasetInfo,
    Shard,
    SungLine,
    SungSection,
    TrainingSong,
    hash_dataset,
    pack,
    read_finished,
    read_index,
    read_info,
    song_digest,
    song_text,
)
from songbloom.errors import SongBloomError, UsageError
from songbloom.files import atomic_path, sha256

SHARD_BYTES = 256 << 20


class ShardWriter:
    """Streams songs into a dataset folder, where it may go on from a killed run.

    One writer a folder: parallel work goes into folders of its own, for `merge`.

    `SongBloomError` when the folder holds a dataset made with another front end, VAE or codebook.
    """

    def __init__(
        self, folder: Path, header: DatasetHeader, *, shard_bytes: int = SHARD_BYTES
    ) -> None:
        self.folder, self.header, self.shard_bytes = Path(folder), header, shard_bytes
        self.info = DatasetInfo(header)
        self._hashes: dict[str, bytes] = {}
        self._songs: list[TrainingSong] = []
        self._texts: list[bytes] = []
        self._bytes = 0
        for pattern in (".dataset.json.*", "shards/.*"):  # left by a killed writer
            for leftover in self.folder.glob(pattern):
                leftover.unlink()
        if (self.folder / "dataset.json").exists():
            self._go_on()

    def __contains__(self, track: str) -> bool:
        """Whether a track is safely on disk or about to be."""
        return track in self._hashes

    def add(self, song: TrainingSong) -> None:
        """Add a song; one that is there with the same content is passed over.

        `SongBloomError` for arrays that do not fit together, tokens outside the vocabulary,
        latents that are not finite, or a track that is there with other content.
        """
        song = _checked(song, self.header)
        try:
            text = song_text(song)
        except UnicodeEncodeError as error:
            raise _unfit(song, "its id, artist or lyrics hold what is no Unicode text") from error
        digest = song_digest(song, text)
        if song.id in self._hashes:
            if self._hashes[song.id] != digest:
                raise SongBloomError(
                    f"{self.folder}: track {song.id!r} is there with other content",
                    "Choose another folder with -o, or delete this one.",
                )
            return
        size = _num_bytes(song, text)
        if self._songs and self._bytes + size > self.shard_bytes:
            self._flush()
        self._hashes[song.id] = digest
        self._songs.append(song)
        self._texts.append(text)
        self._bytes += size

    def finish(self) -> DatasetInfo:
        """Write the last shard and close the dataset. `SongBloomError` when it has no song."""
        self._flush()
        if not self._hashes:
            raise SongBloomError(f"{self.folder}: no song to write", "Add some songs first.")
        self.info = dataclasses.replace(
            self.info,
            complete=True,
            index_sha256=sha256(self.folder / "index.jsonl"),
            dataset_hash=hash_dataset(self.header, self._hashes),
        )
        self._write_info()
        return self.info

    def _go_on(self) -> None:
        info = read_info(self.folder)
        if info.header != self.header:
            raise SongBloomError(
                f"{self.folder}: holds a dataset made with {_difference(info.header, self.header)}",
                "Choose another folder with -o.",
            )
        self.info = info
        for row in read_index(self.folder, info):
            self._hashes[row["id"]] = bytes.fromhex(row["sha256"])
        os.truncate(self.folder / "index.jsonl", info.index_bytes)

    def _flush(self) -> None:
        if not self._songs:
            return
        rows: list[dict[str, Any]] = [
            {
                "id": song.id,
                "artist": song.artist,
                "frames": song.num_frames,
                "clips": len(song.references),
                "sha256": self._hashes[song.id].hex(),
            }
            for song in self._songs
        ]
        tensors = pack(self._songs, self._texts)
        self._songs, self._texts, self._bytes = [], [], 0
        path = self._next_path()
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={"songbloom_shard": str(FORMAT_VERSION)})
            _to_disk(temporary)
            digest, size = sha256(temporary), temporary.stat().st_size
        frames = sum(row["frames"] for row in rows)
        self._commit(Shard(path.name, digest, size, len(rows), frames), rows)

    def _next_path(self) -> Path:
        return self.folder / "shards" / f"{len(self.info.shards):06d}.safetensors"

    def _commit(self, shard: Shard, rows: Sequence[Mapping[str, Any]]) -> None:
        """A shard is in place: index it, then say so. The other order could promise too much."""
        number = len(self.info.shards)
        lines = [
            json.dumps({**row, "shard": number, "row": i}, ensure_ascii=False)
            for i, row in enumerate(rows)
        ]
        index = self.folder / "index.jsonl"
        with open(index, "ab" if self.info.shards else "wb") as stream:
            stream.write("".join(f"{line}\n" for line in lines).encode("utf-8"))
            length = stream.tell()
            stream.flush()
            os.fsync(stream.fileno())
        self.info = dataclasses.replace(
            self.info,
            shards=(*self.info.shards, shard),
            complete=False,
            index_bytes=length,
            index_sha256="",
            dataset_hash="",
        )
        self._write_info()

    def _write_info(self) -> None:
        with atomic_path(self.folder / "dataset.json") as temporary:
            text = json.dumps(self.info.to_dict(), indent=1, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")
            _to_disk(temporary)

    def take(self, folder: Path) -> None:
        """Add all shards of another finished dataset, linked where the file system can.

        Shards that are there already are passed over. `SongBloomError` for a dataset that is not
        finished or made otherwise, and for a track that both hold.
        """
        self._flush()
        info = read_finished(Path(folder))
        if info.header != self.header:
            raise SongBloomError(
                f"{folder}: was made with {_difference(info.header, self.header)}",
                "Merge only datasets that were made with the same settings.",
            )
        for number, group in itertools.groupby(read_index(Path(folder), info), _shard_of):
            rows = list(group)
            there = [row["id"] for row in rows if row["id"] in self._hashes]
            if len(there) == len(rows) and all(map(self._is_same, rows)):
                continue
            if there:
                raise SongBloomError(
                    f"{folder}: track {there[0]!r} is in another of the datasets too",
                    "Every track belongs to one dataset: make the slices of disjoint songs.",
                )
            path = self._next_path()
            shard = info.shards[number]
            _link(Path(folder) / "shards" / shard.name, path)
            for row in rows:
                self._hashes[row["id"]] = bytes.fromhex(row["sha256"])
            self._commit(dataclasses.replace(shard, name=path.name), rows)

    def _is_same(self, row: Mapping[str, Any]) -> bool:
        return self._hashes.get(row["id"]) == bytes.fromhex(row["sha256"])


def merge(folders: Sequence[Path], output: Path) -> DatasetInfo:
    """Join finished datasets of disjoint tracks; the hash is that of one written in one go.

    `output` may be a dataset, which then grows. Shards are hard links where possible.
    """
    if not folders:
        raise UsageError("merge: expected at least one dataset folder")
    writer = ShardWriter(output, read_finished(Path(folders[0])).header)
    for folder in folders:
        writer.take(folder)
    return writer.finish()


def _checked(song: TrainingSong, header: DatasetHeader) -> TrainingSong:
    """The song in the dtypes of the format, or `SongBloomError` naming what does not fit."""
    frames, channels = len(song.sketch), header.latent_dim
    with np.errstate(over="ignore"):
        latents = np.array(song.latents, "<f2")  # copies: they wait here for their shard
        references = np.array(song.references, "<f2")
    complaint, clip_frames = "", references.shape[1] if references.ndim == 3 else 0
    if not song.id or "\n" in song.id:
        complaint = "expected an id without line breaks"
    elif frames == 0 or np.ndim(song.sketch) != 1 or latents.shape != (frames, channels):
        complaint = f"{frames} sketch tokens beside latents {list(latents.shape)}"
    elif references.ndim != 3 or references.shape[::2] != (len(song.reference_starts), channels):
        complaint = (
            f"references {list(references.shape)} beside {len(song.reference_starts)} starts; "
            f"expected [K, R, {channels}]"
        )
    elif any(
        not (0 <= start <= frames - clip_frames or start == frames)
        for start in song.reference_starts
    ):
        complaint = f"reference clips that do not lie in its {frames} frames, or behind them"
    elif np.min(song.sketch) < 0 or np.max(song.sketch) >= header.sketch_vocab_size:
        complaint = f"sketch tokens outside 0..{header.sketch_vocab_size - 1}"
    elif not (np.isfinite(latents).all() and np.isfinite(references).all()):
        complaint = "latents that are not finite, or too large for float16"
    elif not _times_make_sense(song):
        complaint = "times of sections, lines or phonemes that are not finite or run backwards"
    if complaint:
        raise _unfit(song, complaint)
    sketch = np.array(song.sketch, "<i4")
    return dataclasses.replace(song, sketch=sketch, latents=latents, references=references)


def _unfit(song: TrainingSong, complaint: str) -> SongBloomError:
    return SongBloomError(f"track {song.id!r}: {complaint}", "Prepare this track again.")


def _times_make_sense(song: TrainingSong) -> bool:
    lines = (line for section in song.sections for line in section.lines)
    spans: list[SungSection | SungLine] = [*song.sections, *lines]
    if not all(0 <= span.start <= span.end < math.inf for span in spans):
        return False
    return all(
        len(line.begins) in (0, len(line.phonemes.split(" ")))
        and all(0 <= at < math.inf for at in line.begins)
        for section in song.sections
        for line in section.lines
    )


def _num_bytes(song: TrainingSong, text: bytes) -> int:
    return song.sketch.nbytes + song.latents.nbytes + song.references.nbytes + len(text) + 24


def _shard_of(row: Mapping[str, Any]) -> int:
    return int(row["shard"])


def _difference(first: DatasetHeader, second: DatasetHeader) -> str:
    """The first field in which two headers differ."""
    for name, value in dataclasses.asdict(first).items():
        other = getattr(second, name)
        if value != other:
            return f"{name} {value}; expected {other}"
    return "the same settings"


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:  # another file system
            shutil.copyfile(source, temporary)
            _to_disk(temporary)


def _to_disk(path: Path) -> None:
    """Wait until a file's content is safe from a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
