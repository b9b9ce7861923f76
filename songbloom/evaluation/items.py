"""The songs to be scored: generated ones of ours, or any system's sound files with their lyrics.

| input | a song is |
|---|---|
| a folder | every sound file in it; `NAME.song/` (ours), or `NAME.txt`, `.lrc` and the like |
| a `.csv` or `.jsonl` | a row: `audio`, and if it has them `name`, `lyrics`, `reference` |
| a sound file or `NAME.song` | that one, with what a folder would give it |

A song is called as its file; one of ours as the line of the batch that asked for it (`idx`), if no
other song here did, so that songs of other systems pair up with it. In a folder the style clip of
NAME is `NAME.reference.wav` or `references/NAME.wav` (any suffix; `NAME.reference.txt` is a style
in words), or for a song of ours the clip that it recorded, found by name there. In a table `lyrics`
are a text file or the lyrics themselves; paths are relative to the table.

What is wrong with one song is a problem of that song, told when it is measured. Free of torch.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from songbloom import lyrics as lyric_text
from songbloom.errors import SongBloomError
from songbloom.files import sha256
from songbloom.lyrics.decoding import MAX_BYTES
from songbloom.stages import sound
from songbloom.stages.sources import LYRICS_SUFFIXES, SOUND_SUFFIXES, id_part
from songbloom.toml import TOMLDecodeError, loads
from songbloom.units import Seconds

TABLE_SUFFIXES = (".csv", ".jsonl")
BUNDLE_SUFFIX = ".song"
REFERENCES = "references"
SHORTEST: Seconds = 1.0
_SILENT = 10 ** (-60 / 20)  # peak, of full scale 1
_MARK = ".reference"
_COLUMNS = ("name", "audio", "lyrics", "reference")
_TEXT_SUFFIXES = (*LYRICS_SUFFIXES, ".md")


@dataclass(frozen=True)
class Item:
    """One generated song and what it was asked for.

    `lyrics` is the text as given, in any format that `songbloom.lyrics` reads; `reference` the
    style clip; `bundle` the folder NAME.song, where there is one. `problems` says in a sentence
    what cannot be used of "audio", "lyrics", "reference".
    """

    name: str
    audio: Path
    lyrics: str | None = None
    reference: Path | None = None
    bundle: Path | None = None
    problems: Mapping[str, str] = field(default_factory=dict)


def find(
    path: Path, *, references: Path | None = None, limit: int | None = None
) -> tuple[Item, ...]:
    """The songs of a folder, a table or one file, in order of their names; the first `limit`.

    `references` is looked for clips in place of the folder `references`. `SongBloomError` for a
    path that is neither, one without songs, a name used twice, and a row that is wrong.
    """
    path = Path(path)
    if references is not None and not references.is_dir():
        raise SongBloomError(f"{references}: is no folder", "Name the folder of reference clips.")
    found: Iterable[Item]
    if is_song(path):
        beside = _Folder(path.parent, references or path.parent / REFERENCES)
        found = [item for item in beside.items() if path in (item.audio, item.bundle)]
    elif path.is_dir():
        found = _Folder(path, references or path / REFERENCES).items()
    elif path.suffix.lower() in TABLE_SUFFIXES and path.is_file():
        found = (_from_row(row, where, path.parent) for where, row in _rows(path))
    else:
        what = "is no song, folder or table" if path.exists() else "is not there"
        raise SongBloomError(
            f"{path}: {what}; expected a folder of songs with their lyrics, one song, or a .csv "
            "or .jsonl table",
            "For example: songbloom evaluate ./out",
        )
    items = sorted(found, key=lambda item: item.name)
    if not items:
        raise SongBloomError(
            f"{path}: holds no songs; expected sound files, each with its lyrics as NAME.txt or a "
            "bundle NAME.song",
            "Name the folder that the songs were generated into.",
        )
    _check_names(items, path)
    return tuple(items[:limit])


def is_song(path: Path) -> bool:
    """Whether a path is one song: a sound file or a bundle NAME.song."""
    return _is_sound(path) or (path.suffix == BUNDLE_SUFFIX and path.is_dir())


def check_sound(path: Path) -> Seconds:
    """The length of a sound file; `SongBloomError` for one that holds no song to be scored.

    Read to its end: broken files, samples that are no numbers, less than a second, silence.
    """
    frames, peak = 0, 0.0
    with sound.stream(path) as song:
        for block in song.blocks:
            frames += block.shape[1]
            peak = max(peak, float(np.abs(block).max(initial=0.0)))
    seconds = frames / song.sample_rate
    if seconds < SHORTEST:
        raise SongBloomError(
            f"{path}: {seconds:.2f} s long; expected a song of {SHORTEST:g} s or more",
            "Generate it again, or leave it out.",
        )
    if peak < _SILENT:
        level = f"its peak is at {20 * np.log10(peak):.0f} dBFS" if peak else "all samples are 0"
        raise SongBloomError(f"{path}: is silent ({level})", "Generate it again, or leave it out.")
    return seconds


class _Folder:
    """A folder of songs, its files sorted by what they are to each other."""

    def __init__(self, folder: Path, references: Path) -> None:
        entries = sorted(x for x in folder.iterdir() if not x.name.startswith("."))
        self.folder = folder
        self.bundles = {x.stem: x for x in entries if x.suffix == BUNDLE_SUFFIX and x.is_dir()}
        sounds = [x for x in entries if _is_sound(x)]
        marked = [x for x in entries if x.stem.endswith(_MARK)]
        clips = [x for x in marked if _is_sound(x) or x.suffix.lower() == ".txt"]
        self.clips = {x.stem[: -len(_MARK)]: x for x in clips}
        self.sounds = [x for x in sounds if not x.stem.endswith(_MARK)]
        self.texts = {x.name: x for x in entries if x.suffix.lower() in _TEXT_SUFFIXES}
        kept = sorted(references.iterdir()) if references.is_dir() else []
        self.references = {x.name: x for x in kept if _is_sound(x)}
        self.by_stem = {x.stem: x for x in self.references.values()}

    def items(self) -> Iterator[Item]:
        """Every song: of ours its bundle's, then all other sound files that are no clip."""
        described = {name: _read_bundle(bundle) for name, bundle in self.bundles.items()}
        asked = Counter(str(song.get("idx")) for song in described.values())
        taken = set()
        for name, song in described.items():
            alone = asked[str(song.get("idx"))] == 1 and isinstance(song.get("idx"), str)
            item = self._ours(name, song, song["idx"] if alone else name)
            taken |= {item.audio.name, str(_told(song, "reference").get("file"))}
            yield item
        for path in self.sounds:
            if path.name not in taken:
                yield self._pair(path)

    def _ours(self, name: str, song: Mapping[str, Any], title: str) -> Item:
        audio = self.folder / str(_told(song, "audio").get("file"))
        if not _is_sound(audio):
            stems = {x.stem: x for x in self.sounds}
            audio = stems.get(name, self.folder / f"{name}.flac")
        problems = {} if song else {"audio": f"{name}{BUNDLE_SUFFIX}/song.toml cannot be read"}
        lyrics = _read_text(self.bundles[name] / "lyrics.txt", problems)
        clip = self._clip(title) or self._clip(name) or self._recorded_clip(song, problems)
        return Item(id_part(title), audio, lyrics, clip, self.bundles[name], problems)

    def _pair(self, path: Path) -> Item:
        problems: dict[str, str] = {}
        beside = (self.texts.get(path.stem + suffix) for suffix in _TEXT_SUFFIXES)
        text = next((x for x in beside if x), None)
        lyrics = None if text is None else _read_text(text, problems)
        return Item(id_part(path.stem), path, lyrics, self._clip(path.stem), None, problems)

    def _clip(self, name: str) -> Path | None:
        return self.clips.get(name) or self.by_stem.get(name)

    def _recorded_clip(self, song: Mapping[str, Any], problems: dict[str, str]) -> Path | None:
        """The clip that a song of ours was made from, if it is at hand and still the same."""
        recorded = _told(song, "reference")
        name = str(recorded.get("file"))
        beside = self.folder / name
        clip = self.references.get(name) or (beside if _is_sound(beside) else None)
        if clip is None:
            problems["reference"] = (
                f"the reference clip {name} is not at hand; name its folder with --references"
            )
        elif sha256(clip) != recorded.get("sha256"):
            problems["reference"] = f"{name} is not the clip that the song was made from"
            return None
        return clip


def _is_sound(path: Path) -> bool:
    return path.suffix.lower() in SOUND_SUFFIXES and path.is_file()


def _read_bundle(bundle: Path) -> dict[str, Any]:
    """song.toml; empty where it cannot be read."""
    try:
        return loads((bundle / "song.toml").read_text("utf-8"))
    except (OSError, ValueError, TOMLDecodeError):
        return {}


def _told(song: Mapping[str, Any], table: str) -> Mapping[str, Any]:
    found = song.get(table)
    return found if isinstance(found, Mapping) else {}


def _read_text(path: Path, problems: dict[str, str]) -> str | None:
    """A text file, or None and what is wrong with it among the problems."""
    try:
        with open(path, "rb") as stream:
            return lyric_text.decode(stream.read(MAX_BYTES + 1), path.name)
    except OSError as error:
        problems["lyrics"] = f"{path.name}: cannot be read ({error.strerror or error})"
    except SongBloomError as error:
        problems["lyrics"] = error.message
    return None


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where, row) of a table."""
    try:
        text = lyric_text.decode(path.read_bytes(), str(path))
    except OSError as error:
        raise SongBloomError(
            f"{path}: cannot be read ({error.strerror or error})", "Check that you may read it."
        ) from error
    if path.suffix.lower() == ".csv":
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        try:
            for row in reader:
                yield f"{path}:{reader.line_num}", row
        except csv.Error as error:
            raise SongBloomError(
                f"{path}:{reader.line_num}: is no CSV ({error})",
                f"Write a first row of {','.join(_COLUMNS)}, then a row a song.",
            ) from error
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield f"{path}:{number}", json.loads(line)
        except ValueError as error:
            raise SongBloomError(
                f"{path}:{number}: is not JSON ({error})",
                f"Write an object with {', '.join(_COLUMNS)} a line.",
            ) from error


def _from_row(row: object, where: str, folder: Path) -> Item:
    """A table's row. A file that is not there is a problem of that song alone."""
    if not isinstance(row, Mapping) or not all(
        isinstance(row.get(key), str | None) for key in _COLUMNS
    ):
        raise SongBloomError(f"{where}: expected texts {', '.join(_COLUMNS)}", "Mend that row.")
    if not (row.get("audio") or "").strip():
        raise SongBloomError(
            f"{where}: has no 'audio'", "Each row names a sound file in the column audio."
        )
    problems: dict[str, str] = {}
    audio = folder / row["audio"]
    lyrics = row.get("lyrics") or None
    if lyrics and "\n" not in lyrics and lyrics.lower().endswith(_TEXT_SUFFIXES):
        lyrics = _read_text(folder / lyrics, problems)
    clip = folder / row["reference"] if row.get("reference") else None
    if clip is not None and not clip.is_file():
        problems["reference"], clip = f"{row['reference']}: no such file", None
    return Item(id_part(row.get("name") or audio.stem), audio, lyrics, clip, None, problems)


def _check_names(items: Iterable[Item], path: Path) -> None:
    seen: dict[str, Item] = {}
    for item in items:
        if item.name in seen:
            other = seen[item.name].audio.name
            raise SongBloomError(
                f"{path}: two songs are called '{item.name}' ({other}, {item.audio.name})",
                "Keep one sound file a name.",
            )
        seen[item.name] = item
