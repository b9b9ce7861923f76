"""Songs into splits such as train and test, so that nothing of one is heard in another.

Songs of one artist, of the same sound, or of nearly the same sound by their fingerprints stand in
one split. Which one is drawn from a hash of the group, so a song stays where it is when others are
added (unless they join it with others), and shares are met as groups allow.

Near-duplicates are found by locality-sensitive hashing: in each of `_BANDS` rounds the songs are
sorted by three bytes of their fingerprints, and those beside each other are compared in full.
1.5 million songs take about 0.7 GB.
"""

import contextlib
import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from songbloom import manifest
from songbloom.errors import UsageError
from songbloom.files import atomic_path
from songbloom.manifest import Track
from songbloom.stages import fingerprint
from songbloom.units import Seconds

NEAR = 0.2  # similarity from which two recordings are the same song: see fingerprint
_BANDS, _ROWS = 128, 3
_BESIDE = 4  # songs of the same three bytes that each is compared with
_CHUNK = 1 << 16  # pairs compared at a time
_NOBODY = {"", "various artists", "various", "unknown", "unknown artist", "n/a", "none"}
_SHARE = re.compile(r"([A-Za-z0-9_-]+)=(\d*\.?\d+)")


@dataclass(frozen=True)
class Split:
    """Songs and seconds of each split; `groups` that stay together, of which the largest has
    `largest` songs; `unheard` songs have no fingerprint."""

    songs: Mapping[str, int]
    duration: Mapping[str, Seconds]
    groups: int
    largest: int
    unheard: int


def parse_shares(text: str) -> dict[str, float]:
    """`train=0.98,test=0.02`. `UsageError` unless these are names with shares that add up to 1."""
    shares: dict[str, float] = {}
    for word in text.split(","):
        match = _SHARE.fullmatch(word.strip())
        if match is None or match[1] in shares or not float(match[2]):
            raise _bad_shares(text)
        shares[match[1]] = float(match[2])
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise _bad_shares(text)
    return shares


def split(path: Path, folder: Path, shares: Mapping[str, float], *, seed: int = 0) -> Split:
    """Write the rows of a manifest to `folder`/NAME.jsonl, a file for each share."""
    songs = _Songs(manifest.read(path))
    groups = _groups(songs)
    chosen = _draw(songs, groups, list(shares.values()), seed)
    names = list(shares)
    counts = dict.fromkeys(names, 0)
    duration = dict.fromkeys(names, 0.0)
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(atomic_path(folder / f"{name}.jsonl")) for name in names]
        sinks = [stack.enter_context(open(file, "wb")) for file in files]
        for track, place in zip(manifest.read(path), chosen, strict=True):
            sinks[place].write(manifest.to_line(track))
            counts[names[place]] += 1
            duration[names[place]] += track.duration or 0.0
    largest = int(np.bincount(groups).max(initial=0))
    number = int(groups.max(initial=-1)) + 1
    return Split(counts, duration, number, largest, songs.unheard)


class _Songs:
    """What decides of each song, in arrays: 150 bytes a song."""

    def __init__(self, tracks: Iterable[Track]) -> None:
        ids, sounds, artists = array("Q"), array("Q"), array("Q")
        prints, self.unheard = bytearray(), 0
        blank = bytes(fingerprint.HASHES)
        for track in tracks:
            found = track.results.get("ingest", {})
            ids.append(_number(track.id))
            sounds.append(_number(str(found.get("audio_sha256", ""))))
            artists.append(_number(artist_key(track.artist)))
            heard = fingerprint.decode(str(found.get("fingerprint", "")))
            self.unheard += not len(heard)
            prints += heard.tobytes() or blank
        self.ids, self.sounds, self.artists = (
            np.frombuffer(values, dtype=np.uint64) for values in (ids, sounds, artists)
        )
        self.prints = np.frombuffer(prints, dtype=np.uint8).reshape(-1, fingerprint.HASHES)

    def __len__(self) -> int:
        return len(self.ids)


def artist_key(artist: str) -> str:
    """An artist's name as it is compared; "" where it names nobody ("Various Artists")."""
    name = " ".join(artist.casefold().split())
    return "" if name in _NOBODY else name


def _number(text: str) -> int:
    """64 bits of a text; 0 of ""."""
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big") if text else 0


def _groups(songs: _Songs) -> np.ndarray:
    """The number of each song's group, from 0."""
    edges = [_equal(songs.sounds), _equal(songs.artists), *_near(songs.prints)]
    one, other = np.concatenate(edges, axis=1)
    graph = sparse.coo_matrix((np.ones(len(one), dtype=bool), (one, other)), (len(songs),) * 2)
    return np.asarray(sparse.csgraph.connected_components(graph, directed=False)[1])


def _equal(keys: np.ndarray) -> np.ndarray:
    """Pairs `[2, n]` that join all songs of the same key; 0 is none."""
    order = np.argsort(keys, kind="stable")
    same = (keys[order[1:]] == keys[order[:-1]]) & (keys[order[1:]] != 0)
    return np.stack([order[:-1][same], order[1:][same]])


def _near(prints: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs `[2, n]` of songs with nearly the same sound."""
    heard = np.flatnonzero(prints.any(axis=1))
    rng = np.random.Generator(np.random.PCG64(0))
    for _ in range(_BANDS):
        bytes_ = prints[:, rng.choice(prints.shape[1], _ROWS, replace=False)].astype(np.uint32)
        keys = (bytes_[:, 0] << 16 | bytes_[:, 1] << 8 | bytes_[:, 2])[heard]
        order = np.argsort(keys, kind="stable")
        for step in range(1, _BESIDE + 1):
            same = np.flatnonzero(keys[order[step:]] == keys[order[:-step]])
            for begin in range(0, len(same), _CHUNK):
                places = same[begin : begin + _CHUNK]
                pairs = heard[np.stack([order[places], order[places + step]])]
                equal = (prints[pairs[0]] == prints[pairs[1]]).mean(axis=1)
                yield pairs[:, (equal - 1 / 256) / (1 - 1 / 256) >= NEAR]


def _draw(songs: _Songs, groups: np.ndarray, shares: Sequence[float], seed: int) -> np.ndarray:
    """The place of each song's split in `shares`: that of its group."""
    sizes = np.bincount(groups)
    least = np.full(len(sizes), np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(least, groups, songs.ids)
    drawn = np.array([_number(f"{seed} {key}") for key in least], dtype=np.float64) / 2.0**64
    ends = np.cumsum(shares)[:-1]
    chosen = np.searchsorted(ends, drawn, side="right")
    for place in range(len(shares)):
        counts = np.bincount(chosen, minlength=len(shares))
        if not counts[place] and counts.max(initial=0) > 1:  # few songs: lend it a small group
            lender = np.flatnonzero(chosen == counts.argmax())
            chosen[lender[np.lexsort((least[lender], sizes[lender]))[0]]] = place
    return chosen[groups]


def _bad_shares(text: str) -> UsageError:
    return UsageError(
        f"'{text}': no shares; expected names with shares that add up to 1",
        "For example: train=0.98,test=0.02",
    )
