"""The embedded aligner by pocketsphinx: its packaged acoustic model, made for English speech.

Its phones are ARPAbet, and every language is written in those here (`songbloom.lyrics.arpabet`).
The lyrics are a finite-state grammar: words in order, silence anywhere, each line may be left out.
What its dictionary says of a word otherwise than our lexicon may be sung too.
"""

import importlib.metadata
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import soxr

from songbloom.errors import MissingAssetError
from songbloom.stages.align_words import Aligner, Heard, SungLine, SungWord
from songbloom.units import SAMPLE_RATE

RATE = 16_000
_FRAME = 0.01  # seconds
_SKIPPED_LINE = 1e-20  # a probability; beside a line of another song that is forced, it is likely
_BEAM = 1e-300  # next to none: the words are known, it bounds memory on long songs
_SCORE_SHIFT = 1024  # pocketsphinx keeps a score as its logarithm over this
# Nats a frame below the best sound of all: sung words have 4 to 8, words of other songs 7 to 15.
_SURE, _SCALE = -3.0, 4.0
_PEAK = 0.5
_SILENCE = 1e-4  # -80 dBFS


def version() -> str:
    """The installed version; `MissingAssetError` without one."""
    try:
        return importlib.metadata.version("pocketsphinx")
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingAssetError(
            "pocketsphinx: not installed", "Type: pip install 'songbloom[prepare]'"
        ) from error


def load() -> Aligner:
    """Pocketsphinx as an aligner. Each call has a decoder of its own: no song leaves a trace."""
    version()
    return align


def align(samples: np.ndarray, lines: Sequence[SungLine]) -> list[Heard | None]:
    """For each word when it is sung in sound `[channels, n]` at 48 kHz."""
    heard: list[Heard | None] = [None] * sum(len(line.words) for line in lines)
    pcm = _pcm(samples)
    if not pcm:
        return heard
    decoder = _decoder()
    _add_grammar(decoder, lines)
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
    for segment in decoder.seg() or ():
        number = segment.word.partition("(")[0]
        if number.isdecimal():
            heard[int(number)] = _heard(segment)
    return heard


def _decoder() -> Any:
    import pocketsphinx

    beams = {"beam": _BEAM, "pbeam": _BEAM, "wbeam": _BEAM, "bestpath": False}
    # All senones, so that a score is beside the best sound of all, whatever the words.
    return pocketsphinx.Decoder(lm=None, loglevel="FATAL", compallsen=True, **beams)


def _add_grammar(decoder: Any, lines: Sequence[SungLine]) -> None:
    """Make the lyrics what the decoder looks for. A word's name is its number."""
    steps: list[tuple[Any, ...]] = []
    number = 0
    for line in lines:
        steps.append((number, number + len(line.words), _SKIPPED_LINE))
        for word in line.words:
            for variant, phones in enumerate(_pronunciations(decoder, word), start=1):
                name = f"{number}({variant})" if variant > 1 else str(number)
                decoder.add_word(name, phones, False)
            steps.append((number, number + 1, 1.0, str(number)))
            number += 1
    decoder.add_word(str(number), "AH", True)  # said by nobody: the last word updates the decoder
    decoder.add_fsg("lyrics", decoder.create_fsg("lyrics", 0, number, steps))
    decoder.activate_search("lyrics")


def _pronunciations(decoder: Any, word: SungWord) -> Iterator[str]:
    """Ours, then those of the dictionary."""
    ours = " ".join(word.phones)
    yield ours
    if word.language == "en":
        text = word.text.lower().strip("'.,!?;:()\"…-")
        names = (text, f"{text}(2)", f"{text}(3)")
        yield from dict.fromkeys(p for p in map(decoder.lookup_word, names) if p and p != ours)


def _pcm(samples: np.ndarray) -> bytes:
    """Mono, 16 kHz, 16 bits, as loud in every song; nothing where there is silence alone."""
    mono = soxr.resample(samples.mean(0), SAMPLE_RATE, RATE, quality="VHQ")
    peak = float(np.abs(mono).max(initial=0.0))
    return (mono * (_PEAK / peak * 32767)).astype("<i2").tobytes() if peak > _SILENCE else b""


def _heard(segment: Any) -> Heard:
    begin, end = segment.start_frame, segment.end_frame + 1
    score = math.log(max(segment.ascore, 1e-300)) * _SCORE_SHIFT / (end - begin)
    return Heard(begin * _FRAME, end * _FRAME, min(1.0, math.exp((score - _SURE) / _SCALE)))
