"""Chinese words and tags are jieba's own, whatever the text."""

import random
import subprocess
import sys

import pytest

from songbloom.lyrics import mandarin_words

COMMON = (
    "的一是不了人我在有他这为之大来以个中上们到说时要就出会可也你对生能而子那得着儿长行重乐还没"
)
RARE = "跛么吒哩夥後徵於沈湮矽噷兙囖鑫龘乂"  # some have states without chances, some have none


@pytest.fixture(scope="module")
def jieba():
    import jieba.posseg

    jieba.setLogLevel("ERROR")
    jieba.initialize()
    return jieba


@pytest.fixture(scope="module")
def texts(jieba):
    """Dictionary words in a row, common letters, rare ones, any letters of the block."""
    dice = random.Random(0)
    words = sorted(word for word in jieba.dt.FREQ if all("\u4e00" <= c <= "\u9fa5" for c in word))
    made = ["".join(dice.choices(words, k=3)) for _ in range(70)]
    made += ["".join(dice.choices(COMMON, k=8)) for _ in range(70)]
    made += ["".join(dice.choices(COMMON + RARE * 3, k=6)) for _ in range(70)]
    made += ["".join(chr(dice.randrange(0x4E00, 0x9FA6)) for _ in range(5)) for _ in range(50)]
    return made


def test_words_and_tags_are_those_of_jiebas_tagger(jieba, texts):
    """The same likeliest cut and the same likeliest states, equals decided alike."""
    for text in texts:
        theirs = [(pair.word, pair.flag) for pair in jieba.posseg.cut(text)]
        assert [tuple(word) for word in mandarin_words.cut(text)] == theirs, text


def test_words_inside_words_are_those_of_jiebas_search_mode(jieba, texts):
    for text in texts:
        assert mandarin_words.split(text) == list(jieba.cut_for_search(text)), text


def test_no_text_has_no_words():
    assert mandarin_words.cut("") == [] and mandarin_words.split("") == []


def test_jieba_is_not_imported():
    """Its tagger would read the whole dictionary twice; the tables are read alone."""
    code = (
        "import sys; from songbloom.lyrics.release import phonemes; phonemes('你好吗垚');"
        "sys.exit('jieba' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
