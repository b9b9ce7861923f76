"""Lyrics and a clip to sing from, and the user's settings out of sight."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli.helpers import Ran
from generation.conftest import LYRICS
from training.runs import here

from songbloom.files import sha256


@pytest.fixture(autouse=True, scope="session")
def no_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The user's own settings and models are out of sight."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp("home")))
        yield


def song_of(stage: Path, model: Path, path: Path) -> str:
    """The hash of a song that the command makes with this model."""
    ran = generate(stage, model, path)
    assert ran.code == 0, ran.err
    return sha256(path)


def generate(stage: Path, model: Path, path: Path) -> Ran:
    return here(["generate", stage / "lyrics.txt", "--prompt", stage / "clip.wav", "-q",
                 "-o", path, "--model", model, "--format", "wav"])  # fmt: skip


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with lyrics and a clip."""
    folder = tmp_path_factory.mktemp("stage")
    clip = 0.3 * np.sin(2 * np.pi * 220 * np.arange(48_000) / 48_000)
    soundfile.write(folder / "clip.wav", np.stack([clip, clip], axis=1), 48_000)
    (folder / "lyrics.txt").write_text(LYRICS, encoding="utf-8")
    return folder
