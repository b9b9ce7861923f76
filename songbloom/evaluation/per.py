"""PER, the phoneme error rate: what is sung against the words that were asked for.

    per = 100 % x (substitutions + deletions + insertions) / phones of the lyrics

The voice is separated, transcribed, and phones are made of lyrics and transcript by the same front
end (`v1`; 39 ARPAbet phones without stress and tone, other languages by the nearest). The two are
aligned whole, by the fewest edits: neither is cut to the other's length, and what is to be sung
twice counts twice. A rate above 100 % says that more is heard than was asked. Lyrics without words
count for nothing. `edits` tells which of several alignments is taken, `comparison` what a song's
details are: counts of its phones and words, of each section, line and word, and the transcript.

    metric = per.load({}, Path("work"))
    songs = [metric.measure(Item("one", Path("one.flac"), lyrics=text)), ...]
    metric.combine(songs), metric.parts(songs)
"""

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from songbloom import lyrics as lyric_text
from songbloom.errors import SongBloomError, UsageError
from songbloom.evaluation import normaliser, recognisers, vocals
from songbloom.evaluation.comparison import KINDS, compare, rates, total
from songbloom.evaluation.items import Item
from songbloom.evaluation.metric import Measured, ratio
from songbloom.evaluation.recognisers import Recogniser
from songbloom.lyrics.document import Line, Lyrics, Section
from songbloom.stages.align_words import SungLine, main_language, sung_lines

PHONES = "39 ARPAbet phones of the front end v1, without stress and tone"
_VERSION = 1
_DATA = ("lexicon.xz", "predictor.npz", "heteronyms.txt")  # which decide how a word is said
_SETTINGS = {
    "backend": "whisper-tiny.en",
    "model": "",
    "separate_model": "seedling",
    "compute_type": "int8",
}
_UNUSED = {
    "whisper-tiny.en": ("model",),
    "whisperx": ("compute_type",),
    "oracle": ("model", "separate_model", "compute_type"),
}
_COMPUTE_TYPES = ("int8", "float16", "bfloat16", "float32")


@dataclass
class PER:
    """The metric; see the module."""

    recogniser: Recogniser
    separate_model: str
    work: Path
    name: str = "per"
    unit: str = "%"
    better: Literal["lower", "higher"] | None = "lower"
    needs: frozenset[str] = field(default=frozenset({"lyrics"}))
    corpus: bool = False

    def identity(self) -> dict[str, Any]:
        """Recogniser, separator, normaliser, phone set and how words are said."""
        recogniser = self.recogniser.identity()
        identity = {
            "backend": recogniser["backend"],
            "version": _VERSION,
            "normaliser": normaliser.NAME,
            "phones": PHONES,
            "pronunciation": _pronunciation(),
        }
        if recogniser["backend"] == "oracle":
            return identity
        separator = vocals.identity(self.separate_model)
        return {**identity, "recogniser": recogniser, "separator": separator}

    def measure(self, item: Item) -> Measured:
        """Edits of the song's phones; details as the module says."""
        if item.lyrics is None:
            raise SongBloomError(f"{item.name}: no lyrics", "Put them beside it as NAME.txt.")
        lyrics = lyric_text.parse(item.lyrics, item.name, frontend="v1")
        lines = asked(lyrics)
        if not lines:
            return Measured(0.0, 0.0)
        language = main_language(lines)
        transcript = self.recogniser.transcribe(
            item.audio,
            language,
            lambda: vocals.separated(item.audio, self.work, self.separate_model),
        )
        found = compare(lyrics, lines, heard(transcript, language))
        details = {"language": language, "transcript": transcript, **found}
        errors = sum(found["phones"][kind] for kind in KINDS)
        return Measured(errors, found["phones"]["asked"], details)

    def combine(self, songs: Sequence[Measured]) -> float:
        """Per cent of the phones of all songs."""
        return 100 * ratio(songs)

    def parts(self, songs: Sequence[Measured]) -> dict[str, Any]:
        """Edits by kind, in per cent of the phones asked for; by tag; the word error rate."""
        counted = [song.details for song in songs if song.weight]
        phones = total(song["phones"] for song in counted)
        words = total(song["words"] for song in counted)
        sections = [section for song in counted for section in song["sections"]]
        by_tag = {
            tag: rates(total(x["phones"] for x in sections if x["tag"] == tag))["rate"]
            for tag in sorted({section["tag"] for section in sections})
        }
        return {
            **rates(phones),
            "phones": phones["asked"],
            "rate_by_section": by_tag,
            "word_error_rate": rates(words)["rate"],
        }


def load(settings: Mapping[str, Any], work: Path) -> PER:
    """The metric that a protocol's [per] describes.

    backend (see `recognisers`), model, separate_model (see `vocals`), compute_type of Whisper.
    """
    for key, value in settings.items():
        if key not in _SETTINGS:
            raise UsageError(f"[per] {key}: unknown; expected {', '.join(_SETTINGS)}")
        if not isinstance(value, str):
            raise UsageError(f"[per] {key} is {value!r}; expected text")
    chosen = {**_SETTINGS, **settings}
    for key, known in (("backend", recognisers.BACKENDS), ("compute_type", _COMPUTE_TYPES)):
        if chosen[key] not in known:
            raise UsageError(f"[per] {key} is '{chosen[key]}'; expected {', '.join(known)}")
    for key in _UNUSED.get(chosen["backend"], ()):
        if chosen[key] != _SETTINGS[key]:
            raise UsageError(
                f"[per] {key}: the backend {chosen['backend']} has none to choose",
                "Leave it out, or set another backend.",
            )
    recogniser = recognisers.load(chosen["backend"], chosen["model"], chosen["compute_type"])
    return PER(recogniser, chosen["separate_model"], work)


def asked(lyrics: Lyrics) -> list[SungLine]:
    """The normalised lines of lyrics that have words, with their phones."""
    sections = (replace(s, lines=_lines(s.texts)) for s in lyrics.sections)
    return sung_lines(replace(lyrics, sections=tuple(sections)))


def heard(transcript: str, language: str) -> list[SungLine]:
    """The same of a transcript, whose words are read in the lyrics' language."""
    section = Section("verse", _lines(transcript.splitlines()))
    return sung_lines(Lyrics((section,), ""), language)


def _lines(texts: Iterable[str]) -> tuple[Line, ...]:
    return tuple(Line(normaliser.normalised(text)) for text in texts)


@functools.cache
def _pronunciation() -> dict[str, str]:
    """The data by which the front end says words, as hashes."""
    data = resources.files("songbloom.lyrics").joinpath("data")
    return {name: hashlib.sha256(data.joinpath(name).read_bytes()).hexdigest() for name in _DATA}
