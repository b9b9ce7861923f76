"""Two systems are compared by one protocol, over the songs of both, or not at all."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import soundfile
from evaluation.toys import TOYS, Inline, songs, task

from songbloom.errors import UsageError
from songbloom.evaluation import evaluate, metrics
from songbloom.evaluation.compare import compare


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Any]]:
    """The evaluations of songs, and of the same songs a little louder."""
    root = tmp_path_factory.mktemp("systems")
    quiet, loud = songs(root / "quiet", 24), songs(root / "loud", 24)
    for path in loud.glob("*.wav"):
        samples, rate = soundfile.read(path)
        soundfile.write(path, np.clip(1.2 * samples, -1, 1), rate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "METRICS", TOYS)
        yield [
            evaluate.evaluate(task(folder, root / f"{folder.name} cache"), make_crew=Inline)
            for folder in (quiet, loud)
        ]


def test_a_difference_that_all_songs_share_is_found(results: list[Any]) -> None:
    """Louder songs have more energy in every metric; their values' intervals overlap, for songs
    differ more than the systems do."""
    found = compare(*results)
    for name, row in found["metrics"].items():
        assert row["difference"] == pytest.approx(row["one"] - row["other"], abs=2e-6)
        assert row["difference"] < 0
        assert row["songs"] == 24
        if name != "middle":
            assert row["verdict"] == "A better"
            one, other = (result["metrics"][name]["interval"] for result in results)
            assert one[1] > other[0]
            low, high = row["interval"]
            assert low < row["difference"] < high < 0
            assert row["p"] <= row["p_holm"] < 0.05
    turned = compare(*reversed(results))["metrics"]["level"]
    assert turned["verdict"] == "B better"
    assert turned["difference"] == -found["metrics"]["level"]["difference"]


def test_a_system_is_no_better_than_itself(results: list[Any]) -> None:
    """The same result twice: differences of 0 and nothing found."""
    for row in compare(results[0], results[0])["metrics"].values():
        assert (row["difference"], row["p"], row["verdict"]) == (0, 1, "no difference")


def test_only_songs_of_both_count(results: list[Any]) -> None:
    """Songs that one system lacks are left out of both values."""
    lacking = copy.deepcopy(results[1])
    for song in lacking["songs"][:4]:
        del song["measured"]["level"]
    row = compare(results[0], lacking)["metrics"]["level"]
    kept = [song["measured"]["level"] for song in results[0]["songs"][4:]]
    assert row["songs"] == 20
    assert row["one"] == pytest.approx(np.mean([x["value"] for x in kept]), abs=2e-6)


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        (("protocol", "candidates"), "best of 4 by per", "candidates is first in A and best of 4"),
        (("protocol", "statistics", "seed"), 7, "statistics.seed is 0 in A and 7 in B"),
        (("protocol", "identity", "level", "backend"), "other", "level.backend is toy in A and ot"),
        (("test_set", "hash"), "f" * 64, "and ffffffff in B"),
    ],
)
def test_other_protocols_are_refused(
    results: list[Any], where: tuple[str, ...], value: object, words: str
) -> None:
    """Another id is refused, and what differs is named with both values."""
    other = copy.deepcopy(results[1])
    table = other
    for key in where[:-1]:
        table = table[key]
    table[where[-1]] = value
    other["protocol"]["id"] = "another"
    with pytest.raises(UsageError, match="the protocols differ") as caught:
        compare(results[0], other)
    assert words in caught.value.message


def test_a_metric_that_one_lacks_is_named(results: list[Any]) -> None:
    """Another list of metrics is another protocol."""
    other = copy.deepcopy(results[1])
    del other["protocol"]["identity"]["share"]
    other["protocol"]["id"] = "another"
    with pytest.raises(UsageError, match="only A has share"):
        compare(results[0], other)
