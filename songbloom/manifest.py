"""The manifest: a line of JSON for every song, with what each stage found and what became of it.

    {"id", "audio", "lyrics", "lyrics_text", "title", "artist", "year", "language", "licence",
     "source", "duration", "state", "stage", "reason", "decisions": [...],
     "results": {stage: {...}}}

Rows stand in order of their ids and hold no time, no path of this machine and no trace of who did
what when, so the same songs give the same bytes. Everything here streams: 1.5 million rows fit in
little memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from songbloom.units import Seconds

State = Literal["pending", "ready", "rejected", "failed"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a filter said of a song: `value` against `limit`; `kept` is the verdict."""

    rule: str
    value: float | str
    limit: float | str
    kept: bool


@dataclass(frozen=True, slots=True)
class Track:
    """One song: where it is, what is known of it, what the stages found.

    `audio` and `lyrics` are paths relative to the corpus; `lyrics_text` holds lyrics that came
    inside a manifest. `results` has for each stage that is done its fields, and under `key` its
    content address. `stage` and `reason` say where and why a song was rejected or failed.
    """

    id: str
    audio: str
    lyrics: str | None = None
    lyrics_text: str | None = None
    title: str = ""
    artist: str = ""
    year: int | None = None
    language: str = ""
    licence: str = ""
    source: str = ""
    duration: Seconds | None = None
    state: State = "pending"
    stage: str = ""
    reason: str = ""
    decisions: tuple[Decision, ...] = ()
    results: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
