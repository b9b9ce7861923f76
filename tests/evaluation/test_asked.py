"""A test set decides what is scored: all of its songs, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
from evaluation.toys import LYRICS, Inline, task, tone

from songbloom.errors import SongBloomError
from songbloom.evaluation import evaluate, protocol, testset
from songbloom.evaluation.asked import answers
from songbloom.evaluation.items import find
from songbloom.files import sha256

NAMES = ("song_0001", "song_0002", "song_0003")


@pytest.fixture
def test_set(tmp_path: Path) -> Path:
    """Three songs."""
    folder = tmp_path / "set"
    (folder / "lyrics").mkdir(parents=True)
    songs: list[dict[str, Any]] = []
    for number, name in enumerate(NAMES):
        text, clip = folder / "lyrics" / f"{name}.txt", folder / "references" / f"{name}.flac"
        text.write_text(LYRICS)
        tone(clip, seed=number)
        told = {k: {"file": str(x.relative_to(folder)), "sha256": sha256(x)}
                for k, x in (("lyrics", text), ("reference", clip))}  # fmt: skip
        songs.append({"name": name, **told})
    (folder / "set.json").write_text(json.dumps({"format": testset.FORMAT, "songs": songs}))
    return folder


def test_a_missing_song_fails(test_set: Path, toys: None, tmp_path: Path) -> None:
    """Songs of the set that are not there fail, others are passed over; lyrics and clips are the
    set's, and the hash is that of a system that sang all."""
    whole, part = tmp_path / "whole", tmp_path / "part"
    for name in NAMES:
        tone(whole / f"{name}.wav")
    tone(part / "song_0002.wav")
    (part / "song_0002.txt").write_text("[verse]\nsomething else\n")
    tone(part / "other.wav")
    found = answers(find(part), test_set)
    assert [item.name for item in found] == list(NAMES)
    assert {item.lyrics for item in found} == {LYRICS}
    needs = frozenset({"lyrics", "reference"})
    complete = answers(find(whole), test_set)
    assert protocol.test_set_hash(found, needs) == protocol.test_set_hash(complete, needs)
    job = evaluate.Task(found, task(part, tmp_path).protocol, tmp_path / "cache")
    result = evaluate.evaluate(job, make_crew=Inline)
    failed = {(row["name"], row["reason"]) for row in result["failed"]}
    why = "the test set asks for this song, and it is not there"
    assert failed == {("song_0001", why), ("song_0003", why)}
    assert result["metrics"]["level"]["songs"] == 1


def test_songs_of_another_set(test_set: Path, tmp_path: Path) -> None:
    """Where no song is of the set, both names are told."""
    tone(tmp_path / "out" / "mine.wav")
    with pytest.raises(SongBloomError, match="song_0001.*mine"):
        answers(find(tmp_path / "out"), test_set)
