"""Reading what is to be sung: a file, standard input, a batch, and everything wrong with them."""

import io
import json
from pathlib import Path

import pytest

from songbloom.errors import SongBloomError, UsageError
from songbloom.requests import Request, is_batch, read_requests

LYRICS = "[verse]\nA bird is in the morning sky\n\n[chorus]\nSing with me\n"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A file that stands for a reference clip; reading requests does not open it."""
    path = tmp_path / "clip.wav"
    path.write_bytes(b"RIFF")
    return path


def read(lyrics: Path | str, prompt: Path | None, stdin: bytes = b"") -> list[Request]:
    return read_requests(str(lyrics), prompt, io.BytesIO(stdin))


def batch(folder: Path, *items: object) -> Path:
    path = folder / "batch.jsonl"
    rows = [item if isinstance(item, str) else json.dumps(item) for item in items]
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return path


def item(**changes: object) -> dict[str, object]:
    given = {"idx": "a", "lyrics": "[verse] Sing with me.", "prompt_wav": "clip.wav", **changes}
    return {key: value for key, value in given.items() if value is not ...}


def test_file(tmp_path: Path, clip: Path) -> None:
    """A text file gives one request, called like the file; a byte-order mark is no lyric."""
    path = tmp_path / "my song.txt"
    path.write_bytes(b"\xef\xbb\xbf" + LYRICS.encode())
    (request,) = read(path, clip)
    assert (request.idx, request.reference) == ("my song", clip)
    assert [section.tag for section in request.lyrics.sections] == ["verse", "chorus"]


def test_stdin(clip: Path) -> None:
    """- reads standard input; the song is called song."""
    (request,) = read("-", clip, LYRICS.encode())
    assert request.idx == "song"
    assert request.lyrics.sections[1].texts == ("Sing with me",)


def test_raw_line_is_kept(tmp_path: Path, clip: Path) -> None:
    """Lyrics in the released one-line format keep every byte, double spaces too."""
    line = "[verse] Sing  with me. And you , [outro] [outro]"
    path = tmp_path / "x.txt"
    path.write_text(line)
    assert read(path, clip)[0].lyrics.line == line
    (request,) = read(batch(tmp_path, item(lyrics=line)), None)
    assert request.lyrics.line == line


def test_batch(tmp_path: Path, clip: Path) -> None:
    """One request a line in the file's order; blank lines are nothing; idx may be a number."""
    path = batch(tmp_path, item(), "", item(idx=7, prompt_wav=str(clip)))
    first, second = read(path, None)
    assert (first.idx, second.idx) == ("a", "7")
    assert first.reference == second.reference == clip


def test_batch_clip_from_the_current_folder_first(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative prompt_wav is looked for here first, then beside the batch file."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    path = batch(tmp_path, item())
    assert read(path, None)[0].reference == clip
    (here / "clip.wav").write_bytes(b"RIFF")
    assert read(path, None)[0].reference == Path("clip.wav")


def test_batch_default_clip(tmp_path: Path, clip: Path) -> None:
    """--prompt serves the items that name no clip, and those alone."""
    other = tmp_path / "other.wav"
    other.write_bytes(b"RIFF")
    path = batch(tmp_path, item(prompt_wav=...), item(idx="b"))
    assert [r.reference for r in read(path, other)] == [other, clip]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ((item(), "{"), ("jsonl:2:", "JSON")),
        ((item(), "", "[1]"), ("jsonl:3:", "object")),
        ((item(idx=...),), ("jsonl:1:", "'idx'")),
        ((item(lyrics=...),), ("jsonl:1:", "'lyrics'")),
        ((item(prompt_wav=...),), ("jsonl:1:", "prompt_wav", "--prompt")),
        ((item(prompt_wav="gone.wav"),), ("jsonl:1:", "gone.wav")),
        ((item(idx=None),), ("jsonl:1:", "null")),
        ((item(idx=True),), ("jsonl:1:", "idx")),
        ((item(lyrics=["x"]),), ("jsonl:1:", "lyrics")),
        ((item(), item()), ("jsonl:2:", "'a'")),
        ((item(idx="../a"),), ("jsonl:1:", "../a", "file name")),
        ((item(idx=""),), ("jsonl:1:", "file name")),
        ((item(idx="x" * 300),), ("jsonl:1:", "file name")),
        ((item(lyrics=""),), ("jsonl:1:",)),
        (("",), ("no songs",)),
    ],
)
def test_wrong_batches(
    tmp_path: Path, clip: Path, rows: tuple[object, ...], words: tuple[str, ...]
) -> None:
    """Each mistake is named with its line and what to do."""
    with pytest.raises(SongBloomError) as caught:
        read(batch(tmp_path, *rows), None)
    told = f"{caught.value.message} {caught.value.hint}"
    assert all(word in told for word in ("batch.jsonl", *words)), told
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ("x.txt",)),
        (b" \n\n", ("x.txt",)),
        (b"RIFF\x00\x00WAVE", ("UTF-8",)),
        (b"caf\xff", ("UTF-8",)),
        (b"[verse]\n[chorus]\n", ("x.txt",)),
    ],
    ids=["empty", "blank", "binary", "no text", "only tags"],
)
def test_wrong_lyrics(tmp_path: Path, clip: Path, content: bytes, words: tuple[str, ...]) -> None:
    """Lyrics that are none are refused with the file's name, from a file and from a pipe."""
    path = tmp_path / "x.txt"
    path.write_bytes(content)
    with pytest.raises(SongBloomError) as caught:
        read(path, clip)
    assert "x.txt" in caught.value.message and caught.value.hint
    assert all(word in caught.value.message for word in words)
    with pytest.raises(SongBloomError) as caught:
        read("-", clip, content)
    assert "standard input" in caught.value.message


def test_missing_files(tmp_path: Path, clip: Path) -> None:
    """Lyrics that are not there, a folder as lyrics, no clip and a clip that is not there."""
    for lyrics in (tmp_path / "gone.txt", tmp_path, tmp_path / "gone.jsonl"):
        with pytest.raises(SongBloomError, match=str(lyrics)):
            read(lyrics, clip)
    path = tmp_path / "x.txt"
    path.write_text(LYRICS)
    with pytest.raises(UsageError) as caught:
        read(path, None)
    assert "--prompt" in caught.value.hint
    for gone in (tmp_path / "gone.wav", tmp_path):
        with pytest.raises(SongBloomError, match=str(gone)):
            read(path, gone)


def test_batches_are_known_by_their_suffix() -> None:
    """A .jsonl is a batch; nothing else is, nor is standard input."""
    assert [is_batch(x) for x in ("a.jsonl", "a.JSONL", "a.json", "a.txt", "-")] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_one_songs_lyrics_may_be_jsonl(tmp_path: Path, clip: Path) -> None:
    """The keys tell lyrics from a batch, not the suffix."""
    path = tmp_path / "song.jsonl"
    path.write_text('\n{"tag": "chorus", "text": "Sing with me", "start": 1.5}\n', "utf-8")
    assert not is_batch(str(path))
    (request,) = read(path, clip)
    assert (request.idx, request.lyrics.line) == ("song", "[chorus] Sing with me")
