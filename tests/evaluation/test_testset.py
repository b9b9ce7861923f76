"""Test sets: unseen songs' clips, shuffled to lyrics that are not theirs, the same each time."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from evaluation.tunes import NAMES, RATE, track, tune, write_songs

from songbloom import audio, manifest
from songbloom.errors import SongBloomError, UsageError
from songbloom.evaluation import items, testset
from songbloom.evaluation.protocol import test_set_hash as hash_of
from songbloom.requests import read_requests
from songbloom.units import SAMPLE_RATE


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five songs with their lyrics, one too short and one silent."""
    return write_songs(tmp_path_factory.mktemp("songs"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_lyrics_meet_clips_of_other_songs(songs: Path, tmp_path: Path) -> None:
    """Each of the lyrics and each song once, never together; clips are of their songs."""
    made = testset.make(songs, songs, tmp_path / "set")
    pairs = [(s["lyrics"]["source"], s["reference"]["source"]) for s in made["songs"]]
    assert sorted(words for words, _ in pairs) == list(NAMES)
    assert sorted(clip for _, clip in pairs) == list(NAMES)
    assert all(words != clip for words, clip in pairs)
    for song in made["songs"]:
        source = audio.load(songs / f"{song['reference']['source']}.flac", SAMPLE_RATE)
        clip = audio.load(tmp_path / "set" / song["reference"]["file"], SAMPLE_RATE)
        assert clip.shape == (2, 10 * SAMPLE_RATE)
        begin = round(song["reference"]["start"] * SAMPLE_RATE)
        inside = slice(4800, -4800)  # what resampling a part does at its ends
        np.testing.assert_allclose(
            clip[0, inside], source[0, begin : begin + clip.shape[1]][inside], atol=1e-3
        )
    assert {item["source"] for item in made["left_out"]} == {"short", "still"}


def test_same_inputs_same_bytes(songs: Path, tmp_path: Path) -> None:
    """Another folder holds the same files, the same command twice is no error, a seed another."""
    for name in ("a", "b", "a"):
        testset.make(songs, songs, tmp_path / name, seed=3)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert str(tmp_path).encode() not in b"".join(contents(tmp_path / "a").values())
    testset.make(songs, songs, tmp_path / "c", seed=4)
    assert contents(tmp_path / "c") != contents(tmp_path / "a")
    with pytest.raises(UsageError, match="is there already"):
        testset.make(songs, songs, tmp_path / "c", seed=3)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_generate_takes_the_requests(songs: Path, tmp_path: Path) -> None:
    """Every song of the set, with its lyrics and the path of its clip; the hash is the one that an
    evaluation of songs of these names prints."""
    made = testset.make(songs, songs, tmp_path / "set", songs=8)
    requests = read_requests(str(tmp_path / "set" / "requests.jsonl"), None, None)  # type: ignore[arg-type]
    assert [request.idx for request in requests] == [song["name"] for song in made["songs"]]
    assert all(request.reference.is_file() for request in requests)
    generated = [
        items.Item(
            r.idx, r.reference, (tmp_path / "set" / s["lyrics"]["file"]).read_text(), r.reference
        )
        for r, s in zip(requests, made["songs"], strict=True)
    ]
    assert hash_of(generated, frozenset({"lyrics", "reference"})) == made["hash"]


@pytest.mark.parametrize(
    ("lyrics", "clips", "count"), [(5, 5, 20), (5, 3, 9), (2, 5, 8), (1, 5, 3)]
)
def test_pairs_are_different_and_even(lyrics: int, clips: int, count: int) -> None:
    """No pair twice, none of one song, all inputs equally often where that can be."""
    import random

    words = [testset.Words(name, b"", ".txt") for name in NAMES[:lyrics]]
    chosen = [
        testset.Clip(testset.Known(name), Path(f"/{name}.flac"), 0.0) for name in NAMES[:clips]
    ]
    for seed in range(20):
        pairs = [
            (w.source, c.known.name)
            for w, c in testset._pairs(words, chosen, count, random.Random(seed))
        ]
        assert len(set(pairs)) == count
        assert all(one != other for one, other in pairs)
        uses = Counter(one for one, _ in pairs)
        assert max(uses.values()) - min(uses.values()) <= 1


def test_what_training_has_heard_is_left_out(songs: Path, tmp_path: Path) -> None:
    """A copy, the same song as MP3 at another level, a song of the same artist, lyrics."""
    train = tmp_path / "train"
    train.mkdir()
    (train / "ash.flac").write_bytes((songs / "ash.flac").read_bytes())
    (train / "ash.txt").write_bytes((songs / "ash.txt").read_bytes())
    audio.save(train / "birch.mp3", 0.5 * tune(1), RATE)
    audio.save(train / "other.flac", tune(99), RATE)
    rows = [
        track(train / "ash.flac", "one"),
        track(train / "birch.mp3", "two"),
        track(train / "other.flac", "zed", artist="  THE Cedars"),
    ]
    manifest.write(train / "manifest.jsonl", rows)
    listed = tmp_path / "songs.jsonl"
    artists = {"cedar": "The cedars", "elm": "Various Artists"}
    listed.write_text(
        "".join(
            json.dumps({"audio": str(songs / f"{name}.flac"), "id": name,
                        "artist": artists.get(name, "")}) + "\n"
            for name in NAMES
        )
    )  # fmt: skip
    before = testset.make(songs, listed, tmp_path / "all")
    leaks = testset.check(tmp_path / "all", train / "manifest.jsonl")
    by_source = {s["name"]: s["reference"]["source"] for s in before["songs"]}
    heard = {(by_source[k.name], k.kind, k.track) for k in leaks.found if k.kind != "lyrics"}
    assert heard == {
        ("ash", "exact", "one"),
        ("ash", "near-duplicate", "one"),
        ("birch", "near-duplicate", "two"),
        ("cedar", "artist", "zed"),
    }
    assert [k.track for k in leaks.found if k.kind == "lyrics"] == ["one"]
    assert (leaks.tracks, leaks.without_artist, leaks.unnamed) == (3, 2, 4)

    made = testset.make(songs, listed, tmp_path / "set", against=train / "manifest.jsonl")
    assert {s["reference"]["source"] for s in made["songs"]} <= {"elm", "fir"}
    assert {s["lyrics"]["source"] for s in made["songs"]} == set(NAMES) - {"ash"}
    assert not testset.check(tmp_path / "set", train / "manifest.jsonl").found
    reasons = {(x["kind"], x["source"]) for x in made["left_out"]}
    assert {("lyrics", "ash"), ("reference", "birch"), ("reference", "cedar")} <= reasons


def test_refused_songs_were_not_trained_on(songs: Path, tmp_path: Path) -> None:
    """Rows that prepare rejected do not leak."""
    testset.make(songs, songs, tmp_path / "set")
    row = manifest.to_row(track(songs / "ash.flac", "one"))
    rejected = manifest.from_row({**row, "state": "rejected", "reason": "too short"})
    manifest.write(tmp_path / "m.jsonl", [rejected])
    leaks = testset.check(tmp_path / "set", tmp_path / "m.jsonl")
    assert (leaks.found, leaks.tracks) == ([], 0)


def test_lyrics_may_be_jsonl(songs: Path, tmp_path: Path) -> None:
    """idx and lyrics a line; a line that is wrong is named."""
    rows = tmp_path / "lyrics.jsonl"
    rows.write_text('{"idx": 7, "lyrics": "[verse]\\nOne two three\\n"}\n\n')
    made = testset.make(rows, songs, tmp_path / "set")
    assert [s["lyrics"]["source"] for s in made["songs"]] == ["7"]
    rows.write_text('{"idx": 7}\n')
    with pytest.raises(SongBloomError, match=r"lyrics\.jsonl:1: expected an object"):
        testset.make(rows, songs, tmp_path / "other")


def test_lyrics_are_known_by_their_place_too(tmp_path: Path) -> None:
    """`song_001/lyrics.txt` are those of `song_001/audio.flac`, though their names differ."""
    place = tmp_path / "song_001" / "lyrics.txt"
    words = [testset.Words("song_001/lyrics", b"", ".txt", place)]
    clips = [testset.Clip(testset.Known(n), tmp_path, 0.0, p) for n, p in
             (("song_002", tmp_path / "song_002" / "lyrics.txt"), ("song_001", place))]  # fmt: skip
    assert testset._own(words, clips) == {(0, 1)}


def test_a_set_inside_its_inputs_is_none_of_them(songs: Path, tmp_path: Path) -> None:
    """The same command again finds the same, wherever it writes."""
    shutil.copytree(songs, tmp_path, dirs_exist_ok=True)
    for _ in range(2):
        made = testset.make(tmp_path, tmp_path, tmp_path / "set")
    assert len(made["songs"]) == 5


def test_what_is_no_lyrics_is_not_sung(songs: Path, tmp_path: Path) -> None:
    """A README beside the lyrics, and a file that cannot be read as lyrics."""
    (tmp_path / "words" / "in").mkdir(parents=True)
    (tmp_path / "words" / "README.txt").write_text("Lyrics by nobody\n")
    (tmp_path / "words" / "empty.txt").write_text("")
    (tmp_path / "words" / "in" / "one.lrc").write_text("[00:01.00]One two three\n")
    made = testset.make(tmp_path / "words", songs, tmp_path / "set")
    assert [s["lyrics"]["source"] for s in made["songs"]] == ["in/one"]
    assert made["songs"][0]["lyrics"]["file"] == "lyrics/song_0001.lrc"
    reasons = [x["reason"] for x in made["left_out"] if x["kind"] == "lyrics"]
    assert len(reasons) == 1 and "the lyrics are empty" in reasons[0]


def test_changed_files_are_found(songs: Path, tmp_path: Path) -> None:
    """A set whose files are not those that it was made with is no test set."""
    testset.make(songs, songs, tmp_path / "set")
    (tmp_path / "set" / "lyrics" / "song_0001.txt").write_text("[verse]\nOther words\n")
    with pytest.raises(SongBloomError, match=r"song_0001\.txt: is not the file"):
        testset.read(tmp_path / "set")
