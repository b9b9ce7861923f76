"""The manifest: a line of JSON for every song, with what each stage found and what became of it.

    {"id", "audio", "lyrics", "lyrics_text", "title", "artist", "year", "language", "licence",
     "source", "duration", "state", "stage", "reason", "decisions": [...],
     "results": {stage: {...}}}

Rows stand in order of their ids and hold no time, no path of this machine and no trace of who did
what when, so the same songs give the same bytes. Everything here streams: 1.5 million rows fit in
little memory.
"""

import dataclasses
import heapq
import json
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from songbloom.errors import SongBloomError, UsageError
from songbloom.files import atomic_path, sha256
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


# field -> the types of its value in JSON, and what to call them
_TEXT, _MAYBE_TEXT = ((str,), "text"), ((str, type(None)), "text or null")
_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "id": _TEXT,
    "audio": _TEXT,
    "lyrics": _MAYBE_TEXT,
    "lyrics_text": _MAYBE_TEXT,
    "title": _TEXT,
    "artist": _TEXT,
    "year": ((int, type(None)), "a whole number or null"),
    "language": _TEXT,
    "licence": _TEXT,
    "source": _TEXT,
    "duration": ((int, float, type(None)), "a number or null"),
    "state": _TEXT,
    "stage": _TEXT,
    "reason": _TEXT,
    "decisions": ((list,), "a list"),
    "results": ((dict,), "an object"),
}
_REQUIRED = ("id", "audio")
_DECISION = ("rule", "value", "limit", "kept")
_CONDITION = re.compile(r"\s*([\w.\-]+)\s*(!=|>=|<=|=|<|>|~)(.*)", re.DOTALL)
_COMPARE = {">=": operator.ge, "<=": operator.le, "<": operator.lt, ">": operator.gt}


def to_row(track: Track) -> dict[str, Any]:
    """A track as its line's JSON object; `from_row` gives the track again."""
    row = {item.name: getattr(track, item.name) for item in dataclasses.fields(Track)}
    row["decisions"] = [
        {"rule": d.rule, "value": d.value, "limit": d.limit, "kept": d.kept}
        for d in track.decisions
    ]
    row["results"] = {stage: dict(fields) for stage, fields in track.results.items()}
    return row


def from_row(row: Mapping[str, Any]) -> Track:
    """The track of a JSON object; keys that are left out have their defaults.

    `SongBloomError` for a key that is unknown, missing, or of the wrong type.
    """
    for key, value in row.items():
        if key not in _TYPES:
            raise SongBloomError(f"unknown key '{key}'")
        kinds, expected = _TYPES[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise SongBloomError(f"'{key}' is {_short(value)}; expected {expected}")
    for key in _REQUIRED:
        if not row.get(key):
            raise SongBloomError(f"'{key}' is missing")
    if row.get("state", "pending") not in get_args(State):
        raise SongBloomError(
            f"'state' is {_short(row['state'])}; expected {', '.join(get_args(State))}"
        )
    for stage, result in row.get("results", {}).items():
        if not isinstance(result, dict):
            raise SongBloomError(f"'results.{stage}' is {_short(result)}; expected an object")
    decisions = tuple(_decision(item) for item in row.get("decisions", ()))
    return Track(**{**row, "decisions": decisions})


def to_line(track: Track) -> bytes:
    """A track as its line, UTF-8 with a line feed; bytes of paths that are no text are escaped."""
    row = to_row(track)
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8") + b"\n"
    except UnicodeEncodeError:
        return json.dumps(row, allow_nan=False).encode("ascii") + b"\n"


def read(path: Path) -> Iterator[Track]:
    """The tracks of a manifest, one after another; empty lines are passed over.

    `SongBloomError` names the line that is no track.
    """
    for number, line in _lines(path):
        try:
            yield _parse(line)
        except SongBloomError as error:
            raise SongBloomError(
                f"{path}:{number}: {error.message}", "See all of it: songbloom manifest validate"
            ) from error


def write(path: Path, tracks: Iterable[Track]) -> int:
    """Write tracks as they come, atomically; their number."""
    count = 0
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        for track in tracks:
            stream.write(to_line(track))
            count += 1
    return count


def stats(tracks: Iterable[Track]) -> dict[str, Any]:
    """Counts and hours: songs by state, reason and language; years, artists, stages.

    `hours` of songs whose length is known.
    """
    totals: Counter[str] = Counter()
    hours: dict[str, float] = dict.fromkeys(get_args(State), 0.0)
    languages: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    stages: Counter[str] = Counter()
    for track in tracks:
        totals[track.state] += 1
        hours[track.state] += track.duration or 0.0
        languages[track.language or "unknown"] += 1
        stages.update(list(track.results))
        if track.state in ("rejected", "failed"):
            reasons[_why(track)] += 1
    states = get_args(State)
    return {
        "songs": totals.total(),
        "hours": round(sum(hours.values()) / 3600, 3),
        "states": {state: totals[state] for state in states},
        "hours_by_state": {state: round(hours[state] / 3600, 3) for state in states},
        "stages": dict(sorted(stages.items())),
        "languages": dict(languages.most_common()),
        "reasons": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
    }


def condition(text: str) -> Callable[[Track], bool]:
    """A test of tracks, from words: `state=ready`, `duration>30`, `results.ingest.peak<0.99`.

    | sign | true where |
    |---|---|
    | `=`, `!=` | the value is (is not) one of those listed with commas; nothing is: it is empty |
    | `<` `<=` `>` `>=` | the value is a number and compares so |
    | `~` | the regular expression is found in the value |

    A field is a key of a row; with dots, one inside `results` (`results.` may be left out).
    `UsageError` for words that are no condition.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise UsageError(
            f"'{text}' is no condition", "For example: state=ready, language=en,zh, duration>30"
        )
    name, sign, wanted = match[1], match[2], match[3].strip()
    head = name.split(".")[0]
    if "." not in name and name not in _TYPES:
        raise UsageError(f"'{text}': rows have no '{name}'", f"Fields: {', '.join(_TYPES)}.")
    keys = name.split(".") if head in _TYPES else ["results", *name.split(".")]
    test = _test(text, sign, wanted)
    return lambda track: test(_value(track, keys))


def select(tracks: Iterable[Track], conditions: Sequence[str]) -> Iterator[Track]:
    """The tracks that meet all conditions; see `condition`."""
    tests = [condition(text) for text in conditions]
    return (track for track in tracks if all(test(track) for test in tests))


@dataclass(frozen=True)
class Finding:
    """What is wrong in a manifest: its line and the song's id ("" where there is none)."""

    line: int
    id: str
    message: str


def validate(path: Path, root: Path | None = None, *, deep: bool = False) -> Iterator[Finding]:
    """What is wrong with a manifest, in order.

    Rows must be tracks with ids of their own, in order. With the corpus' folder as `root`, their
    files must be there; `deep` also compares their hashes with those of the ingest stage.
    """
    seen: set[int] = set()  # hashes of ids: 1.5 million take 100 MB
    last = ""
    for number, line in _lines(path):
        try:
            track = _parse(line)
        except SongBloomError as error:
            yield Finding(number, "", error.message)
            continue
        if hash(track.id) in seen:
            yield Finding(number, track.id, "another row has the same id")
        elif track.id < last:
            yield Finding(number, track.id, f"stands after '{last}'; rows must be in order of ids")
        seen.add(hash(track.id))
        last = max(last, track.id)
        if track.state in ("rejected", "failed") and not track.reason:
            yield Finding(number, track.id, f"is {track.state} without a reason")
        if root is not None:
            yield from (Finding(number, track.id, what) for what in _files(track, root, deep))


def merge(paths: Sequence[Path]) -> Iterator[Track]:
    """The tracks of several manifests in order of ids; rows that are alike count once.

    `SongBloomError` for a manifest that is not in order, and for an id with two different rows.
    """
    rows = heapq.merge(*(_ordered(path) for path in paths), key=lambda item: item[0].id)
    last: tuple[Track, Path] | None = None
    for track, path in rows:
        if last is not None and track.id == last[0].id:
            if track != last[0]:
                raise SongBloomError(
                    f"'{track.id}' differs between {last[1]} and {path}",
                    "Leave it out of one: songbloom manifest filter FILE id!=ID -o NEW",
                )
            continue
        last = (track, path)
        yield track


def _ordered(path: Path) -> Iterator[tuple[Track, Path]]:
    last = ""
    for track in read(path):
        if track.id < last:
            raise SongBloomError(
                f"{path}: '{track.id}' stands after '{last}'; expected rows in order of ids",
                "Sort its rows by id first.",
            )
        last = track.id
        yield track, path


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines that are not empty, numbered from 1."""
    try:
        with open(path, "rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield number, line
    except OSError as error:
        raise SongBloomError(
            f"{path}: cannot be read ({error.strerror or error})",
            "Name a manifest, for example dataset/manifest.jsonl.",
        ) from error


def _parse(line: bytes) -> Track:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SongBloomError(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise SongBloomError("not a JSON object")
    return from_row(row)


def _decision(item: Any) -> Decision:
    if not isinstance(item, dict) or set(item) != set(_DECISION):
        raise SongBloomError(f"a decision is {_short(item)}; expected {', '.join(_DECISION)}")
    return Decision(**item)


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _why(track: Track) -> str:
    """The rule that left a song out, else the stage that failed."""
    rule = next((decision.rule for decision in track.decisions if not decision.kept), None)
    return rule if track.state == "rejected" and rule else f"{track.stage or 'unknown'} failed"


def _value(track: Track, keys: Sequence[str]) -> Any:
    value: Any = getattr(track, keys[0])
    for key in keys[1:]:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _test(text: str, sign: str, wanted: str) -> Callable[[Any], bool]:
    if sign == "~":
        try:
            pattern = re.compile(wanted)
        except re.error as error:
            raise UsageError(f"'{text}': no regular expression ({error})") from error
        return lambda value: value is not None and pattern.search(str(value)) is not None
    if sign in ("=", "!="):
        listed = {word.strip() for word in wanted.split(",")}
        return lambda value: _is_one(value, listed) == (sign == "=")
    try:
        limit = float(wanted)
    except ValueError as error:
        raise UsageError(f"'{text}': '{wanted}' is no number") from error
    compare = _COMPARE[sign]
    return lambda value: isinstance(value, int | float) and compare(value, limit)


def _is_one(value: Any, listed: set[str]) -> bool:
    if value is None or value in ("", [], {}, ()):
        return "" in listed
    if isinstance(value, bool):
        return str(value).lower() in listed
    if isinstance(value, int | float):
        return any(_is_number(word, value) for word in listed)
    return str(value) in listed


def _is_number(word: str, value: float) -> bool:
    try:
        return float(word) == value
    except ValueError:
        return False


def _files(track: Track, root: Path, deep: bool) -> Iterator[str]:
    for key in ("audio", "lyrics"):
        name = getattr(track, key)
        if name is None:
            continue
        path = root / name
        if not path.is_file():
            yield f"{key}: {path} is not there"
            continue
        expected = track.results.get("ingest", {}).get(f"{key}_sha256")
        if deep and expected and sha256(path) != expected:
            yield f"{key}: {path} has changed since it was read"
