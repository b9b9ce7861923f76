"""A small dataset, and runs that several tests look at, each made once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from training.runs import Bench, apart, make_bench, trained

STEPS = 50


@pytest.fixture(autouse=True, scope="session")
def no_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The user's own settings and models are out of sight."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Twelve songs of eight seconds and a model of one layer each."""
    return make_bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="session")
def one_rank(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process."""
    run = tmp_path_factory.mktemp("one") / "run"
    trained(bench.words(run, "--steps", STEPS, "--save-every", 20))
    return run


@pytest.fixture(scope="session")
def two_ranks(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with two processes of half the micro batch, through torch's launcher."""
    folder = tmp_path_factory.mktemp("two")
    words = ("--steps", STEPS, "--save-every", 20, "--cpu-ranks", 2, "--micro-batch", 2)
    apart(bench.words(folder / "run", *words), folder / "log")
    return folder / "run"
