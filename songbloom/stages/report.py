"""`songbloom report`: one HTML page about a prepared dataset that needs nothing but a browser.

Totals and a list of the songs, and for some of them what the stages found on a timeline, with the
sound. The page is `assets/report/page.html` with script and style beside it; every text of the
songs gets there as JSON and is shown by the browser as text, never as HTML.
"""

import contextlib
import dataclasses
import hashlib
import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from songbloom import audio
from songbloom.errors import SongBloomError, UsageError
from songbloom.files import write_text
from songbloom.manifest import Track
from songbloom.stages import html_page, picture, sound
from songbloom.stages.stage import DETAILS, read_details, result_folder
from songbloom.stages.summary import (
    CONFIDENCE,
    Summary,
    backends,
    described,
    language,
    plain,
    read_json,
    sections,
    tracks,
)
from songbloom.units import Hz, Seconds

MAX_ROWS = 2000  # songs in the page's list; of larger datasets a sample
MAX_DURATION: Seconds = 900.0  # longer songs are shown without picture and sound
_SAMPLE_RATE: Hz = 24_000  # of the sound in the page: Vorbis takes about 45 kbit/s of it in mono
BYTES_PER_SECOND = 8_000  # and no more than this, as text
_STEMS = ("vocals", "accompaniment")
_SCRIPTS = ("report/helpers.js", "report/report.js")


@dataclass(frozen=True)
class Wish:
    """What a page is to hold: the songs named by `ids`, else `tracks` drawn evenly.

    `stems` adds the sound of the vocals and the accompaniment. Past `max_bytes` songs come without
    sound, then without pictures.
    """

    tracks: int = 12
    ids: tuple[str, ...] = ()
    audio: bool = True
    stems: bool = False
    max_bytes: int = 25_000_000


@dataclass(frozen=True)
class Report:
    """A page that was written: its size, the totals, the songs shown, those without sound."""

    output: Path
    bytes: int
    summary: Mapping[str, Any]
    shown: tuple[str, ...]
    silent: tuple[str, ...]


def write_report(
    folder: Path,
    output: Path,
    wish: Wish,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
) -> Report:
    """Write the page of the dataset in `folder`.

    `on_progress` hears how many songs are drawn, and of how many. `SongBloomError` where there is
    no prepared dataset; `UsageError` for a song that is not in it.
    """
    folder = Path(folder)
    prepared = read_json(folder / "prepare.json")
    survey = Survey(wish)
    for track in tracks(folder):
        survey.add(track)
    chosen = survey.chosen()
    rows = [_row(folder, track, survey.summary) for track in survey.listed()]
    totals = survey.summary.to_dict(prepared.get("filters", {}))
    page: dict[str, Any] = {
        "name": plain(folder.resolve().name),
        "summary": totals,
        "backends": backends(prepared),
        "dataset": described(folder),
        "tracks": rows,
        "shown": [track.id for track in chosen],
    }
    frame = html_page.frame("report/page.html", page["name"], ["report/report.css"], _SCRIPTS)
    room = wish.max_bytes - len(frame) - len(html_page.data("data", page))
    parts: list[str] = []
    page["shown"], silent = [], []
    for number, track in enumerate(chosen):
        on_progress(number, len(chosen))
        detail = _detail(folder, prepared, track, wish, room)
        part = html_page.data(f"track-{len(parts)}", detail)
        if len(part) > room:
            continue
        room -= len(part)
        parts.append(part)
        page["shown"].append(track.id)
        silent += [] if detail["sound"] else [track.id]
    parts.append(html_page.data("data", page))
    write_text(output, frame.replace(html_page.DATA_MARK, "".join(parts)))
    return Report(output, output.stat().st_size, totals, tuple(page["shown"]), tuple(silent))


@dataclass
class Survey:
    """One pass over a manifest: its totals, the songs to list, and those to show.

    Which songs of a large dataset are taken follows from their ids alone, so the same dataset gives
    the same page.
    """

    wish: Wish
    summary: Summary = field(default_factory=Summary)
    _listed: "_Sample" = field(default_factory=lambda: _Sample(MAX_ROWS))
    _shown: "_Sample" = field(init=False)
    _named: dict[str, tuple[int, Track]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._shown = _Sample(0 if self.wish.ids else self.wish.tracks)

    def add(self, track: Track) -> None:
        """See the next song."""
        self.summary.add(track)
        number = self.summary.songs
        self._listed.offer(number, track)
        if track.id in self.wish.ids:
            self._named[track.id] = (number, track)
        elif track.duration is not None:
            self._shown.offer(number, track)

    def chosen(self) -> list[Track]:
        """The songs to show. `UsageError` for a named one that is not there."""
        for name in self.wish.ids:
            if name not in self._named:
                raise UsageError(
                    f"--track {name}: no such song in the manifest",
                    "See their ids: songbloom manifest show DATA",
                )
        named = [self._named[name][1] for name in dict.fromkeys(self.wish.ids)]
        return named or [track for _, track in self._shown.items()]

    def listed(self) -> list[Track]:
        """The songs of the list in the manifest's order; those that are shown are among them."""
        found = {**dict(self._listed.items()), **dict(self._shown.items())}
        found |= dict(self._named.values())
        return [found[number] for number in sorted(found)]


class _Sample:
    """As many songs as wanted, those whose ids have the lowest hashes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[int, int, Track]] = []

    def offer(self, number: int, track: Track) -> None:
        """Take a song, if it is among the lowest so far."""
        digest = hashlib.sha256(track.id.encode("utf-8", "surrogatepass")).digest()
        low = -int.from_bytes(digest[:8], "big")
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, (low, number, track))
        elif self._heap and low > self._heap[0][0]:
            heapq.heapreplace(self._heap, (low, number, track))

    def items(self) -> list[tuple[int, Track]]:
        """(number, song), in order of the numbers."""
        return sorted(((number, track) for _, number, track in self._heap), key=lambda i: i[0])


def _results(folder: Path, track: Track) -> dict[str, Mapping[str, Any]]:
    """All that the stages found of a song; what was deleted since is left out."""
    found = dict(track.results)
    for stage in DETAILS.keys() & found.keys():
        with contextlib.suppress(SongBloomError):
            found[stage] = read_details(folder / "work", track, stage)
    return found


def _row(folder: Path, track: Track, summary: Summary) -> dict[str, Any]:
    """What the list says of a song; its words' confidences go into the totals."""
    results = _results(folder, track)
    words = [word for line in results.get("align", {}).get("lines", ()) for word in line["words"]]
    heard = [word["confidence"] for word in words if word["confidence"] is not None]
    summary.measure(CONFIDENCE, track, heard)
    return {
        "id": track.id,
        "title": track.title,
        "artist": track.artist,
        "language": language(track),
        "duration": track.duration,
        "state": track.state,
        "stage": track.stage,
        "reason": track.reason,
        "matched": results.get("align", {}).get("matched"),
        "confidence": round(sum(heard) / len(heard), 4) if heard else None,
        "voice": results.get("separate", {}).get("voice"),
        "level": results.get("ingest", {}).get("rms_dbfs"),
    }


def _detail(
    folder: Path, prepared: Mapping[str, Any], track: Track, wish: Wish, room: int
) -> dict[str, Any]:
    """All that the page knows of a song, with pictures and sound that fit in `room` bytes."""
    results = _results(folder, track)
    aligned, structure = results.get("align", {}), results.get("structure", {})
    detail: dict[str, Any] = {
        "about": {
            name: getattr(track, name)
            for name in ("audio", "lyrics", "year", "licence", "source")
            if getattr(track, name)
        },
        "decisions": [dataclasses.asdict(decision) for decision in track.decisions],
        "results": {
            stage: {k: v for k, v in fields.items() if not isinstance(v, list | dict)}
            for stage, fields in results.items()
        },
        "sections": sections(track),
        "tags": [section.get("tag", "") for section in aligned.get("sections") or ()],
        "lines": aligned.get("lines") or [],
        "beats": structure.get("beats") or [],
        "duration": track.duration,
        "image": None,
        "peaks": {},
        "sound": {},
        "note": "",
    }
    heard = _heard(folder, prepared, track)
    if not heard:
        detail["note"] = _why_unheard(track)
        return detail
    detail |= _pictures(heard)
    wanted = [name for name in heard if wish.audio and (wish.stems or name == "mix")]
    if BYTES_PER_SECOND * (track.duration or 0.0) * len(wanted) > room:
        detail["note"] = "Its sound is left out: the page would be larger than --max-size."
    else:
        detail["sound"] = {
            name: html_page.encoded(html_page.vorbis(heard[name], _SAMPLE_RATE)) for name in wanted
        }
    return detail


def _heard(folder: Path, prepared: Mapping[str, Any], track: Track) -> dict[str, np.ndarray]:
    """`mix` and the stems of a song that can be read, mono `[1, n]`; nothing without a mix."""
    if track.duration is None or track.duration > MAX_DURATION:
        return {}
    files = {"mix": folder / str(prepared.get("songs", "")) / track.audio}
    if key := track.results.get("separate", {}).get("key"):
        stems = result_folder(folder / "work", "separate", key)
        files |= {name: stems / f"{name}.flac" for name in _STEMS}
    found = {}
    for name, path in files.items():
        with contextlib.suppress(SongBloomError):  # songs may be elsewhere, stems deleted
            found[name] = audio.to_mono(sound.read(path, _SAMPLE_RATE))
    return found if "mix" in found else {}


def _why_unheard(track: Track) -> str:
    if track.duration is None:
        return "Its sound could not be read when it was prepared."
    if track.duration > MAX_DURATION:
        return f"Longer than {MAX_DURATION / 60:g} minutes: shown without picture and sound."
    return "Its sound file is not where it was when it was prepared, or cannot be read."


def _pictures(mono: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Spectrogram and waveforms; the loudest peak of all is 255."""
    mix = mono["mix"][0]
    count = picture.columns(len(mix) / _SAMPLE_RATE)
    shapes = {name: picture.peaks(mono[name], count) for name in _STEMS if name in mono}
    shapes = shapes or {"mix": picture.peaks(mono["mix"], count)}
    loudest = max(max(float(shape.max()) for shape in shapes.values()), 1e-6)
    return {
        "image": html_page.encoded(picture.spectrogram(mix, _SAMPLE_RATE)),
        "peaks": {
            name: html_page.encoded((shape * (255 / loudest)).astype(np.uint8).tobytes())
            for name, shape in shapes.items()
        },
    }
