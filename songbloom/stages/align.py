"""Lines and words of the lyrics with the times at which they are sung, found in the vocals.

* `seedling`: forced alignment by the embedded sketch codec, which knows synthesised voices only.
* `pocketsphinx`: forced alignment by its packaged model, in every language that we write in phones.
* `seedling+pocketsphinx`, for `auto`: the first where it is sure of its words, else the second.
* `whisperx`: transcribes as well, so that it finds words that the lyrics lack.

Confidences are 0..1; `matched` is the share of the words that have `HEARD` at least. A line that is
not sung has no times (null) and confidence 0, unless the lyrics say when it is (LRC). Where a line
is found at another time than the lyrics say, it is looked for again where they say, and the surer
place is kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from songbloom.errors import SongBloomError
from songbloom.lyrics.document import Lyrics
from songbloom.stages import align_pocketsphinx, codecs, sound
from songbloom.stages.align_words import Aligner, Heard, SungLine, main_language, sung_lines
from songbloom.stages.stage import Backend, Item, Process
from songbloom.tables import PrepareConfig
from songbloom.units import HOP, SAMPLE_RATE, Seconds

HEARD = 0.4  # a word that is surer counts as heard: right lyrics have 0.76 of these, others 0.39
_VERSION = 1  # of what is computed here; results of another one are made again
_SURE = 0.75  # the seedling's mean on voices that it knows is 0.9, on others under 0.6
_OFF: Seconds = 1.5  # from the time that the lyrics say: further, and a line is looked for again
_MARGIN: Seconds = 0.75  # either side of that time, in which it is looked for


@dataclass(frozen=True)
class Alignment:
    """Lines and, for each word of them in order, when it was heard."""

    lines: Sequence[SungLine]
    heard: Sequence[Heard | None]


def backend(settings: PrepareConfig) -> Backend:
    """WhisperX where its model is named, else pocketsphinx, else the sketch codec."""
    name, why = _choice(settings)
    if name == "whisperx":
        from songbloom.stages import align_whisperx

        return align_whisperx.backend(settings, why)
    identity: dict[str, Any] = {"version": _VERSION}
    licences = []
    if "seedling" in name:
        identity["codebook_hash"] = codecs.codebook_hash(codecs.SEEDLING)
        licences.append(codecs.licence(codecs.SEEDLING))
    if "pocketsphinx" in name:
        identity["pocketsphinx"] = align_pocketsphinx.version()
        licences.append("BSD-2-Clause (pocketsphinx and its model)")
    return Backend(name, why, identity, "; ".join(licences))


def load(settings: PrepareConfig, device: str) -> Process:
    """The aligner in memory."""
    name = backend(settings).name
    if name == "whisperx":
        from songbloom.stages import align_whisperx

        return align_whisperx.load(settings, device)
    aligner = embedded(name, device)

    def process(item: Item, folder: Path) -> Mapping[str, Any]:
        lyrics = readable_lyrics(item)
        lines = sung_lines(lyrics, item.track.language) if lyrics else []
        samples = vocals(item)
        heard = locate(aligner, samples, lines)
        duration = samples.shape[1] / SAMPLE_RATE
        found = fields(lyrics, Alignment(lines, heard), duration)
        return {**found, "language": found["language"] or item.track.language}

    return process


def _choice(settings: PrepareConfig) -> tuple[str, str]:
    """Name of the backend, and why."""
    if settings.align_backend != "auto":
        return settings.align_backend, "asked for"
    if settings.align_model:
        return "whisperx", "its model is named"
    try:
        align_pocketsphinx.version()
    except SongBloomError:
        return "seedling", "pocketsphinx, which knows more voices, is not installed"
    why = (
        "no model of WhisperX is named; pocketsphinx does the voices that the seedling is unsure of"
    )
    return "seedling+pocketsphinx", why


def embedded(name: str, device: str = "cpu") -> Aligner:
    """The aligner of an embedded backend."""
    if name == "pocketsphinx":
        return align_pocketsphinx.load()
    from songbloom.stages import align_seedling

    seedling = align_seedling.load(device)
    return seedling if name == "seedling" else _first_sure(seedling, align_pocketsphinx.load())


def _first_sure(first: Aligner, second: Aligner) -> Aligner:
    """The first aligner where it is sure, else the second."""

    def align(samples: np.ndarray, lines: Sequence[SungLine]) -> list[Heard | None]:
        heard = first(samples, lines)
        return heard if _sureness(heard) >= _SURE else second(samples, lines)

    return align


def readable_lyrics(item: Item) -> Lyrics | None:
    """The song's lyrics; None where there are no words: ingest told so, and it was kept."""
    try:
        return item.read_lyrics()
    except SongBloomError:
        return None


def vocals(item: Item) -> np.ndarray:
    """The separated voice `[2, n]` at 48 kHz."""
    return sound.read(item.folders["separate"] / "vocals.flac", SAMPLE_RATE)


def locate(aligner: Aligner, samples: np.ndarray, lines: Sequence[SungLine]) -> list[Heard | None]:
    """When each word of the lines is sung, the times that the lyrics say considered."""
    if not lines or samples.shape[1] < HOP:
        return [None] * sum(len(line.words) for line in lines)
    heard = aligner(samples, lines)
    begin = 0
    for line in lines:
        words = slice(begin, begin + len(line.words))
        begin = words.stop
        if line.start is not None and _is_off(line, heard[words]):
            again = _look_again(aligner, samples, line)
            if _sureness(again) > _sureness(heard[words]):
                heard[words] = again
    return heard


def _is_off(line: SungLine, heard: Sequence[Heard | None]) -> bool:
    first = heard[0]
    assert line.start is not None
    return first is None or abs(first.start - line.start) > _OFF


def _look_again(aligner: Aligner, samples: np.ndarray, line: SungLine) -> list[Heard | None]:
    """A line in the part of the song where the lyrics have it."""
    assert line.start is not None
    begin = max(round((line.start - _MARGIN) * SAMPLE_RATE), 0)
    end = None if line.end is None else round((line.end + _MARGIN) * SAMPLE_RATE)
    part = samples[:, begin:end]
    if part.shape[1] < HOP:
        return [None] * len(line.words)
    offset = begin / SAMPLE_RATE
    found = aligner(part, [line])
    return [h and Heard(h.start + offset, h.end + offset, h.confidence) for h in found]


def _sureness(heard: Sequence[Heard | None]) -> float:
    return sum(word.confidence if word else 0.0 for word in heard) / max(len(heard), 1)


def fields(lyrics: Lyrics | None, found: Alignment, duration: Seconds) -> dict[str, Any]:
    """What the stage tells of a song: see the module."""
    rows = list(_rows(found))
    sure = [word is not None and word.confidence >= HEARD for word in found.heard]
    return {
        "lines": rows,
        "sections": _sections(lyrics, rows, duration),
        "matched": round(sum(sure) / len(sure), 4) if sure else None,
        "language": main_language(found.lines),
        "recovered": [],
        "transcript": "",
    }


def _rows(found: Alignment) -> Iterator[dict[str, Any]]:
    at = 0
    for line in found.lines:
        heard = found.heard[at : at + len(line.words)]
        at += len(line.words)
        sung = [word for word in heard if word is not None]
        yield {
            "section": line.section,
            "text": line.text,
            "start": _rounded(sung[0].start if sung else line.start),
            "end": _rounded(sung[-1].end if sung else line.end),
            "confidence": round(_sureness(heard), 4),
            "words": [word_row(w.text, h) for w, h in zip(line.words, heard, strict=True)],
        }


def word_row(text: str, heard: Heard | None) -> dict[str, Any]:
    """A word as the stage tells of it."""
    return {
        "text": text,
        "start": _rounded(heard.start if heard else None),
        "end": _rounded(heard.end if heard else None),
        "confidence": round(heard.confidence, 4) if heard else 0.0,
    }


def _rounded(time: Seconds | None) -> Seconds | None:
    return None if time is None else round(time, 3)


def _sections(
    lyrics: Lyrics | None, rows: Sequence[Mapping[str, Any]], duration: Seconds
) -> list[dict[str, Any]]:
    """The lyrics' sections, from the first line heard to the last; one without words lasts from
    its neighbours' words to its neighbours' words, where it stands alone between them."""
    if lyrics is None:
        return []
    spans = [
        _span([row for row in rows if row["section"] == n]) for n in range(len(lyrics.sections))
    ]
    for number, section in enumerate(lyrics.sections):
        if section.lines or spans[number]:
            continue
        before = spans[number - 1] if number else (0.0, 0.0)
        last = number + 1 == len(spans)
        after = (duration, duration) if last else spans[number + 1]
        if before and after and before[1] < after[0]:
            spans[number] = (before[1], after[0])
    return [
        {
            "tag": section.tag,
            "start": span[0] if span else None,
            "end": span[1] if span else None,
        }
        for section, span in zip(lyrics.sections, spans, strict=True)
    ]


def _span(rows: Sequence[Mapping[str, Any]]) -> tuple[Seconds, Seconds] | None:
    heard = [row for row in rows if row["start"] is not None and row["end"] is not None]
    return (heard[0]["start"], heard[-1]["end"]) if heard else None
