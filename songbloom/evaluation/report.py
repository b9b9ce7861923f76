"""An evaluation as people read it: rows for a terminal, Markdown, one HTML page with the songs.

All three are made from `evaluation.json` alone, worst songs first; the page also plays those songs
that are at hand and are still the very ones that were scored.
"""

import bisect
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote

from songbloom.errors import SongBloomError, UsageError
from songbloom.files import sha256, write_text
from songbloom.stages import html_page, sound
from songbloom.units import SAMPLE_RATE, Seconds

HEADER = ("metric", "value", "interval", "better", "songs", "failed")
SUFFIXES = (".html", ".md")
MAX_ROWS = 2000  # songs in the page's list; of larger sets the worst
MAX_DURATION: Seconds = 900.0  # longer songs are not put into the page
_BYTES_PER_SECOND = 24_000  # of stereo Vorbis at 48 kHz, as text, at most
_LEVELS = ("LUFS", "dB", "dBTP")
_UNITS = ("s", "x", *_LEVELS)  # that stand behind a value; a cosine says so by itself
_WORST = 10  # songs in Markdown
_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#"})

Evaluation = Mapping[str, Any]
Sound = Literal["embed", "link", "none"]


@dataclass(frozen=True)
class Wish:
    """What a page is to hold: how many songs can be opened, and how they come with their sound.

    `embed` puts sound into the page until it has `max_bytes`, worst songs first; `link` names the
    files where they are, seen from the page.
    """

    songs: int = 20
    sound: Sound = "embed"
    max_bytes: int = 25_000_000

    def __post_init__(self) -> None:
        if self.sound not in get_args(Sound):
            raise UsageError(
                f"sound '{self.sound}': expected {', '.join(get_args(Sound))}",
                "embed makes one page that can be sent, link a small one beside the songs.",
            )


@dataclass(frozen=True)
class Written:
    """A report that was written: its bytes, the songs that can be opened, those without sound."""

    output: Path
    bytes: int
    shown: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()


def write(
    evaluation: Evaluation,
    output: Path,
    sounds: Mapping[str, Path] | None = None,
    wish: Wish | None = None,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
) -> Written:
    """Write `output`, a page (.html) or Markdown (.md) by its suffix.

    `sounds` are the songs' files by name; what is missing there or is not what was scored comes
    without sound. `UsageError` for another suffix.
    """
    output = Path(output)
    if output.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{output}: expected a name that ends in {' or '.join(SUFFIXES)}",
            "For example: -o report.html",
        )
    if output.suffix.lower() == ".md":
        write_text(output, markdown(evaluation))
        return Written(output, output.stat().st_size)
    page = _Page(evaluation, sounds or {}, wish or Wish(), output)
    write_text(output, page.html(on_progress))
    return Written(output, output.stat().st_size, tuple(page.shown), tuple(page.silent))


def column(evaluation: Evaluation, metric: str) -> str:
    """A metric's heading, which carries its backend: "per (whisper-tiny.en)"."""
    backend = evaluation["metrics"][metric].get("backend")
    return f"{metric} ({backend})" if backend else metric


def shown(value: float | None, unit: str) -> str:
    """A value for people, with its unit."""
    if value is None or not math.isfinite(value):
        return "-"
    if unit == "%":
        return f"{value:.2f} %"
    places = 2 if unit in _LEVELS else 3 if abs(value) < 1000 else 0
    digits = f"{value:,.{places}f}"
    return f"{digits} {unit}" if unit in _UNITS else digits


def rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """One row of texts a metric, under `HEADER`."""
    return [_row(evaluation, metric) for metric in evaluation["metrics"]]


def _row(evaluation: Evaluation, metric: str) -> tuple[str, ...]:
    found = evaluation["metrics"][metric]
    unit, interval = found.get("unit", ""), found.get("interval")
    return (
        column(evaluation, metric),
        shown(found["value"], unit),
        " to ".join(shown(end, unit) for end in interval) if interval else "-",
        found.get("better") or "-",
        str(found.get("songs", "")),
        str(found.get("failed", "")),
    )


def worst(evaluation: Evaluation) -> list[str]:
    """Names of all songs, the worst first.

    A song is as bad as it is in the metric in which it stands worst; equals by the mean of their
    ranks, then by name. Songs without a value in any metric come last.
    """
    ranks: dict[str, list[int]] = {song["name"]: [] for song in evaluation["songs"]}
    for metric, found in evaluation["metrics"].items():
        if found.get("better") not in ("lower", "higher"):
            continue
        sign = -1 if found["better"] == "lower" else 1
        own = values(evaluation, metric)
        goodness = sorted(sign * v for v in own.values())
        for name, v in own.items():
            ranks[name].append(bisect.bisect_left(goodness, sign * v))  # how many are worse
    key = {n: (min(r), sum(r) / len(r), n) if r else (math.inf, 0, n) for n, r in ranks.items()}
    return sorted(key, key=lambda name: key[name])


def values(evaluation: Evaluation, metric: str) -> dict[str, float]:
    """The songs' own values in a metric by name, of those that have one.

    FAD gives each song's own distance in its parts, in the order of the songs it measured.
    """
    songs = [song for song in evaluation["songs"] if metric in song.get("measured", {})]
    own = [song["measured"][metric].get("value") for song in songs]
    parts = evaluation["metrics"][metric].get("parts") or {}
    apart = (parts.get("per_song") or {}).get("values") or []
    chosen = apart if len(apart) == len(songs) else own
    return {song["name"]: v for song, v in zip(songs, chosen, strict=True) if v is not None}


def song_rows(evaluation: Evaluation, limit: int) -> tuple[list[str], list[list[str]]]:
    """Header and rows of texts of the `limit` worst songs: a name, then a value a metric."""
    metrics = evaluation["metrics"]
    own = {metric: values(evaluation, metric) for metric in metrics}
    lines = [
        [name, *(shown(own[m].get(name), metrics[m].get("unit", "")) for m in metrics)]
        for name in worst(evaluation)[:limit]
    ]
    return ["song", *(column(evaluation, metric) for metric in metrics)], lines


def protocol_line(evaluation: Evaluation) -> str:
    """What a score must never be told without: the protocol, the policy, the test set."""
    protocol, songs = evaluation["protocol"], evaluation["test_set"]
    return (
        f"Protocol {protocol['name']} {protocol['id']}, candidates: {protocol['candidates']}, "
        f"test set {songs['hash'][:16]} of {songs['songs']} songs"
    )


def markdown(evaluation: Evaluation) -> str:
    """The whole result as Markdown."""
    header, lines = song_rows(evaluation, _WORST)
    parts = [f"# Evaluation: {_escaped(evaluation['protocol']['name'])}\n"]
    parts += [f"{_escaped(protocol_line(evaluation))}.\n"]
    parts += [markdown_table(HEADER, rows(evaluation)), "## What the values are made of\n"]
    made = [(column(evaluation, m), k, v) for m, k, v in _parts(evaluation)]
    parts += [markdown_table(("metric", "part", "value"), made)]
    parts += [f"## The worst {len(lines)} of {len(evaluation['songs'])} songs\n"]
    parts += [markdown_table(header, lines)]
    if evaluation["failed"]:
        parts += ["## What could not be scored\n"]
        failures = [(f["name"], f["metric"], f["reason"]) for f in evaluation["failed"]]
        parts += [markdown_table(("song", "metric", "reason"), failures)]
    parts += ["## Protocol\n", "Scores compare only with scores of the same protocol.\n"]
    identity = json.dumps(evaluation["protocol"], indent=1, ensure_ascii=False, sort_keys=True)
    return "\n".join([*parts, f"```json\n{identity}\n```\n"])


def _parts(evaluation: Evaluation) -> Iterator[tuple[str, str, str]]:
    for metric, found in evaluation["metrics"].items():
        for key, part in _flat(found.get("parts") or {}):
            text = "-" if part is None else f"{part:,.6g}" if isinstance(part, float) else str(part)
            yield metric, key, text


def _flat(data: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, part in data.items():
        if isinstance(part, Mapping):
            yield from _flat(part, f"{before}{key}, ")
        elif not isinstance(part, list):
            yield f"{before}{key}", part


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table of texts, shown as they are."""
    cells = [header, ["---"] * len(header), *lines]
    rest = [" | ".join(_escaped(cell) for cell in line) for line in cells[2:]]
    head = [" | ".join(map(_escaped, header)), " | ".join(cells[1])]
    return "\n".join(f"| {line} |" for line in [*head, *rest]) + "\n"


def _escaped(text: str) -> str:
    """One line that Markdown shows as it is."""
    return " ".join(str(text).split()).translate(_MARKDOWN)


class _Page:
    """The page of one evaluation, being put together."""

    def __init__(
        self, evaluation: Evaluation, sounds: Mapping[str, Path], wish: Wish, output: Path
    ) -> None:
        self.evaluation = evaluation
        self.sounds = sounds
        self.wish = wish
        self.folder = output.parent
        self.songs = {song["name"]: song for song in evaluation["songs"]}
        self.order = worst(evaluation)[:MAX_ROWS]
        self.shown: list[str] = []
        self.silent: list[str] = []

    def html(self, on_progress: Callable[[int, int], None]) -> str:
        """The whole page: songs are put in from the worst on, as long as there is room."""
        title = f"{self.evaluation['protocol']['name']} evaluation"
        styles = ["report/report.css", "evaluation/evaluation.css"]
        scripts = ["report/helpers.js", "evaluation/evaluation.js"]
        frame = html_page.frame("evaluation/page.html", title, styles, scripts)
        room = self.wish.max_bytes - len(frame) - len(html_page.data("data", self._totals()))
        chosen = self.order[: self.wish.songs]
        elements: list[str] = []
        for number, name in enumerate(chosen):
            on_progress(number, len(chosen))
            element = html_page.data(f"song-{len(elements)}", self._song(name, room))
            if len(element) > room:
                continue
            room -= len(element)
            elements.append(element)
            self.shown.append(name)
        elements.append(html_page.data("data", self._totals()))
        return frame.replace(html_page.DATA_MARK, "".join(elements))

    def _totals(self) -> dict[str, Any]:
        metrics = {
            name: {**found, "column": column(self.evaluation, name)}
            for name, found in self.evaluation["metrics"].items()
        }
        own = [values(self.evaluation, metric) for metric in metrics]
        rows = [[name, [found.get(name) for found in own]] for name in self.order]
        kept = {key: self.evaluation[key] for key in ("protocol", "test_set", "failed")}
        return {**kept, "metrics": metrics, "songs": rows, "shown": self.shown}

    def _song(self, name: str, room: int) -> dict[str, Any]:
        """What the page knows of a song that can be opened."""
        source, note = self._sound(name, room)
        if not source:
            self.silent.append(name)
        return {"measured": self.songs[name].get("measured", {}), "sound": source, "note": note}

    def _sound(self, name: str, room: int) -> tuple[dict[str, str], str]:
        """A song's sound as `data` or `link`, or nothing and why not."""
        path, scored = self.sounds.get(name), self.songs[name].get("audio_sha256")
        if self.wish.sound == "none":
            return {}, ""
        if path is None or not path.is_file():
            return {}, "Its sound is not where the songs were looked for."
        if sha256(path) != scored:
            return {}, "Its file has changed since it was scored, and is not played."
        if self.wish.sound == "link":
            return {"link": quote(Path(os.path.relpath(path, self.folder)).as_posix())}, ""
        return _embedded(path, room)


def _embedded(path: Path, room: int) -> tuple[dict[str, str], str]:
    try:
        samples = sound.to_stereo(sound.read(path, SAMPLE_RATE))
    except SongBloomError as error:
        return {}, error.message
    seconds = samples.shape[1] / SAMPLE_RATE
    if seconds > MAX_DURATION:
        return {}, f"Longer than {MAX_DURATION / 60:g} minutes: its sound is left out."
    if seconds * _BYTES_PER_SECOND > room:
        return {}, "Its sound is left out: the page would be too large."
    return {"data": html_page.encoded(html_page.vorbis(samples, SAMPLE_RATE))}, ""
