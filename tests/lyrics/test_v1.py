"""The v1 front end: what it mends of `release`, and that it leaves the rest as it is."""

import contextlib
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from songbloom.errors import SongBloomError
from songbloom.lyrics import lexicon, release
from songbloom.lyrics.frontends import phonemes, unsayable
from songbloom.lyrics.vocabulary import RELEASE_VOCABULARY, V1_VOCABULARY


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        # words that are symbols of other languages are words
        ("a my by I U o", "AH0 M AY1 B AY1 AY1 Y UW1 OW1"),
        # the article stands before a word, the letter is called by its name
        ("A love", "AH0 L AH1 V"),
        ("A B C, grade A", "EY1 B IY1 S IY1 , G R EY1 D EY1"),
        # blanks carry nothing, whatever they are
        ("love  me\ttoo \u3000", "L AH1 V M IY1 T UW1"),
        ("[verse]  love , [outro]", "[verse] L AH1 V , [outro]"),
        ("", ""),
        # a tag is a tag however it is written, one that nobody knows is no words
        ("[Verse 1] love [CHORUS] [Guitar Solo] [?]", "[verse] L AH1 V [chorus] [inst]"),
        # an apostrophe is part of its word, wherever it stands
        ("'cause I'm runnin' 'til dawn", "K AH0 Z AY1 M R AH1 N IH0 N T IH1 L D AO1 N"),
        ("the boys' rock'n'roll", "DH AH0 B OY1 Z R AA1 K AH0 N R OW1 L"),
        ("‘hello’ ’", "HH AH0 L OW1"),
        # a hyphen too; a dash is a mark
        ("ooh-ooh", "UW1 UW1"),
        ("wait - go — now--here", "W EY1 T - G OW1 - N AW1 - HH IY1 R"),
        # a line end ends a sentence; repeated marks count once
        ("go\nnow!!! wait.... ok?", "G OW1 . N AW1 ! W EY1 T … OW1 K EY1 ?"),
        ("（go）：now；", "G OW1 , N AW1 ,"),
        # letters that are held
        ("yeahhh ohhh mmm loooove sooo goood", "Y AE1 OW1 M L AH1 V S OW1 G UH1 D"),
        # digits and signs in English
        ("rock & roll", "R AA1 K AH0 N D R OW1 L"),
        ("50%", "F IH1 F T IY0 P ER0 S EH1 N T"),
        ("$5 €1", "F AY1 V D AA1 L ER0 Z W AH1 N Y UW1 R OW0"),
        ("3.5", "TH R IY1 P OY1 N T F AY1 V"),
        ("7:00 or 9:05", "S EH1 V AH0 N AH0 K L AA1 K AO1 R N AY1 N OW1 F AY1 V"),
        ("24/7", "T W EH1 N T IY0 F AO1 R S EH1 V AH0 N"),
        ("90s 3pm", "N AY1 N T IY0 Z TH R IY1 P IY1 EH1 M"),
        ("1,000", "W AH1 N TH AW1 Z AH0 N D"),
        ("the U.S.A. now", "DH AH0 Y UW1 EH1 S EY1 N AW1"),
        # letters without a base letter
        ("Straße Æsop café", "S T R AE1 S IY1 S AA2 P K AH0 F EY1"),
        # full-width and invisible characters
        ("ｌｏｖｅ lo\u200bve", "L AH1 V L AH1 V"),
        # symbols in braces stand for themselves
        ("a {P IY1 S} of cake", "AH0 P IY1 S AH1 V K EY1 K"),
        ("{ n i3 h ao3 }", "n i3 h ao3"),
    ],
)
def test_english(text, symbols):
    assert phonemes(text, "v1") == symbols


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        # digits are read in the language that they touch
        ("3个", "s an1 g e5"),
        ("我有2个", "w o2 y ou3 l iang3 g e5"),
        ("第2天", "d i4 EE er4 t ian1"),
        ("2024年", "EE er4 l ing2 EE er4 s i04 n ian2"),
        ("50%", "F IH1 F T IY0 P ER0 S EH1 N T"),
        ("我爱你50%", "w o3 AA ai4 n i3 b ai3 f en1 zh ir1 w u3 sh ir2"),
        ("爱你 3 times", "AA ai4 n i3 s an1 T AY1 M Z"),
        ("love你love", "L AH1 V n i3 L AH1 V"),
        ("你好 。、 ·我", "n i2 h ao3 . , w o3"),
        # a line of digits alone is in the language of the song
        ("我们一起数.1, 2", "w o3 m en5 y i4 q i3 sh u4 . y i1 , EE er4"),
    ],
)
def test_mandarin(text, symbols):
    assert phonemes(text, "v1") == symbols


def test_agrees_with_release_on_every_word_that_no_quirk_touches():
    """What a released model learnt of English words holds in v1: the same symbols."""
    touched = set(RELEASE_VOCABULARY.symbols)
    plain = [word for word in lexicon.words()[::13] if word.isalpha() and word not in touched]
    assert len(plain) > 8_000
    assert [word for word in plain if phonemes(word, "v1") != release.phonemes(word)] == []


@settings(max_examples=60)
@given(
    st.lists(
        st.sampled_from(["风", "雨", "爱", "你", "不", "一", "朋友", "世界", "，", "！"]),
        min_size=1,
    )
)
def test_agrees_with_release_on_chinese(words):
    """Chinese lines without digits are read as released, but for marks said twice."""
    line = "".join(words)
    said = phonemes(line, "v1").split(" ")
    released = release.phonemes(line).split(" ")
    once = [
        x
        for x, before in zip(released, ["", *released], strict=False)
        if x != before or x not in "!,"
    ]
    assert said == once


@settings(max_examples=200)
@given(
    st.text(
        st.sampled_from("aeIstr'N  .,!?-\n\t风一不子我儿嗯愛é한꽃😀2[]$%&:;/…\ue000\ue001"),
        max_size=40,
    )
)
def test_every_string_gives_symbols_only(text):
    """No input without braces fails, and nothing but symbols of the table comes out."""
    out = phonemes(text, "v1")
    assert out == "" or all(symbol and symbol in V1_VOCABULARY for symbol in out.split(" "))
    assert V1_VOCABULARY.decode(V1_VOCABULARY.encode(out)) == out


@settings(max_examples=100)
@given(st.text(max_size=30))
def test_what_is_not_said_is_told(text):
    """A letter, digit or sign that makes no sound by itself is one that `unsayable` names."""
    for letter in set(text.replace("'", "")):
        if letter.isalnum() and not unsayable(letter, "v1"):
            with contextlib.suppress(SongBloomError):  # told as well
                assert phonemes(letter, "v1"), letter


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("hello мир 😀 ♪", "мир😀♪"),
        ("ひらがな カタカナ 漢字 한국어 é ß 5% € &", ""),
        ("¡Qué! «l'amour» — “so” (ooh)…", ""),
        ("ㅋㅋ", "ㅋ"),
        ("[verse] {P IY1 S}", ""),
        ("ก\u200b\u0301", "ก"),
    ],
)
def test_unsayable_names_what_is_left_out(text, letters):
    assert unsayable(text, "v1") == letters


def test_a_character_without_a_reading_is_named():
    """A line that cannot be read whole is refused, not sung with a hole."""
    with pytest.raises(SongBloomError, match="no Mandarin reading of 兙"):
        phonemes("我爱兙你", "v1")


def test_symbols_in_braces_are_checked():
    """A slip is an error that names the symbol and the nearest ones, never a silent gap."""
    with pytest.raises(SongBloomError, match=r"\{P IY9 S\}: no symbol is called 'IY9'") as caught:
        phonemes("a {P IY9 S} of cake", "v1")
    assert "IY1" in caught.value.hint
    for bad in ("{}", "{[verse]}"):
        with pytest.raises(SongBloomError):
            phonemes(bad, "v1")


def test_endless_input_does_not_hang():
    """Tens of kilobytes on one line are a moment."""
    start = time.process_time()
    for text in ("la ", "'", "1", "é", "[", "{", "-", ".", "a.", "1,", "~"):
        phonemes(text * (30_000 // len(text)), "v1")
    phonemes("爱你一万年" * 100, "v1")
    assert time.process_time() - start < 120  # seconds, or minutes if it hangs


def test_import_is_light():
    """Neither torch nor the language libraries' tables are loaded by an import."""
    code = (
        "import sys, songbloom.lyrics.frontends\n"
        "heavy = {'torch', 'numpy', 'jieba', 'pypinyin', 'pyopenjtalk'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
