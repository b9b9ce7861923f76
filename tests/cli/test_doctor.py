"""doctor: what is installed, and models whose files are not what they state."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from cli.helpers import Cli

from songbloom import toml
from songbloom.doctor import EXTRAS
from songbloom.stages.stage import STAGES

ROOT = Path(__file__).parents[2]


def test_report(cli: Cli) -> None:
    """Versions, threads, devices, attention, extras and programs, for people and as JSON."""
    ran = cli("doctor", "--json")
    report = json.loads(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert report["torch"]["version"] == torch.__version__
    assert report["torch"]["threads"] == torch.get_num_threads()
    assert (report["devices"]["cuda"] == "none") == (not torch.cuda.is_available())
    assert {"ffmpeg", "espeak-ng", "festival", "fluidsynth"} == report["programs"].keys()
    shown = cli("doctor").out
    assert torch.__version__ in shown and report["models_folder"] in shown


def test_missing_extra_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra that is not there comes with what to type."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    report = json.loads(cli("doctor", "--json").out)
    assert "pip install 'songbloom[hub]'" in report["extras"]["hub"]


def test_extras_are_those_of_the_package() -> None:
    """Doctor looks at every extra that users may install."""
    project = toml.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert EXTRAS.keys() == project["optional-dependencies"].keys() - {"dev"}


def test_backends_of_the_stages(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stage names its backend and why; one whose asset is missing says what to type."""
    stages = json.loads(cli("doctor", "--json").out)["stages"]
    assert tuple(stages) == STAGES
    assert stages["separate"].startswith("seedling: ")
    (home / "songbloom.toml").write_text('[prepare]\nseparate_model = "gone"\n')
    stages = json.loads(cli("doctor", "--json").out)["stages"]
    assert stages["separate"].startswith("none; ") and "gone" in stages["separate"]
    assert stages["tokenize"].startswith("seedling: ")


def test_tools(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tools environment's state: what is missing, and a Python that does not work."""
    tools = json.loads(cli("doctor", "--json").out)["tools"]
    assert tools["muq"].startswith("missing; type: songbloom tools install muq")
    assert "CC BY-NC" in tools["muq"]
    monkeypatch.setenv("SONGBLOOM_TOOLS_PYTHON", str(home / "gone"))
    tools = json.loads(cli("doctor", "--json").out)["tools"]
    assert tools["environment"].startswith("none; ") and "gone" in tools["environment"]


def test_models_are_verified(cli: Cli, home: Path, mini_folder: Path) -> None:
    """Each model's files are compared with their hashes; a damaged one is told by file."""
    folder = home / "models"
    shutil.copytree(mini_folder, folder / "good")
    shutil.copytree(mini_folder, folder / "bad")
    (folder / "bad" / "vae.safetensors").write_bytes(b"x")
    (home / "songbloom.toml").write_text(f'[models]\nfolder = "{folder}"\n')
    models = json.loads(cli("doctor", "--json").out)["models"]
    assert models["good"] == "ok"
    assert "vae.safetensors" in models["bad"]


def test_embedded_models_are_whole(cli: Cli) -> None:
    """The models in the package are what they say."""
    models = json.loads(cli("doctor", "--json").out)["models"]
    assert set(models.values()) <= {"ok"}
