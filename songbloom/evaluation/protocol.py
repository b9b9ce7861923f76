"""What pins a score: which metrics, by which backends, over which songs, chosen how.

A protocol is a TOML file: a name, the metrics, the policy of candidates, a table of settings a
metric, and [statistics]. Its id is a hash of what those settings turn out to be (every metric's
identity: models by their contents, normaliser, versions), of the statistics, the policy and the
test set. Two scores may be compared if and only if their ids are the same.
"""

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from songbloom.errors import SongBloomError, UsageError
from songbloom.evaluation.items import Item
from songbloom.evaluation.metrics import METRICS
from songbloom.evaluation.statistics import Statistics
from songbloom.files import sha256
from songbloom.lyrics import parse
from songbloom.stages.stage import digest
from songbloom.toml import TOMLDecodeError, loads

PRESETS = ("offline", "paper")
FORMAT = 1
FIRST = "first"
_CANDIDATES = re.compile(r"first|best of ([2-9]|[1-9]\d+) by \w+(, \w+)*")
_KEYS = ("format", "name", "metrics", "candidates", "statistics")
_ID_LENGTH = 16  # hex digits


@dataclass(frozen=True)
class Protocol:
    """A protocol as written. `candidates` is "first", or "best of 4 by per, mcc"."""

    name: str
    metrics: tuple[str, ...]
    candidates: str = FIRST
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    statistics: Statistics = Statistics()

    def only(self, metrics: Sequence[str]) -> "Protocol":
        """The same with these metrics. `UsageError` for one that is unknown or named twice."""
        _check_metrics(metrics, "--metrics")
        return dataclasses.replace(self, metrics=tuple(metrics))


def load(name: str) -> Protocol:
    """A preset by its name, or the TOML file of that path.

    `UsageError` for what is unknown or cannot be meant in it, `SongBloomError` for a file that
    cannot be read. Settings of metrics are checked by the metrics.
    """
    return _checked(values(text(name), name), name)


def text(name: str) -> str:
    """The TOML of a preset or a file, unchecked."""
    if name in PRESETS:
        preset = resources.files("songbloom") / "presets" / "protocols" / f"{name}.toml"
        return preset.read_text("utf-8")
    path = Path(name)
    if path.suffix != ".toml":
        raise UsageError(
            f"protocol {name}: unknown; expected {', '.join(PRESETS)} or a .toml file", _near(name)
        )
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SongBloomError(
            f"{path}: cannot be read ({reason})",
            "Start from one of ours: songbloom evaluate protocol offline > my.toml",
        ) from error


def values(text: str, where: str) -> dict[str, Any]:
    """The values of TOML; `SongBloomError` where it is none."""
    try:
        return loads(text)
    except TOMLDecodeError as error:
        raise SongBloomError(f"{where}: is no TOML ({error})", "Mend the file.") from error


def test_set_hash(items: Sequence[Item], needs: frozenset[str]) -> str:
    """Hex SHA-256 of the songs' names and of what the metrics need of "lyrics" and "reference".

    Lyrics count by their sections and letters: one text in two formats is one.
    """
    return digest(
        [
            [
                item.name,
                _words(item.lyrics) if "lyrics" in needs else None,
                sha256(item.reference) if "reference" in needs and item.reference else None,
            ]
            for item in items
        ]
    )


def identity(
    protocol: Protocol, metrics: Mapping[str, Mapping[str, Any]], test_set: str
) -> dict[str, Any]:
    """All that two scores must share to be compared, and its `id`."""
    decisive = {
        "candidates": protocol.candidates,
        "identity": {name: dict(metrics[name]) for name in sorted(metrics)},
        "statistics": dataclasses.asdict(protocol.statistics),
        "test_set": test_set,
    }
    return {"id": digest(decisive)[:_ID_LENGTH], "name": protocol.name, **decisive}


def _words(lyrics: str | None) -> Any:
    """Sections with their letters and digits, in lower case; the text itself if it is no lyrics."""
    if lyrics is None:
        return None
    try:
        sections = parse(lyrics, frontend="v1").sections
    except SongBloomError:
        return lyrics
    return [
        [section.tag, "".join(filter(str.isalnum, "".join(section.texts).casefold()))]
        for section in sections
    ]


def _checked(values: dict[str, Any], where: str) -> Protocol:
    for key in values:
        if key not in (*_KEYS, *METRICS):
            raise UsageError(f"{where}: unknown key '{key}'", _near(key, (*_KEYS, *METRICS)))
    if values.get("format") != FORMAT:
        raise UsageError(
            f"{where}: format is {values.get('format')!r}; expected {FORMAT}", f"format = {FORMAT}"
        )
    metrics = values.get("metrics")
    if not isinstance(metrics, list):
        raise UsageError(f"{where}: 'metrics' is no list", 'For example: metrics = ["per", "fad"]')
    _check_metrics(metrics, where)
    candidates = values.get("candidates", FIRST)
    if not isinstance(candidates, str) or not _CANDIDATES.fullmatch(candidates):
        raise UsageError(
            f"{where}: candidates = {candidates!r} is not possible",
            'Write "first", or for example "best of 4 by per, mcc".',
        )
    settings = {name: values[name] for name in METRICS if name in values}
    for name, table in settings.items():
        if not isinstance(table, dict):
            raise UsageError(f"{where}: '{name}' is no table", f"Write it as [{name}].")
    name = str(values.get("name", Path(where).stem))
    return Protocol(name, tuple(metrics), candidates, settings, _statistics(values, where))


def _check_metrics(metrics: Sequence[Any], where: str) -> None:
    if not metrics:
        raise UsageError(f"{where}: no metrics", f"Choose of {', '.join(METRICS)}.")
    for number, name in enumerate(metrics):
        if name not in METRICS:
            raise UsageError(
                f"{where}: there is no metric '{name}'", f"Choose of {', '.join(METRICS)}."
            )
        if name in metrics[:number]:
            raise UsageError(f"{where}: the metric '{name}' stands twice", "Name it once.")


def _statistics(values: Mapping[str, Any], where: str) -> Statistics:
    given = values.get("statistics", {})
    known: dict[str, tuple[type, float, float]] = {
        "resamples": (int, 100, 1_000_000),
        "confidence": (float, 0.5, 0.999),
        "seed": (int, 0, 2**63 - 1),
    }
    if not isinstance(given, dict):
        raise UsageError(f"{where}: 'statistics' is no table", "Write it as [statistics].")
    for key, value in given.items():
        if key not in known:
            raise UsageError(f"{where}: unknown key 'statistics.{key}'", _near(key, known))
        wanted, low, high = known[key]
        if type(value) is not wanted or not low <= value <= high:  # type: ignore[operator]
            raise UsageError(
                f"{where}: statistics.{key} = {value!r} is not possible",
                f"Expected {'a whole number' if wanted is int else 'a number'} of {low} to {high}.",
            )
    return Statistics(**given)


def _near(word: str, known: Sequence[str] | Mapping[str, Any] = PRESETS) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"Did you mean '{near[0]}'?" if near else f"Choose of {', '.join(known)}."
