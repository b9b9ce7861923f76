"""The v1 symbol table: frozen, append-only, the released one at its head, stored in models."""

import hashlib
import json

import pytest
import torch

from songbloom.errors import SongBloomError, UsageError
from songbloom.lyrics import frontends
from songbloom.lyrics.vocabulary import RELEASE_VOCABULARY, V1_VOCABULARY, Vocabulary
from songbloom.model.checkpoint import load_model

# What models have been trained with. Add a line when symbols are appended; never change one.
FROZEN = {535: "bd88263e018b18a7626ba4cd209e88b5c92833c546eedb4a93aefc0da034028e"}


def test_ids_never_change():
    """The beginnings of the table that models may hold are what they were."""
    for length, expected in FROZEN.items():
        text = "\n".join(V1_VOCABULARY.symbols[:length])
        assert hashlib.sha256(text.encode()).hexdigest() == expected
    assert len(V1_VOCABULARY) == max(FROZEN), "appended symbols are frozen here too"


def test_begins_with_the_released_table():
    """A released model's embedding is the first rows of a v1 model's."""
    assert V1_VOCABULARY.symbols[: len(RELEASE_VOCABULARY)] == RELEASE_VOCABULARY.symbols


def test_symbols_can_be_written_between_blanks():
    """No symbol holds a blank, a brace or a comment sign, and only tags begin with a bracket."""
    for symbol in V1_VOCABULARY.symbols[1:]:
        assert symbol == "".join(symbol.split()) and not set(symbol) & set("{}#")
    tags = [symbol for symbol in V1_VOCABULARY.symbols if symbol.startswith("[")]
    assert tags == list(RELEASE_VOCABULARY.symbols[1:8])


def test_lacking_names_what_encode_drops():
    table = Vocabulary(("", "a", "b"))
    assert table.lacking("a x b  x y") == ("x", "y")
    assert table.lacking("a b") == ()
    assert table.encode("a x b") == table.encode("a b")


def test_each_front_end_has_its_table():
    assert frontends.vocabulary("release") is RELEASE_VOCABULARY
    assert frontends.vocabulary("v1") is V1_VOCABULARY
    for ask in (frontends.vocabulary, lambda name: frontends.phonemes("love", name)):
        with pytest.raises(UsageError, match="front end 'v9' is unknown"):
            ask("v9")


def _with_table(folder, frontend, symbols):
    """The model folder `folder` with another front end and table, its hashes made to fit."""
    path = folder / "vocabulary.json"
    path.write_text(json.dumps(symbols), encoding="utf-8")
    info = json.loads((folder / "model.json").read_text("utf-8"))
    info["config"]["frontend"] = frontend
    info["sha256"]["vocabulary.json"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "model.json").write_text(json.dumps(info), encoding="utf-8")
    return load_model(folder, device=torch.device("cpu"))


def test_a_model_keeps_the_table_it_was_trained_with(mini_folder, tmp_path):
    """A shorter beginning of the table loads; one whose ids mean other symbols is refused."""
    for file in mini_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    symbols = list(V1_VOCABULARY.symbols)
    assert len(_with_table(tmp_path, "v1", symbols[:330]).vocabulary) == 330
    swapped = [*symbols[:328], symbols[329], symbols[328]]
    with pytest.raises(SongBloomError, match="not the beginning of this version's"):
        _with_table(tmp_path, "v1", swapped)
    # The released front end takes any table, as models of others have their own.
    assert len(_with_table(tmp_path, "release", swapped).vocabulary) == 330
