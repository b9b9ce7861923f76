"""A training set on disk: safetensors shards, one line of JSON a song, one description.

    dataset.json                 what made it, its size, its hash, every shard with its sha256
    index.jsonl                  a line a song: id, artist, frames, clips, sha256, shard, row
    shards/000000.safetensors    many songs, each array the songs' arrays one after another:
        offsets     int64 [S + 1, 3]   where song s begins in frames, reference frames, text bytes
        sketch      int32 [F]          sketch tokens
        latents     float16 [F, C]     VAE latents
        references  float16 [Q, C]     latents of clips of the mono mix, for use as reference
        tracks      uint8 [X]          a line of JSON a song: id, artist, frames, reference_starts,
                                       reference_frames, sections (seconds) with lines: phonemes,
                                       and where known when each of them begins; beats

Shards end at a size and are written once. `dataset.json` is rewritten after each of them and says
which exist and how long the index is, so a killed writer loses the shard in flight and no more, and
the same songs again give the same bytes. Tracks are numbered in order of their ids and the dataset
hash is over the songs' hashes in that order: who wrote what when, and where it lies, is not in it.

Why safetensors: every tool opens it, there is nothing to install, it cannot run code, and read
through a memory map it is as fast as a bare one. 600 songs of 1500 to 6000 frames copied out in
random order by one core, against one raw file in the same run (benchmarks/formats.py), warm at
5.0 GB/s: safetensors through a map .99, through its own `safe_open` .79, Arrow IPC 1.15, Parquet
.03. Cold they all wait for the disk, but for Parquet (.18). What Arrow gains no training step would
notice, and it costs an install of 150 MB. MosaicML's MDS, measured before, had .27 warm, and wants
torchvision and numpy < 2.2.

The index is lines of JSON because these stream, append and open everywhere: 1.5 million are 305 MB,
held in 270 MB of memory (benchmarks/loader.py --rows 1500000).
"""

import dataclasses
import functools
import hashlib
import json
import mmap
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from songbloom.errors import SongBloomError
from songbloom.files import sha256
from songbloom.units import FRAME_RATE, Frames, Seconds

FORMAT_VERSION = 1
Corrupt = Literal["error", "skip"]
_MAX_MAPS = 256  # shards open at a time: each takes a file descriptor
_MILLISECONDS = 3  # digits; a frame is 40 ms
_AGAIN = "Write the dataset again, or leave the shard out with the policy 'skip'."


@dataclass(frozen=True, slots=True)
class SungLine:
    """A line of lyrics: when it is sung, and the front end's phonemes of it.

    `begins` says when each phoneme (what single blanks part) begins; empty where nobody knows.
    """

    start: Seconds
    end: Seconds
    phonemes: str
    begins: tuple[Seconds, ...] = ()


@dataclass(frozen=True, slots=True)
class SungSection:
    """A part of a song: `tag` without brackets; no lines where nobody sings."""

    tag: str
    start: Seconds
    end: Seconds
    lines: tuple[SungLine, ...] = ()


@dataclass(frozen=True)
class TrainingSong:
    """One song to learn from. K clips of R frames each serve as references; K may be 0.

    Times are kept to the millisecond. Arrays read from shards are views of the file.
    """

    id: str
    sketch: np.ndarray  # [T] int32
    latents: np.ndarray  # [T, C] float16
    sections: tuple[SungSection, ...]
    references: np.ndarray  # [K, R, C] float16
    reference_starts: tuple[Frames, ...]  # K frames; T for a clip of another song
    artist: str = ""
    beats: tuple[Seconds, ...] = ()  # when they fall, in clips that start at T too; or nobody knows

    @property
    def num_frames(self) -> Frames:
        """T."""
        return len(self.sketch)


@dataclass(frozen=True)
class DatasetHeader:
    """What all songs of a dataset share: a model trains on it only where these are its own."""

    frontend: str
    vae_hash: str
    codebook_hash: str
    sketch_vocab_size: int
    latent_dim: int = 64


@dataclass(frozen=True)
class Shard:
    """A finished shard file."""

    name: str
    sha256: str
    bytes: int
    songs: int
    frames: int


@dataclass(frozen=True)
class DatasetInfo:
    """`dataset.json`."""

    header: DatasetHeader
    shards: tuple[Shard, ...] = ()
    complete: bool = False
    index_bytes: int = 0
    index_sha256: str = ""
    dataset_hash: str = ""

    @property
    def songs(self) -> int:
        """Songs in all shards."""
        return sum(shard.songs for shard in self.shards)

    @property
    def frames(self) -> Frames:
        """Frames in all shards."""
        return sum(shard.frames for shard in self.shards)

    @property
    def hours(self) -> float:
        """Hours of music."""
        return self.frames / FRAME_RATE / 3600

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "format": FORMAT_VERSION,
            "kind": "songbloom dataset",
            "complete": self.complete,
            **dataclasses.asdict(self.header),
            "frame_rate": FRAME_RATE,
            "songs": self.songs,
            "frames": self.frames,
            "hours": self.hours,
            "dataset_hash": self.dataset_hash,
            "index_bytes": self.index_bytes,
            "index_sha256": self.index_sha256,
            "shards": [dataclasses.asdict(shard) for shard in self.shards],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DatasetInfo":
        """Inverse of `to_dict`. `KeyError`, `TypeError` for anything else."""
        names = (field.name for field in dataclasses.fields(DatasetHeader))
        header = DatasetHeader(**{name: values[name] for name in names})
        shards = tuple(Shard(**shard) for shard in values["shards"])
        own = ("complete", "index_bytes", "index_sha256", "dataset_hash")
        return cls(header, shards, **{name: values[name] for name in own})


def read_info(folder: Path) -> DatasetInfo:
    """`dataset.json` of a folder. `SongBloomError` when it is missing or no description."""
    path = Path(folder) / "dataset.json"
    if not path.is_file():
        raise SongBloomError(
            f"{folder}: no dataset (it has no dataset.json)",
            f"Make one: songbloom prepare SONGS -o {folder}",
        )
    try:
        values = json.loads(path.read_text("utf-8"))
        if values["format"] != FORMAT_VERSION:
            raise ValueError(f"format {values['format']}, expected {FORMAT_VERSION}")
        return DatasetInfo.from_dict(values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SongBloomError(
            f"{path}: not a dataset description ({error!r})", "Write the dataset again."
        ) from error


@dataclass
class Shards:
    """An open dataset. Tracks are numbered in order of their ids, wherever they lie."""

    folder: Path
    info: DatasetInfo
    ids: Sequence[str]
    frames: np.ndarray  # [songs] int32
    clips: np.ndarray  # [songs] int32, reference clips
    shard: np.ndarray  # [songs] int32
    row: np.ndarray  # [songs] int32
    skipped: tuple[str, ...]  # why each shard that is left out is

    def __post_init__(self) -> None:
        self._tensors = functools.lru_cache(_MAX_MAPS)(self._map)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, number: int) -> TrainingSong:
        """Track `number`; its arrays are views of the file. `SongBloomError` names a bad shard."""
        shard, row = int(self.shard[number]), int(self.row[number])
        try:
            song = _unpack(self._tensors(shard), row)
        except (ValueError, LookupError, TypeError) as error:
            raise _corrupt(self._path(shard), f"song {row} cannot be read ({error!r})") from error
        if song.id != self.ids[number] or song.num_frames != self.frames[number]:
            raise _corrupt(self._path(shard), "its songs are not those of the index")
        return song

    def references(self, number: int) -> np.ndarray:
        """The reference clips `[K, R, C]` of track `number` alone, without its lyrics' parsing."""
        shard, row = int(self.shard[number]), int(self.row[number])
        tensors = self._tensors(shard)
        begin, end = tensors["offsets"][row : row + 2, 1].tolist()
        clips = tensors["references"][begin:end]
        try:
            return clips.reshape(self.clips[number], -1, clips.shape[1])
        except ValueError as error:
            raise _corrupt(self._path(shard), f"song {row}: {error}") from error

    def _map(self, shard: int) -> dict[str, np.ndarray]:
        channels = self.info.header.latent_dim
        return _map_shard(self._path(shard), self.info.shards[shard], channels)

    def _path(self, shard: int) -> Path:
        return self.folder / "shards" / self.info.shards[shard].name


def open_shards(folder: Path, *, corrupt: Corrupt = "error") -> Shards:
    """Open a finished dataset for random access.

    Every shard's presence, size and layout are looked at now, so that what is left out under
    `corrupt="skip"` is the same on every rank; `skipped` says what and why. `SongBloomError` names
    the first bad shard otherwise. `verify` compares the hashes too.
    """
    folder = Path(folder)
    info = read_finished(folder)
    bad: dict[int, str] = {}
    for number, shard in enumerate(info.shards):
        try:
            _map_shard(folder / "shards" / shard.name, shard, info.header.latent_dim)
        except SongBloomError as error:
            if corrupt == "error":
                raise
            bad[number] = error.message
    ids: list[str] = []
    columns = {name: array("i") for name in ("frames", "clips", "shard", "row")}
    for row in read_index(folder, info):
        if row["shard"] not in bad:
            ids.append(row["id"])
            for name, column in columns.items():
                column.append(row[name])
    if not ids:
        raise SongBloomError(f"{folder}: no shard can be read ({bad[min(bad)]})", _AGAIN)
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__))
    arrays = {name: np.array(column, np.int32)[order] for name, column in columns.items()}
    return Shards(folder, info, [ids[i] for i in order], skipped=tuple(bad.values()), **arrays)


def verify(folder: Path) -> list[str]:
    """Read everything and compare all hashes; what is wrong, one line each."""
    folder = Path(folder)
    info = read_finished(folder)
    problems = []
    for shard in info.shards:
        path = folder / "shards" / shard.name
        if not path.is_file():
            problems.append(f"{path}: missing")
        elif sha256(path) != shard.sha256:
            problems.append(f"{path}: truncated or altered (its sha256 is not dataset.json's)")
    try:
        hashes = {row["id"]: bytes.fromhex(row["sha256"]) for row in read_index(folder, info)}
    except SongBloomError as error:
        return [*problems, error.message]
    if hash_dataset(info.header, hashes) != info.dataset_hash:
        problems.append(f"{folder}: the songs' hashes do not make up the dataset hash")
    return problems


def song_text(song: TrainingSong) -> bytes:
    """The song's line in `tracks`."""
    values = {
        "id": song.id,
        "artist": song.artist,
        "frames": song.num_frames,
        "reference_starts": [int(start) for start in song.reference_starts],
        "reference_frames": song.references.shape[1],
        "sections": [
            {
                "tag": section.tag,
                **_span(section),
                "lines": [_line_values(line) for line in section.lines],
            }
            for section in song.sections
        ],
    }
    if song.beats:
        values["beats"] = [round(float(at), _MILLISECONDS) for at in song.beats]
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n"


def _line_values(line: SungLine) -> dict[str, Any]:
    values = {**_span(line), "phonemes": line.phonemes}
    begins = [round(float(at), _MILLISECONDS) for at in line.begins]
    return {**values, "begins": begins} if begins else values


def _span(what: SungLine | SungSection) -> dict[str, float]:
    return {name: round(float(getattr(what, name)), _MILLISECONDS) for name in ("start", "end")}


def song_digest(song: TrainingSong, text: bytes) -> bytes:
    """A song's hash: over its line, then its arrays."""
    digest = hashlib.sha256(text)
    for part in (song.sketch, song.latents, song.references):
        digest.update(np.ascontiguousarray(part).data)
    return digest.digest()


def hash_dataset(header: DatasetHeader, hashes: Mapping[str, bytes]) -> str:
    """Over what made the dataset and `sha256  id` lines in order of the ids."""
    described = {"format": FORMAT_VERSION, **dataclasses.asdict(header), "frame_rate": FRAME_RATE}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode("utf-8") + b"\n")
    for track in sorted(hashes):
        digest.update(f"{hashes[track].hex()}  {track}\n".encode())
    return digest.hexdigest()


def pack(songs: Sequence[TrainingSong], texts: Sequence[bytes]) -> dict[str, np.ndarray]:
    """The tensors of a shard."""
    channels = songs[0].latents.shape[1]
    references = [song.references.reshape(-1, channels) for song in songs]
    sizes = [
        (song.num_frames, len(clips), len(text))
        for song, clips, text in zip(songs, references, texts, strict=True)
    ]
    return {
        "offsets": np.concatenate([np.zeros((1, 3), "<i8"), np.cumsum(sizes, axis=0, dtype="<i8")]),
        "sketch": np.concatenate([song.sketch for song in songs]),
        "latents": np.concatenate([song.latents for song in songs]),
        "references": np.concatenate(references),
        "tracks": np.frombuffer(b"".join(texts), np.uint8),
    }


_DTYPES = {"I64": "<i8", "I32": "<i4", "F16": "<f2", "U8": "u1"}
_DIMENSIONS = {"offsets": 2, "sketch": 1, "latents": 2, "references": 2, "tracks": 1}


def _map_shard(path: Path, shard: Shard, channels: int) -> dict[str, np.ndarray]:
    """A shard's tensors as views of the file. `SongBloomError` naming a shard that is not whole."""
    try:
        with open(path, "rb") as stream:
            # Copy on write: torch wants memory that it could write to.
            content = np.frombuffer(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY), "u1")
        if len(content) != shard.bytes:
            raise _corrupt(path, f"it has {len(content)} bytes; expected {shard.bytes}")
        begin = 8 + int(content[:8].view("<u8")[0])
        header = json.loads(content[8:begin].tobytes())
        tensors = {name: _view(content[begin:], header[name]) for name in _DIMENSIONS}
    except OSError as error:
        raise _corrupt(path, error.strerror or str(error)) from error
    except (ValueError, LookupError, TypeError) as error:
        raise _corrupt(path, f"its header cannot be read ({error!r})") from error
    offsets, references = tensors["offsets"], tensors["references"]
    ends = (shard.frames, len(references), len(tensors["tracks"]))
    if (
        any(tensors[name].ndim != number for name, number in _DIMENSIONS.items())
        or offsets.shape != (shard.songs + 1, 3)
        or tensors["sketch"].shape != (shard.frames,)
        or tensors["latents"].shape != (shard.frames, channels)
        or references.shape[1] != channels
        or tuple(offsets[-1]) != ends
        or (np.diff(offsets, axis=0, prepend=0) < 0).any()
    ):
        raise _corrupt(path, "its tensors do not fit together")
    return tensors


def _view(content: np.ndarray, described: Mapping[str, Any]) -> np.ndarray:
    begin, end = described["data_offsets"]
    return content[begin:end].view(_DTYPES[described["dtype"]]).reshape(described["shape"])


def _unpack(tensors: Mapping[str, np.ndarray], row: int) -> TrainingSong:
    (a, q, x), (b, r, y) = tensors["offsets"][row : row + 2].tolist()
    values = json.loads(tensors["tracks"][x:y].tobytes())
    starts, clips = tuple(values["reference_starts"]), tensors["references"][q:r]
    return TrainingSong(
        id=values["id"],
        sketch=tensors["sketch"][a:b],
        latents=tensors["latents"][a:b],
        sections=tuple(_section(section) for section in values["sections"]),
        references=clips.reshape(len(starts), values["reference_frames"], clips.shape[1]),
        reference_starts=starts,
        artist=values["artist"],
        beats=tuple(values.get("beats", ())),
    )


def _section(values: Mapping[str, Any]) -> SungSection:
    lines = tuple(
        SungLine(line["start"], line["end"], line["phonemes"], tuple(line.get("begins", ())))
        for line in values["lines"]
    )
    return SungSection(values["tag"], values["start"], values["end"], lines)


def read_index(folder: Path, info: DatasetInfo) -> Iterator[dict[str, Any]]:
    """Rows of index.jsonl, as far as dataset.json promises them, one in memory at a time.

    `SongBloomError` when they are fewer, or not those of a finished dataset.
    """
    path, count = folder / "index.jsonl", 0
    try:
        if info.complete and sha256(path) != info.index_sha256:
            raise ValueError("its sha256 is not dataset.json's")
        with open(path, "rb") as stream:
            while stream.tell() < info.index_bytes:
                yield json.loads(stream.readline())
                count += 1
            if stream.tell() != info.index_bytes or count != info.songs:
                raise ValueError(f"{count} songs; expected {info.songs}")
    except (OSError, ValueError) as error:
        raise SongBloomError(
            f"{path}: truncated or altered ({error})", "Write the dataset again."
        ) from error


def read_finished(folder: Path) -> DatasetInfo:
    """`read_info` of a dataset that has all its songs; `SongBloomError` for any other."""
    info = read_info(folder)
    if not info.complete:
        raise SongBloomError(
            f"{folder}: this dataset is not finished ({info.songs} songs so far)",
            "Run the command that writes it again: it goes on where it stopped.",
        )
    return info


def _corrupt(path: Path, why: str) -> SongBloomError:
    return SongBloomError(f"{path}: missing or corrupt shard: {why}", _AGAIN)
