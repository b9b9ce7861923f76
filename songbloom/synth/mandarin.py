"""Mandarin syllables: from the released front end's symbols to phones, pinyin and spoken spans.

Phones are the nearest ARPAbet ones, so that a Mandarin song has sketch tokens like any other: j, q
and x are JH, CH and SH as zh, ch and sh are, z and c are D Z and T S, the final ü is Y UW. Tones
are not phones: the lyrics' symbols alone have them, and the melody takes their place. A vowel's
digit is 1, or 0 in the neutral tone.
"""

import functools

from songbloom.lyrics import mandarin
from songbloom.synth.syllables import CONSONANT_SECONDS, Syllable
from songbloom.units import Seconds

Span = tuple[Seconds, Seconds]

_ONSETS = {
    "b": "B", "p": "P", "m": "M", "f": "F", "d": "D", "t": "T", "n": "N", "l": "L", "g": "G",
    "k": "K", "h": "HH", "j": "JH", "q": "CH", "x": "SH", "zh": "JH", "ch": "CH", "sh": "SH",
    "r": "R", "z": "D Z", "c": "T S", "s": "S", "y": "Y", "w": "W", "AA": "", "EE": "", "OO": "",
}  # fmt: skip
# A final as glide, vowel and coda; "-" for none.
_FINALS = {
    final: (glide.strip("-"), vowel, coda.strip("-"))
    for final, glide, vowel, coda in (
        row.split()
        for row in """
a - AA -/ai - AY -/an - AA N/ang - AA NG/ao - AW -/e - AH -/ei - EY -/en - AH N/eng - AH NG
er - ER -/o - AO -/ong - UH NG/ou - OW -/i - IY -/i0 - IH -/ir - IH -/E - EH -/En - EH N
ia Y AA -/ian Y EH N/iang Y AA NG/iao Y AW -/ie Y EH -/in - IY N/ing - IY NG/iong Y UH NG
iu Y OW -/u - UW -/ua W AA -/uai W AY -/uan W AA N/uang W AA NG/ui W EY -/un W AH N/uo W AO -
v Y UW -/ve W EH -/van W EH N/vn Y UW N
""".strip()
        .replace("\n", "/")
        .split("/")
    )
}
# Finals whose pinyin is not their symbol: the buzzed i, and what follows a written y.
_SPELT = {"i0": "i", "ir": "i", "E": "e", "En": "an"}
_SPOKEN_VOWELS = tuple("aAeEiIoOuUy@3&")
_SPOKEN_GLIDES = {"Y": "j", "W": "w"}
_GLIDE_SHARE = 0.3  # of a spoken final in which espeak-ng has no glide or coda of its own
_CODA_SHARE = 0.35
_SLIVER: Seconds = 0.02


def syllables(text: str) -> tuple[Syllable, ...]:
    """One syllable a character, said as the released front end reads the whole line.

    `KeyError` for a syllable that is not of the standard language, `ValueError` for a character
    without a reading.
    """
    return tuple(_syllable(initial, final) for initial, final in _symbols(text))


def pinyin(text: str) -> str:
    """The line for espeak-ng, tones as digits: 月亮 is "yue4 liang4"."""
    return " ".join(_spelling(initial, final) for initial, final in _symbols(text))


def spans(sung: tuple[Syllable, ...], events: list[tuple[str, Seconds]]) -> tuple[Span, ...]:
    """When espeak-ng says each phone, from its phoneme events: it ends every syllable by "_|".

    `ValueError` when it says another number of syllables.
    """
    spoken = _spoken_syllables(events)
    if len(spoken) != len(sung):
        raise ValueError(f"espeak-ng says {len(spoken)} syllables, not {len(sung)}")
    return tuple(
        span
        for syllable, (heard, end) in zip(sung, spoken, strict=True)
        for span in _syllable_spans(syllable, heard, end)
    )


@functools.lru_cache(maxsize=1 << 12)
def _symbols(text: str) -> tuple[tuple[str, str], ...]:
    symbols = mandarin.pronounce(text)
    if len(symbols) != 2 * len(text):
        raise ValueError(f"'{text}': a character has no reading")
    return tuple(zip(symbols[::2], symbols[1::2], strict=True))


def _syllable(initial: str, final: str) -> Syllable:
    glide, vowel, coda = _FINALS[final[:-1]]
    onset = _ONSETS[initial].split()
    if glide and onset[-1:] != [glide]:  # y and ü are one glide
        onset.append(glide)
    return tuple(onset), vowel + ("0" if final[-1] == "5" else "1"), tuple(coda.split())


def _spelling(initial: str, final: str) -> str:
    """Pinyin of two symbols. ü is written v after n and l, u elsewhere."""
    vowel, tone = final[:-1], final[-1]
    vowel = _SPELT.get(vowel, vowel)
    if initial not in ("n", "l"):
        vowel = vowel.replace("v", "u")
    return ("" if initial.isupper() else initial) + vowel + tone


def _spoken_syllables(
    events: list[tuple[str, Seconds]],
) -> list[tuple[list[tuple[str, Seconds]], Seconds]]:
    """Phonemes and end of each spoken syllable."""
    found: list[tuple[list[tuple[str, Seconds]], Seconds]] = []
    heard: list[tuple[str, Seconds]] = []
    for name, time in events:
        if not name.startswith("_"):
            heard.append((name.strip("',"), time))
        elif heard:
            found.append((heard, time))
            heard = []
    return found


def _syllable_spans(
    syllable: Syllable, heard: list[tuple[str, Seconds]], end: Seconds
) -> list[Span]:
    onset, _, coda = syllable
    nucleus = next((i for i, (name, _) in enumerate(heard) if name.startswith(_SPOKEN_VOWELS)), 0)
    begin, vowel = heard[0][1], heard[nucleus][1]
    after = heard[nucleus + 1][1] if nucleus + 1 < len(heard) else end
    glide = vowel
    if len(onset) > 1 and onset[-1] in _SPOKEN_GLIDES:
        if heard[nucleus - 1][0] == _SPOKEN_GLIDES[onset[-1]]:
            glide = heard[nucleus - 1][1]
        else:  # it is the beginning of the spoken final
            vowel += _GLIDE_SHARE * (after - vowel)
    if not coda:
        after = end
    elif after == end:
        after -= _CODA_SHARE * (end - vowel)
    consonants = onset if glide == vowel else onset[:-1]
    return [
        *_shared(consonants, begin, glide),
        *_shared(onset[len(consonants) :], glide, vowel),
        (vowel, after),
        *_shared(coda, after, end),
    ]


def _shared(phones: tuple[str, ...], begin: Seconds, end: Seconds) -> list[Span]:
    """The phones one after the other, each as long as it usually is beside the others."""
    begin = max(0.0, min(begin, end - _SLIVER))  # of what was swallowed there is a sliver
    total = sum(CONSONANT_SECONDS[phone] for phone in phones)
    found = []
    for phone in phones:
        middle = begin + (end - begin) * CONSONANT_SECONDS[phone] / total
        found.append((begin, middle))
        begin, total = middle, total - CONSONANT_SECONDS[phone]
    return found
