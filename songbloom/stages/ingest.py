"""The first stage: what a song is, by its file, its sound, its tags and its lyrics.

The sound is read once, in blocks: a three-hour file takes no more memory than a short one.
"""

import hashlib
import importlib.util
import math
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.files import sha256
from songbloom.lyrics import formats, languages
from songbloom.lyrics.document import Lyrics
from songbloom.stages import fingerprint, sound
from songbloom.stages.stage import Backend, Item, Process
from songbloom.tables import PrepareConfig
from songbloom.units import Hz

_VERSION = 1
_BLOCK_SECONDS = 0.1  # that silence is counted in
_SILENT = 10 ** (-60 / 20)
_QUIETEST = -120.0  # dBFS: what no sound at all is said to have
_FULL_SCALE = 1 - 2**-14  # two steps of 16 bits below 1
_LEAST_WHOLE = 0.98  # of the length in the header: encoders leave out some at the ends
_LONGEST_TEXT = 300  # characters of a tag
_LEAST_SHARE = 0.05  # of a song's letters, for a language to be named
# Vorbis comments, ID3 frames, MP4 atoms
_TAGS = {
    "title": ("title", "TIT2", "\xa9nam"),
    "artist": ("artist", "TPE1", "\xa9ART", "albumartist", "TPE2", "aART"),
    "year": ("date", "year", "TDRC", "TYER", "TDOR", "\xa9day", "originaldate"),
    "language": ("language", "TLAN"),
    "licence": ("license", "licence", "WCOP", "copyright", "TCOP", "cprt"),
}
_LANGUAGE_CODES = {
    **{"eng": "en", "zho": "zh", "chi": "zh", "cmn": "zh", "jpn": "ja", "kor": "ko", "spa": "es"},
    **{"fra": "fr", "fre": "fr", "deu": "de", "ger": "de", "por": "pt", "ita": "it", "rus": "ru"},
    **{name.lower(): code for code, name in languages.LANGUAGES.items()},
    "chinese": "zh",
}
_WORD = re.compile(r"[\u3041-\u30ff\u3400-\u9fff]|[^\W_\u3041-\u30ff\u3400-\u9fff]+(?:['’-]\w+)*")
_YEAR = re.compile(r"(?<!\d)(1[5-9]\d\d|20\d\d)(?!\d)")


def backend(settings: PrepareConfig) -> Backend:
    """The one way there is; its results depend on the decoder and the lyrics' front end.

    `MissingAssetError` without mutagen.
    """
    if importlib.util.find_spec("mutagen") is None:
        raise MissingAssetError(
            "mutagen, which reads tags, is not installed", "Type: pip install 'songbloom[prepare]'"
        )
    identity = {
        "version": _VERSION,
        "fingerprint": fingerprint.VERSION,
        "libsndfile": soundfile.__libsndfile_version__,
        "frontend": settings.frontend,
    }
    return Backend("ingest", "built in", identity)


def load(settings: PrepareConfig, device: str) -> Process:
    """The stage, ready."""

    def process(item: Item, folder: Path) -> dict[str, Any]:
        return ingest(item, settings.frontend)

    return process


def ingest(item: Item, frontend: str = "v1") -> dict[str, Any]:
    """The fields of a song. `SongBloomError` where its sound cannot be read whole."""
    fields = {"audio_sha256": _hash(item.audio), "bytes": item.audio.stat().st_size}
    heard, findings = measure(item.audio)
    tags, odd_tags = read_tags(item.audio)
    words, odd_lyrics = read_lyrics(item, frontend)
    return {**fields, **heard, **tags, **words, "findings": [*findings, *odd_tags, *odd_lyrics]}


def measure(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Rate, length, level, silence, clipping and fingerprint of a sound file; and findings."""
    with sound.stream(path) as song:
        meter = _Meter(song.sample_rate, song.channels)
        peaks = fingerprint.Fingerprint(song.sample_rate)
        for block in song.blocks:
            meter.add(block)
            peaks.add(block)
        peaks.add(np.zeros((song.channels, 0), dtype=np.float32), last=True)
        found = []
        if song.frames and meter.samples < _LEAST_WHOLE * song.frames:
            promised = song.frames / song.sample_rate
            found.append(f"sound: its header says {promised:.1f} s; it may be cut off")
        return {**meter.fields(), "fingerprint": peaks.text()}, found


class _Meter:
    """Counts over blocks `[channels, n]` of any length; how a song is cut does not change them."""

    def __init__(self, sample_rate: Hz, channels: int) -> None:
        self.sample_rate, self.channels = sample_rate, channels
        self.size = max(1, round(sample_rate * _BLOCK_SECONDS))
        self.rest = np.zeros((channels, 0), dtype=np.float32)
        self.full = np.zeros((channels, 2), dtype=bool)  # the last four samples' flags
        self.samples = self.blocks = self.silent = self.clipped = 0
        self.energy = self.peak = 0.0

    def add(self, block: np.ndarray) -> None:
        self.samples += block.shape[1]
        magnitude = np.abs(block)
        self.peak = max(self.peak, float(magnitude.max(initial=0.0)))
        self._clip(magnitude >= _FULL_SCALE)
        data = np.concatenate([self.rest, block], axis=1)
        whole = data.shape[1] // self.size * self.size
        self.rest = data[:, whole:].copy()
        self._level(data[:, :whole].reshape(self.channels, -1, self.size))

    def fields(self) -> dict[str, Any]:
        if self.rest.shape[1]:
            self._level(self.rest[:, None])
        self._clip(np.zeros((self.channels, 2), dtype=bool))
        mean = self.energy / max(1, self.samples * self.channels)
        return {
            "sample_rate": self.sample_rate,
            "channels": self.channels,
            "duration": round(self.samples / self.sample_rate, 3),
            "peak": round(self.peak, 4),
            "rms_dbfs": round(10 * math.log10(mean), 2) if mean > 1e-12 else _QUIETEST,
            "silence": round(self.silent / max(1, self.blocks), 4),
            "clipped": round(self.clipped / max(1, self.samples * self.channels), 6),
        }

    def _level(self, blocks: np.ndarray) -> None:
        """`[channels, blocks, samples]`"""
        squares = np.square(blocks, dtype=np.float64).sum(axis=(0, 2))
        self.energy += float(squares.sum())
        self.blocks += len(squares)
        limit = _SILENT**2 * blocks.shape[0] * blocks.shape[2]
        self.silent += int((squares < limit).sum())

    def _clip(self, new: np.ndarray) -> None:
        """Count the samples that stand in three at full scale, two behind those that are known."""
        full = np.concatenate([self.full, new], axis=1)
        triples = full[:, :-2] & full[:, 1:-1] & full[:, 2:]  # triple i: samples i, i+1, i+2
        inner = triples[:, 2:] | triples[:, 1:-1] | triples[:, :-2]  # of sample i + 2
        self.clipped += int(inner.sum())
        self.full = full[:, -4:]


def read_tags(path: Path) -> tuple[dict[str, Any], list[str]]:
    """title, artist, year, language and licence as a file's tags say; and what is wrong there."""
    import mutagen

    found: dict[str, Any] = dict.fromkeys(_TAGS, "")
    findings = []
    try:
        tags = getattr(mutagen.File(path), "tags", None)
        for key, names in _TAGS.items():
            found[key] = next((x for name in names if (x := _tag(tags, name))), "")
    except (mutagen.MutagenError, ValueError, TypeError, KeyError, EOFError) as error:
        findings.append(f"tags: cannot be read ({type(error).__name__})")
    year = _YEAR.search(found["year"])
    found["year"] = int(year[1]) if year else None
    found["language"] = language_code(found["language"])
    return found, findings


def _tag(tags: Any, name: str) -> str:
    """The first value of a tag as text; "" where there is none."""
    try:
        value = tags[name] if tags is not None and name in tags else ""
    except (KeyError, ValueError):
        return ""
    if isinstance(value, list):
        value = value[0] if value else ""
    text = unicodedata.normalize("NFC", str(value).split("\0")[0])
    return " ".join("".join(x if x.isprintable() else " " for x in text).split())[:_LONGEST_TEXT]


def language_code(text: str) -> str:
    """A language as tags name it ("eng", "English", "en-US") as its short code; else as it is."""
    word = re.split(r"[-_/,; ]", text.strip().lower())[0]
    return _LANGUAGE_CODES.get(word, word if 2 <= len(word) <= 3 else "")


def read_lyrics(item: Item, frontend: str) -> tuple[dict[str, Any], list[str]]:
    """Hash, size and languages of a song's lyrics, and findings; unreadable ones are a finding."""
    fields: dict[str, Any] = {"lyrics_sha256": "", "lyrics_words": 0, "lyrics_lines": 0}
    fields |= {"lyrics_languages": [], "lyrics_error": ""}
    text = item.track.lyrics_text
    try:
        if text is not None:
            data = text.encode("utf-8", "surrogatepass")
            fields["lyrics_sha256"] = hashlib.sha256(data).hexdigest()
            lyrics = formats.parse(text, "lyrics", frontend=frontend)
        elif item.lyrics is not None:
            fields["lyrics_sha256"] = _hash(item.lyrics)
            lyrics = formats.read(item.lyrics, frontend=frontend)
        else:
            return fields, []
    except SongBloomError as error:
        message = error.message.replace(str(item.lyrics), "lyrics")
        return {**fields, "lyrics_error": message}, [message]
    lines = [line.text for section in lyrics.sections for line in section.lines]
    fields["lyrics_words"] = sum(len(_WORD.findall(line)) for line in lines)
    fields["lyrics_lines"] = len(lines)
    fields["lyrics_languages"] = lyrics_languages(lines)
    return fields, [finding.text("lyrics") for finding in _told(lyrics)]


def _told(lyrics: Lyrics) -> list[Any]:
    return [finding for finding in lyrics.findings if finding.severity != "info"][:20]


def lyrics_languages(lines: list[str]) -> list[str]:
    """Codes of the languages of the lyrics, most letters first; "und" for other scripts."""
    voices = languages.of_song("\n".join(lines))
    counts: dict[str, int] = {}
    for line in lines:
        for run in languages.runs(line, languages.of_sentence(line, voices)):
            letters = sum(x.isalpha() for x in run.text)
            counts[run.language] = counts.get(run.language, 0) + letters
    known = sum(counts.values())
    counts["und"] = sum(x.isalpha() for line in lines for x in line) - known
    total = max(1, sum(counts.values()))
    order = sorted(counts, key=lambda code: (-counts[code], code))
    return [code for code in order if code and counts[code] >= _LEAST_SHARE * total]


def _hash(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise SongBloomError(
            f"{path}: cannot be read ({error.strerror or error})",
            "Check that the file is there and that you may read it.",
        ) from error
