"""The singers of each language: espeak-ng voices that stay intelligible, each with its range."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Voice:
    """`espeak` is the program's voice name; `low`..`high` the MIDI range that is sung.

    `formant` scales the spectral envelope's frequencies (1.0 as spoken).
    """

    name: str
    espeak: str
    low: int
    high: int
    formant: float = 1.0


VOICES = (
    Voice("ash", "en-us", 47, 64),
    Voice("bay", "en-us+m3", 45, 62),
    Voice("elm", "en-us+m7", 46, 63),
    Voice("fir", "en-us", 48, 66, 1.05),
    Voice("ivy", "en-us", 57, 74, 1.16),
    Voice("may", "en-us+f2", 56, 73),
    Voice("rue", "en-us+f3", 57, 74),
    Voice("oak", "en+m1", 45, 62),
)
TEST_VOICES = (Voice("yew", "en-us", 52, 69, 1.1),)
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
