"""The training set on disk: what is written is read; kills, slices and damage."""

import dataclasses
import hashlib
import itertools
import json
import multiprocessing
import os
import random
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from data.small import small_songs
from safetensors import safe_open

from songbloom.data.shards import (
    DatasetHeader,
    SungLine,
    SungSection,
    TrainingSong,
    open_shards,
    read_info,
    verify,
)
from songbloom.data.writer import ShardWriter, merge
from songbloom.errors import SongBloomError, UsageError

HEADER = DatasetHeader("release", "vae", "codebook", sketch_vocab_size=1480)
SONGS = small_songs(7)
SMALL = 150_000  # bytes a shard: about three songs


def write(folder: Path, songs: Iterable[TrainingSong], header: DatasetHeader = HEADER) -> Path:
    writer = ShardWriter(folder, header, shard_bytes=SMALL)
    for song in songs:
        writer.add(song)
    writer.finish()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def same(a: TrainingSong, b: TrainingSong) -> bool:
    arrays = ("sketch", "latents", "references")
    plain = dict.fromkeys(arrays)
    equal = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)
    return equal and dataclasses.replace(a, **plain) == dataclasses.replace(b, **plain)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Every song comes back: arrays exactly, times to the millisecond; ids are in order."""
    shards = open_shards(write(tmp_path / "d", reversed(SONGS)))
    assert len(shards) == 7 and shards.info.songs == 7 and len(shards.info.shards) > 2
    assert shards.info.hours == sum(song.num_frames for song in SONGS) / 25 / 3600
    assert list(shards.ids) == [song.id for song in SONGS]
    for number, song in enumerate(SONGS):
        assert same(shards.read(number), song)
        assert (shards.frames[number], shards.clips[number]) == (song.num_frames, 3)


def test_other_tools_read_it(tmp_path: Path) -> None:
    """The layout written down in the module is what safetensors and json find."""
    folder = write(tmp_path / "d", SONGS)
    rows = [json.loads(line) for line in (folder / "index.jsonl").read_text("utf-8").splitlines()]
    info = json.loads((folder / "dataset.json").read_text("utf-8"))
    for row, song in zip(rows, SONGS, strict=True):
        with safe_open(folder / "shards" / info["shards"][row["shard"]]["name"], "np") as shard:
            (a, q, x), (b, r, y) = shard.get_tensor("offsets")[row["row"] : row["row"] + 2]
            assert np.array_equal(shard.get_slice("sketch")[a:b], song.sketch)
            assert np.array_equal(shard.get_slice("latents")[a:b], song.latents)
            clips = shard.get_slice("references")[q:r].reshape(song.references.shape)
            assert np.array_equal(clips, song.references)
            line = json.loads(shard.get_slice("tracks")[x:y].tobytes())
        assert (line["id"], line["artist"]) == (song.id, song.artist)
        assert line["reference_starts"] == list(song.reference_starts)
        assert [s["tag"] for s in line["sections"]] == [s.tag for s in song.sections]
        assert [li["phonemes"] for s in line["sections"] for li in s["lines"]] == [
            li.phonemes for s in song.sections for li in s.lines
        ]


def test_shards_are_bounded(tmp_path: Path) -> None:
    """No shard is larger than asked, unless a single song is; none is needlessly small."""
    folder = write(tmp_path / "d", SONGS)
    sizes = [shard.bytes for shard in read_info(folder).shards]
    assert all(size < SMALL + 2_000 for size in sizes)  # and a header
    largest = max(song.latents.nbytes + song.references.nbytes for song in SONGS)
    assert all(size > SMALL - 2 * largest for size in sizes[:-1])
    ShardWriter(tmp_path / "one", HEADER, shard_bytes=1).add(SONGS[0])  # larger than a shard: fine


def test_dataset_hash_is_of_content(tmp_path: Path) -> None:
    """The hash is over header and songs in order of ids, and can be made with json and sha256."""
    folder = write(tmp_path / "d", SONGS)
    expected = read_info(folder).dataset_hash
    assert read_info(write(tmp_path / "r", reversed(SONGS))).dataset_hash == expected
    fields = {"format": 1, **dataclasses.asdict(HEADER), "frame_rate": 25.0}
    rows = [json.loads(line) for line in (folder / "index.jsonl").read_text("utf-8").splitlines()]
    text = json.dumps(fields, sort_keys=True) + "\n"
    text += "".join(f"{row['sha256']}  {row['id']}\n" for row in rows)
    assert hashlib.sha256(text.encode()).hexdigest() == expected


@pytest.mark.parametrize(
    "change",
    [
        {"artist": "someone else"},
        {"sketch": (SONGS[0].sketch + 1) % 1480},
        {"latents": SONGS[0].latents + np.float16(1)},
        {"references": SONGS[0].references + np.float16(1)},
        {"reference_starts": (0, 1, 2)},
        {"sections": SONGS[0].sections[1:]},
        {"id": "another"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_dataset_hash_sees_everything(tmp_path: Path, change: dict[str, object]) -> None:
    """Whatever changes in a song, the dataset hash does."""
    before = read_info(write(tmp_path / "a", SONGS[:2])).dataset_hash
    changed = [dataclasses.replace(SONGS[0], **change), SONGS[1]]
    assert read_info(write(tmp_path / "b", changed)).dataset_hash != before


def test_dataset_hash_sees_the_header(tmp_path: Path) -> None:
    """Tokens of another codebook are another dataset."""
    other = dataclasses.replace(HEADER, codebook_hash="other")
    a, b = write(tmp_path / "a", SONGS[:1]), write(tmp_path / "b", SONGS[:1], other)
    assert read_info(a).dataset_hash != read_info(b).dataset_hash


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return contents(write(tmp_path_factory.mktemp("undisturbed"), SONGS))


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Stop at call number `after` of those that put something on disk for good."""
    counter = itertools.count()

    def counted(real: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object) -> None:
            if next(counter) == after:
                raise KeyboardInterrupt
            real(*arguments)

        return call

    for name in ("replace", "fsync"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))


@pytest.mark.parametrize("after", range(4 * 5 + 2))
def test_a_stopped_writer_goes_on(
    tmp_path: Path, after: int, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at any moment that matters (five a shard, two at the end), the same calls again give
    an undisturbed run's bytes."""
    with monkeypatch.context() as patched:
        interrupt(patched, after)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, SONGS)
    with pytest.raises(SongBloomError):
        open_shards(tmp_path)
    assert contents(write(tmp_path, SONGS)) == undisturbed


def test_a_killed_writer_goes_on(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    """kill -9 at random moments, ten times: at the end the bytes of an undisturbed run."""
    rng, context = random.Random(0), multiprocessing.get_context("fork")
    for _ in range(10):
        process = context.Process(target=write, args=(tmp_path, SONGS))
        process.start()
        time.sleep(rng.uniform(0, 0.03))
        process.kill()
        process.join()
    write(tmp_path, SONGS)
    assert contents(tmp_path) == undisturbed


def test_finished_songs_are_passed_over(tmp_path: Path) -> None:
    """A writer knows what is on disk; a finished dataset written again keeps its bytes."""
    folder = write(tmp_path / "d", SONGS)
    before = contents(folder)
    writer = ShardWriter(folder, HEADER, shard_bytes=SMALL)
    assert all(song.id in writer for song in SONGS) and "another" not in writer
    writer.finish()
    assert contents(folder) == before


def test_a_dataset_grows(tmp_path: Path) -> None:
    """Songs added to a finished dataset make the dataset of all of them."""
    folder = write(tmp_path / "d", SONGS[:4])
    write(folder, SONGS)
    assert read_info(folder).dataset_hash == read_info(write(tmp_path / "all", SONGS)).dataset_hash
    assert all(same(open_shards(folder).read(i), song) for i, song in enumerate(SONGS))
    assert not verify(folder)


def test_slices_merge(tmp_path: Path) -> None:
    """Slices of a batch array, in any order, are the dataset written in one go; merging again
    changes nothing."""
    slices = [write(tmp_path / f"slice{i}", SONGS[i::3]) for i in range(3)]
    whole = read_info(write(tmp_path / "whole", SONGS))
    for order in ((0, 1, 2), (2, 0, 1)):
        output = tmp_path / f"merged{order[0]}"
        merge([slices[i] for i in order], output)
        info = merge([slices[i] for i in order], output)
        assert (info.dataset_hash, info.songs, info.frames) == (
            whole.dataset_hash, whole.songs, whole.frames,
        )  # fmt: skip
        assert not verify(output)
        assert all(same(open_shards(output).read(i), song) for i, song in enumerate(SONGS))


def test_merge_refuses_what_does_not_fit(tmp_path: Path) -> None:
    """A track in two slices, slices of two codebooks, an unfinished slice and none at all."""
    first, second = write(tmp_path / "a", SONGS[:3]), write(tmp_path / "b", SONGS[2:])
    with pytest.raises(SongBloomError, match=f"{SONGS[2].id}.* another of the datasets"):
        merge([first, second], tmp_path / "twice")
    other = write(tmp_path / "c", SONGS[4:], dataclasses.replace(HEADER, codebook_hash="other"))
    with pytest.raises(SongBloomError, match="codebook_hash other; expected codebook"):
        merge([first, other], tmp_path / "mixed")
    ShardWriter(tmp_path / "u", HEADER, shard_bytes=1).add(SONGS[5])
    with pytest.raises(SongBloomError, match="no dataset"):
        merge([first, tmp_path / "u"], tmp_path / "early")
    with pytest.raises(UsageError, match="at least one"):
        merge([], tmp_path / "none")


def test_another_dataset_is_not_written_over(tmp_path: Path) -> None:
    """A folder keeps its codebook and its songs."""
    folder = write(tmp_path / "d", SONGS[:2])
    with pytest.raises(SongBloomError, match="vae_hash vae; expected other"):
        ShardWriter(folder, dataclasses.replace(HEADER, vae_hash="other"))
    changed = dataclasses.replace(SONGS[0], latents=SONGS[0].latents * np.float16(2))
    with pytest.raises(SongBloomError, match="there with other content"):
        ShardWriter(folder, HEADER).add(changed)


def test_an_unfinished_dataset_is_not_trained_on(tmp_path: Path) -> None:
    """Between its first shard and `finish` a dataset says so."""
    writer = ShardWriter(tmp_path / "d", HEADER, shard_bytes=SMALL)
    for song in SONGS:
        writer.add(song)
    with pytest.raises(SongBloomError, match=r"not finished \(\d songs so far\)"):
        open_shards(tmp_path / "d")
    with pytest.raises(SongBloomError, match="no song"):
        ShardWriter(tmp_path / "empty", HEADER).finish()


def song(**changes: object) -> TrainingSong:
    return dataclasses.replace(SONGS[0], **changes)


def spoilt(array: np.ndarray, value: float) -> np.ndarray:
    array = array.astype(np.float32)
    array[3] = value
    return array


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (song(id=""), "id without line breaks"),
        (song(id="a\nb"), "id without line breaks"),
        (song(sketch=SONGS[0].sketch[1:]), "sketch tokens beside latents"),
        (song(sketch=SONGS[0].sketch[:0], latents=SONGS[0].latents[:0]), "0 sketch tokens"),
        (song(latents=SONGS[0].latents[:, :32]), "beside latents"),
        (song(sketch=spoilt(SONGS[0].sketch, 1480).astype(int)), r"outside 0\.\.1479"),
        (song(sketch=spoilt(SONGS[0].sketch, -1).astype(int)), r"outside 0\.\.1479"),
        (song(latents=spoilt(SONGS[0].latents, np.nan)), "not finite"),
        (song(latents=spoilt(SONGS[0].latents, 1e6)), "too large for float16"),
        (song(references=SONGS[0].references[:1]), r"expected \[K, R, 64\]"),
        (song(references=SONGS[0].references[0]), r"expected \[K, R, 64\]"),
        (song(sketch=SONGS[0].sketch[:, None]), "sketch tokens beside"),
        (song(reference_starts=(0, 1, len(SONGS[0].sketch) - 10)), "do not lie in its"),
        (song(reference_starts=(-1, 0, 1)), "do not lie in its"),
        (song(artist="\udcff"), "no Unicode text"),
        (song(sections=(SungSection("verse", 0.0, float("nan")),)), "times"),
        (song(sections=(SungSection("verse", 0.0, 1.0, (SungLine(2.0, 1.0, "A"),)),)), "times"),
    ],
)
def test_songs_that_do_not_fit_are_named(tmp_path: Path, bad: TrainingSong, complaint: str) -> None:
    """A record that contradicts itself is refused when it is added, by its id."""
    with pytest.raises(SongBloomError, match=f"track .*{complaint}"):
        ShardWriter(tmp_path / "d", HEADER).add(bad)


def damage(folder: Path, kind: str) -> Path:
    """Damage the second shard of a dataset."""
    path = folder / "shards" / "000001.safetensors"
    if kind == "missing":
        path.unlink()
    elif kind == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    else:
        data = bytearray(path.read_bytes())
        begin = 8 + int.from_bytes(data[:8], "little")
        last = begin + 24 * read_info(folder).shards[1].songs  # of the rows of offsets
        at = {"header": 8, "offsets": begin + 24 + 7, "ends": last, "byte": len(data) - 400}
        data[at[kind]] ^= 0x81
        path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", ["missing", "truncated", "header", "offsets", "ends"])
def test_a_corrupt_shard_is_named(tmp_path: Path, kind: str) -> None:
    """Opening names a bad shard, or leaves out its songs and says so."""
    folder = write(tmp_path / "d", SONGS)
    names = [shard.name for shard in read_info(folder).shards]
    second = [song.id for i, song in enumerate(SONGS) if open_shards(folder).shard[i] == 1]
    path = damage(folder, kind)
    with pytest.raises(SongBloomError, match=f"{path}: missing or corrupt shard") as caught:
        open_shards(folder)
    assert caught.value.hint
    shards = open_shards(folder, corrupt="skip")
    assert list(shards.ids) == [song.id for song in SONGS if song.id not in second]
    assert second and len(shards.skipped) == 1 and names[1] in shards.skipped[0]
    for i in range(len(shards)):
        shards.read(i)


def test_verify_finds_one_wrong_byte(tmp_path: Path) -> None:
    """A flipped bit in a shard, an altered index and an altered hash are each found."""
    folder = write(tmp_path / "d", SONGS)
    assert verify(folder) == []
    damaged = shutil.copytree(folder, tmp_path / "byte")
    path = damage(damaged, "byte")
    assert [f"{path}: truncated or altered" in line for line in verify(damaged)] == [True]
    damaged = shutil.copytree(folder, tmp_path / "index")
    alter(damaged / "index.jsonl", '"clips": 3', '"clips": 2')
    assert [f"{damaged}/index.jsonl: trunc" in line for line in verify(damaged)] == [True]
    with pytest.raises(SongBloomError, match="index.jsonl: truncated or altered"):
        open_shards(damaged)
    damaged = shutil.copytree(folder, tmp_path / "hash")
    alter(damaged / "dataset.json", read_info(folder).dataset_hash, "0" * 64)
    assert ["do not make up the dataset hash" in line for line in verify(damaged)] == [True]
    (damaged / "shards" / "000000.safetensors").unlink()
    assert verify(damaged)[0].endswith("000000.safetensors: missing")


def alter(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    """No dataset, no JSON, another format, a cut index and no good shard at all."""
    with pytest.raises(SongBloomError, match="no dataset"):
        open_shards(tmp_path)
    folder = write(tmp_path / "d", SONGS)
    description = (folder / "dataset.json").read_text("utf-8")
    for text in ("", "[]", "{}", description.replace('"format": 1', '"format": 99')):
        (folder / "dataset.json").write_text(text)
        with pytest.raises(SongBloomError, match="not a dataset description"):
            open_shards(folder)
    (folder / "dataset.json").write_text(description)
    whole = (folder / "index.jsonl").read_bytes()
    for part in (b"", whole[:-9], whole[: whole.index(b"\n") + 1], b"x" * len(whole)):
        (folder / "index.jsonl").write_bytes(part)
        with pytest.raises(SongBloomError, match=r"index.jsonl: truncated or altered"):
            open_shards(folder)
    (folder / "index.jsonl").write_bytes(whole)
    shutil.rmtree(folder / "shards")
    with pytest.raises(SongBloomError, match="no shard can be read"):
        open_shards(folder, corrupt="skip")


def test_a_song_without_clips_or_words(tmp_path: Path) -> None:
    """References and lyrics may be missing."""
    bare = song(sections=(), references=np.zeros((0, 250, 64)), reference_starts=(), artist="")
    read = open_shards(write(tmp_path / "d", [bare])).read(0)
    assert read.references.shape == (0, 250, 64) and read.sections == ()


def test_many_shards_need_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of shards can be read with a bounded number of open ones."""
    monkeypatch.setattr("songbloom.data.shards._MAX_MAPS", 2)
    shards = open_shards(write(tmp_path / "d", SONGS))
    open_files = len(os.listdir("/proc/self/fd"))
    for number in [*range(7), *range(7)]:
        assert same(shards.read(number), SONGS[number])
        assert len(os.listdir("/proc/self/fd")) <= open_files + 2
