"""What is done: a SQLite file with the corpus as it was found, and every stage's results.

    tracks(id, row, stamp)                   the songs of this run, a manifest row each; the stamp
                                             changes with their files
    originals(audio_sha256, id)              of songs with the same bytes, the one that is kept
    results(stage, key, state, fields, seconds, bytes)

A result is filed under its content address, so nothing is ever out of date: a song, a setting or a
model that changed has another key. Rows are written once their files are safely on disk, one
transaction each; a kill loses what was not yet written, and a power cut at most the last rows.
Everything is read in order of ids by pages, so 1.5 million songs take little memory.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from songbloom.errors import SongBloomError
from songbloom.manifest import Track, from_row, to_row
from songbloom.units import Seconds

_PAGE = 1000
_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS tracks (
    id TEXT PRIMARY KEY, row TEXT NOT NULL, stamp TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS originals (
    audio_sha256 TEXT PRIMARY KEY, id TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS results (
    stage TEXT, key TEXT, state TEXT NOT NULL, fields TEXT NOT NULL, seconds REAL, bytes INTEGER,
    PRIMARY KEY (stage, key)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What a stage made of a song: its fields, or the reason why it could not.

    `passing` is true of a failure that may not come again (a disk that was away, a worker that was
    killed), which the next run tries anew.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    passing: bool = False
    seconds: Seconds = 0.0
    bytes: int = 0


class Ledger:
    """An open ledger; one process writes it."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, isolation_level=None)
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise SongBloomError(
                f"{self.path}: is not a ledger that can be used ({error})",
                "Delete it to make everything again, or choose another folder with -o.",
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def replace_tracks(self, tracks: Iterable[tuple[Track, str]]) -> int:
        """Make these songs, each with its stamp, those of the run: all or none of them."""
        with self._db:
            self._db.execute("BEGIN")
            self._db.execute("DELETE FROM tracks")
            rows = ((track.id, json.dumps(to_row(track)), stamp) for track, stamp in tracks)
            self._db.executemany("INSERT INTO tracks VALUES (?, ?, ?)", rows)
        return len(self)

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM tracks").fetchone()[0])

    def tracks(self) -> Iterator[tuple[Track, str]]:
        """Songs and stamps in order of the ids; results may be written meanwhile."""
        last, query = "", "SELECT id, row, stamp FROM tracks WHERE id > ? ORDER BY id LIMIT ?"
        while page := self._db.execute(query, (last, _PAGE)).fetchall():
            yield from ((from_row(json.loads(row)), stamp) for _, row, stamp in page)
            last = page[-1][0]

    def replace_originals(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Of `(audio_sha256, id)` in order, the first of each content is the original."""
        with self._db:
            self._db.execute("BEGIN")
            self._db.execute("DELETE FROM originals")
            self._db.executemany("INSERT OR IGNORE INTO originals VALUES (?, ?)", pairs)

    def original(self, audio_sha256: str) -> str | None:
        """Id of the song that is kept of those with these bytes."""
        query = "SELECT id FROM originals WHERE audio_sha256 = ?"
        row = self._db.execute(query, (audio_sha256,)).fetchone()
        return None if row is None else str(row[0])

    def get(self, stage: str, key: str) -> Result | None:
        """A stage's result, if it is there."""
        query = "SELECT fields, seconds, bytes FROM results WHERE stage = ? AND key = ?"
        row = self._db.execute(query, (stage, key)).fetchone()
        if row is None:
            return None
        return Result(**{**json.loads(row[0]), "seconds": row[1], "bytes": row[2]})

    def put(self, stage: str, key: str, result: Result) -> None:
        """File a result; its files are in place."""
        state = "failed" if result.reason else "done"
        told = {"fields": result.fields, "reason": result.reason, "passing": result.passing}
        text = json.dumps(told, sort_keys=True)
        values = (stage, key, state, text, result.seconds, result.bytes)
        self._db.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?)", values)

    def forget(self, stage: str, key: str) -> None:
        """Take a result back: its files are gone."""
        self._db.execute("DELETE FROM results WHERE stage = ? AND key = ?", (stage, key))

    def forget_failures(self, *, passing_only: bool) -> None:
        """Let failures be tried again: those that may pass, or all."""
        passing = "AND json_extract(fields, '$.passing')" if passing_only else ""
        self._db.execute(f"DELETE FROM results WHERE state = 'failed' {passing}")

    def cost(self, stage: str) -> tuple[int, Seconds, int]:
        """Of a stage's songs that succeeded: how many, seconds of work, bytes of files."""
        query = "SELECT count(*), total(seconds), total(bytes) FROM results WHERE stage = ?"
        count, seconds, size = self._db.execute(f"{query} AND state = 'done'", (stage,)).fetchone()
        return int(count), float(seconds), int(size)
