"""Spanish, French, German and Cantonese, read by the program espeak-ng where it is installed.

espeak-ng is GPL: it is a program that is run, never a library that is loaded. It answers in IPA, a
language each its own; `_SOUNDS` says which symbol of the `v1` table each sound is. English words
that it finds in other languages (le weekend) come out in ARPAbet.
"""

import re
import shutil
import subprocess

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.lyrics.languages import LANGUAGES

# Most Spanish songs are sung the American way: z and c as s, ll as y.
_VOICES = {"es": "es-419", "fr": "fr-fr", "de": "de", "yue": "yue"}
_SECONDS = 20.0

_CONSONANTS = {
    "p": "P", "b": "B", "t": "T", "d": "D", "k": "K", "ɡ": "G", "f": "F", "v": "V", "s": "S",
    "z": "Z", "ʃ": "SH", "ʒ": "ZH", "tʃ": "CH", "dʒ": "JH", "θ": "TH", "ð": "DH", "h": "HH",
    "m": "M", "n": "N", "ŋ": "NG", "l": "L", "j": "Y", "w": "W", "ɹ": "R",
}  # fmt: skip
_IPA = {x: f"/{x}/" for x in ("x", "ç", "ɣ", "β", "ɲ", "ʎ", "ʝ", "ts", "pf")}
# A vowel is written with `%`, where its stress goes.
_SOUNDS = {
    "es": {
        **_CONSONANTS, **_IPA, "r": "/r/", "ɾ": "/ɾ/",
        "a": "/%a/", "e": "/%e/", "ɛ": "/%e/", "i": "/%i/", "o": "/%o/", "ɔ": "/%o/", "u": "/%u/",
        "aɪ": "/%a/ Y", "eɪ": "/%e/ Y", "oɪ": "/%o/ Y", "aʊ": "/%a/ W", "eʊ": "/%e/ W",
    },
    "fr": {
        **_CONSONANTS, **_IPA, **dict.fromkeys(("ʁ", "r"), "/ʁ/"), "ɥ": "/ɥ/",
        **{x: f"/%{x}/" for x in ("a", "ɑ", "e", "ɛ", "ə", "i", "o", "ɔ", "u", "y", "ø", "œ")},
        **{x: f"/%{x}/" for x in ("ɑ̃", "ɛ̃", "ɔ̃", "œ̃")},
    },
    "de": {
        **_CONSONANTS, **_IPA, **dict.fromkeys(("ʁ", "r", "ɾ", "ɹ"), "/ʁ/"),
        **{x: f"/%{x}/" for x in ("a", "ɛ", "ə", "i", "ɪ", "o", "ɔ", "u", "ʊ", "ø", "œ", "ɐ")},
        "ɑː": "/%aː/", "aː": "/%aː/", "ɑ": "/%a/", "ɛː": "/%ɛː/", "e": "/%e/", "ɜ": "/%ɐ/",
        "yː": "/%y/", "y": "/%ʏ/", "ʏ": "/%ʏ/", "ʌ": "/%a/", "ɑ̃": "/%ɑ̃/", "ɔ̃": "/%ɔ̃/",
        "aɪ": "/%aɪ/", "aʊ": "/%aʊ/", "ɔø": "/%ɔʏ/", "ɔɪ": "/%ɔʏ/", "eɪ": "/%e/ Y", "ɛɪ": "/%e/ Y",
    },
    "en": {
        **_CONSONANTS, "r": "R", "ɬ": "L", "x": "K",
        "iː": "IY%", "i": "IY%", "ɪ": "IH%", "eɪ": "EY%", "ɛ": "EH%", "e": "EH%", "a": "AE%",
        "æ": "AE%", "ɑː": "AA%", "ɑ": "AA%", "ɒ": "AA%", "ɔ": "AO%", "ɔː": "AO%", "əʊ": "OW%",
        "oʊ": "OW%", "ʊ": "UH%", "uː": "UW%", "u": "UW%", "ʌ": "AH%", "ɐ": "AH%", "ə": "AH%",
        "əl": "AH% L", "ɜː": "ER%", "ɜ": "ER%", "aɪ": "AY%", "aʊ": "AW%", "ɔɪ": "OY%",
        "eə": "EH% R", "iə": "IH% R", "ɪə": "IH% R", "ʊə": "UH% R", "aɪə": "AY% AH0",
        "aʊə": "AW% AH0", "oːɹ": "AO% R", "oː": "AO%",
    },
}  # fmt: skip
_SWITCH = re.compile(r"(\([a-z-]+\))")  # to another language and back: (en)...(fr)
_STRESS = "ˈˌ"
_MARKS = {"ˈ": "ˈ", "": ""}
_ENGLISH_MARKS = {"ˈ": "1", "ˌ": "2", "": "0"}

_INITIALS = {
    **{x: x for x in ("b", "p", "m", "f", "d", "t", "n", "l", "k", "h", "z", "c", "s", "w")},
    "ɡ": "g", "j": "y", "ŋ": "NG",
}  # fmt: skip
_FINAL = re.compile("(aai|aau|aa|ai|au|a|eoi|eo|ei|e|iu|i|oi|ou|oe|o|ui|u|yu|nɡ)(nɡ)?([1-7ɜ])")
_TONES = {"ɜ": "3", "7": "1"}  # its 7 is the high falling variant of the first tone


def pronounce(text: str, language: str) -> list[str]:
    """Symbols of a run of text; `language` is es, fr, de or yue.

    `MissingAssetError` without the program, `SongBloomError` when it fails or says what the symbol
    table lacks.
    """
    symbols: list[str] = []
    speaking = language
    for part in _SWITCH.split(_ask(text, language)):
        if _SWITCH.fullmatch(part):
            speaking = part.strip("()").partition("-")[0]
            continue
        for word in part.split():
            sounds = [sound for sound in word.split("_") if sound.strip(_STRESS + "-")]
            for place, sound in enumerate(sounds):
                if speaking == "yue":
                    found = _cantonese(sounds, place)
                else:
                    found = _european(sound, speaking)
                if found is None:
                    raise _no_symbol(text, language, sound)
                symbols += found.split(" ")
    return symbols


def _european(sound: str, language: str) -> str | None:
    """The symbols of an IPA sound; its length counts only where the table has it."""
    plain = sound.strip(_STRESS + "-\u0329\u032f")  # a dash may be dropped in speech: je
    sounds = _SOUNDS.get(language, _SOUNDS["en"])
    symbols = sounds.get(plain) or sounds.get(plain.replace("ː", ""))
    marks = _ENGLISH_MARKS if sounds is _SOUNDS["en"] else _MARKS
    return symbols and symbols.replace("%", marks.get(sound[0], marks[""]))


def _cantonese(sounds: list[str], place: int) -> str | None:
    """The symbols of a sound in espeak-ng's spelling of Jyutping.

    A stop closes its syllable after a vowel and before no other one.
    """
    sound = sounds[place].strip(_STRESS)
    if final := _FINAL.fullmatch(sound):
        vowel, nasal, tone = final.groups()
        symbol = f"/{vowel.replace('ɡ', 'g')}{_TONES.get(tone, tone)}/"
        return f"{symbol} NG" if nasal else symbol
    vowels = [bool(_FINAL.fullmatch(other.strip(_STRESS))) for other in sounds]
    closing = place > 0 and vowels[place - 1] and not any(vowels[place + 1 : place + 2])
    return f"/-{sound}/" if closing and sound in ("p", "t", "k") else _INITIALS.get(sound)


def _no_symbol(text: str, language: str, sound: str) -> SongBloomError:
    return SongBloomError(
        f"lyrics: espeak-ng reads '{text[:40]}' in {LANGUAGES[language]} with a sound that has no "
        f"symbol: {sound}",
        "Give the word its symbols in a file for --lexicon, or in place: {B /ˈo/ N}",
    )


def _ask(text: str, language: str) -> str:
    """What the program says of `text`: IPA, `_` between sounds, a blank between words."""
    program = shutil.which("espeak-ng")
    if program is None:
        raise MissingAssetError(
            f"{LANGUAGES[language]} lyrics need the program espeak-ng, which is not installed "
            f"('{text[:40]}')",
            "Install it (apt install espeak-ng, brew install espeak-ng), or name the language that "
            "they are in: --language en",
        )
    command = [program, "-q", "--ipa", "--sep=_", "-v", _VOICES[language]]
    try:
        done = subprocess.run(
            command, input=text.encode(), capture_output=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SongBloomError(
            f"lyrics: {program} failed on '{text[:40]}' ({error})",
            "Try it by hand: espeak-ng -q --ipa -v " + _VOICES[language],
        ) from error
    return done.stdout.decode("utf-8", "replace")
