"""The released front end, quirk by quirk. What it gives is the specification, not what is right."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from songbloom.lyrics.numbers import spell_numbers
from songbloom.lyrics.release import phonemes
from songbloom.lyrics.vocabulary import RELEASE_VOCABULARY

PAIRS = json.loads((Path(__file__).parent / "data" / "g2p_reference.json").read_text("utf-8"))


@pytest.mark.parametrize("pair", PAIRS, ids=[pair["in"][:30] for pair in PAIRS])
def test_equals_the_released_front_end(pair):
    """All reference strings come out symbol for symbol."""
    assert phonemes(pair["in"]) == pair["out"]


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        # split at single spaces; a symbol of the vocabulary passes through, case matters
        ("a A I I. my My by N", "a EY1 I AY1 . my M AY1 by N"),
        ("[verse]  [chorus]", "[verse]  [chorus]"),
        ("[Verse] [solo]", "V ER1 S S OW1 L OW2"),
        ("", ""),
        # only single spaces split: a tab sticks words together, a line end is a full stop
        ("hello\nworld", "HH AH0 L OW1 . W ER1 L D"),
        # full-width and foreign punctuation
        ("你：好；吗，呢、吧·啊/呀。", "n i3 , h ao3 , m a5 , n e5 , b a5 , AA a5 , y a5 ."),
        ("go！？...~～—", "G OW1 ! ? … … … -"),
        ("$5", ". F AY1 V"),
        # scripts that nobody reads vanish, their place stays
        ("한국어 ひらがな Привет", "  "),
        # accents fall off, other signs vanish
        ("café naïve rock&roll", "K AH0 F EY1 N AY2 IY1 V R AA1 K R OW1 L"),
        # an apostrophe outside a word is "-"
        ("'night", "- N AY1 T"),
        ("dancin'", "D AE1 N S IH0 N -"),
        # digits are English, even in Chinese
        ("3个", "TH R IY1 g e5"),
        ("2024", "T W EH1 N T IY0 T W EH1 N T IY0 F AO2 R"),
        ("1st", "F ER1 S T"),
        # i.e. and e.g. are cut apart at the full stops
        ("e.g.", "IY1 . JH IY1 ."),
        # deleted and short unknown words are spelled
        ("AI OS KTV", "EY1 AY1 OW1 EH1 S K EY1 T IY1 V IY1"),
        # compounds are taken apart
        ("OpenAI", "OW1 P AH0 N EY1 AY1"),
        ("3pm", "TH R IY1 P IY1 EH1 M"),
        # possessives of unknown owners
        ("zorbek's", "Z AO1 R B EH1 K S"),
        # heteronyms: what a tagger says of the bare word
        ("read record used", "R EH1 D R EH1 K ER0 D Y UW1 Z D"),
        # Mandarin: glides, zero initials, buzzed vowels
        ("爱鹅哦月远云王", "AA ai4 EE e2 OO o5 y ve4 y van3 y vn2 w ang2"),
        ("自是知", "z i04 sh ir4 zh ir1"),
        ("嗯呣", "EE en1 m u3"),
        # traditional characters are read as simplified ones
        ("愛你們", "AA ai4 n i3 m en5"),
        # tone sandhi: third tones, 不, 一, neutral endings, doubled words
        ("你好", "n i2 h ao3"),
        ("不是", "b u2 sh ir4"),
        ("看不懂", "k an4 b u5 d ong3"),
        ("一个", "y i2 g e5"),
        ("一天", "y i4 t ian1"),
        ("第一", "d i4 y i1"),
        ("听一听", "t ing1 y i5 t ing1"),
        ("朋友", "p eng2 y ou5"),
        ("妈妈", "m a1 m a5"),
        ("女子", "n v2 z i03"),
    ],
)
def test_quirk(text, symbols):
    assert phonemes(text) == symbols


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0", "zero"),
        ("42", "forty-two"),
        ("567", "five hundred sixty-seven"),
        ("1000", "one thousand"),
        ("1806", "eighteen oh six"),
        ("1900", "nineteen hundred"),
        ("2000", "two thousand"),
        ("2007", "two thousand seven"),
        ("2010", "twenty ten"),
        ("3003", "three thousand three"),
        ("12345", "twelve thousand, three hundred forty-five"),
        ("1000000", "one million"),
        ("101st", "one hundred and first"),
        ("20th", "twentieth"),
        ("12th", "twelfth"),
        ("3pm", "threepm"),
        ("£5", "five pounds"),
        ("9" * 40, " ".join(["nine"] * 40)),
    ],
)
def test_numbers_are_spelled_out(text, words):
    """Counts, years between 1000 and 3000, ordinals; endless digits one by one."""
    assert spell_numbers(text) == words


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("aeIstr'N  .,!?-\n\t风一不子我儿嗯愛é한😀2[]"), max_size=40))
def test_every_string_gives_symbols_only(text):
    """No input fails, and nothing but vocabulary symbols and empty items comes out."""
    out = phonemes(text)
    assert all(symbol in RELEASE_VOCABULARY for symbol in out.split(" "))
    assert out.count(" ") >= text.count(" ")


def test_unknown_names_are_guessed_the_same_each_time():
    """The predictor is deterministic and reads any letters, short and long."""
    assert phonemes("xyzzyq") == "Z IH1 G Z IY0 K Y UW1"
    assert phonemes("Brzęczyszczykiewicz") == phonemes("Brzęczyszczykiewicz")


def test_endless_words_do_not_hang():
    """Hundreds of kilobytes without a space are seconds of CPU, whatever the script."""
    start = time.process_time()
    for letters in ("x", "'", "1", "é", "한", "~"):
        phonemes(letters * (300_000 // len(letters)))
    phonemes("爱你一万年" * 400)
    assert time.process_time() - start < 30


def test_import_is_light():
    """Neither torch nor the language libraries' tables are loaded by an import."""
    code = (
        "import sys, songbloom.lyrics, songbloom.lyrics.release\n"
        "heavy = {'torch', 'numpy', 'jieba', 'pypinyin'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
