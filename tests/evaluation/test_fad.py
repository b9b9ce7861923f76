"""The laws of FAD: it is the textbook's distance, noise raises it, the number of songs does not."""

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from evaluation import bands
from evaluation.toys import Inline

from songbloom.errors import SongBloomError, UsageError
from songbloom.evaluation import evaluate, fad, frechet, items
from songbloom.evaluation.frechet import Gaussian
from songbloom.evaluation.protocol import Protocol


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bands.write_songs(tmp_path_factory.mktemp("bands"))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where embeddings are kept: a song that several tests hear is embedded once."""
    return tmp_path_factory.mktemp("work")


def clouds(seed: int, count: int, dim: int = 24, scale: float = 1.0) -> np.ndarray:
    """Points of a Gaussian whose axes are of very different lengths."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(np.random.default_rng(99).standard_normal((dim, dim)))[0]
    return np.asarray(rng.standard_normal((count, dim)) * scale * np.geomspace(3, 0.01, dim) @ turn)


def by_scipy(one: np.ndarray, other: np.ndarray) -> float:
    """The formula as it stands in papers, by SciPy's matrix root."""
    gap = one.mean(axis=0) - other.mean(axis=0)
    first, second = np.cov(one.T), np.cov(other.T)
    root = scipy.linalg.sqrtm(first @ second).real
    return float(gap @ gap + np.trace(first + second - 2 * root))


def test_agrees_with_other_implementations() -> None:
    """The distance is that of SciPy's matrix root, and of torchmetrics, to 1e-3 and better; of two
    Gaussians with one covariance it is the squared distance of their means."""
    fid = pytest.importorskip("torchmetrics.image.fid")
    torch = pytest.importorskip("torch")
    one, other = clouds(0, 400), clouds(1, 300, scale=1.3) + 0.2
    found = frechet.distance(Gaussian.of(one), Gaussian.of(other))
    assert found == pytest.approx(by_scipy(one, other), abs=1e-6)
    moments = [
        torch.from_numpy(part) for x in (one, other) for part in (x.mean(axis=0), np.cov(x.T))
    ]
    assert found == pytest.approx(float(fid._compute_fid(*moments)), abs=1e-3)
    assert frechet.distance(Gaussian.of(one), Gaussian.of(one + 0.5)) == pytest.approx(6, abs=1e-9)


def test_few_points() -> None:
    """Sets smaller than their dimension have the distance of the formula too, and a set has none
    from itself; below two points there is no distance."""
    one, other = clouds(0, 5), clouds(1, 7)
    found = frechet.distance(Gaussian.of(one), Gaussian.of(other))
    # without a root of a singular product: the trace is the nuclear norm of the centred points'
    apart = [(x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (one, other)]
    gap = one.mean(axis=0) - other.mean(axis=0)
    spread = sum(float(np.sum(x**2)) for x in apart)
    shared = np.linalg.svd(apart[0] @ apart[1].T, compute_uv=False).sum()
    assert found == pytest.approx(float(gap @ gap) + spread - 2 * shared, abs=1e-9)
    assert frechet.distance_of_few(one, Gaussian.of(other)) == pytest.approx(found, abs=1e-9)
    assert frechet.distance(Gaussian.of(one), Gaussian.of(one)) == pytest.approx(0, abs=1e-12)
    assert np.isnan(frechet.distance(Gaussian.of(one[:1]), Gaussian.of(other)))
    assert np.isnan(frechet.distance_of_few(one[:1], Gaussian.of(other)))


def test_sums_of_sets() -> None:
    """Sets added one by one have the Gaussian of all their points, however far from zero."""
    points = clouds(0, 90) + 1e4
    whole, summed = Gaussian.of(points), frechet.total(map(Gaussian.of, np.split(points, [1, 40])))
    assert summed is not None and summed.count == 90
    np.testing.assert_allclose(summed.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(summed.scatter, whole.scatter, atol=1e-6)
    assert frechet.total([]) is None


def test_infinity_is_free_of_the_sample_size() -> None:
    """A sample's distance from its own distribution is too high, the more so the smaller it is;
    what it tends to is about 0 for both sizes, and the same each time."""
    real = Gaussian.of(clouds(0, 20_000))
    for count in (200, 800):
        drawn = [clouds(count + n, count) for n in range(8)]
        finite = np.mean([frechet.distance(Gaussian.of(points), real) for points in drawn])
        beyond = [frechet.at_infinity(np.array_split(points, 7), real) for points in drawn]
        assert abs(np.mean(beyond)) < finite / 4  # type: ignore[arg-type]
        assert beyond[0] == frechet.at_infinity(np.array_split(drawn[0], 7), real)
    assert frechet.at_infinity([clouds(1, 95)], real) is None


def test_noise_raises_it(songs: Path, work: Path, tmp_path: Path) -> None:
    """The more noise on the songs, the farther they are from their clips."""
    metric = fad.load({}, work)
    values = []
    for level in (0.0, 0.005, 0.02, 0.08):
        noisy = bands.with_noise(songs, tmp_path, level)
        values.append(metric.combine([metric.measure(item) for item in noisy]))
    assert values == sorted(values)
    assert min(np.diff(values)) > 0.05 * values[0]


def test_an_evaluation(songs: Path, tmp_path: Path) -> None:
    """MCC and FAD of a folder: values with intervals, a song's own distance, the same JSON again
    from the cache; a song without a clip fails alone."""
    bands.audio.save(tmp_path / "extra.wav", bands.audio.load(songs / "ash.wav", 16_000), 16_000)
    found = (*items.find(songs), items.Item("zelkova", tmp_path / "extra.wav"))
    task = evaluate.Task(found, Protocol("test", ("mcc", "fad")), tmp_path / "cache")
    result = evaluate.evaluate(task, make_crew=Inline)
    row = result["metrics"]["fad"]
    assert row["songs"] == 4 and row["failed"] == 1 and row["interval"][0] < row["value"]
    assert row["parts"]["dimensions"] == 200 and row["parts"]["infinity"] is None
    assert len(row["parts"]["per_song"]["values"]) == 4
    assert min(row["parts"]["per_song"]["values"]) > row["value"]
    assert {failure["name"] for failure in result["failed"]} == {"zelkova"}
    assert result == evaluate.evaluate(task, make_crew=Inline)


def test_a_clip_that_songs_share_counts_once(songs: Path, work: Path) -> None:
    """The other set is a set of clips: one that two songs have is in it once."""
    metric = fad.load({}, work)
    first, second, *_ = bands.items(songs)
    pair = [metric.measure(first), metric.measure(second)]
    twice = metric.measure(items.Item("again", second.audio, None, first.reference))
    assert metric._other(pair).count == metric._other([*pair, twice]).count  # type: ignore[union-attr]


def test_against_a_folder(songs: Path, work: Path) -> None:
    """Real songs in a folder are embedded once, by processes of their own; the folder's contents,
    not its place, are part of the identity, and songs need no clips."""
    clips = fad.load({}, work)
    first, *rest = bands.items(songs)
    expected = clips.combine([clips.measure(item) for item in (first, *rest)])
    assert first.reference is not None
    clips.embeddings._place(first.reference).unlink()  # left to a process
    metric = fad.load({"against": str(songs / "references")}, work)
    measured = [metric.measure(items.Item(item.name, item.audio)) for item in (first, *rest)]
    assert metric.combine(measured) == pytest.approx(expected, rel=1e-9)
    assert clips.embeddings.has(first.reference)
    assert str(songs) not in str(metric.identity())
    assert metric.needs == frozenset() and clips.needs == {"reference"}


def test_settings(songs: Path, tmp_path: Path) -> None:
    """A folder without songs, and keys that mean nothing, are said."""
    (tmp_path / "empty").mkdir()
    for against, said in ((str(tmp_path / "empty"), "holds no sound"), ("gone", "is no folder")):
        with pytest.raises(UsageError, match=said):
            fad.load({"against": against}, tmp_path)
    with pytest.raises(UsageError, match="agianst: unknown"):
        fad.load({"agianst": "references"}, tmp_path)
    with pytest.raises(SongBloomError, match="no reference clip"):
        fad.load({}, tmp_path).measure(items.Item("ash", songs / "ash.wav"))
