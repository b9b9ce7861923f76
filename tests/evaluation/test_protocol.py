"""A protocol's id changes with everything that decides a number, and with nothing else."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from evaluation.toys import LYRICS, tone

from songbloom.errors import SongBloomError, UsageError
from songbloom.evaluation import protocol
from songbloom.evaluation.items import Item
from songbloom.evaluation.protocol import Protocol
from songbloom.evaluation.statistics import Statistics

BOTH = frozenset({"lyrics", "reference"})
GOOD = 'format = 1\nname = "mine"\nmetrics = ["signal", "speed"]\n'


def identity(**changes: Any) -> str:
    """The id of a protocol with one thing changed."""
    base = Protocol("p", ("per", "fad"))
    metrics = changes.pop("metrics", {"per": {"model": "a"}, "fad": {"model": "b"}})
    test_set = changes.pop("test_set", "0" * 64)
    return str(protocol.identity(dataclasses.replace(base, **changes), metrics, test_set)["id"])


def test_what_changes_the_id() -> None:
    """Models, metrics, statistics, the candidates' policy and the test set do; the name and the
    order of metrics do not."""
    ids = {
        identity(),
        identity(metrics={"per": {"model": "a"}}),
        identity(metrics={"per": {"model": "x"}, "fad": {"model": "b"}}),
        identity(candidates="best of 4 by per"),
        identity(statistics=Statistics(seed=1)),
        identity(test_set="1" * 64),
    }
    assert len(ids) == 6
    assert identity(name="q") == identity(metrics={"fad": {"model": "b"}, "per": {"model": "a"}})
    assert identity() == identity(name="q")
    assert len(identity()) == 16


def test_the_test_set_is_names_words_and_clips(tmp_path: Path) -> None:
    """Lyrics in another format and clips of another name are the same test set; other words,
    sections, names and clips are not, and what no metric needs does not count."""
    one, other = tone(tmp_path / "a.wav", seed=1), tone(tmp_path / "b.wav", seed=2)
    (tmp_path / "copy.wav").write_bytes(one.read_bytes())

    def hashed(name: str = "s", lyrics: str = LYRICS, clip: Path = one) -> str:
        item = Item(name, tmp_path / "song.wav", lyrics, clip)
        return protocol.test_set_hash([item], BOTH)

    line = "[verse] Hello world. , [chorus] Good night."
    assert hashed() == hashed(lyrics=line) == hashed(clip=tmp_path / "copy.wav")
    others = [hashed("t"), hashed(lyrics="[verse]\nhello\n"), hashed(clip=other)]
    others += [
        hashed(lyrics=LYRICS.replace("chorus", "bridge")),
        hashed(lyrics="[intro]\n" + LYRICS),
    ]
    assert len({hashed(), *others}) == 6
    wordless = [Item("s", one, text, one) for text in (LYRICS, None)]
    needs = frozenset({"reference"})
    assert len({protocol.test_set_hash([item], needs) for item in wordless}) == 1


@pytest.mark.parametrize("name", protocol.PRESETS)
def test_presets_can_be_meant(name: str) -> None:
    """Every preset is read, has its own name, and its file gives the same again."""
    found = protocol.load(name)
    assert found.name == name
    assert set(found.settings) <= set(found.metrics)


def test_a_file(tmp_path: Path) -> None:
    """A TOML file is a protocol."""
    path = tmp_path / "mine.toml"
    path.write_text(GOOD + "[statistics]\nresamples = 200\n")
    found = protocol.load(str(path))
    assert (found.name, found.metrics) == ("mine", ("signal", "speed"))
    assert found.statistics == Statistics(resamples=200)
    assert found.only(["per"]).metrics == ("per",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("metrics = [", "no TOML"),
        ('metrics = ["per"]', "format is None"),
        ("format = 1", "no list"),
        ("format = 1\nmetrics = []", "no metrics"),
        ('format = 1\nmetrics = ["pre"]', "no metric 'pre'"),
        ('format = 1\nmetrics = ["per", "per"]', "stands twice"),
        (GOOD + "candidats = 1", "unknown key 'candidats'"),
        (GOOD + 'candidates = "the best"', "is not possible"),
        (GOOD + 'candidates = "best of 1 by per"', "is not possible"),
        (GOOD + "signal = 3", "no table"),
        (GOOD + "[statistics]\nsed = 1", "statistics.sed"),
        (GOOD + "[statistics]\nseed = true", "statistics.seed"),
        (GOOD + "[statistics]\nconfidence = 95", "statistics.confidence"),
        (GOOD + "[statistics]\nresamples = 3", "statistics.resamples"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, text: str, words: str) -> None:
    """Every mistake is told with its place and a way out."""
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SongBloomError, match=words) as caught:
        protocol.load(str(path))
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_an_unknown_name_is_told_the_nearest() -> None:
    """A typing error finds what was meant."""
    with pytest.raises(UsageError) as caught:
        protocol.load("ofline")
    assert "offline" in caught.value.hint
