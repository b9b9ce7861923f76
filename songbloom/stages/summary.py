"""What a prepared dataset says of itself: its descriptions, and the totals of its manifest.

Totals are gathered row by row in memory that does not grow with the manifest.
"""

import functools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from songbloom import manifest
from songbloom.errors import SongBloomError
from songbloom.manifest import Track

OTHER = "others"
_MAX_NAMES = 500  # different languages, sources, reasons ... that are counted apart
_MIN_BINS = 10
_MAX_BINS = 40
_STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600)  # of a measure's resolution
_HOUR = 3600.0
_BACKEND_KEYS = ("name", "why", "licence", "hash")
_ROUNDING = 1e-9  # 0.29 / 0.01 is a little less than 29


class Tally:
    """Songs and seconds by name; names beyond the first 500 are counted together."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def add(self, name: str, seconds: float = 0.0) -> None:
        """Count one of `name` that lasts so long."""
        known = name in self.counts or len(self.counts) < _MAX_NAMES
        self.counts[name if known else OTHER] += 1
        self.seconds[name if known else OTHER] += seconds

    def rows(self, unit: str = "songs") -> list[dict[str, Any]]:
        """`name`, count and hours, the most first."""
        order = sorted(self.counts, key=lambda name: (-self.counts[name], name))
        return [
            {"name": n, unit: self.counts[n], "hours": round(self.seconds[n] / _HOUR, 4)}
            for n in order
        ]


@dataclass(frozen=True)
class Measure:
    """Something that songs are measured by: how to find it, and its range.

    `limits` are the keys of the table [filters] that bound it.
    """

    name: str
    label: str
    unit: str
    read: Callable[[Track], float | None]
    resolution: float
    lowest: float
    highest: float
    limits: tuple[str, ...] = ()

    def place(self, value: float) -> int:
        """The bin of a value, of those as wide as the resolution; the ends hold what is beyond."""
        first, last = self._ends
        return min(max(math.floor(value / self.resolution + _ROUNDING), first), last)

    @functools.cached_property
    def _ends(self) -> tuple[int, int]:
        return round(self.lowest / self.resolution), round(self.highest / self.resolution) - 1


def _field(stage: str, name: str) -> Callable[[Track], float | None]:
    return lambda track: track.results.get(stage, {}).get(name)


def language(track: Track) -> str:
    """A song's language: as it was judged by, else as its files or its voice tell; may be empty."""
    judged = (str(decision.value) for decision in track.decisions if decision.rule == "languages")
    heard = track.results.get("align", {}).get("language")
    return next(judged, "") or track.language or heard or ""


# of single words, which are in no row of the manifest: whoever reads them adds them
CONFIDENCE = Measure("confidence", "Confidence of words", "", lambda track: None, 0.01, 0, 1)
MEASURES = (
    Measure("duration", "Duration", "s", lambda track: track.duration, 1, 0, 7200,
            ("min_duration", "max_duration")),
    Measure("alignment", "Words heard", "share", _field("align", "matched"), 0.01, 0, 1,
            ("min_alignment",)),
    Measure("voice", "Voice", "share", _field("separate", "voice"), 0.01, 0, 1, ("min_voice",)),
    Measure("level", "Level", "dBFS", _field("ingest", "rms_dbfs"), 1, -90, 0, ("min_rms",)),
    Measure("vocals", "Vocals", "dBFS", _field("separate", "vocals_dbfs"), 1, -90, 0),
    Measure("silence", "Silence", "share", _field("ingest", "silence"), 0.01, 0, 1,
            ("max_silence",)),
    CONFIDENCE,
    Measure("tempo", "Tempo", "bpm", _field("structure", "tempo"), 1, 0, 400),
)  # fmt: skip


@dataclass
class Summary:
    """What is known of all songs together. `add` every track, then read."""

    songs: int = 0
    words: int = 0
    lines: int = 0
    states: Tally = field(default_factory=Tally)
    languages: Tally = field(default_factory=Tally)  # this and the next three: ready songs
    licences: Tally = field(default_factory=Tally)
    sources: Tally = field(default_factory=Tally)
    sections: Tally = field(default_factory=Tally)
    refused: dict[tuple[str, str, str], list[Any]] = field(default_factory=dict)
    rules: dict[str, list[Any]] = field(default_factory=dict)
    values: dict[str, tuple[Counter[int], Counter[int]]] = field(
        default_factory=lambda: {measure.name: (Counter(), Counter()) for measure in MEASURES}
    )

    def add(self, track: Track) -> None:
        """Count a song in."""
        self.songs += 1
        self.states.add(track.state, track.duration or 0.0)
        for measure in MEASURES:
            self.measure(measure, track, (measure.read(track),))
        for decision in track.decisions:
            rule = self.rules.setdefault(decision.rule, [decision.limit, 0, 0])
            if rule[0] != decision.limit:
                rule[0] = None  # each song has a limit of its own
            rule[1 if decision.kept else 2] += 1
        if track.state == "ready":
            self._add_ready(track)
        elif track.state != "pending":
            self._add_refused(track)

    def measure(self, measure: Measure, track: Track, values: Iterable[float | None]) -> None:
        """Count values of a song into a measure's histogram."""
        bins = self.values[measure.name][track.state in ("rejected", "failed")]
        for value in values:
            if value is not None:
                bins[measure.place(value)] += 1

    def _add_ready(self, track: Track) -> None:
        length = track.duration or 0.0
        self.languages.add(language(track), length)
        self.licences.add(track.licence, length)
        self.sources.add(track.source, length)
        for section in sections(track):
            self.sections.add(section["tag"], section["end"] - section["start"])
        self.lines += track.results.get("ingest", {}).get("lyrics_lines") or 0
        self.words += track.results.get("ingest", {}).get("lyrics_words") or 0

    def _add_refused(self, track: Track) -> None:
        rule = next((decision.rule for decision in track.decisions if not decision.kept), None)
        reason = rule if track.state == "rejected" and rule else _without_name(track)
        key = (track.state, track.stage, reason)
        if key not in self.refused and len(self.refused) >= _MAX_NAMES:
            key = (track.state, track.stage, OTHER)
        self.refused.setdefault(key, [0, track.id])[0] += 1

    def to_dict(self, filters: Mapping[str, Any]) -> dict[str, Any]:
        """Everything as a JSON object; `filters` is the table [filters] that was used."""
        seconds = self.states.seconds
        return {
            "songs": self.songs,
            "states": {
                s: self.states.counts[s] for s in ("ready", "rejected", "failed", "pending")
            },
            "hours": round(sum(seconds.values()) / _HOUR, 4),
            "hours_ready": round(seconds["ready"] / _HOUR, 4),
            "lines": self.lines,
            "words": self.words,
            "languages": self.languages.rows(),
            "licences": self.licences.rows(),
            "sources": self.sources.rows(),
            "sections": self.sections.rows("sections"),
            "refused": [
                {"state": state, "stage": stage, "reason": reason, "songs": n, "example": example}
                for (state, stage, reason), (n, example) in sorted(
                    self.refused.items(), key=lambda pair: (-pair[1][0], pair[0])
                )
            ],
            "rules": [
                {"rule": rule, "limit": limit, "kept": kept, "refused": refused}
                for rule, (limit, kept, refused) in self.rules.items()
            ],
            "histograms": [self._histogram(measure, filters) for measure in MEASURES],
        }

    def _histogram(self, measure: Measure, filters: Mapping[str, Any]) -> dict[str, Any]:
        """`bins`: [where it starts, songs kept, songs left out], each `step` wide, no gaps."""
        kept, out = self.values[measure.name]  # by the bins of `Measure.place`
        limits = [filters[key] for key in measure.limits if filters.get(key)]
        bins: list[list[float]] = []
        step = 1
        if both := kept + out:
            low, high = min(both), max(both)
            if measure.highest == 1:  # shares are seen on one and the same scale
                low, high = measure.place(0), measure.place(1)
            elif high - low < _MIN_BINS:
                low, high = low - _MIN_BINS // 2, high + _MIN_BINS // 2
            step = next((s for s in _STEPS if high - low < s * _MAX_BINS), _STEPS[-1])
            bins = [
                [round(i * step * measure.resolution, 6), 0, 0]
                for i in range(low // step, high // step + 1)
            ]
            for column, counts in ((1, kept), (2, out)):
                for value, count in counts.items():
                    bins[value // step - low // step][column] += count
        return {
            "name": measure.name,
            "label": measure.label,
            "unit": measure.unit,
            "step": step * measure.resolution,
            "bins": bins,
            "limits": limits,
        }


def sections(track: Track) -> list[Mapping[str, Any]]:
    """A song's sections that have times: as the structure stage found them, else the lyrics'."""
    for stage in ("structure", "align"):
        found = track.results.get(stage, {}).get("sections") or ()
        if timed := [s for s in found if s.get("start") is not None and s.get("end") is not None]:
            return timed
    return []


def _without_name(track: Track) -> str:
    """A failure's reason without the song's files, so that equal failures are counted as one."""
    reason = " ".join(track.reason.split())
    for name in filter(None, (track.audio, track.lyrics)):
        reason = reason.partition(f"{name}: ")[2] or reason.replace(name, "…")
    return reason


def tracks(folder: Path) -> Iterable[Track]:
    """The rows of a prepared dataset, streaming. `SongBloomError` where there is none."""
    path = folder / "manifest.jsonl"
    if not path.is_file():
        raise SongBloomError(
            f"{folder}: holds no manifest.jsonl; expected a folder that songbloom prepare made",
            "Make one: songbloom prepare SONGS -o DATA",
        )
    return manifest.read(path)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is none. `SongBloomError` for anything else."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SongBloomError(
            f"{path}: cannot be read ({error})", "Type the songbloom prepare command again."
        ) from error
    return data if isinstance(data, dict) else {}


def described(folder: Path) -> dict[str, Any]:
    """dataset.json with the number and size of its shards in place of the list of them."""
    found = read_json(folder / "dataset.json")
    shards = found.pop("shards", [])
    sizes = {"shards": len(shards), "shard_bytes": sum(shard["bytes"] for shard in shards)}
    return found | sizes if found else {}


def backends(prepared: Mapping[str, Any]) -> list[dict[str, str]]:
    """What did each stage's work, of prepare.json: `stage`, `name`, `why`, `licence`, `hash`."""
    return [
        {"stage": stage, **{key: str(made.get(key, "")) for key in _BACKEND_KEYS}}
        for stage, made in prepared.get("backends", {}).items()
    ]


def plain(text: str) -> str:
    """Text that any encoding takes: the bytes of a path that are no text become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
