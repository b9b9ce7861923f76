"""The lexicon and the symbol table."""

import pytest

from songbloom.lyrics import lexicon
from songbloom.lyrics.vocabulary import RELEASE_VOCABULARY, Vocabulary


def test_release_has_330_symbols_in_the_released_order():
    assert len(RELEASE_VOCABULARY) == 330
    assert RELEASE_VOCABULARY.symbols[:8] == (
        "", "[verse]", "[chorus]", "[bridge]", "[intro]", "[outro]", "[inst]", "[silence]",
    )  # fmt: skip
    assert list(RELEASE_VOCABULARY.symbols[8:]) == sorted(RELEASE_VOCABULARY.symbols[8:])
    assert RELEASE_VOCABULARY.encode("! AA zh …") == [8, 13, 328, 329]


def test_a_double_space_is_id_0_and_unknown_symbols_are_dropped():
    assert RELEASE_VOCABULARY.encode("[verse]  HH nonsense AY1") == [
        1, 0, RELEASE_VOCABULARY.encode("HH")[0], RELEASE_VOCABULARY.encode("AY1")[0],
    ]  # fmt: skip
    assert RELEASE_VOCABULARY.encode("") == [0]


def test_decode_undoes_encode_for_known_symbols():
    text = "[verse] HH AH0 L OW1 . n i2  [outro]"
    assert RELEASE_VOCABULARY.decode(RELEASE_VOCABULARY.encode(text)) == text


@pytest.mark.parametrize("symbols", [(), ("a",), ("", "a", "a")])
def test_a_table_that_cannot_be_one_is_refused(symbols):
    with pytest.raises(ValueError):
        Vocabulary(symbols)


def test_every_phone_of_the_lexicon_is_a_symbol():
    phones = {phone for word in lexicon.words() for phone in lexicon.lookup(word)}
    assert all(phone in RELEASE_VOCABULARY for phone in phones)
    assert len(phones) == 69


def test_lexicon_says_words_as_the_release_does():
    assert lexicon.lookup("Hello") == ("HH", "AH0", "L", "OW1")
    assert lexicon.lookup("activity") == ("AE0", "K", "T", "IH1", "V", "IH0", "T", "IY0")  # variant
    assert lexicon.lookup("acid") == ("AE1", "S", "IH0", "D")  # older entry
    assert lexicon.lookup("supercalifragilisticexpialidocious") is not None  # only there
    for absent in ("ae", "ai", "ar", "hud", "ios", "os", "aalborg", "xyzzy", ""):
        assert lexicon.lookup(absent) is None


def test_lexicon_words_are_sorted_and_unique():
    words = lexicon.words()
    assert len(words) == len(set(words)) == 125_927
    assert list(words) == sorted(words)
