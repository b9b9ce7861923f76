"""The released front end: equal on its reference, total, light. Its quirks have their own file."""

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


@settings(max_examples=150)
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
    """A hundred kilobytes without a space are seconds of CPU, whatever the script."""
    start = time.process_time()
    for letters in ("x", "'", "1", "é", "한", "~"):
        phonemes(letters * (100_000 // len(letters)))
    phonemes("爱你一万年" * 100)
    assert time.process_time() - start < 100  # seconds, or minutes if it hangs


def test_import_is_light():
    """Neither torch nor the language libraries' tables are loaded by an import."""
    code = (
        "import sys, songbloom.lyrics, songbloom.lyrics.release\n"
        "heavy = {'torch', 'numpy', 'jieba', 'pypinyin'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
