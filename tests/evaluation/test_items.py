"""Which songs a folder or a table holds, and what was asked of each."""

import json
from pathlib import Path

import pytest
import tomli_w
from evaluation.toys import LYRICS, tone

from songbloom.errors import SongBloomError
from songbloom.evaluation.items import check_sound, find
from songbloom.files import sha256


def bundle(folder: Path, name: str, clip: Path | None = None, idx: str = "") -> None:
    """A song of ours as far as it is looked at."""
    audio = tone(folder / f"{name}.flac")
    song = {"idx": idx or name, "audio": {"file": audio.name, "sha256": sha256(audio)}}
    if clip is not None:
        song["reference"] = {"file": clip.name, "sha256": sha256(clip)}
    (folder / f"{name}.song").mkdir()
    (folder / f"{name}.song" / "song.toml").write_text(tomli_w.dumps(song))
    (folder / f"{name}.song" / "lyrics.txt").write_text("[verse] Hello world")


def test_pairs(tmp_path: Path) -> None:
    """Any system's songs: lyrics of any suffix beside them, clips beside them or in references."""
    for name, suffix in (("b", ".mp3"), ("a", ".wav"), ("c", ".flac")):
        tone(tmp_path / f"{name}{suffix}")
    (tmp_path / "a.txt").write_text(LYRICS)
    (tmp_path / "b.lrc").write_text("[00:01.00]hello\n")
    clip_a = tone(tmp_path / "a.reference.wav")
    clip_b = tone(tmp_path / "references" / "b.ogg")
    (tmp_path / "c.reference.txt").write_text("slow piano")
    tone(tmp_path / ".hidden.wav")
    (tmp_path / "README.txt").write_text("about")
    a, b, c = find(tmp_path)
    assert [x.name for x in (a, b, c)] == ["a", "b", "c"]
    assert [x.lyrics for x in (a, b, c)] == [LYRICS, "[00:01.00]hello\n", None]
    assert [x.reference for x in (a, b, c)] == [clip_a, clip_b, tmp_path / "c.reference.txt"]
    assert [x.name for x in find(tmp_path, limit=2)] == ["a", "b"]


def test_songs_of_ours(tmp_path: Path) -> None:
    """Bundles bring their lyrics; clips are found by the name that was recorded, and only if they
    are still the same; a clip beside the songs is no song."""
    clip, other = tone(tmp_path / "clip.wav", seed=1), tone(tmp_path / "old" / "x.wav", seed=2)
    bundle(tmp_path, "one", clip)
    bundle(tmp_path, "two", other)
    one, two = find(tmp_path)
    assert (one.name, one.lyrics, one.reference) == ("one", "[verse] Hello world", clip)
    assert one.bundle == tmp_path / "one.song"
    assert two.reference is None and "--references" in two.problems["reference"]
    assert find(tmp_path, references=tmp_path / "old")[1].reference == other
    tone(other, seed=3)
    changed = find(tmp_path, references=tmp_path / "old")[1]
    assert changed.reference is None and "is not the clip" in changed.problems["reference"]


def test_songs_are_called_as_the_batch_did(tmp_path: Path) -> None:
    """The song of a batch's line has the line's name; of several takes each has its file's."""
    for take in range(2):
        bundle(tmp_path, f"x_s{take}", idx="x")
    bundle(tmp_path, "y_s0", idx="y")
    assert [item.name for item in find(tmp_path)] == ["x_s0", "x_s1", "y"]


def test_one_song(tmp_path: Path) -> None:
    """A sound file or a bundle is the song that it is in its folder."""
    bundle(tmp_path, "one")
    bundle(tmp_path, "two")
    tone(tmp_path / "x.wav")
    one, _, other = find(tmp_path)
    assert find(tmp_path / "one.song") == find(tmp_path / "one.flac") == (one,)
    assert find(tmp_path / "x.wav") == (other,)


@pytest.mark.parametrize("text", ["", "audio = 3\nreference = 4\nidx = 5\n", "no toml ["])
def test_damaged_bundles(tmp_path: Path, text: str) -> None:
    """A bundle without sense is a problem of its song alone."""
    bundle(tmp_path, "bad")
    (tmp_path / "bad.song" / "song.toml").write_text(text)
    (tmp_path / "bad.song" / "lyrics.txt").unlink()
    bundle(tmp_path, "good")
    bad, good = find(tmp_path)
    assert "lyrics" in bad.problems and bad.lyrics is None
    assert not good.problems.keys() & {"audio", "lyrics"}


def test_tables(tmp_path: Path) -> None:
    """CSV and JSONL name files relative to themselves; lyrics are a file or the text itself; other
    columns are passed over; a file that is not there is a problem of its song."""
    tone(tmp_path / "out" / "1.wav")
    clip = tone(tmp_path / "clips" / "c.wav")
    (tmp_path / "words.txt").write_text(LYRICS)
    rows = [
        {"name": "b", "audio": "out/1.wav", "lyrics": "words.txt", "reference": "clips/c.wav"},
        {"name": "a", "audio": "out/1.wav", "lyrics": "[verse] one, two", "reference": ""},
        {"name": "c", "audio": "out/9.wav", "lyrics": "none.txt", "reference": "clips/d.wav"},
    ]
    table = tmp_path / "songs.csv"
    table.write_text(
        "name,audio,lyrics,reference,model\n"
        + "".join(",".join(f'"{value}"' for value in (*row.values(), "m")) + "\n" for row in rows)
    )
    lines = tmp_path / "songs.jsonl"
    lines.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    assert find(table) == find(lines)
    a, b, c = find(table)
    assert (b.lyrics, b.reference) == (LYRICS, clip)
    assert (a.lyrics, a.reference) == ("[verse] one, two", None)
    assert c.problems.keys() == {"lyrics", "reference"}
    assert not c.audio.exists()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.csv", "name,audio\na\n", "has no 'audio'"),
        ("x.csv", "audio\n", "holds no songs"),
        ("x.csv", 'audio\n"a.wav\n', "is no CSV"),
        ("x.csv", "file\na.wav\n", "has no 'audio'"),
        ("x.jsonl", "{", ":1: is not JSON"),
        ("x.jsonl", "[]", "expected texts"),
        ("x.jsonl", '{"audio": 3}', "expected texts"),
        ("x.jsonl", '{"audio": "a.wav"}\n{"audio": "b/a.wav"}', "two songs are called 'a'"),
        ("x.txt", "hello", "no song, folder or table"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, name: str, text: str, words: str) -> None:
    """Every mistake names its row and a way out."""
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(SongBloomError, match=words) as caught:
        find(path)
    assert str(path) in caught.value.message and caught.value.hint


def test_folders_that_cannot_be_meant(tmp_path: Path) -> None:
    """An empty folder, one that is not there, two files of one name, a clip folder that is none."""
    for path, words in ((tmp_path, "holds no songs"), (tmp_path / "x", "is not there")):
        with pytest.raises(SongBloomError, match=words):
            find(path)
    tone(tmp_path / "a.wav")
    with pytest.raises(SongBloomError, match="is no folder"):
        find(tmp_path, references=tmp_path / "clips")
    tone(tmp_path / "a.flac")
    with pytest.raises(SongBloomError, match="two songs are called 'a'"):
        find(tmp_path)


def test_a_sound_is_measured_to_its_end(tmp_path: Path) -> None:
    """The length is in seconds at the file's own rate."""
    assert check_sound(tone(tmp_path / "a.wav", seconds=2.5)) == 2.5
