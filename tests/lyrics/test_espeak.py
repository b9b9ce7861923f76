"""Spanish, French, German and Cantonese through the program espeak-ng."""

import itertools
import shutil

import pytest

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.lyrics import espeak
from songbloom.lyrics.frontends import phonemes
from songbloom.lyrics.vocabulary import V1_VOCABULARY

needs_program = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="the program espeak-ng is not installed"
)

WORDS = {
    # American Spanish: z and c are s, ll is y; one r taps, two roll; b d g are soft between vowels
    "es": [
        ("corazón", "K /o/ /ɾ/ /a/ S /ˈo/ N"),
        ("noche", "N /ˈo/ CH /e/"),
        ("cielo", "S Y /ˈe/ L /o/"),
        ("rojo", "/r/ /ˈo/ /x/ /o/"),
        ("gente", "/x/ /ˈe/ N T /e/"),
        ("queso", "K /ˈe/ S /o/"),
        ("niño", "N /ˈi/ /ɲ/ /o/"),
        ("perro", "P /ˈe/ /r/ /o/"),
        ("pero", "P /ˈe/ /ɾ/ /o/"),
        ("agua", "/ˈa/ /ɣ/ W /a/"),
        ("canción", "K /a/ N S Y /ˈo/ N"),
        ("hay", "/ˈa/ Y"),
    ],
    # stress at the end, final consonants silent, nasal vowels
    "fr": [
        ("bonjour", "B /ɔ̃/ ZH /ˈu/ /ʁ/"),
        ("amour", "/a/ M /ˈu/ /ʁ/"),
        ("chanson", "SH /ɑ̃/ S /ˈɔ̃/"),
        ("cœur", "K /ˈœ/ /ʁ/"),
        ("garçon", "G /a/ /ʁ/ S /ˈɔ̃/"),
        ("fille", "F /ˈi/ Y"),
        ("vin", "V /ˈɛ̃/"),
        ("rue", "/ʁ/ /ˈy/"),
        ("feu", "F /ˈø/"),
        ("eau", "/ˈo/"),
        ("jamais", "ZH /a/ M /ˈɛ/"),
        ("toujours", "T /u/ ZH /ˈu/ /ʁ/"),
    ],
    # devoiced ends, ich and ach, final -er is a vowel, s before vowels is voiced
    "de": [
        ("Liebe", "L /ˈi/ B /ə/"),
        ("Herz", "HH /ˈɛ/ /ʁ/ /ts/"),
        ("ich", "/ˈɪ/ /ç/"),
        ("Nacht", "N /ˈa/ /x/ T"),
        ("schön", "SH /ˈø/ N"),
        ("Straße", "SH T /ʁ/ /ˈaː/ S /ə/"),
        ("Feuer", "F /ˈɔʏ/ /ɐ/"),
        ("zwei", "/ts/ V /ˈaɪ/"),
        ("singen", "Z /ˈɪ/ NG /ə/ N"),
        ("Vater", "F /ˈaː/ T /ɐ/"),
        ("Mutter", "M /ˈʊ/ T /ɐ/"),
        ("Küsse", "K /ˈʏ/ S /ə/"),
    ],
    # Jyutping: ngo5, oi3 with ng before it, hoeng1 gong2, ...
    "yue": [
        ("我", "NG /o5/"),
        ("你", "n /ei5/"),
        ("香港", "h /oe1/ NG g /o2/ NG"),
        ("天", "t /i1/ n"),
        ("月", "y /yu6/ /-t/"),
        ("雨", "y /yu5/"),
        ("學", "h /o6/ /-k/"),
        ("十", "s /a6/ /-p/"),
        ("國", "g w /o3/ /-k/"),
        ("五", "/ng5/"),
        ("心", "s /a1/ m"),
        ("水", "s /eoi2/"),
    ],
}


@needs_program
@pytest.mark.parametrize(
    ("language", "word", "symbols"),
    [(language, *pair) for language, pairs in WORDS.items() for pair in pairs],
)
def test_words_as_in_the_dictionary(language, word, symbols):
    assert phonemes(word, "v1", language=language) == symbols


@needs_program
@pytest.mark.parametrize(
    ("language", "text", "same_as"),
    [
        ("es", "3 & 50%", "tres y cincuenta por ciento"),
        ("fr", "3 & 5€", "trois et cinq euros"),
        ("de", "3 & 50%", "drei und fünfzig Prozent"),
        ("yue", "3個", "三個"),
        ("yue", "50%", "百分之五十"),
    ],
)
def test_digits_and_signs_are_said_in_the_language(language, text, same_as):
    assert phonemes(text, "v1", language=language) == phonemes(same_as, "v1", language=language)


@needs_program
def test_english_words_in_other_languages_are_english():
    """espeak-ng says "weekend" in French as English; the stress it gives is kept."""
    assert phonemes("le weekend", "v1", language="fr") == "L /ə/ W IY0 K EH1 N D"


@needs_program
def test_detected_lines_are_read_without_asking():
    said = phonemes("[Verse] je t'aime mon amour.I love you", "v1")
    assert said.startswith("[verse] ZH /ə/ T /ˈɛ/ M") and said.endswith(". AY1 L AH1 V Y UW1")


@needs_program
def test_every_sound_has_its_symbol():
    """Each syllable shape that the spelling allows comes out in symbols of the table."""
    vowels = "a e i o u y ä ö ü é è ê â ô ai ei au eu ou oi an on in un á í ó ú ie ue io"
    consonants = "b c ch d f g h j k l ll m n ñ p qu r rr s ß t v w x z ç gn pf sch tz th"
    for language in ("es", "fr", "de"):
        ends = itertools.cycle(("", "n", "r", ""))
        text = " ".join(
            consonant + vowel + next(ends)
            for consonant in consonants.split(" ")
            for vowel in vowels.split(" ")
        )
        said = espeak.pronounce(text, language)
        assert len(said) > 2000 and all(symbol in V1_VOCABULARY for symbol in said)


@needs_program
def test_an_unknown_character_is_an_error():
    with pytest.raises(SongBloomError, match="in Cantonese with a sound that has no symbol"):
        phonemes("我兙", "v1", language="yue")


def test_without_the_program_the_error_names_it_and_a_way_round(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingAssetError, match="French lyrics need the program espeak-ng") as told:
        phonemes("bonsoir mademoiselle", "v1", language="fr")
    assert "apt install espeak-ng" in told.value.hint and "--language en" in told.value.hint
    assert phonemes("bonsoir", "v1", language="en")


def test_a_program_that_fails_is_an_error(monkeypatch, tmp_path):
    """Its failure is told with its name; nothing hangs."""
    program = tmp_path / "espeak-ng"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SongBloomError, match=r"espeak-ng failed on 'au revoir'"):
        phonemes("au revoir", "v1", language="fr")
