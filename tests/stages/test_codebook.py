"""Codebooks: what a fit depends on, that it can be killed, what is told of it, what is refused."""

import dataclasses
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.cluster import MiniBatchKMeans

from songbloom.errors import SongBloomError, UsageError
from songbloom.stages import codebook
from songbloom.stages.codebook import Codebook, Plan, Source, Stream, count, fit, nearest, usage


def clouds(frames: int = 3000, centres: int = 40, dim: int = 12, seed: int = 0) -> np.ndarray:
    """Frames that come in runs, as music's do, around well-separated centres."""
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((centres, dim)) * 4
    which = np.repeat(rng.integers(0, centres, frames // 5 + 1), 5)[:frames]
    return (means[which] + 0.3 * rng.standard_normal((frames, dim))).astype(np.float32)


def write(folder: Path, rows: np.ndarray, *cuts: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = []
    for number, part in enumerate(np.split(rows, cuts)):
        paths.append(folder / f"{number:03d}.npy")
        np.save(paths[-1], part)
    return paths


PLAN = Plan(size=64, seed=1, passes=4, batch=8)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Codebook:
    folder = tmp_path_factory.mktemp("book")
    source = Source(model="m" * 64, layer=10)
    return fit(Stream(write(folder, clouds())), folder / "b.safetensors", PLAN, source=source)


# What a fit depends on


def test_same_frames_and_seed_give_the_same_bytes_however_cut(tmp_path: Path) -> None:
    """One file, many files, .npy or .safetensors: the same stream, the same codebook file."""
    rows = clouds()
    save_file({"embeddings": rows}, tmp_path / "all.safetensors")
    cuts = [write(tmp_path / "a", rows), write(tmp_path / "b", rows, 1, 70, 71, 1999)]
    made = []
    for number, paths in enumerate([*cuts, [tmp_path / "all.safetensors"]]):
        fit(Stream(paths), tmp_path / f"{number}.st", PLAN)
        made.append((tmp_path / f"{number}.st").read_bytes())
    assert made[0] == made[1] == made[2]
    fit(Stream(cuts[0]), tmp_path / "other.st", dataclasses.replace(PLAN, seed=2))
    assert (tmp_path / "other.st").read_bytes() != made[0]


def test_half_precision_files_are_read_as_their_numbers(tmp_path: Path) -> None:
    """float16 and the same numbers in float64 fit the same codebook."""
    half = clouds().astype(np.float16)
    books = [
        fit(Stream(write(tmp_path / str(kind), half.astype(kind))), tmp_path / f"{kind}.st", PLAN)
        for kind in ("float16", "float64")
    ]
    assert books[0].hash == books[1].hash


def test_a_step_is_that_of_scikit_learn_s_mini_batch_k_means() -> None:
    """The slow twin: the same batches from the same start give scikit-learn's centroids."""
    rows = clouds(2000)
    start = rows[::40].copy()
    state = codebook._started(start.copy())
    twin = MiniBatchKMeans(50, init=start, n_init=1, reassignment_ratio=0.0)
    for batch in np.split(rows, 4):
        tokens, _ = nearest(batch, state.centroids)
        codebook._move(state, batch, tokens, np.bincount(tokens, minlength=50))
        twin.partial_fit(batch)
    assert np.abs(state.centroids - twin.cluster_centers_).max() < 1e-4
    assert np.abs(state.centroids - start).max() > 0.3


def test_a_killed_fit_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after any of its steps and typed again, a fit ends as an undisturbed one does."""
    monkeypatch.setattr(codebook, "_SAVE_EVERY", 2)
    stream = Stream(write(tmp_path, clouds()))
    fit(stream, tmp_path / "whole.st", PLAN)

    class Killed(Exception):
        pass

    seen: list[int] = []

    def kill(event: dict[str, object]) -> None:
        seen.append(int(str(event["step"])))
        if len(seen) in (5, 9):
            raise Killed

    for _ in range(2):
        with pytest.raises(Killed):
            fit(stream, tmp_path / "cut.st", PLAN, on_progress=kill)
    fit(stream, tmp_path / "cut.st", PLAN, on_progress=kill)
    assert seen[:9] == [1, 2, 3, 4, 5, 5, 6, 7, 8]  # it went on from the last even step
    assert (tmp_path / "cut.st").read_bytes() == (tmp_path / "whole.st").read_bytes()
    assert not list(tmp_path.glob(".cut*"))


def test_the_state_of_another_fit_is_not_gone_on_with(tmp_path: Path) -> None:
    """Another seed or other frames under the same name start from the beginning."""
    kept = tmp_path / ".b.st.fit.safetensors"
    stream = Stream(write(tmp_path, clouds()))
    clean = fit(stream, tmp_path / "b.st", PLAN)
    state = codebook._started(clouds()[:64])
    state.step = 5
    codebook._keep(state, kept, "another run")
    assert fit(stream, tmp_path / "b.st", PLAN).hash == clean.hash
    kept.write_bytes(b"damaged")
    assert fit(stream, tmp_path / "b.st", PLAN).hash == clean.hash


# What comes of it


def test_the_centroids_are_the_clouds(tmp_path: Path) -> None:
    """As little is left of the frames' variance as scikit-learn's own fit leaves, no code is dead,
    and frames taken as they come do much worse."""
    rows = clouds()
    stream = Stream(write(tmp_path, rows))
    book = fit(stream, tmp_path / "b.st", PLAN)
    twin = MiniBatchKMeans(64, random_state=0, n_init=1, batch_size=512).fit(rows)
    theirs = count(stream, twin.cluster_centers_.astype(np.float32), Source())[1]
    assert book.error is not None and book.error < 1.05 * theirs < 0.006
    assert usage(book.counts).dead == 0
    assert count(stream, rows[:64], Source())[1] > 10 * book.error


def test_dead_codes_are_moved_to_where_frames_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a start in which all centroids are one silent frame, among many silent frames, nearly
    all come to be used; the last quarter of the steps leaves them be."""
    rows = np.concatenate([np.zeros((2900, 4), np.float32), clouds(700, 30, 4)])
    stream = Stream(write(tmp_path, rows))
    monkeypatch.setattr(codebook, "_first", lambda *_: codebook._started(rows[:40].copy()))
    moved: list[int] = []
    plan = Plan(size=40, seed=0, passes=8, batch=8)
    book = fit(stream, tmp_path / "b.st", plan, on_progress=lambda e: moved.append(e["reseeded"]))
    assert moved[7] >= 35  # the first pass ends
    assert usage(book.counts).dead <= 2 and book.error is not None and book.error < 0.05
    assert sum(moved[len(moved) * 3 // 4 :]) == 0


def test_usage_in_closed_form() -> None:
    """Even use of 4 of 8 codes is 2 bits of 3, half of them dead; one code is no information."""
    even = usage(np.array([5, 5, 5, 5, 0, 0, 0, 0]))
    assert (even.dead, even.entropy, even.top1_share, even.frames) == (4, 2.0, 0.25, 20)
    assert even.entropy_share == pytest.approx(2 / 3) and even.chance == pytest.approx(math.log(8))
    one = usage(np.array([0, 7]))
    assert (one.entropy, one.top1_share, one.dead) == (0.0, 1.0, 1)


def test_a_frame_s_token_does_not_depend_on_other_frames(book: Codebook) -> None:
    """Alone, in a song of any length, and by a plain loop: the same token."""
    rows = clouds(2500, seed=5)
    together = book.tokenize(rows)
    plain = [int(np.square(book.centroids - row).sum(1).argmin()) for row in rows[:200]]
    assert together[:200].tolist() == plain and together.dtype == np.int32
    assert len(set(plain)) > 10
    for begin, end in ((0, 1), (7, 1031), (1000, 2500)):
        assert np.array_equal(book.tokenize(rows[begin:end]), together[begin:end])
    assert book.tokenize(rows[:0]).shape == (0,)


def test_unit_vectors_forget_loudness(tmp_path: Path) -> None:
    """Normalised codebooks give a frame and its double the same token, others do not."""
    rows = clouds()
    stream = Stream(write(tmp_path, rows))
    unit = fit(stream, tmp_path / "u.st", PLAN, source=Source(normalise="unit"))
    plain = fit(stream, tmp_path / "p.st", PLAN)
    assert np.array_equal(unit.tokenize(rows), unit.tokenize(3 * rows))
    assert not np.array_equal(plain.tokenize(rows), plain.tokenize(3 * rows))
    assert unit.hash != plain.hash


# How it is stored


def test_a_saved_codebook_is_the_same(book: Codebook, tmp_path: Path) -> None:
    """Everything survives the disk, and saving twice gives the same bytes."""
    book.save(tmp_path / "a")
    loaded = Codebook.load(tmp_path / "a")
    loaded.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert loaded.hash == book.hash and loaded.source == book.source
    assert (loaded.error, loaded.seed, loaded.passes) == (book.error, 1, 4)
    assert np.array_equal(loaded.counts, book.counts) and book.counts.sum() == 3000


def test_the_hash_is_of_what_tokens_mean(book: Codebook) -> None:
    """Centroids, model, layer and normalisation are in the hash; how it was fitted is not."""
    changed = book.centroids.copy()
    changed[3, 2] += 1e-3
    others = [
        dataclasses.replace(book, centroids=changed),
        *(
            dataclasses.replace(book, source=dataclasses.replace(book.source, **{key: value}))
            for key, value in (("model", "x"), ("layer", 9), ("normalise", "unit"))
        ),
    ]
    assert len({book.hash, *(other.hash for other in others)}) == 5
    assert dataclasses.replace(book, seed=7, error=None).hash == book.hash


def test_files_that_are_none_are_refused_by_name(book: Codebook, tmp_path: Path) -> None:
    """Missing, cut, another safetensors file, odd shapes: an error with the file's name."""
    path = tmp_path / "b.safetensors"
    book.save(path)
    whole = path.read_bytes()
    for content in (b"", b"x" * 40, whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(SongBloomError, match=r"b\.safetensors"):
            Codebook.load(path)
    save_file({"centroids": np.zeros((2, 2), np.float32)}, path)
    with pytest.raises(SongBloomError, match="no codebook"):
        Codebook.load(path)
    dataclasses.replace(book, counts=book.counts[:-1]).save(path)
    with pytest.raises(SongBloomError, match="counts"):
        Codebook.load(path)
    with pytest.raises(SongBloomError, match="no such"):
        Codebook.load(tmp_path / "absent")


def test_embeddings_that_are_none_are_refused_and_pickles_not_read(tmp_path: Path) -> None:
    """Pickled arrays, other shapes and kinds, other widths, NaN, too few: named, not run."""

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return open, (str(tmp_path / "exploded"),)

    bad = {
        "pickle.npy": np.array([Bomb()], dtype=object),
        "flat.npy": np.zeros(7, np.float32),
        "tokens.npy": np.zeros((7, 3), np.int32),
        "empty.npy": np.zeros((0, 3), np.float32),
    }
    for name, array in bad.items():
        np.save(tmp_path / name, array, allow_pickle=True)
        with pytest.raises(SongBloomError, match=name):
            Stream([tmp_path / name])
    (tmp_path / "p.npy").write_bytes(pickle.dumps(Bomb()))
    (tmp_path / "t.safetensors").write_bytes(b"\xff" * 30)
    save_file({"other": np.zeros((2, 2), np.float32)}, tmp_path / "o.safetensors")
    for name in ("p.npy", "t.safetensors", "o.safetensors", "absent.npy"):
        with pytest.raises(SongBloomError, match=name):
            Stream([tmp_path / name])
    assert not (tmp_path / "exploded").exists()
    narrow, wide = (write(tmp_path / n, clouds(dim=d))[0] for n, d in (("n", 3), ("w", 4)))
    with pytest.raises(SongBloomError, match="one width"):
        Stream([narrow, wide])
    rows = clouds(dim=3)
    rows[1234, 1] = np.nan
    broken = write(tmp_path / "nan", rows, 1000)
    with pytest.raises(SongBloomError, match=r"001\.npy: holds NaN"):
        fit(Stream(broken), tmp_path / "b.st", PLAN)
    with pytest.raises(SongBloomError, match="3000 frames .* 5000 codes"):
        fit(Stream([narrow]), tmp_path / "b.st", Plan(size=5000))
    with pytest.raises(UsageError, match="--size 1"):
        Plan(size=1)
