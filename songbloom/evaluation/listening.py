"""Blind listening tests: a folder with one page and its sounds for raters, and a key to be kept.

`mos` lets raters score every song of every system on the paper's scales; `ab` lets them choose
between two systems' songs of the same lyrics. The page and the names of its files say nothing about
systems; the key beside the folder does, and `songbloom.evaluation.answers` needs it.

All sounds are equally loud. Nothing is limited or compressed for that, which would change what is
judged: where a song's peaks leave no room for the wished loudness, all songs are made quieter.
"""

import dataclasses
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from scipy import signal

from songbloom import audio, loudness
from songbloom import lyrics as lyric_text
from songbloom.errors import SongBloomError, UsageError
from songbloom.evaluation import items, rubric
from songbloom.evaluation.items import Item
from songbloom.files import sha256, write_text
from songbloom.stages import html_page, sound
from songbloom.units import SAMPLE_RATE, Hz, Seconds

FORMAT = 1
Kind = Literal["mos", "ab"]
TRUE_PEAK = -1.0  # dBTP that no sound of a test may exceed
_SHARE_HEARD, _MOST_HEARD = 0.5, 30.0  # of a song, and seconds: to be heard before it is rated
_ANCHOR_CUT: Hz = 3500  # the low anchor of ITU-R BS.1534
_FADE: Seconds = 0.5  # where a song is cut short
_BYTES_PER_SECOND = {"flac": 200_000, "ogg": 16_000, "mp3": 16_000}  # about


@dataclass(frozen=True)
class Wish:
    """What a test is to be: `songs` drawn of those that all systems have, `repeats` trials asked
    twice and `anchors` muffled songs to tell careful raters from others."""

    kind: Kind = "mos"
    songs: int = 20
    seed: int = 0
    loudness: float = -14.0
    max_duration: Seconds | None = None
    repeats: int = 2
    anchors: int = 1
    format: str = "flac"
    title: str = "Listening test"

    def __post_init__(self) -> None:
        self._check("kind", self.kind, get_args(Kind))
        self._check("format", self.format, tuple(_BYTES_PER_SECOND))
        if not -70 < self.loudness < 0:
            raise UsageError(f"loudness {self.loudness:g}: expected LUFS from -70 to 0")
        if self.max_duration is not None and self.max_duration < items.SHORTEST:
            raise UsageError(f"max duration {self.max_duration:g} s: expected 1 s or more")

    def _check(self, name: str, value: str, known: Sequence[str]) -> None:
        if value not in known:
            raise UsageError(f"{name} '{value}': expected {' or '.join(known)}")


@dataclass(frozen=True)
class Made:
    """A test: its folder, its key, its id, and what a rater has to hear."""

    output: Path
    key: Path
    test: str
    songs: int
    left_out: int  # songs that not all systems have
    without: Mapping[str, int]  # songs of the test that come without lyrics, without a clip
    trials: int
    seconds: Seconds  # of sound in all trials
    loudness: float  # of every sound, LUFS


@dataclass(frozen=True)
class _Clip:
    """A sound of the test: a system's song, or a song's reference where `system` is None."""

    song: str
    system: str | None
    path: Path
    muffled: bool = False


@dataclass(frozen=True)
class _Trial:
    """What is rated at once: one clip, or two in the order of the sides.

    `role` is "rating", "repeat" (of another trial's clips) or "anchor".
    """

    clips: tuple[_Clip, ...]
    role: str = "rating"


def make(
    systems: Mapping[str, Path],
    output: Path,
    wish: Wish,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
    *,
    references: Path | None = None,
) -> Made:
    """Write the folder `output` and its key beside it, `OUTPUT.key.json`.

    `systems` are folders or tables of songs by the systems' names, as `songbloom evaluate` reads
    them; songs of one name belong together. `references` is looked for the songs' clips in place of
    the folder `references` of each. `SongBloomError` where the systems share no songs, or
    were given different clips, where a song cannot be played, and for an output that exists.
    """
    output = Path(output)
    draft = _Draft.of(systems, wish, references)
    key = output.with_name(f"{output.name}.key.json")
    if output.exists():
        raise _exists(output)
    partial = output.with_name(f".{output.name}.partial")  # of a killed run: started over
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "sounds").mkdir(parents=True)
    level = draft.write_sounds(partial, on_progress)
    page = draft.page()
    kept = json.dumps(draft.key(level), indent=1, ensure_ascii=False) + "\n"
    if key.exists() and key.read_text("utf-8") != kept:  # the same of a killed run may stay
        raise _exists(key)
    write_text(partial / "index.html", _html(wish.title, page))
    write_text(key, kept)
    partial.rename(output)
    return Made(
        output,
        key,
        draft.test,
        songs=len(draft.songs),
        left_out=draft.left_out,
        without=draft.without(),
        trials=len(draft.trials),
        seconds=round(sum(trial["seconds"] for trial in page["trials"]), 3),
        loudness=level,
    )


def _exists(path: Path) -> SongBloomError:
    return SongBloomError(
        f"{path}: exists already; answers may belong to it",
        "Choose another -o, or remove it first.",
    )


def plan(
    systems: Mapping[str, Path], wish: Wish, *, references: Path | None = None
) -> dict[str, Any]:
    """What `make` would write, told from the files' headers: songs, trials, a rater's time."""
    draft = _Draft.of(systems, wish, references)
    longest = wish.max_duration or math.inf
    seconds = {clip: min(longest, audio.info(clip.path).duration) for clip in draft.files}
    return {
        "kind": wish.kind,
        "systems": list(systems),
        "songs": len(draft.songs),
        "left_out": draft.left_out,
        "without": draft.without(),
        "trials": len(draft.trials),
        "sounds": len(draft.files),
        "hours_a_rater": round(sum(seconds[c] for t in draft.trials for c in t.clips) / 3600, 2),
        "disk_bytes": round(sum(seconds.values()) * _BYTES_PER_SECOND[wish.format]),
    }  # fmt: skip


@dataclass
class _Draft:
    """A test being made; all draws happen in `of`, in one order."""

    wish: Wish
    systems: tuple[str, ...]
    songs: dict[str, dict[str, Item]]  # by name, then by system
    left_out: int
    trials: list[_Trial]
    files: dict[_Clip, str]  # names in the folder; numbered in random order
    hashes: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, Seconds] = field(default_factory=dict)
    gains: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, systems: Mapping[str, Path], wish: Wish, references: Path | None = None
    ) -> "_Draft":
        """Draw songs, trials and numbers."""
        if wish.kind == "ab" and len(systems) < 2:
            raise UsageError(
                "an A/B test compares two systems or more, one is given",
                "Name another folder, or make a test with --kind mos.",
            )
        found = {
            name: {item.name: item for item in items.find(path, references=references)}
            for name, path in systems.items()
        }
        rng = np.random.Generator(np.random.PCG64(wish.seed))
        songs, left_out = _shared(found, wish.songs, rng)
        _check_references(songs)
        trials = _trials(wish, tuple(systems), songs, rng)
        return cls(
            wish, tuple(systems), songs, left_out, trials, _numbered(trials, songs, wish, rng)
        )

    def without(self) -> dict[str, int]:
        """How many songs come without lyrics, and without a clip: those scales are not asked."""
        songs = [list(song.values()) for song in self.songs.values()]
        return {
            "lyrics": sum(not any(item.lyrics for item in song) for song in songs),
            "reference": sum(not any(item.reference for item in song) for song in songs),
        }

    @property
    def test(self) -> str:
        """The id that answers carry: other sounds, trials or words are another test."""
        trials = [[self.files[clip] for clip in trial.clips] for trial in self.trials]
        content = [FORMAT, rubric.VERSION, self.wish.kind, trials, sorted(self.hashes.items())]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def write_sounds(self, folder: Path, on_progress: Callable[[int, int], None]) -> float:
        """Write every clip, in order of the numbers, equally loud; the loudness."""
        order = sorted(self.files, key=lambda clip: self.files[clip])
        levels, rooms = {}, [self.wish.loudness]
        for number, clip in enumerate(order):
            on_progress(number, 2 * len(order))
            items.check_sound(clip.path)
            samples = self._read(clip)
            levels[clip] = loudness.integrated(samples, SAMPLE_RATE)
            if not math.isfinite(levels[clip]):
                raise SongBloomError(
                    f"{clip.path}: too quiet or too short to have a loudness",
                    "Leave that song out of all systems' folders.",
                )
            peak = loudness.true_peak(samples, SAMPLE_RATE)
            rooms.append(levels[clip] + TRUE_PEAK - peak)
        target = min(rooms)
        for number, clip in enumerate(order, start=len(order)):
            on_progress(number, 2 * len(order))
            gain, path = target - levels[clip], folder / self.files[clip]
            audio.save(path, self._read(clip) * np.float32(10 ** (gain / 20)), SAMPLE_RATE)
            self.hashes[self.files[clip]] = sha256(path)
            self.gains[self.files[clip]] = round(gain, 3)
        return round(target, 3)

    def _read(self, clip: _Clip) -> np.ndarray:
        """`[2, n]` at 48 kHz, cut to the wished length, muffled if it is an anchor."""
        samples = sound.to_stereo(sound.read(clip.path, SAMPLE_RATE))
        if self.wish.max_duration and clip.system is not None:
            samples = _cut(samples, round(self.wish.max_duration * SAMPLE_RATE))
        if clip.muffled:
            lowpass = signal.butter(8, _ANCHOR_CUT, fs=SAMPLE_RATE, output="sos")
            samples = signal.sosfiltfilt(lowpass, samples).astype(np.float32)
        self.seconds[self.files[clip]] = round(samples.shape[1] / SAMPLE_RATE, 3)
        return samples

    def page(self) -> dict[str, Any]:
        """All that the raters' page knows."""
        songs = [
            {"lyrics": _words(song), "reference": self._reference(name)}
            for name, song in self.songs.items()
        ]
        numbers = {name: number for number, name in enumerate(self.songs)}
        trials = []
        for id, trial in self._ids():
            lengths = [self.seconds[self.files[clip]] for clip in trial.clips]
            trials.append({
                "id": id,
                "song": numbers[trial.clips[0].song],
                "sounds": [self.files[clip] for clip in trial.clips],
                "needed": [round(min(_SHARE_HEARD * s, _MOST_HEARD), 1) for s in lengths],
                "seconds": sum(lengths),
            })  # fmt: skip
        return {
            "format": FORMAT,
            "test": self.test,
            "title": self.wish.title,
            "kind": self.wish.kind,
            "question": rubric.PREFERENCE,
            "scales": [dataclasses.asdict(scale) for scale in rubric.SCALES],
            "songs": songs,
            "trials": trials,
        }

    def key(self, level: float) -> dict[str, Any]:
        """What turns answers into scores of systems, and how the test was made."""
        first = {_whole(trial): id for id, trial in self._ids() if trial.role == "rating"}
        trials = {
            id: {
                "song": trial.clips[0].song,
                "systems": [clip.system for clip in trial.clips],
                "role": trial.role,
                "of": None if trial.role == "rating" else first[_whole(trial)],
            }
            for id, trial in self._ids()
        }
        sounds = {
            file: {"song": clip.song, "system": clip.system, "muffled": clip.muffled,
                   "gain_db": self.gains[file], "sha256": self.hashes[file]}
            for clip, file in sorted(self.files.items(), key=lambda pair: pair[1])
        }  # fmt: skip
        return {
            "format": FORMAT,
            "test": self.test,
            "kind": self.wish.kind,
            "rubric": rubric.VERSION,
            "wish": dataclasses.asdict(self.wish),
            "loudness": level,
            "systems": list(self.systems),
            "songs": list(self.songs),
            "trials": trials,
            "sounds": sounds,
        }

    def _ids(self) -> list[tuple[str, _Trial]]:
        return [(f"{number:03d}", trial) for number, trial in enumerate(self.trials, start=1)]

    def _reference(self, song: str) -> str | None:
        found = (f for clip, f in self.files.items() if clip.system is None and clip.song == song)
        return next(found, None)


def _shared(
    found: Mapping[str, Mapping[str, Item]], count: int, rng: np.random.Generator
) -> tuple[dict[str, dict[str, Item]], int]:
    """`count` songs that every system has, by name, and how many only some have."""
    everywhere = sorted(set.intersection(*(set(songs) for songs in found.values())))
    anywhere = set().union(*found.values())
    if not everywhere:
        raise SongBloomError(
            f"the systems have no song in common: {', '.join(found)}",
            "Songs of the same lyrics and clip must have the same NAME in each folder.",
        )
    drawn = rng.permutation(len(everywhere))[:count]
    names = [everywhere[number] for number in sorted(drawn)]
    songs = {name: {system: found[system][name] for system in found} for name in names}
    return songs, len(anywhere) - len(everywhere)


def _check_references(songs: Mapping[str, Mapping[str, Item]]) -> None:
    """Systems that were given different clips cannot be compared in style."""
    for name, song in songs.items():
        clips = {sha256(item.reference) for item in song.values() if item.reference}
        if len(clips) > 1:
            raise SongBloomError(
                f"{name}: the systems' folders hold different reference clips for it",
                "Give every folder the clip that the song was made from.",
            )


def _trials(
    wish: Wish,
    systems: tuple[str, ...],
    songs: Mapping[str, Mapping[str, Item]],
    rng: np.random.Generator,
) -> list[_Trial]:
    """All trials in random order: ratings, some of them again, some muffled."""
    clips = {
        n: {s: _Clip(n, s, item.audio) for s, item in song.items()} for n, song in songs.items()
    }
    if wish.kind == "mos":
        ratings = [_Trial((clip,)) for song in clips.values() for clip in song.values()]
    else:
        pairs = [(a, b) for i, a in enumerate(systems) for b in systems[i + 1 :]]
        both = [(song[a], song[b]) for song in clips.values() for a, b in pairs]
        turned = rng.permutation(len(both)) % 2  # as often one way as the other
        ratings = [_Trial(p[::-1] if t else p) for p, t in zip(both, turned, strict=True)]
    again = [ratings[n] for n in rng.permutation(len(ratings))[: wish.repeats]]
    trials = [*ratings, *(_Trial(trial.clips[::-1], "repeat") for trial in again)]
    if wish.kind == "mos":
        dull = [ratings[n].clips[0] for n in rng.permutation(len(ratings))[: wish.anchors]]
        trials += [_Trial((dataclasses.replace(clip, muffled=True),), "anchor") for clip in dull]
    return [trials[number] for number in rng.permutation(len(trials))]


def _whole(trial: _Trial) -> frozenset[_Clip]:
    """The clips of the rating that a repeat or an anchor belongs to."""
    return frozenset(dataclasses.replace(clip, muffled=False) for clip in trial.clips)


def _numbered(
    trials: Sequence[_Trial],
    songs: Mapping[str, Mapping[str, Item]],
    wish: Wish,
    rng: np.random.Generator,
) -> dict[_Clip, str]:
    """A name in the folder for every clip; numbers are drawn, so that they say nothing."""
    clips = sorted({clip for trial in trials for clip in trial.clips}, key=dataclasses.astuple)
    for name, song in songs.items():
        reference = next((i.reference for i in song.values() if i.reference), None)
        clips += [] if reference is None else [_Clip(name, None, reference)]
    numbers = rng.permutation(len(clips))
    return {
        clip: f"sounds/{n + 1:03d}.{wish.format}" for clip, n in zip(clips, numbers, strict=True)
    }


def _words(song: Mapping[str, Item]) -> list[dict[str, Any]]:
    """The lyrics as sections of lines; none where no system has them."""
    given = next(((i.lyrics, i.name) for i in song.values() if i.lyrics), None)
    if given is None:
        return []
    found = lyric_text.parse(*given)
    return [{"tag": s.tag, "lines": list(s.texts)} for s in found.sections]


def _cut(samples: np.ndarray, length: int) -> np.ndarray:
    """The first `length` samples, faded out where there are more."""
    if samples.shape[1] <= length:
        return samples
    cut = samples[:, :length].copy()
    fade = min(length, round(_FADE * SAMPLE_RATE))
    cut[:, length - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return cut


def _html(title: str, page: Mapping[str, Any]) -> str:
    styles = ["report/report.css", "listen/listen.css"]
    scripts = ["report/helpers.js", "listen/listen.js"]
    frame = html_page.frame("listen/page.html", title, styles, scripts)
    return frame.replace(html_page.DATA_MARK, html_page.data("data", page))
