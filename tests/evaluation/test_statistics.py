"""The statistics against closed forms, brute force and their own promises."""

import functools
import itertools

import numpy as np
import pytest
from scipy import stats

from songbloom.evaluation import statistics
from songbloom.evaluation.statistics import Statistics

HOW = Statistics(resamples=400)


def mean_of(values: np.ndarray, kept: np.ndarray) -> float:
    """The mean of the songs that are kept."""
    return float(values[kept].mean())


def sample(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Errors of songs among so many phones each."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(50, 200, count).astype(float)
    return np.round(weights * rng.beta(2, 8, count)), weights


def test_the_interval_is_of_the_ratio() -> None:
    """The bootstrap agrees with SciPy's on the same statistic, within its own noise."""
    amounts, weights = sample(1, 40)
    low, high = statistics.bootstrap(amounts, weights, Statistics(resamples=4000)) or (0, 0)
    other = stats.bootstrap(
        (amounts, weights),
        lambda a, w: a.sum() / w.sum(),
        paired=True,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert (low, high) == pytest.approx((other.low, other.high), abs=0.006)


def test_intervals_hold_what_they_promise() -> None:
    """Of intervals from 40 songs about 95 in 100 hold the mean of all songs."""
    rng, held = np.random.default_rng(3), 0
    for _ in range(200):
        values = rng.gamma(4, 0.05, 40)
        low, high = statistics.bootstrap(values, np.ones(40), HOW) or (0, 0)
        held += low <= 0.2 <= high
    assert 176 <= held <= 198


def test_same_seed_same_interval() -> None:
    """Draws come from the seed alone."""
    amounts, weights = sample(4, 30)
    first = statistics.bootstrap(amounts, weights, HOW)
    assert first == statistics.bootstrap(amounts, weights, HOW)
    assert first != statistics.bootstrap(amounts, weights, Statistics(resamples=400, seed=1))


@pytest.mark.parametrize("weights", [[], [3.0], [3.0, 0.0]])
def test_too_few_songs_have_no_interval(weights: list[float]) -> None:
    """One song says nothing of how songs differ."""
    assert statistics.bootstrap(np.ones(len(weights)), np.array(weights), HOW) is None


def test_few_songs_are_exchanged_in_all_ways() -> None:
    """Up to twelve songs the p-value is the exact share of exchanges as extreme as what was
    seen."""
    one, other = sample(5, 7), sample(6, 7)
    found = statistics.paired(one, other, HOW)
    count = 0
    for ways in itertools.product((False, True), repeat=7):
        swap = np.array(ways)
        a, b = (np.where(swap, y, x) for x, y in ((one[0], other[0]), (other[0], one[0])))
        u, v = (np.where(swap, y, x) for x, y in ((one[1], other[1]), (other[1], one[1])))
        difference = a.sum() / u.sum() - b.sum() / v.sum()
        count += abs(difference) >= abs(found.value) - 1e-12
    assert found.p == count / 128


def test_the_exchange_test_is_scipys() -> None:
    """With equal weights the p-value is that of SciPy's paired permutation test."""
    rng = np.random.default_rng(7)
    one, other = rng.normal(0.10, 0.03, 30), rng.normal(0.12, 0.03, 30)
    ones = np.ones(30)
    found = statistics.paired((one, ones), (other, ones), Statistics(resamples=4000))
    theirs = stats.permutation_test(
        (one, other),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=4000,
        rng=np.random.default_rng(8),
    )
    assert found.p == pytest.approx(theirs.pvalue, abs=0.02)
    assert found.value == pytest.approx(theirs.statistic)


def test_equal_systems_differ_rarely() -> None:
    """Under no difference p is below 0.05 in about 5 of 100 comparisons; under a clear one
    always."""
    rng, ones = np.random.default_rng(9), np.ones(20)
    how, rejected, clear = Statistics(resamples=200), 0, 0
    for _ in range(60):
        hard = rng.gamma(4, 0.05, 20)
        one, other = (hard + rng.normal(0, 0.05, 20) for _ in range(2))
        rejected += (statistics.paired((one, ones), (other, ones), how).p or 0) < 0.05
        clear += (statistics.paired((one, ones), (other + 0.1, ones), how).p or 0) < 0.05
    assert 0 < rejected <= 8
    assert clear == 60


def test_a_system_against_itself() -> None:
    """No difference: 0, an interval of 0, p of 1."""
    one = sample(10, 20)
    assert statistics.paired(one, one, HOW) == statistics.Difference(0.0, (0.0, 0.0), 1.0)


def test_the_jackknife_of_a_mean_is_its_t_interval() -> None:
    """Leaving out single pairs gives the classical paired t interval and p-value."""
    rng = np.random.default_rng(11)
    one, other = rng.normal(3, 1, 15), rng.normal(2, 1, 15)
    sides = [
        statistics.replicates_of(functools.partial(mean_of, values), 15, HOW)
        for values in (one, other)
    ]
    found = statistics.paired_jackknife((one.mean(), other.mean()), (sides[0], sides[1]), HOW)
    theirs = stats.ttest_rel(one, other)
    assert found.interval == pytest.approx(tuple(theirs.confidence_interval()))
    assert found.p == pytest.approx(theirs.pvalue)


def test_the_interval_of_a_distance_stays_above_zero() -> None:
    """The jackknife is made of logarithms; about 95 in 100 intervals hold the truth."""
    rng, held = np.random.default_rng(13), 0
    for _ in range(100):
        values = rng.lognormal(0, 1, 60)
        without = statistics.replicates_of(functools.partial(mean_of, values), 60, HOW)
        low, high = statistics.jackknife(float(values.mean()), without, HOW) or (0, 0)
        assert low > 0
        held += low <= np.exp(0.5) <= high
    assert held >= 86
    assert statistics.jackknife(1.0, [], HOW) is None
    assert statistics.jackknife(1.0, [0.5, 0.0, 2.0], HOW) is None


def test_groups_are_equal_and_leave_out_every_song_once() -> None:
    """Of many songs twenty groups are left out, sizes differ by one at most."""
    kept = np.array(statistics.leave_out(1007, HOW))
    assert kept.shape == (20, 1007)
    assert ((~kept).sum(axis=0) == 1).all()
    assert {50, 51} == set((~kept).sum(axis=1))


def test_paired_groups_see_small_differences() -> None:
    """A difference that all songs share is found although the songs differ much more."""
    rng = np.random.default_rng(12)
    songs = rng.normal(5, 2, 60)
    other = songs + 0.1 + rng.normal(0, 0.1, 60)
    sides = [
        statistics.replicates_of(functools.partial(mean_of, values), 60, HOW)
        for values in (songs, other)
    ]
    found = statistics.paired_jackknife((songs.mean(), other.mean()), (sides[0], sides[1]), HOW)
    assert found.p is not None and found.p < 1e-3
    assert found.interval is not None and found.interval[0] < -0.1 < found.interval[1] < 0


def test_holm() -> None:
    """The textbook's example; what was not tested counts for nothing."""
    adjusted = statistics.holm([0.01, None, 0.04, 0.03, 0.005])
    assert adjusted == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06),
                        pytest.approx(0.02)]  # fmt: skip
