"""Laws of finding songs: every layout, ids unique and in order, nothing odd stops the walk."""

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from songbloom.errors import SongBloomError
from songbloom.manifest import Track
from songbloom.stages.sources import find, in_slice


def _make(root: Path, *names: str) -> Path:
    """Files with a byte in them: finding songs opens none."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def _found(root: Path, **options: int) -> dict[str, tuple[str, str | None]]:
    return {track.id: (track.audio, track.lyrics) for track in find(root, **options).tracks}


def test_every_layout_is_found(tmp_path: Path) -> None:
    """Song folders, flat files, LRC, a lone text, nested folders; stems and other files are not."""
    _make(tmp_path, "song_2/audio.flac", "song_2/lyrics.txt", "song_2/vocals.flac")
    _make(tmp_path, "song_1/song.mp3", "song_1/words.lrc", "song_1/README.txt", "song_1/cover.jpg")
    _make(tmp_path, "album/one.flac", "album/one.txt", "album/two.WAV", "album/two.lrc")
    _make(tmp_path, "album/three.opus", "deep/er/My Song.m4a", "deep/er/other words.vtt")
    _make(tmp_path, "top.ogg", "top.srt", "top.txt")
    assert _found(tmp_path) == {
        "album/one": ("album/one.flac", "album/one.txt"),
        "album/three": ("album/three.opus", None),
        "album/two": ("album/two.WAV", "album/two.lrc"),
        "deep/er/My Song": ("deep/er/My Song.m4a", "deep/er/other words.vtt"),
        "song_1": ("song_1/song.mp3", "song_1/words.lrc"),
        "song_2": ("song_2/audio.flac", "song_2/lyrics.txt"),
        "top": ("top.ogg", "top.txt"),
    }
    assert list(_found(tmp_path)) == sorted(_found(tmp_path))


def test_a_song_folder_is_a_corpus_of_one(tmp_path: Path) -> None:
    """It is called like its folder, and stands in order among what the folder holds."""
    root = _make(tmp_path / "m", "audio.flac", "lyrics.txt", "a/audio.flac", "z/audio.flac")
    assert list(_found(root)) == ["a", "m", "z"]


def test_what_would_share_an_id_keeps_its_suffix(tmp_path: Path) -> None:
    """Two encodings, a folder of the same name, two spellings of one name: ids stay apart."""
    _make(tmp_path, "a.flac", "a.mp3", "b.flac", "b/audio.flac", "c.mp3")
    composed, parted = (unicodedata.normalize(form, "é.flac") for form in ("NFC", "NFD"))
    _make(tmp_path, composed, parted)
    ids = list(_found(tmp_path))
    assert ids == ["a.flac", "a.mp3", "b", "b.flac", "c", "é.flac", "é.flac~2"]


def test_of_two_copies_in_a_song_folder_one_is_taken(tmp_path: Path) -> None:
    """The better format is the song, and a note says what is left out."""
    sources = find(_make(tmp_path, "s/audio.mp3", "s/audio.flac", "s/lyrics.txt"))
    assert [track.audio for track in sources.tracks] == ["s/audio.flac"]
    assert sources.notes == ["s/audio.mp3: stands beside audio.flac; left out"]


def test_names_that_do_not_print_are_escaped(tmp_path: Path) -> None:
    """Newlines and bytes that are no UTF-8 are legal in paths, and never in ids."""
    _make(tmp_path, "a\nb/audio.flac", "love 💚 song.flac")
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.flac"))).write_bytes(b"x")
    found = _found(tmp_path)
    assert list(found) == ["%FF", "a%0Ab", "love 💚 song"]
    assert all((tmp_path / audio).is_file() for audio, _ in found.values())


_PART = st.text(alphabet="ab .-/~é💚", min_size=1, max_size=6)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(_PART, min_size=1, max_size=8))
def test_ids_are_unique_and_in_order_whatever_the_names(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Order is that of whole ids, also where a space sorts before the slash of a folder."""
    root = tmp_path_factory.mktemp("names")
    for number, name in enumerate(names):
        parts = [part for part in name.split("/") if part.strip(".") and part.strip()]
        layout = ("audio.flac", "x.flac", "y/audio.mp3")[number % 3]
        try:
            _make(root, "/".join([*parts, layout]), "/".join([*parts, "z"]) + ".flac")
        except OSError:  # a file stands where a folder is wanted
            continue
    ids = [track.id for track in find(root).tracks]
    assert ids == sorted(set(ids))


def test_links_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    """Links to folders above, beside and outside: no song twice, no walk without end."""
    root = _make(tmp_path / "corpus", "a/one.flac", "b/two.flac")
    outside = _make(tmp_path / "outside", "three.flac")
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "beside").symlink_to(root / "b")
    (root / "b" / "itself.flac").symlink_to("itself.flac")
    (root / "out").symlink_to(outside)
    (root / "out again").symlink_to(outside)
    (outside / "home").symlink_to(tmp_path)
    (root / "four.flac").symlink_to(outside / "three.flac")
    (root / "gone.flac").symlink_to("nowhere")
    sources = find(root)
    assert [track.id for track in sources.tracks] == ["a/one", "b/two", "four", "out/three"]
    assert len([note for note in sources.notes if "symbolic link" in note]) == 6


def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    """A pipe called song.mp3 would wait for ever."""
    os.mkfifo(_make(tmp_path, "a.mp3") / "pipe.mp3")
    sources = find(tmp_path)
    assert [track.id for track in sources.tracks] == ["a"]
    assert sources.notes == ["pipe.mp3: is no regular file; left out"]


def test_hidden_files_and_data_sets_are_left_out(tmp_path: Path) -> None:
    """A Mac's ._ files, our own output, and what the caller excludes."""
    _make(tmp_path, "a.mp3", "._a.mp3", ".cache/b.mp3", "data/prepare.json", "data/work/c.flac")
    _make(tmp_path, "out/d.flac")
    sources = find(tmp_path, exclude=[tmp_path / "out"])
    assert [track.id for track in sources.tracks] == ["a"]
    assert len(sources.notes) == 3


def test_a_folder_that_may_not_be_read_is_noted(tmp_path: Path) -> None:
    """Without root's rights the others are found, and a note names the folder."""
    _make(tmp_path, "a.mp3", "locked/b.mp3").chmod(0o755)
    (tmp_path / "locked").chmod(0)
    code = (
        "import os, sys; from pathlib import Path; from songbloom.stages.sources import find\n"
        "os.chdir(sys.argv[1])\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "sources = find(Path('.'))\n"
        "print([track.id for track in sources.tracks], sources.notes)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, cwd=Path.cwd()
    )
    (tmp_path / "locked").chmod(0o755)
    assert ran.stdout == "['a'] ['locked/: cannot be read (Permission denied)']\n", ran.stderr


def test_a_manifest_gives_its_songs_in_order(tmp_path: Path) -> None:
    """Ids are given or made of paths; lyrics are a path or text; other keys are passed over."""
    rows = [
        {"audio": "b/x.flac", "lyrics": "b/x.txt", "title": "Tea", "year": 1999, "mood": "calm"},
        {"id": "a/first", "audio": "/far/away.mp3", "text": "la la", "license": "CC0", "state": 1},
        {"audio": "../c.wav", "artist": "Ann", "language": "en"},
    ]
    path = tmp_path / "songs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    sources = find(path)
    assert sources.root == tmp_path
    assert list(sources.tracks) == [
        Track("a/first", "/far/away.mp3", lyrics_text="la la", licence="CC0"),
        Track("b/x", "b/x.flac", "b/x.txt", title="Tea", year=1999),
        Track("c", "../c.wav", artist="Ann", language="en"),
    ]
    assert [track.id for track in find(path, limit=2).tracks] == ["a/first", "b/x"]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"id": "x"}', "no 'audio'"),
        ('{"audio": 3}', "'audio' is 3"),
        ('{"audio": "a.mp3", "year": "1999"}', "'year' is '1999'"),
        ('{"audio": "ok.mp3"}', "two rows have the id 'ok'"),
    ],
)
def test_a_wrong_row_is_named_before_any_work(tmp_path: Path, line: str, word: str) -> None:
    """The error names the file and what is expected; nothing has been started."""
    path = tmp_path / "m.jsonl"
    path.write_text('{"audio": "ok.mp3"}\n' + line + "\n")
    with pytest.raises(SongBloomError) as caught:
        find(path)
    assert word in caught.value.message and str(path) in caught.value.message


def test_one_sound_file_is_a_corpus(tmp_path: Path) -> None:
    """With the lyrics of its name."""
    _make(tmp_path, "My Song.mp3", "My Song.lrc", "other.mp3")
    assert _found(tmp_path / "My Song.mp3") == {"My Song": ("My Song.mp3", "My Song.lrc")}


@pytest.mark.parametrize("name", ["nothing", "picture.jpg"])
def test_what_is_no_corpus_is_refused(tmp_path: Path, name: str) -> None:
    """A path that is not there and a file that is no sound."""
    _make(tmp_path, "picture.jpg")
    with pytest.raises(SongBloomError, match="expected a folder of songs"):
        find(tmp_path / name)


def test_slices_take_every_song_once() -> None:
    """Whatever the size of a file, one slice of n has it; the shares are even."""
    sizes = range(1000, 9000)
    for count in (1, 3, 8):
        taken = [[in_slice(size, n, count) for n in range(1, count + 1)] for size in sizes]
        assert all(sum(row) == 1 for row in taken)
        assert min(map(sum, zip(*taken, strict=True))) > 0.9 * len(sizes) / count
