"""Fixtures: the miniature release, imported once; a nano model folder; reproducible threads and
examples."""

import os
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # commands in processes of their own: workers share the cores

import hypothesis
import pytest
import torch
from safetensors import safe_open

# files of a minute and more: processes that share the tests begin with them, or one waits for them
LONGEST = ("test_runner.py", "test_prepare.py", "test_bad_songs.py", "test_resume.py")
LONGEST += ("test_engines.py", "test_reading.py", "test_single.py", "test_project.py")
# the same examples on every machine, however slow it is
hypothesis.settings.register_profile(
    "anywhere",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("anywhere")
RELEASE_MINI = Path(__file__).parent / "data" / "release_mini"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, else in order."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Test sizes are too small to share between threads, and workers share the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def release_mini() -> Path:
    """A folder with a random-weight release in the released file formats."""
    return RELEASE_MINI


@pytest.fixture(scope="session")
def mini_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature release, imported."""
    from songbloom.model.release import import_release

    folder = tmp_path_factory.mktemp("models") / "mini"
    import_release(RELEASE_MINI, folder)
    return folder


@pytest.fixture
def mini(mini_folder: Path) -> Any:
    """The miniature release, loaded afresh (tests may change its weights)."""
    from songbloom.model.checkpoint import load_model

    return load_model(mini_folder, device=torch.device("cpu"))


@pytest.fixture(scope="session")
def expected() -> dict[str, torch.Tensor]:
    """Inputs and outputs of the miniature release."""
    with safe_open(RELEASE_MINI / "expected.safetensors", "pt") as stream:
        return {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118


@pytest.fixture(scope="session")
def expected_phonemes() -> str:
    """The phoneme string that the miniature release's lyrics become."""
    with safe_open(RELEASE_MINI / "expected.safetensors", "pt") as stream:
        return str(stream.metadata()["lyric_phonemes"])
