"""The singers of each language: voices that stay intelligible, each with its range."""

from collections.abc import Iterable
from dataclasses import dataclass

from songbloom.errors import UsageError

ENGINES = ("espeak", "festival", "piper")
DEFAULT_ENGINES = ("espeak",)


@dataclass(frozen=True)
class Voice:
    """`source` is the voice's name in its `engine`; `low`..`high` the MIDI range that is sung.

    `formant` scales the spectral envelope's frequencies (1.0 as spoken).
    """

    name: str
    source: str
    low: int
    high: int
    formant: float = 1.0
    engine: str = "espeak"


_SLT, _JOE = "cmu_us_slt_arctic_hts", "en_US-joe-medium"
VOICES = (
    Voice("ash", "en-us", 47, 64),
    Voice("bay", "en-us+m3", 45, 62),
    Voice("elm", "en-us+m7", 46, 63),
    Voice("fir", "en-us", 48, 66, 1.05),
    Voice("ivy", "en-us", 57, 74, 1.16),
    Voice("may", "en-us+f2", 56, 73),
    Voice("rue", "en-us+f3", 57, 74),
    Voice("oak", "en+m1", 45, 62),
    Voice("dee", _SLT, 56, 73, engine="festival"),
    Voice("kim", _SLT, 57, 74, 1.06, engine="festival"),
    Voice("sol", _SLT, 47, 64, 0.87, engine="festival"),
    Voice("gus", _JOE, 45, 62, engine="piper"),
    Voice("hal", _JOE, 44, 61, 0.95, engine="piper"),
    Voice("jan", _JOE, 56, 73, 1.15, engine="piper"),
)
TEST_VOICES = (
    Voice("yew", "en-us", 52, 69, 1.1),
    Voice("sky", _SLT, 52, 69, 0.94, engine="festival"),
    Voice("ned", _JOE, 50, 67, 1.07, engine="piper"),
)
MANDARIN_VOICES = (
    Voice("song", "cmn-latn-pinyin", 47, 64),
    Voice("zhu", "cmn-latn-pinyin+m3", 45, 62),
    Voice("lan", "cmn-latn-pinyin", 57, 74, 1.16),
    Voice("mei", "cmn-latn-pinyin+f2", 56, 73),
)
MANDARIN_TEST_VOICES = (Voice("liu", "cmn-latn-pinyin", 52, 69, 1.1),)
BY_LANGUAGE = {
    "en": {"train": VOICES, "test": TEST_VOICES},
    "zh": {"train": MANDARIN_VOICES, "test": MANDARIN_TEST_VOICES},
}
BY_NAME = {
    voice.name: voice
    for splits in BY_LANGUAGE.values()
    for voices in splits.values()
    for voice in voices
}


def singers(language: str, split: str, engines: Iterable[str]) -> tuple[Voice, ...]:
    """The voices of some engines, always in the same order. `UsageError` when there are none."""
    wanted = set(engines)
    if unknown := sorted(wanted - set(ENGINES)):
        raise UsageError(f"voices: '{unknown[0]}' is not one of {', '.join(ENGINES)}")
    found = tuple(voice for voice in BY_LANGUAGE[language][split] if voice.engine in wanted)
    if not found:
        raise UsageError(
            f"voices: none of '{', '.join(sorted(wanted))}' sings in language {language}",
            "Add espeak, which sings in every language: --voices espeak,...",
        )
    return found


def parse_engines(text: str) -> tuple[str, ...]:
    """The engines of a list like "espeak, piper". `UsageError` for a name that is none."""
    engines = tuple(name.strip() for name in text.split(","))
    singers("en", "train", engines)
    return engines
