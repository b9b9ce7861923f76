"""The user's lexicon: words said in the user's way, mistakes told with file and line."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from songbloom.errors import SongBloomError, UsageError
from songbloom.lyrics.frontends import Lexicon, load_lexicon, phonemes
from songbloom.lyrics.vocabulary import RELEASE_VOCABULARY


@pytest.fixture
def lexicon(tmp_path):
    def load(text, *args):
        path = tmp_path / "words.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_lexicon(path, *args)

    return load


def test_a_word_is_said_as_its_owner_wants(lexicon):
    """Case does not matter; a part of a word, and of a word with an apostrophe, is no word."""
    own = lexicon("# names\nSiobhan\tSH IH0 V AO1 N  # Irish\n\nAnn   AE1 N AH0\n")
    said = phonemes("SIOBHAN, siobhan. annex Ann's ann", "v1", lexicon=own)
    siobhan = "SH IH0 V AO1 N"
    plain = phonemes("annex Ann's", "v1")
    assert said == f"{siobhan} , {siobhan} . {plain} AE1 N AH0"


@settings(max_examples=200)
@given(st.text(max_size=4), st.text(max_size=8))
def test_any_word_is_found_in_upper_and_lower_case(word, text):
    """Whatever is written around an entry, splitting neither fails nor loses a character."""
    word = "".join(unicodedata.normalize("NFKC", word).lower().split()) or "x"
    own = Lexicon({word: ("AA1",), "ist": ("AA2",)})
    for line in (text, word, f"{text} {word} {text}", f"{text} {word.upper()}", "ıst İst ſt"):
        pieces = own.split(line)
        assert all(piece in line for piece in pieces if isinstance(piece, str))
    assert own.split(word) == [("AA1",)]


def test_words_of_other_scripts_count_wherever_they_stand(lexicon):
    """The longest word first; the text around it is read as if it were not there."""
    own = lexicon("重庆 ch ong2 q ing4\n重庆人 AA a1\n")
    assert phonemes("我爱重庆的雨", "v1", lexicon=own) == "w o3 AA ai4 ch ong2 q ing4 d e5 y v3"
    assert phonemes("重庆人", "v1", lexicon=own) == "AA a1"


def test_serves_the_released_front_end_too(lexicon):
    """Its symbols take the word's place, nothing else of the line changes."""
    own = lexicon("Siobhan SH IH0 V AO1 N\n", RELEASE_VOCABULARY)
    line = "[verse] my Siobhan. hello , [outro]"
    said = phonemes(line, lexicon=own)
    assert said == "[verse] my SH IH0 V AO1 N . HH AH0 L OW1 , [outro]"
    assert phonemes("my love , a", lexicon=own) == phonemes("my love , a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("love L AH1 V\nlove L AH0 V\n", r"words.txt:2: 'love' is there twice"),
        ("\nlove L AH9 V\n", r"words.txt:2: love: no symbol is called 'AH9'"),
        ("love\n", r"words.txt:1: love: no symbols"),
        ("love # L AH1 V\n", r"words.txt:1: love: no symbols"),
        ("love [verse]\n", r"words.txt:1: love: no symbol is called '\[verse\]'"),
        (b"lov\xe9 L AH1 V\n", r"words.txt: not UTF-8 text"),
    ],
)
def test_mistakes_are_told_with_their_line(lexicon, text, message):
    with pytest.raises(SongBloomError, match=message):
        lexicon(text)


def test_a_symbol_of_v1_alone_is_none_of_the_release(lexicon):
    with pytest.raises(SongBloomError, match=r"no symbol is called '/ʁ/'"):
        lexicon("rue /ʁ/ /ˈy/\n", RELEASE_VOCABULARY)
    own = lexicon("rue /ʁ/ /ˈy/\n")
    assert phonemes("rue", "v1", lexicon=own) == "/ʁ/ /ˈy/"
    with pytest.raises(SongBloomError, match=r"no symbol is called '/ʁ/'"):
        phonemes("rue", "release", lexicon=own)


def test_no_file_and_an_empty_one(lexicon, tmp_path):
    with pytest.raises(SongBloomError, match="cannot be read"):
        load_lexicon(tmp_path / "none.txt")
    assert phonemes("love", "v1", lexicon=lexicon("\ufeff# nothing\n")) == "L AH1 V"


def test_a_language_is_for_v1():
    with pytest.raises(UsageError, match="reads English and Mandarin only"):
        phonemes("love", "release", language="fr")
    with pytest.raises(UsageError, match="language 'xx' is unknown"):
        phonemes("love", "v1", language="xx")
