"""Japanese through OpenJTalk: moras, and the accent of the Tokyo dictionary (NHK)."""

import importlib.util
import subprocess
import sys

import pytest

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.lyrics import japanese
from songbloom.lyrics.frontends import phonemes
from songbloom.lyrics.vocabulary import V1_VOCABULARY

needs_reader = pytest.mark.skipif(
    importlib.util.find_spec("pyopenjtalk") is None, reason="the ja extra is not installed"
)


@needs_reader
@pytest.mark.parametrize(
    ("word", "symbols"),
    [
        # accent on the first mora, on a later one, and none: 橋 and 端 differ by what follows
        ("雨", "a^ m e"),
        ("飴", "a m e^"),
        ("箸", "h a^ sh i"),
        ("橋", "h a sh i^"),
        ("心", "k o k o^ r o^"),
        ("桜", "s a k u^ r a^"),
        ("空", "s o^ r a"),
        # kana as kanji
        ("さくら", "s a k u^ r a^"),
        ("ｻｸﾗ", "s a k u^ r a^"),
        # long vowels, doubled consonants, syllabic n, palatal consonants
        ("東京", "t o o^ ky o^ o^"),
        ("学校", "g a cl k o^ o^"),
        ("新聞", "sh i N^ b u^ N^"),
        ("りんご", "r i N^ g o^"),
        # particles as they are said, whispered vowels voiced
        ("私は", "w a t a^ sh i^ w a^"),
        ("です", "d e^ s u"),
        # foreign sounds
        ("ファン", "f a^ N"),
        ("ヴァイオリン", "v a i^ o^ r i^ N^"),
    ],
)
def test_words_as_in_the_dictionary(word, symbols):
    assert phonemes(word, "v1", language="ja") == symbols


@needs_reader
@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("3月", "三月"),
        ("100円", "百円"),
        ("¥100", "百円"),
        ("5€", "五ユーロ"),
        ("50%", "五十パーセント"),
    ],
)
def test_digits_and_signs_are_said_in_japanese(text, same_as):
    assert phonemes(text, "v1", language="ja") == phonemes(same_as, "v1", language="ja")


@needs_reader
def test_kanji_without_kana_are_japanese_in_a_japanese_song():
    said = phonemes("[verse] 君が好きだ.永遠 , [chorus] Love you", "v1")
    assert said == "[verse] k i m i^ g a^ s u k i^ d a . e e^ e^ N^ , [chorus] L AH1 V Y UW1"


@needs_reader
def test_every_kana_pair_gives_symbols_of_the_table():
    kana = [chr(code) for code in range(0x30A1, 0x30FB)] + ["ー"]
    for first in kana:
        for small in ("", *"ァィゥェォャュョヮーッ"):
            said = japanese.pronounce("ア" + first + small)
            assert all(symbol in V1_VOCABULARY for symbol in said), first + small


@needs_reader
def test_what_cannot_be_read_is_an_error():
    with pytest.raises(SongBloomError, match="OpenJTalk cannot read all of '々'"):
        phonemes("々", "v1", language="ja")


@needs_reader
def test_loading_the_reader_prints_nothing():
    """The library never prints; what OpenJTalk's package says at import is kept from stdout."""
    code = "from songbloom.lyrics.frontends import phonemes; phonemes('さくら', 'v1')"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert done.stdout == b""


def test_without_the_extra_the_error_names_it(monkeypatch):
    """Kana are never sung as nothing: without a reader they are refused."""
    monkeypatch.setitem(sys.modules, "pyopenjtalk", None)
    japanese._reader.cache_clear()
    with pytest.raises(MissingAssetError, match="need the package pyopenjtalk-plus") as told:
        phonemes("かぜたちぬ", "v1")
    assert "songbloom[ja]" in told.value.hint
