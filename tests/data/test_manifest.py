"""Laws of the manifest: rows survive, stream, are chosen, checked and merged; splits keep apart."""

import base64
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from songbloom import manifest
from songbloom.errors import SongBloomError, UsageError
from songbloom.manifest import Decision, Track
from songbloom.stages import splits

_TEXT = st.text(st.characters(exclude_categories=[]), max_size=8)  # lone surrogates too
_NUMBER = st.floats(allow_nan=False, allow_infinity=False)
_TRACKS = st.builds(
    Track,
    id=_TEXT.filter(bool),
    audio=_TEXT.filter(bool),
    lyrics=st.none() | _TEXT,
    lyrics_text=st.none() | _TEXT,
    artist=_TEXT,
    year=st.none() | st.integers(),
    duration=st.none() | _NUMBER,
    state=st.sampled_from(["pending", "ready", "rejected", "failed"]),
    decisions=st.lists(
        st.builds(Decision, _TEXT, _NUMBER | _TEXT, _NUMBER | _TEXT, st.booleans()), max_size=2
    ).map(tuple),
    results=st.dictionaries(_TEXT, st.dictionaries(_TEXT, _NUMBER | _TEXT, max_size=2), max_size=2),
)


def _write(path: Path, *tracks: Track) -> Path:
    manifest.write(path, tracks)
    return path


@given(track=_TRACKS)
def test_a_row_is_its_track_again(track: Track) -> None:
    """Through JSON and back; one line, whatever the text holds."""
    line = manifest.to_line(track)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert manifest.from_row(json.loads(line)) == track


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ('{"id": "b"}', "'audio' is missing"),
        ('{"id": 3, "audio": "b"}', "'id' is 3; expected text"),
        ('{"id": "b", "audio": "b", "mood": 1}', "unknown key 'mood'"),
        ('{"id": "b", "audio": "b", "state": "lost"}', "'state' is \"lost\""),
        ('{"id": "b", "audio": "b", "year": true}', "'year' is true"),
        ('{"id": "b", "audio": "b", "decisions": [{"rule": 1}]}', "a decision is"),
        ('{"id": "b", "audio": "b", "results": {"ingest": 1}}', "'results.ingest' is 1"),
        ("[]", "not a JSON object"),
        ("{", "not JSON"),
        ('{"id": "\xff', "not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_row_that_is_none_is_named_by_its_line(tmp_path: Path, row: str, word: str) -> None:
    """Rows before it are read: the manifest streams."""
    path = _write(tmp_path / "m.jsonl", Track("a", "a.flac"))
    with open(path, "ab") as stream:
        stream.write(b"\n" + row.encode("latin-1") + b"\n")
    tracks = manifest.read(path)
    assert next(tracks).id == "a"
    with pytest.raises(SongBloomError) as caught:
        next(tracks)
    assert f"{path}:3: " in caught.value.message and word in caught.value.message
    (finding,) = manifest.validate(path)
    assert finding.line == 3 and word in finding.message


def test_a_broken_write_leaves_the_old_manifest(tmp_path: Path) -> None:
    """Rows come from a generator that may fail half-way."""
    path = _write(tmp_path / "m.jsonl", Track("a", "a.flac"))
    before = path.read_bytes()

    def failing() -> Any:
        yield Track("b", "b.flac")
        raise ValueError

    with pytest.raises(ValueError):
        manifest.write(path, failing())
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


SONG = Track(
    "a/b",
    "a.flac",
    artist="The Cats",
    language="en",
    duration=61.5,
    state="ready",
    results={"ingest": {"peak": 0.9, "clipped": 0, "flag": True}},
)


@pytest.mark.parametrize(
    ("words", "met"),
    [
        ("state=ready", True),
        ("state!=ready", False),
        ("language=zh, en", True),
        ("duration>61.5", False),
        ("duration>=61.5", True),
        ("ingest.peak<0.95", True),
        ("results.ingest.peak = 0.90", True),
        ("ingest.flag=true", True),
        ("separate.voice<0.5", False),
        ("separate.voice=", True),
        ("year=", True),
        ("artist!=", True),
        ("artist~^The", True),
        ("id~c", False),
        ("artist>3", False),
    ],
)
def test_conditions(words: str, met: bool) -> None:
    """Fields, results of stages, lists, numbers, patterns; what is missing is empty."""
    assert manifest.condition(words)(SONG) == met


@pytest.mark.parametrize("words", ["", "state", "mood=3", "duration>long", "id~(", "=3"])
def test_what_is_no_condition_is_refused(words: str) -> None:
    """As a usage error, before anything is read."""
    with pytest.raises(UsageError):
        manifest.select(iter([SONG]), [words])


def test_stats_count_songs_hours_and_reasons() -> None:
    """A rejected song counts under its rule, a failed one under its stage."""
    refused = Decision("min_voice", 0.0, 0.1, False)
    found = manifest.stats(
        [
            SONG,
            dataclasses.replace(SONG, state="rejected", decisions=(refused,), stage="separate"),
            dataclasses.replace(SONG, state="failed", stage="align", duration=None, language=""),
        ]
    )
    assert found["songs"] == 3 and found["hours"] == round(123 / 3600, 3)
    assert found["states"] == {"pending": 0, "ready": 1, "rejected": 1, "failed": 1}
    assert found["reasons"] == {"align failed": 1, "min_voice": 1}
    assert found["languages"] == {"en": 2, "unknown": 1}
    assert found["stages"] == {"ingest": 3}


def test_validation_finds_ids_order_files_and_hashes(tmp_path: Path) -> None:
    """Each of them, and nothing in a good one."""
    (tmp_path / "a.flac").write_bytes(b"sound")
    good = Track("a", "a.flac")
    assert not list(manifest.validate(_write(tmp_path / "m", good), tmp_path, deep=True))
    changed = Track("b", "a.flac", results={"ingest": {"audio_sha256": "00"}})
    rows = (changed, good, good, Track("c", "c.flac", "a.flac"), Track("d", "a.flac", "no.txt"))
    path = _write(tmp_path / "m", *rows)
    found = [
        (f.line, f.message.split(str(tmp_path))[-1]) for f in manifest.validate(path, tmp_path)
    ]
    assert found == [
        (2, "stands after 'b'; rows must be in order of ids"),
        (3, "another row has the same id"),
        (4, "/c.flac is not there"),
        (5, "/no.txt is not there"),
    ]
    deep = [finding.line for finding in manifest.validate(path, tmp_path, deep=True)]
    assert deep == [1, 2, 3, 4, 5]


def test_merging_gives_every_row_once_in_order(tmp_path: Path) -> None:
    """Rows that are alike count once; two that differ are an error, as is a wrong order."""
    tracks = [Track(name, f"{name}.flac") for name in "abcde"]
    one = _write(tmp_path / "1", tracks[0], tracks[2], tracks[4])
    two = _write(tmp_path / "2", tracks[1], tracks[2], tracks[3])
    assert list(manifest.merge([one, two])) == tracks
    other = _write(tmp_path / "3", dataclasses.replace(tracks[2], title="x"))
    with pytest.raises(SongBloomError, match="'c' differs between"):
        list(manifest.merge([one, other]))
    with pytest.raises(SongBloomError, match="'a' stands after 'b'"):
        list(manifest.merge([_write(tmp_path / "4", tracks[1], tracks[0])]))


# --- splits ---------------------------------------------------------------------------------------


def _song(number: int, rng: np.random.Generator, **known: Any) -> Track:
    heard = known.pop("heard", rng.integers(0, 256, 128, dtype=np.uint8))
    fields = {"audio_sha256": known.pop("sha", f"sha {number}")}
    fields["fingerprint"] = base64.b64encode(heard.tobytes()).decode()
    return Track(f"{number:05d}", "x", duration=36.0, results={"ingest": fields}, **known)


def _split(path: Path, folder: Path, text: str, seed: int = 0) -> dict[str, str]:
    shares = splits.parse_shares(text)
    splits.split(path, folder, shares, seed=seed)
    return {t.id: name for name in shares for t in manifest.read(folder / f"{name}.jsonl")}


def test_no_song_artist_or_near_duplicate_is_in_two_splits(tmp_path: Path) -> None:
    """Chains too: a shares its artist with b, b its sound with c."""
    rng = np.random.default_rng(0)
    prints = rng.integers(0, 256, (100, 128), dtype=np.uint8)
    near = np.where(rng.random((100, 128)) < 0.45, prints, rng.integers(0, 256, (100, 128)))
    tracks = [_song(i, rng, heard=prints[i], artist=f"Band {i % 300}") for i in range(100)]
    tracks += [_song(100 + i, rng, heard=near[i].astype(np.uint8)) for i in range(100)]
    tracks += [_song(200 + i, rng, sha=f"sha {i}") for i in range(100)]
    tracks += [_song(300 + i, rng, artist=f" BAND  {i} ") for i in range(100)]
    tracks += [_song(400 + i, rng, artist="Various Artists") for i in range(600)]
    of = _split(_write(tmp_path / "m", *tracks), tmp_path, "train=0.8,test=0.2")
    assert of.keys() == {track.id for track in tracks}
    for i in range(100):
        assert len({of[f"{start + i:05d}"] for start in (0, 100, 200, 300)}) == 1
    assert 0.15 < list(of.values()).count("test") / 1000 < 0.25


def test_a_song_stays_in_its_split_when_others_are_added(tmp_path: Path) -> None:
    """The same seed, the same bytes; another seed, another draw."""
    rng = np.random.default_rng(1)
    tracks = [_song(i, rng) for i in range(400)]
    text = "train=0.7,validation=.2,test=.1"
    few = _split(_write(tmp_path / "few", *tracks[::2]), tmp_path / "1", text)
    many = _split(_write(tmp_path / "many", *tracks), tmp_path / "2", text)
    assert all(many[name] == split for name, split in few.items())
    assert _split(tmp_path / "many", tmp_path / "3", text) == many
    for name in ("train", "validation", "test"):
        one, other = (tmp_path / n / f"{name}.jsonl" for n in "23")
        assert one.read_bytes() == other.read_bytes()
    assert _split(tmp_path / "many", tmp_path / "4", text, seed=1) != many


@pytest.mark.parametrize("seed", range(8))
def test_few_songs_leave_no_split_empty(tmp_path: Path, seed: int) -> None:
    """Ten songs at 2 %: one is lent."""
    rng = np.random.default_rng(2)
    path = _write(tmp_path / "m", *(_song(i, rng) for i in range(10)))
    of = _split(path, tmp_path, "train=0.96,validation=0.02,test=0.02", seed)
    assert set(of.values()) == {"train", "validation", "test"}


@pytest.mark.parametrize(
    "text", ["", "train", "train=0.5", "a=0.5,a=0.5", "a=1,b=0", "../a=1", "a=1.5,b=-.5", "a=nan"]
)
def test_shares_must_be_names_that_add_up_to_one(text: str) -> None:
    """Names become files."""
    with pytest.raises(UsageError, match="add up to 1"):
        splits.parse_shares(text)
