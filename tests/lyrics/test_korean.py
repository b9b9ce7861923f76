"""Korean: words against the pronunciation that the standard dictionary gives in brackets."""

import pytest

from songbloom.lyrics.frontends import phonemes
from songbloom.lyrics.korean import pronounce


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        # nothing changes
        ("사랑", "사랑"),
        ("노래", "노래"),
        # liaison: a coda moves to a following vowel
        ("밥을", "바블"),
        ("읽어", "일거"),
        ("없어", "업써"),
        ("값이", "갑씨"),
        ("있어", "이써"),
        # ㅎ: lost before vowels, a puff after stops and before them
        ("좋아", "조아"),
        ("싫어", "시러"),
        ("좋다", "조타"),
        ("많고", "만코"),
        ("축하", "추카"),
        ("못해", "모태"),
        ("앉히다", "안치다"),
        # palatalisation
        ("같이", "가치"),
        ("굳이", "구지"),
        ("닫혀", "다처"),
        # codas are seven
        ("꽃", "꼳"),
        ("부엌", "부억"),
        ("앞", "압"),
        # tensing after a stop
        ("학교", "학꾜"),
        ("갔다", "갇따"),
        ("앉고", "안꼬"),
        # nasals and liquids
        ("국물", "궁물"),
        ("있는", "인는"),
        ("독립", "동닙"),
        ("종로", "종노"),
        ("신라", "실라"),
        ("칼날", "칼랄"),
        ("끝나", "끈나"),
        # vowels
        ("희망", "히망"),
        ("나의", "나에"),
        ("시계", "시게"),
    ],
)
def test_spoken_as_the_dictionary_says(written, spoken):
    """A word is said as its pronunciation written out in Hangul is."""
    assert pronounce(written) == pronounce(spoken)


@pytest.mark.parametrize(
    ("word", "symbols"),
    [
        ("사랑", "s /a/ r /a/ NG"),
        ("꿈", "/kk/ /u/ m"),
        ("별빛", "b y /ʌ/ l b /i/ /-t/"),
        ("물론", "m /u/ l l /o/ n"),
        ("왜", "w /ɛ/"),
        ("의사", "/ɯ/ /i/ s /a/"),
        ("값", "g /a/ /-p/"),
        ("짜장", "/jj/ /a/ j /a/ NG"),
    ],
)
def test_symbols(word, symbols):
    assert pronounce(word) == symbols.split(" ")


def test_every_syllable_is_said():
    """All 11,172 syllables: a vowel each, and a closed one ends in one of seven sounds."""
    codas = {"/-k/", "/-t/", "/-p/", "n", "m", "NG", "l"}
    for code in range(0xAC00, 0xD7A4):
        symbols = pronounce(chr(code))
        assert sum(symbol[0] == "/" and symbol[1] in "aʌouɯiɛe" for symbol in symbols) in (1, 2)
        assert ((code - 0xAC00) % 28 == 0) == (symbols[-1] not in codas)


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("3개", "세개"),
        ("20살", "스무살"),
        ("12시", "열두시"),
        ("3개월", "삼개월"),
        ("10년", "십년"),
        ("100번", "백번"),
        ("2024년", "이천이십사년"),
        ("10000원", "만원"),
        ("3.5도", "삼점오도"),
        ("사랑 50%", "사랑 오십 퍼센트"),
    ],
)
def test_numbers(text, same_as):
    """Native numbers before what they count, Sino-Korean ones elsewhere."""
    assert phonemes(text, "v1") == phonemes(same_as, "v1")
