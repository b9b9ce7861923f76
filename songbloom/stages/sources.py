"""Finding songs: in folders, among flat files, in a JSONL manifest, or a single sound file.

| input | id |
|---|---|
| `song_001/audio.flac` (or `song.*`, `mixture.*`) + lyrics | `song_001` |
| `album/name.flac` + `album/name.txt` | `album/name` |
| a row of a manifest | its `id`, else its audio path without suffix |

Lyrics stand beside the sound under its name, or as `lyrics.*`, or as the only text in a folder with
a single song. Ids are relative POSIX paths without suffix in NFC, unique, in order; what two files
would share keeps its suffix, and characters that do not print are written `%0A`.

Folders are walked one at a time, so memory is that of the largest one's names (3 million files in
one folder: about 1 GB). Nothing is opened but manifests.
"""

import hashlib
import heapq
import json
import os
import unicodedata
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from songbloom.errors import SongBloomError
from songbloom.manifest import Track

# The best first: of two copies it is taken.
SOUND_SUFFIXES: tuple[str, ...] = (".flac", ".wav", ".aiff", ".aif", ".m4a", ".opus", ".ogg")
SOUND_SUFFIXES += (".oga", ".mp3", ".aac", ".mp4", ".wma")
LYRICS_SUFFIXES = (".jsonl", ".txt", ".elrc", ".lrc", ".vtt", ".srt")
WHOLE_SONGS = ("audio", "song", "mixture")  # names that stand for their folder
STEMS = {"vocals", "vocal", "voice", "acapella", "accompaniment", "backing", "instrumental"}
STEMS |= {"no_vocals", "karaoke", "drums", "bass", "other", "guitar", "piano"}
NO_LYRICS = {"readme", "license", "licence", "copying", "credits", "info", "notes", "tracklist"}
_MADE = ("prepare.json", "dataset.json")  # what a folder that `prepare` made holds
_MOST_NOTES = 1000
_INSTEAD = {"licence": ("licence", "license"), "lyrics_text": ("lyrics_text", "text")}


@dataclass
class Sources:
    """Songs under `root` in order of their ids, to be taken once; `notes` grows on the way.

    A track's `audio` and `lyrics` are relative to `root`, or absolute where a manifest says so.
    """

    root: Path
    tracks: Iterator[Track]
    notes: list[str] = field(default_factory=list)


def find(path: Path, *, limit: int | None = None, exclude: Collection[Path] = ()) -> Sources:
    """The songs of a folder, a manifest (`.jsonl`), or one sound file; the first `limit` of them.

    Folders in `exclude` are left out, as are hidden ones and those that `prepare` made. What is
    left out for a reason worth knowing is told in `notes`. `SongBloomError` for a path that
    is not there or is none of these, and for a manifest's row that is wrong.
    """
    path = Path(path)
    if path.is_dir():
        walk = _Walk(path, {_identity(folder) for folder in exclude if folder.is_dir()})
        sources = Sources(path, walk.tracks(), walk.notes)
    elif path.suffix.lower() == ".jsonl" and path.is_file():
        sources = Sources(path.parent, _ManifestRows(path).tracks())
    elif path.suffix.lower() in SOUND_SUFFIXES and path.is_file():
        sources = Sources(path.parent, iter([_single(path)]))
    else:
        raise SongBloomError(
            f"{path}: {'is no song, folder or manifest' if path.exists() else 'is not there'}; "
            "expected a folder of songs, a .jsonl manifest, or a sound file",
            "For example: songbloom prepare ./songs",
        )
    if limit is not None:
        sources.tracks = islice(sources.tracks, limit)
    return sources


def in_slice(size: int, number: int, count: int) -> bool:
    """Whether a song whose file has `size` bytes belongs to slice `number` of `count`, from 1.

    Files of the same content have the same size, so that they meet in one slice.
    """
    digest = hashlib.sha256(str(size).encode("ascii")).digest()
    return int.from_bytes(digest[:8], "big") % count == number - 1


def id_part(name: str) -> str:
    """A file's name as part of an id: NFC, without characters that do not print."""
    text = unicodedata.normalize("NFC", name)
    return "".join(x if x.isprintable() else _escaped(x) for x in text)


def _escaped(letter: str) -> str:
    """`%0A` and the like; bytes that are no UTF-8 (Python's lone surrogates) as themselves."""
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogateescape"))


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


@dataclass
class _Folder:
    """What a folder holds: its songs by id part, folders still to be walked by id part."""

    own: tuple[str, str | None] | None  # the folder is a song: its sound and lyrics
    songs: dict[str, tuple[str, str | None]]
    folders: dict[str, str]


class _Walk:
    """Depth first through a folder, in order of ids; symbolic links are followed once."""

    def __init__(self, root: Path, excluded: set[tuple[int, int]]) -> None:
        self.root, self.excluded, self.notes = root, excluded, list[str]()
        self.unnoted = 0
        self.real_root = os.path.realpath(root)
        self.linked: set[tuple[int, int]] = set()

    def tracks(self) -> Iterator[Track]:
        """All songs. A folder that is a song stands before what else it holds."""
        top = self._list("")
        if top is None:
            raise SongBloomError(f"{self.root}: cannot be read", "Check that you may read it.")
        if top.own:
            name = id_part(self.root.resolve().name)
            top.songs[name + "~2" * (name in top.folders)] = top.own
        stack = [("", "", top, _heap(top))]
        while stack:
            prefix, at, folder, heap = stack[-1]
            if not heap:
                stack.pop()
                continue
            key, inner = heapq.heappop(heap)
            if inner is not None:  # what a folder holds beside its own song
                stack.append((prefix + key, *inner, _heap(inner[1])))
            elif key in folder.songs:
                yield self._track(prefix + key, at, folder.songs[key])
            else:
                where = at + folder.folders[key] + "/"
                found = self._list(where)
                if found is None:
                    continue
                if found.own:
                    yield self._track(prefix + key, where, found.own)
                if found.songs or found.folders:
                    heapq.heappush(heap, (key + "/", (where, found)))
        if self.unnoted:
            self.notes.append(f"{self.unnoted} more notes are not shown")

    def note(self, where: str, what: str) -> None:
        """Remember something that is left out."""
        if len(self.notes) < _MOST_NOTES:
            self.notes.append(f"{id_part(where)}: {what}")
        else:
            self.unnoted += 1

    def _track(self, name: str, at: str, files: tuple[str, str | None]) -> Track:
        audio, lyrics = files
        return Track(name, at + audio, None if lyrics is None else at + lyrics)

    def _list(self, at: str) -> _Folder | None:
        """What stands in the folder `at` (relative, ends in "/"); None where it is left out."""
        files, folders, links = list[str](), list[str](), list[os.DirEntry[str]]()
        try:
            with os.scandir(self.root / at) as entries:
                for entry in entries:
                    if _is(entry.is_dir):
                        if entry.is_symlink():
                            links.append(entry)
                        elif self._enters(at, entry):
                            folders.append(entry.name)
                    elif self._takes(at, entry):
                        files.append(entry.name)
        except OSError as error:
            self.note(at or ".", f"cannot be read ({error.strerror or error})")
            return None
        if any(name in files for name in _MADE):
            self.note(at or ".", "was made by songbloom prepare; left out")
            return _Folder(None, {}, {})
        for link in sorted(links, key=lambda link: link.name):  # the first to a place is followed
            if self._enters(at, link):
                folders.append(link.name)
        return self._sort(at, files, folders)

    def _takes(self, at: str, entry: "os.DirEntry[str]") -> bool:
        """Whether a file may be a song or lyrics."""
        suffix = _suffix(entry.name)
        if suffix not in SOUND_SUFFIXES:
            return suffix in LYRICS_SUFFIXES or entry.name in _MADE
        if entry.name.startswith("."):
            self.note(at + entry.name, "is hidden; left out")
            return False
        if not _is(entry.is_file):
            what = "a symbolic link to nothing" if entry.is_symlink() else "no regular file"
            self.note(at + entry.name, f"is {what}; left out")
            return False
        return True

    def _enters(self, at: str, entry: "os.DirEntry[str]") -> bool:
        """Whether a folder is walked: not what is hidden, left out, or walked elsewhere."""
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            self.note(at + entry.name, "is hidden; left out")
            return False
        if not entry.is_symlink() and not self.excluded:
            return True
        try:
            identity = _identity(Path(entry.path))
        except OSError as error:
            self.note(at + entry.name, f"cannot be read ({error.strerror or error})")
            return False
        if identity in self.excluded:
            return False
        return not entry.is_symlink() or self._follows(at, entry, identity)

    def _follows(self, at: str, entry: "os.DirEntry[str]", identity: tuple[int, int]) -> bool:
        """A link leads out of the corpus, to where no other link led; else there may be loops."""
        target = os.path.realpath(entry.path)
        inside = os.path.commonpath([target, self.real_root])
        if inside in (self.real_root, target):
            self.note(at + entry.name, "is a symbolic link to a folder of the corpus; left out")
            return False
        if identity in self.linked:
            self.note(at + entry.name, "is a symbolic link to what another one led to; left out")
            return False
        self.linked.add(identity)
        return True

    def _sort(self, at: str, files: list[str], folders: list[str]) -> _Folder:
        """Songs with their lyrics, from the names in a folder."""
        sounds = sorted((x for x in files if _suffix(x) in SOUND_SUFFIXES), key=_preference)
        texts = sorted((x for x in files if _suffix(x) in LYRICS_SUFFIXES), key=_preference)
        by_stem: dict[str, list[str]] = {}
        for name in texts:
            by_stem.setdefault(_stem(name), []).append(name)
        lyrics = {stem: names[0] for stem, names in by_stem.items()}
        words = [stem for stem in lyrics if stem.casefold() not in NO_LYRICS]
        alone = lyrics.get("lyrics") or (lyrics[words[0]] if len(words) == 1 else None)
        named = [name for name in sounds if _stem(name).casefold() in WHOLE_SONGS]
        rest = [name for name in sounds if name not in named] if named else sounds
        if named and all(_stem(name).casefold() in STEMS for name in rest):
            for other in named[1:]:
                self.note(at + other, f"stands beside {named[0]}; left out")
            own = (named[0], lyrics.get(_stem(named[0])) or alone)
            return _Folder(own, {}, _unique(folders, set()))
        parts = _unique(folders, set())
        songs = _unique(sounds, set(parts), stems=True)
        if len(sounds) != 1:
            alone = None
        return _Folder(
            None,
            {part: (name, lyrics.get(_stem(name)) or alone) for part, name in songs.items()},
            parts,
        )


def _is(test: Callable[[], bool]) -> bool:
    """Whether it is; a link to itself is nothing."""
    try:
        return test()
    except OSError:
        return False


def _heap(folder: _Folder) -> "list[tuple[str, tuple[str, _Folder] | None]]":
    heap: list[tuple[str, tuple[str, _Folder] | None]]
    heap = [(key, None) for names in (folder.songs, folder.folders) for key in names]
    heapq.heapify(heap)
    return heap


def _unique(names: list[str], taken: set[str], *, stems: bool = False) -> dict[str, str]:
    """id part -> name: stems where only one name has it, else the whole name, else a number."""
    names = sorted(names)
    parts = [id_part(name) for name in names]
    counts: dict[str, int] = {}
    for name in names if stems else ():
        counts[_stem_part(name)] = counts.get(_stem_part(name), 0) + 1
    found: dict[str, str] = {}
    for name, part in zip(names, parts, strict=True):
        stem = _stem_part(name)
        wanted = stem if stems and counts[stem] == 1 and stem not in taken else part
        key, number = wanted, 2
        while key in found or key in taken or (stems and key != stem and key in counts):
            key, number = f"{wanted}~{number}", number + 1
        found[key] = name
    return found


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _stem(name: str) -> str:
    return unicodedata.normalize("NFC", os.path.splitext(name)[0])


def _stem_part(name: str) -> str:
    return id_part(os.path.splitext(name)[0])


def _preference(name: str) -> tuple[int, str]:
    """Better formats first, then by name."""
    suffix = _suffix(name)
    kinds = SOUND_SUFFIXES if suffix in SOUND_SUFFIXES else LYRICS_SUFFIXES
    return kinds.index(suffix), name


def _single(path: Path) -> Track:
    """One sound file with the lyrics beside it, if they have its name."""
    for suffix in LYRICS_SUFFIXES:
        if path.with_suffix(suffix).is_file():
            return Track(_stem_part(path.name), path.name, path.with_suffix(suffix).name)
    return Track(_stem_part(path.name), path.name)


class _ManifestRows:
    """A manifest's rows in order of their ids: read once for these, then again one by one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.starts, ids = array("q"), list[str]()
        with self._open() as stream:
            start = 0
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    ids.append(self._track(line, number).id)
                    self.starts.append(start)
                start += len(line)
        self.order = array("q", sorted(range(len(ids)), key=ids.__getitem__))
        for one, other in zip(self.order, self.order[1:], strict=False):
            if ids[one] == ids[other]:
                raise SongBloomError(
                    f"{path}: two rows have the id '{ids[one]}'", "Give every row its own id."
                )
        if not ids:
            raise SongBloomError(f"{path}: no rows", "Write a line of JSON for every song.")

    def tracks(self) -> Iterator[Track]:
        """The songs."""
        with self._open() as stream:
            for place in self.order:
                stream.seek(self.starts[place])
                yield self._track(stream.readline(), place + 1)

    def _open(self) -> Any:
        try:
            return open(self.path, "rb")
        except OSError as error:
            raise SongBloomError(
                f"{self.path}: cannot be read ({error.strerror or error})",
                "Check that you may read it.",
            ) from error

    def _track(self, line: bytes, number: int) -> Track:
        where = f"{self.path}:{number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise _wrong(where, f"not JSON ({error})") from error
        if not isinstance(row, dict):
            raise _wrong(where, "not a JSON object")
        audio = _text(row, "audio", where)
        if not audio:
            raise _wrong(where, "has no 'audio', the path of a sound file")
        year = row.get("year")
        if year is not None and (not isinstance(year, int) or isinstance(year, bool)):
            raise _wrong(where, f"'year' is {year!r}; expected a whole number")
        name = _text(row, "id", where) or _path_id(audio)
        return Track(
            "/".join(id_part(part) for part in name.split("/")),
            audio,
            _text(row, "lyrics", where) or None,
            _text(row, "lyrics_text", where) or None,
            title=_text(row, "title", where) or "",
            artist=_text(row, "artist", where) or "",
            year=year,
            language=_text(row, "language", where) or "",
            licence=_text(row, "licence", where) or "",
            source=_text(row, "source", where) or "",
        )


def _text(row: Mapping[str, Any], key: str, where: str) -> str | None:
    for name in _INSTEAD.get(key, (key,)):
        value = row.get(name)
        if value is not None:
            if not isinstance(value, str):
                raise _wrong(where, f"'{name}' is {value!r}; expected text")
            return value
    return None


def _path_id(audio: str) -> str:
    """A path without suffix, and without what leads out of the corpus."""
    path = PurePosixPath(audio)
    parts = [part for part in path.with_suffix("").parts if part not in ("/", "..", ".")]
    return "/".join(parts)


def _wrong(where: str, what: str) -> SongBloomError:
    return SongBloomError(
        f"{where}: {what}",
        'A row looks like {"audio": "a/song.flac", "lyrics": "a/song.txt", "artist": "Ann"}.',
    )
