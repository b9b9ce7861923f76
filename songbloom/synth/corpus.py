"""A folder of synthetic songs: made in parallel, resumable, the same bytes for the same seed."""

import itertools
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from songbloom import audio
from songbloom.errors import SongBloomError, UsageError
from songbloom.synth import backing, music21_scores, soundfont
from songbloom.synth.render import render
from songbloom.synth.score import Score, compose
from songbloom.synth.voice import check_installed
from songbloom.synth.voices import DEFAULT_ENGINES
from songbloom.units import SAMPLE_RATE, Seconds

STEMS = ("audio", "vocals", "backing")
BYTES_PER_SECOND = 380_000  # of song: three 24-bit stereo FLAC files
CPU_PER_SECOND = 0.13  # of song, seconds of one 2.5 GHz core

SCORES = "scores"  # the split of songs made of music21's scores, beside those of `compose`
MIXED = ("en", "en", "en", "zh")  # the languages of a mixed corpus, in turn

OnProgress = Callable[[int, int, Seconds], None]  # songs done, songs in all, seconds of audio done


@dataclass(frozen=True)
class Recipe:
    """What the scores of a corpus depend on."""

    seed: int
    split: str
    language: str
    engines: tuple[str, ...]

    def score(self, index: int) -> Score:
        """Song number `index`. `UsageError` for what is not there, like scores in Mandarin."""
        language = song_language(self.language, self.seed, index)
        if self.split != SCORES:
            return compose(
                self.seed, index, split=self.split, language=language, engines=self.engines
            )
        if self.language != "en":
            raise UsageError(
                f"language: songs from scores are in English, not '{self.language}'",
                "Leave out --language, or --music21.",
            )
        return music21_scores.compose(self.seed, index, engines=self.engines)


@dataclass(frozen=True)
class CorpusPlan:
    """What a run would make: `duration` seconds of audio, of which `done` songs are there."""

    songs: int
    done: int
    duration: Seconds
    bytes: int
    cpu_seconds: Seconds


@dataclass(frozen=True)
class CorpusReport:
    """What a run made: `made` new songs, `kept` that were there; `duration` of all, in seconds."""

    output: Path
    made: int
    kept: int
    duration: Seconds


def plan_corpus(
    output: Path,
    *,
    seed: int,
    songs: int | None = None,
    hours: float | None = None,
    split: str = "train",
    language: str = "en",
    engines: tuple[str, ...] = DEFAULT_ENGINES,
) -> CorpusPlan:
    """Songs, audio, disk and processor time of `make_corpus` with the same arguments."""
    scores = list(_scores(songs, hours, Recipe(seed, split, language, engines)))
    missing = [score for score in scores if not is_done(song_folder(output, score.index))]
    left = sum(score.duration for score in missing)
    return CorpusPlan(
        songs=len(scores),
        done=len(scores) - len(missing),
        duration=sum(score.duration for score in scores),
        bytes=round(left * BYTES_PER_SECOND),
        cpu_seconds=left * CPU_PER_SECOND,
    )


def make_corpus(
    output: Path,
    *,
    seed: int,
    songs: int | None = None,
    hours: float | None = None,
    split: str = "train",
    language: str = "en",
    engines: tuple[str, ...] = DEFAULT_ENGINES,
    fonts: Sequence[Path] = (),
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> CorpusReport:
    """Write `songs` songs, or as many as fill `hours`, into folders `output/song_00001` and on.

    `language` is "en", "zh", or "mixed": by turns, the seed says which first. `split` "scores" has
    songs of `music21_scores`. The speech `engines` are those whose voices sing. Each song is played
    by one of the soundfonts `fonts` or by this package's own instruments. A song depends on
    `(seed, split, language, engines, fonts, its number)` alone, so `workers` (default: one a core)
    changes nothing, a longer corpus begins with a shorter one, and songs that are there are not
    made again. A folder appears whole or not at all. `UsageError` when `output` holds songs made
    otherwise, `MissingAssetError` without the `synth` extra, or what engines and fonts need.
    """
    recipe = Recipe(seed, split, language, engines)
    scores = list(_scores(songs, hours, recipe))
    _check(engines, fonts)
    _claim(output, recipe, fonts)
    missing = [score for score in scores if not is_done(song_folder(output, score.index))]
    wanted = sum(score.duration for score in scores)
    seconds = wanted - sum(score.duration for score in missing)
    count = len(scores) - len(missing)
    for duration in _make_all(output, missing, fonts, workers or os.cpu_count() or 1):
        count, seconds = count + 1, seconds + duration
        if on_progress:
            on_progress(count, len(scores), seconds)
    return CorpusReport(output, len(missing), len(scores) - len(missing), wanted)


def song_folder(output: Path, index: int) -> Path:
    """Where song number `index` (from 0) lies."""
    return Path(output) / f"song_{index + 1:05d}"


def is_done(folder: Path) -> bool:
    """Whether a song is there. Folders appear by one rename, so one file tells."""
    return (folder / "truth.json").is_file()


def load_score(folder: Path) -> Score:
    """The score of a song folder. `SongBloomError` when it is missing or no score."""
    path = Path(folder) / "truth.json"
    try:
        return Score.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SongBloomError(
            f"{path}: is not a synthetic song's score ({error})",
            "Make the song again: songbloom synth --songs 1 -o DIR",
        ) from error


def write_song(folder: Path, score: Score, font: Path | None = None) -> None:
    """Render a score into `folder`: three sound files, the lyrics and the truth."""
    sound = render(score, font)
    temporary = folder.with_name(f".{folder.name}.partial")
    try:
        if temporary.exists():  # of a run that was killed
            shutil.rmtree(temporary)
        temporary.mkdir(parents=True)
        for name, stem in zip(STEMS, (sound.mix, sound.vocals, sound.backing), strict=True):
            audio.save(temporary / f"{name}.flac", stem, SAMPLE_RATE)
        (temporary / "lyrics.txt").write_text(score.lyrics, encoding="utf-8")
        (temporary / "truth.json").write_text(truth(score, font), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)  # a half copy from elsewhere, without its truth
        temporary.rename(folder)
    except OSError as error:
        raise SongBloomError(
            f"{folder}: cannot be written ({error.strerror or error})",
            "Choose another place with -o, or free some space there.",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def truth(score: Score, font: Path | None = None) -> str:
    """The text of truth.json: the score and where its instruments came from."""
    played = {"instruments": _instruments(font)}
    return json.dumps(played | json.loads(score.to_json()), indent=1) + "\n"


def _instruments(font: Path | None) -> str:
    return soundfont.identity(font) if font else backing.OWN


def song_language(language: str, seed: int, index: int) -> str:
    """The language of song number `index` in a corpus of `language` "en", "zh" or "mixed"."""
    return MIXED[(seed + index) % len(MIXED)] if language == "mixed" else language


def _scores(songs: int | None, hours: float | None, recipe: Recipe) -> Iterator[Score]:
    """The scores of a corpus of that size, in order."""
    if (songs is None) == (hours is None):
        raise UsageError(
            "how many songs: give either a number of songs or hours",
            "For example --songs 20, or --hours 1.5.",
        )
    if (songs is not None and songs < 1) or (hours is not None and not 0 < hours <= 10_000):
        raise UsageError("how many songs: expected at least one song, or 0-10000 hours")
    seconds = 0.0
    for index in itertools.count():
        if index == songs or (hours is not None and seconds >= hours * 3600):
            return
        score = recipe.score(index)
        seconds += score.duration
        yield score


def _check(engines: tuple[str, ...], fonts: Sequence[Path]) -> None:
    """Everything that the songs need is there."""
    check_installed(engines)
    for font in fonts:
        soundfont.check_installed()
        soundfont.identity(font)


def _claim(output: Path, recipe: Recipe, fonts: Sequence[Path]) -> None:
    """Refuse a folder of songs made otherwise: together they would look like one corpus.

    Two songs tell one language from a mixture.
    """
    for folder in sorted(Path(output).glob("song_*"))[:2]:
        if not is_done(folder):
            continue
        there = load_score(folder)
        asked = recipe.score(there.index)
        own = json.loads((folder / "truth.json").read_text("utf-8"))["instruments"]
        font = _instruments(backing.instruments_of(asked, fonts))
        if _described(there, own) != _described(asked, font):
            raise UsageError(
                f"{output}: holds songs of {_described(there, own)}; not of "
                f"{_described(asked, font)}",
                "Choose another folder with -o.",
            )


def _described(score: Score, instruments: str) -> str:
    played = instruments.split(" ")[0]
    return (
        f"seed {score.seed}, split {score.split}, language {score.language}, voice {score.voice}, "
        f"instruments {played}"
    )


def _make_all(
    output: Path, scores: list[Score], fonts: Sequence[Path], workers: int
) -> Iterator[Seconds]:
    """Make songs in processes; yield each one's duration as it is done."""
    if not scores:
        return
    if min(workers, len(scores)) == 1:
        for score in scores:
            write_song(
                song_folder(output, score.index), score, backing.instruments_of(score, fonts)
            )
            yield score.duration
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(scores)), context)
    try:
        yield from _drain(pool, output, scores, fonts, workers)
    finally:
        pool.shutdown(cancel_futures=True)


def _drain(
    pool: ProcessPoolExecutor,
    output: Path,
    scores: list[Score],
    fonts: Sequence[Path],
    workers: int,
) -> Iterator[Seconds]:
    """Keep two songs a worker queued: a full queue of a large corpus would hold every score."""
    waiting: set[Future[Seconds]] = set()
    for score in scores:
        font = backing.instruments_of(score, fonts)
        waiting.add(pool.submit(_make_one, output, score, font))
        while len(waiting) >= 2 * workers:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    while waiting:
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        yield from (future.result() for future in done)


def _make_one(output: Path, score: Score, font: Path | None) -> Seconds:
    write_song(song_folder(output, score.index), score, font)
    return score.duration
