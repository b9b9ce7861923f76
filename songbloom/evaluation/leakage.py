"""What a test set and a training set have in common, by the training set's manifest.

| kind | what is the same |
|---|---|
| `exact` | the bytes of a reference's song |
| `near-duplicate` | its sound: fingerprints as alike as `songbloom manifest split` keeps together |
| `artist` | its artist |
| `lyrics` | the bytes of the lyrics |

The whole songs that clips were cut from are compared, not the clips: of a song's fingerprint ten
seconds hold too little. Streaming: 1.5 million rows take little memory. Rows that were rejected or
failed are passed over, since nothing was trained on them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from songbloom import manifest
from songbloom.manifest import Track
from songbloom.stages import fingerprint
from songbloom.stages.splits import NEAR, artist_key

Kind = Literal["exact", "near-duplicate", "artist", "lyrics"]
_CHUNK = 4096  # rows compared together


@dataclass(frozen=True)
class Known:
    """What is compared of one song: hex SHA-256 of its sound and lyrics, fingerprint, artist."""

    name: str
    audio_sha256: str = ""
    fingerprint: str = ""
    artist: str = ""
    lyrics_sha256: str = ""


@dataclass(frozen=True)
class Leak:
    """A song of the test set that training has heard: how, and in which track of the manifest.

    `similarity` is 1 but for near-duplicates.
    """

    name: str
    kind: Kind
    track: str
    similarity: float = 1.0


@dataclass
class Leaks:
    """`found` in order of names and kinds, the nearest track of each; how many rows were compared.

    Of `tracks` rows so many lack what a kind of leak is found by, and may leak unseen, as may the
    `unnamed` songs of the test set whose artist is not known.
    """

    found: list[Leak] = field(default_factory=list)
    tracks: int = 0
    without_hash: int = 0
    without_fingerprint: int = 0
    without_artist: int = 0
    unnamed: int = 0

    @property
    def names(self) -> set[str]:
        """The songs that leak."""
        return {leak.name for leak in self.found}


def find(songs: Sequence[Known], against: Path) -> Leaks:
    """What of `songs` is in the manifest `against`. `SongBloomError` where that cannot be read."""
    leaks = Leaks(unnamed=sum(bool(s.audio_sha256) and not artist_key(s.artist) for s in songs))
    best: dict[tuple[str, Kind], Leak] = {}
    index = _Index(songs)
    tracks = (t for t in manifest.read(against) if t.state not in ("rejected", "failed"))
    while chunk := list(islice(tracks, _CHUNK)):
        _count(chunk, leaks)
        for leak in (*index.same(chunk), *index.near(chunk)):
            known = best.setdefault((leak.name, leak.kind), leak)
            if leak.similarity > known.similarity:
                best[leak.name, leak.kind] = leak
    leaks.found = sorted(best.values(), key=lambda leak: (leak.name, leak.kind))
    return leaks


class _Index:
    """The songs by what may be the same of them."""

    def __init__(self, songs: Sequence[Known]) -> None:
        self.by: dict[Kind, dict[str, list[str]]] = {"exact": {}, "artist": {}, "lyrics": {}}
        for song in songs:
            for kind, key in _keys(song.audio_sha256, song.artist, song.lyrics_sha256):
                self.by[kind].setdefault(key, []).append(song.name)
        heard = [(song.name, fingerprint.decode(song.fingerprint)) for song in songs]
        self.heard = [(name, values) for name, values in heard if len(values)]

    def same(self, chunk: Sequence[Track]) -> Iterator[Leak]:
        """Songs with a track's very sound, artist or lyrics."""
        for track in chunk:
            for kind, key in _keys(
                _of(track, "audio_sha256"), track.artist, _of(track, "lyrics_sha256")
            ):
                for name in self.by[kind].get(key, ()):
                    yield Leak(name, kind, track.id)

    def near(self, chunk: Sequence[Track]) -> Iterator[Leak]:
        """Songs that sound nearly like a track."""
        prints = [(track.id, fingerprint.decode(_of(track, "fingerprint"))) for track in chunk]
        prints = [(track, values) for track, values in prints if len(values)]
        if not prints:
            return
        table = np.stack([values for _, values in prints])
        for name, values in self.heard:
            equal = (table == values).mean(axis=1)
            similar = (equal - 1 / 256) / (1 - 1 / 256)  # as fingerprint.similarity, of all at once
            for place in np.flatnonzero(similar >= NEAR):
                yield Leak(name, "near-duplicate", prints[place][0], round(similar[place], 3))


def _keys(audio: str, artist: str, lyrics: str) -> Iterable[tuple[Kind, str]]:
    """What there is to be the same."""
    pairs: list[tuple[Kind, str]]
    pairs = [("exact", audio), ("artist", artist_key(artist)), ("lyrics", lyrics)]
    return [(kind, key) for kind, key in pairs if key]


def _of(track: Track, key: str) -> str:
    return str(track.results.get("ingest", {}).get(key, ""))


def _count(chunk: Sequence[Track], leaks: Leaks) -> None:
    leaks.tracks += len(chunk)
    leaks.without_hash += sum(not _of(track, "audio_sha256") for track in chunk)
    leaks.without_fingerprint += sum(not _of(track, "fingerprint") for track in chunk)
    leaks.without_artist += sum(not artist_key(track.artist) for track in chunk)
