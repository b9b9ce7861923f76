"""Test sets as the paper makes them: lyrics, and clips of unseen songs, shuffled to each other.

    set.json              the songs with their hashes, where the clips are from, what was left out
    requests.jsonl        what `songbloom generate` takes
    lyrics/NAME.txt       byte for byte as given, under the suffix that they came with
    references/NAME.flac  48 kHz stereo, ten seconds from a place drawn at random

Names are `song_0001` and so on, and say nothing. No song is asked for with its own lyrics, and a
song that training has heard is left out. The same inputs and seed give the same bytes.
"""

import hashlib
import json
import math
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from songbloom import audio, lyrics
from songbloom.errors import SongBloomError, UsageError
from songbloom.evaluation import leakage
from songbloom.evaluation.items import Item
from songbloom.evaluation.leakage import Known, Leaks
from songbloom.evaluation.protocol import test_set_hash
from songbloom.files import sha256
from songbloom.manifest import Track
from songbloom.stages import ingest, sound, sources
from songbloom.stages.sources import Sources
from songbloom.tables import PrepareConfig
from songbloom.units import SAMPLE_RATE, Hz, Seconds

FORMAT = 1
CLIP: Seconds = 10.0
_QUIET = -40.0  # dBFS; a clip as soft as this is drawn again
_DRAWS = 8
_INPUT_FIELDS = ("idx", "lyrics")


@dataclass(frozen=True)
class Words:
    """Lyrics to be sung: `source` is their path or idx, `path` the file where there is one."""

    source: str
    data: bytes
    suffix: str
    path: Path | None = None


@dataclass(frozen=True)
class Clip:
    """Ten seconds of a song from `start` on; `known` is what the whole song is compared by.

    `lyrics` are the song's own, where it has some.
    """

    known: Known
    path: Path
    start: Seconds
    lyrics: Path | None = None


@dataclass
class _Training:
    """The training set that a test set is kept apart from, or None; and what was left out."""

    manifest: Path | None
    leaks: Leaks = field(default_factory=Leaks)
    left_out: list[dict[str, str]] = field(default_factory=list)

    def leave_out(self, kind: str, source: str, reason: str) -> None:
        """Note something that is not used."""
        self.left_out.append({"kind": kind, "source": source, "reason": reason})

    def unheard(self, kind: str, known: Sequence[Known]) -> set[str]:
        """The names of those that training has not heard; the others are noted."""
        if self.manifest is None or not known:
            return {one.name for one in known}
        self.leaks = leakage.find(known, self.manifest)
        for name, found in groupby(self.leaks.found, key=lambda leak: leak.name):
            leak = next(found)
            self.leave_out(kind, name, f"{leak.kind}: training has heard {leak.track}")
        return {one.name for one in known} - self.leaks.names

    def description(self) -> dict[str, Any] | None:
        """Which manifest it was, and how well could be seen what is in it."""
        if self.manifest is None:
            return None
        counts = asdict(self.leaks)
        del counts["found"]
        return {"sha256": sha256(self.manifest), **counts}


def make(
    words: Path,
    references: Path,
    output: Path,
    *,
    songs: int | None = None,
    seed: int = 0,
    against: Path | None = None,
    on_event: Callable[[dict[str, Any]], None] = lambda event: None,
) -> dict[str, Any]:
    """Write a test set into the folder `output`; returns what its set.json says.

    `words` is a folder of lyrics or a JSONL file of `idx` and `lyrics`; `references` what
    `sources.find` finds songs in; `songs` how many (one for each of the lyrics); `against` the
    manifest of the training set. Raises `SongBloomError` where nothing is left to use and
    `UsageError` where `output` holds something else.
    """
    if songs is not None and songs < 1:
        raise UsageError(f"--songs is {songs}; expected at least 1")
    ingest.backend(PrepareConfig())  # says what is not installed
    training = _Training(against)
    rng = random.Random(f"songbloom evalset {seed}")
    texts = _usable_words(words, output, training)
    count = songs or len(texts)
    # one to spare, for lyrics that would meet their own song
    found = sources.find(references, exclude=[output])
    clips = list(_usable_clips(found, count + 1, seed, rng, training, on_event))
    _check_some(clips, references, "reference", training)
    pairs = _pairs(texts, clips, count, rng)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{output.name[:80]}.", dir=output.parent))
    try:
        temporary.chmod(0o755)
        description = _write(temporary, pairs, seed, training)
        _put(temporary, output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return description


def read(folder: Path) -> dict[str, Any]:
    """A set.json, its files checked by their hashes. `SongBloomError` for another folder."""
    path = Path(folder) / "set.json"
    try:
        description = json.loads(path.read_text("utf-8"))
        right = description["format"] == FORMAT
        files = [(song[k]["file"], song[k]["sha256"])
                 for song in description["songs"] for k in ("lyrics", "reference")]  # fmt: skip
    except OSError as error:
        raise SongBloomError(
            f"{path}: cannot be read ({error.strerror or error})",
            "Name a folder that songbloom evalset make wrote.",
        ) from error
    except (ValueError, KeyError, TypeError):
        right, files = False, []
    if not right:
        raise SongBloomError(
            f"{path}: is no test set of format {FORMAT}", "Make it again: songbloom evalset make"
        )
    for name, digest in files:
        if not (folder / name).is_file() or sha256(folder / name) != digest:
            raise SongBloomError(
                f"{folder / name}: is not the file that the set was made with",
                "Make the set again: songbloom evalset make",
            )
    return dict(description)


def check(folder: Path, against: Path) -> Leaks:
    """What of a test set training has heard, by the manifest `against`."""
    return leakage.find([_known(song) for song in read(folder)["songs"]], against)


def _known(song: dict[str, Any]) -> Known:
    clip = song["reference"]
    return Known(
        song["name"],
        clip["source_sha256"],
        clip["fingerprint"],
        clip["artist"],
        song["lyrics"]["sha256"],
    )


def _usable_words(path: Path, output: Path, training: _Training) -> list[Words]:
    """The lyrics that can be sung and that training has not seen."""
    usable = []
    for words in _words(path, output):
        try:
            lyrics.parse_bytes(words.data, words.source + words.suffix, frontend="v1")
            usable.append(words)
        except SongBloomError as error:
            training.leave_out("lyrics", words.source, error.message)
    hashes = [hashlib.sha256(words.data).hexdigest() for words in usable]
    known = [Known(w.source, lyrics_sha256=h) for w, h in zip(usable, hashes, strict=True)]
    names = training.unheard("lyrics", known)
    left = [words for words in usable if words.source in names]
    _check_some(left, path, "lyrics", training)
    return left


def _usable_clips(
    found: Sources,
    count: int,
    seed: int,
    rng: random.Random,
    training: _Training,
    on_event: Callable[[dict[str, Any]], None],
) -> Iterator[Clip]:
    """Clips of up to `count` songs, drawn at random from those that training has not heard.

    No more songs are read than it takes.
    """
    tracks = list(found.tracks)
    rng.shuffle(tracks)
    left, done = iter(tracks), 0
    while new := list(islice(_clips(found.root, left, seed, training), count - done)):
        names = training.unheard("reference", [clip.known for clip in new])
        yield from (clip for clip in new if clip.known.name in names)
        done += len(names)
        on_event({"event": "references", "done": done, "wanted": count})


def _check_some(left: Sequence[object], path: Path, kind: str, training: _Training) -> None:
    """`SongBloomError` where nothing is left."""
    if not left:
        reasons = [item["reason"] for item in training.left_out if item["kind"] == kind]
        why = f"{len(reasons)} were left out, the first: {reasons[0]}" if reasons else "none found"
        what = "lyrics" if kind == "lyrics" else "reference songs"
        raise SongBloomError(f"{path}: no {what} to use; {why}", "Give others, or mend these.")


def _words(path: Path, output: Path) -> Iterator[Words]:
    """The lyrics of a folder but for `output`, in order of their names, or of a JSONL file."""
    if path.is_dir():
        made = output.resolve()
        for file in sorted(path.rglob("*")):
            is_words = file.suffix.lower() in sources.LYRICS_SUFFIXES and file.is_file()
            is_named = file.stem.casefold() not in sources.NO_LYRICS
            if is_words and is_named and made not in file.resolve().parents:
                name = file.relative_to(path).with_suffix("").as_posix()
                yield Words(sources.id_part(name), file.read_bytes(), file.suffix.lower(), file)
        return
    if path.suffix.lower() != ".jsonl" or not path.is_file():
        raise SongBloomError(
            f"{path}: is no folder of lyrics and no .jsonl file",
            "Name a folder of text files, or a file with idx and lyrics a line.",
        )
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(lyrics.decode(line, where))
            idx, text = (row[key] for key in _INPUT_FIELDS)
        except (ValueError, KeyError, TypeError) as error:
            raise SongBloomError(
                f"{where}: expected an object with idx and lyrics ({error})", "Mend that line."
            ) from error
        if not isinstance(text, str):
            raise SongBloomError(f"{where}: 'lyrics' is not text", "Put the lyrics in quotes.")
        yield Words(str(idx), text.encode("utf-8"), ".txt")


def _clips(root: Path, tracks: Iterator[Track], seed: int, training: _Training) -> Iterator[Clip]:
    """A clip of every song that one can be cut from."""
    for track in tracks:
        try:
            yield _clip(root, track, seed)
        except SongBloomError as error:
            reason = error.message.replace(f"{root / track.audio}: ", "")
            training.leave_out("reference", track.id, reason)


def _clip(root: Path, track: Track, seed: int) -> Clip:
    """A place in a song that is not silent, and what the song is known by."""
    path = root / track.audio
    measured, _ = ingest.measure(path)
    if measured["duration"] < CLIP:
        raise SongBloomError(f"{measured['duration']:g} s long, less than a clip of {CLIP:g} s")
    digest = sha256(path)
    rng = random.Random(f"songbloom evalset {seed} {digest}")
    for _ in range(_DRAWS):
        start = round(rng.uniform(0.0, measured["duration"] - CLIP), 3)
        power = np.mean(np.square(_window(path, start, CLIP), dtype=np.float64))
        if power > 10 ** (_QUIET / 10):
            artist = track.artist or str(ingest.read_tags(path)[0]["artist"])
            known = Known(track.id, digest, measured["fingerprint"], artist)
            return Clip(known, path, start, root / track.lyrics if track.lyrics else None)
    raise SongBloomError(f"softer than {_QUIET:g} dBFS in all {_DRAWS} places that were drawn")


def _window(path: Path, start: Seconds, length: Seconds) -> np.ndarray:
    """A part of a sound file, `[2, n]` at 48 kHz, without holding more of it than that."""
    parts, at = [], 0
    with sound.stream(path) as song:
        rate: Hz = song.sample_rate
        begin, end = round(start * rate), round((start + length) * rate)
        for block in song.blocks:
            parts.append(block[:, max(begin - at, 0) : max(end - at, 0)])
            at += block.shape[1]
            if at >= end:
                break
    samples = sound.to_stereo(np.concatenate(parts, axis=1))
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples.T, rate, SAMPLE_RATE, quality="VHQ").T
    return np.ascontiguousarray(samples, dtype=np.float32)


Pair = tuple[Words, Clip]


def _pairs(
    words: Sequence[Words], clips: Sequence[Clip], count: int, rng: random.Random
) -> list[Pair]:
    """`count` different pairs, each of the lyrics and each clip as often as the others.

    None is of one song; where that cannot be, `SongBloomError`.
    """
    if count > len(words) * len(clips):
        raise UsageError(
            f"--songs {count}: {len(words)} lyrics and {len(clips)} references make "
            f"{len(words) * len(clips)} pairs",
            "Ask for fewer, or give more lyrics and references.",
        )
    a, b = rng.sample(range(len(words)), len(words)), rng.sample(range(len(clips)), len(clips))
    rounds = math.lcm(len(a), len(b))
    chosen = [(a[i % len(a)], b[(i + i // rounds) % len(b)]) for i in range(count)]
    own = _own(words, clips)
    for i in range(count):
        if chosen[i] in own:
            _exchange(chosen, i, own, len(clips))
    rng.shuffle(chosen)
    return [(words[i], clips[j]) for i, j in chosen]


def _exchange(chosen: list[tuple[int, int]], i: int, own: set[tuple[int, int]], clips: int) -> None:
    """Give pair `i` the clip of another pair, so that neither is of one song or there twice.

    Where no other pair can take its clip in turn, it gets the clip that is used least.
    """
    bad = own | set(chosen)
    for j in range(len(chosen)):
        new = (chosen[i][0], chosen[j][1]), (chosen[j][0], chosen[i][1])
        if j != i and not bad & set(new):
            chosen[i], chosen[j] = new
            return
    uses = Counter(clip for _, clip in chosen)
    free = [clip for clip in range(clips) if (chosen[i][0], clip) not in bad]
    if not free:
        raise SongBloomError(
            "The lyrics cannot be shuffled so that none meets the song that they are from",
            "Give more references, or ask for fewer --songs.",
        )
    chosen[i] = (chosen[i][0], min(free, key=lambda clip: (uses[clip], clip)))


def _own(words: Sequence[Words], clips: Sequence[Clip]) -> set[tuple[int, int]]:
    """Which lyrics are those of which clip's song, by their place or their name."""
    of: dict[str, list[int]] = {}
    for j, clip in enumerate(clips):
        for sign in _signs(clip.known.name, clip.lyrics):
            of.setdefault(sign, []).append(j)
    return {
        (i, j)
        for i, one in enumerate(words)
        for sign in _signs(one.source, one.path)
        for j in of.get(sign, ())
    }


def _signs(name: str, lyrics: Path | None) -> list[str]:
    """What a song is recognised by: its name without folders, the path of its lyrics."""
    return [name.rpartition("/")[2], *([] if lyrics is None else [os.path.realpath(lyrics)])]


def _write(folder: Path, pairs: Sequence[Pair], seed: int, training: _Training) -> dict[str, Any]:
    """All files of a set; what set.json says."""
    (folder / "lyrics").mkdir()
    (folder / "references").mkdir()
    songs, requests, items = [], [], []
    for number, (words, clip) in enumerate(pairs, start=1):
        name = f"song_{number:04d}"
        text, sound_file = f"lyrics/{name}{words.suffix}", f"references/{name}.flac"
        (folder / text).write_bytes(words.data)
        audio.save(folder / sound_file, _window(clip.path, clip.start, CLIP), SAMPLE_RATE)
        written = {"file": text, "sha256": sha256(folder / text), "source": words.source}
        songs.append(
            {"name": name, "lyrics": written, "reference": _told(clip, folder, sound_file)}
        )
        spoken = lyrics.decode(words.data, words.source)
        requests.append({"idx": name, "lyrics": spoken, "prompt_wav": sound_file})
        items.append(Item(name, folder / sound_file, spoken, folder / sound_file))
    rows = [json.dumps(row, ensure_ascii=False) + "\n" for row in requests]
    (folder / "requests.jsonl").write_text("".join(rows), encoding="utf-8")
    description = {
        "format": FORMAT,
        "hash": test_set_hash(items, frozenset({"lyrics", "reference"})),
        "seed": seed,
        "clip_seconds": CLIP,
        "against": training.description(),
        "songs": songs,
        "left_out": training.left_out,
    }
    shown = json.dumps(description, indent=1, ensure_ascii=False) + "\n"
    (folder / "set.json").write_text(shown, encoding="utf-8")
    return description


def _told(clip: Clip, folder: Path, file: str) -> dict[str, Any]:
    return {
        "file": file,
        "sha256": sha256(folder / file),
        "source": clip.known.name,
        "source_sha256": clip.known.audio_sha256,
        "start": clip.start,
        "artist": clip.known.artist,
        "fingerprint": clip.known.fingerprint,
    }


def _put(temporary: Path, output: Path) -> None:
    """Move a finished set to its place. `UsageError` where there is something else."""
    made = (temporary / "set.json").read_bytes()
    if output.is_dir() and any(output.iterdir()):
        there = output / "set.json"
        if there.is_file() and there.read_bytes() == made:
            read(output)  # made before, of the same inputs
            return
        raise UsageError(f"{output}: is there already, and is not this set", "Choose another -o.")
    if output.is_dir():
        output.rmdir()
    os.replace(temporary, output)
