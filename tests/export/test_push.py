"""`export --push`: what a hub holds afterwards is the folder, and who may not push is told so."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.helpers import Ran, assert_refused
from export.upload_hub import TOKEN, UploadHub
from generation.conftest import make_model
from training.runs import here

constants = pytest.importorskip("huggingface_hub.constants")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadHub]:
    """A hub that this process pushes to, logged in."""
    served = UploadHub()
    monkeypatch.setattr(constants, "ENDPOINT", served.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    yield served
    served.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "model"
    make_model(folder)
    return folder


def push(model: Path, repo: str, folder: Path, *words: str) -> Ran:
    return here(["export", model, "-o", folder / "out", "--push", repo, "-q", *words])


def test_push(hub: UploadHub, small: Path, tmp_path: Path) -> None:
    """A private repository is made; it holds the folder's files to the byte, weights through LFS,
    in one commit that names the weights; a second push goes into the same repository."""
    ran = push(small, "me/song", tmp_path)
    assert ran.code == 0, ran.err
    out = tmp_path / "out"
    assert ran.out.splitlines()[0] == str(out)
    assert ran.out.splitlines()[1].startswith(f"{hub.url}/me/song/commit/")
    assert hub.repos == {"me/song": True}
    assert hub.files == {("me/song", path.name): path.read_bytes() for path in out.iterdir()}
    assert ("me/song", "README.md") in hub.files
    assert sorted(hub.by_lfs) == ["model.safetensors", "vae.safetensors"]
    assert len(hub.messages) == 1 and hub.messages[0].startswith("small: model ")
    ran = push(small, "me/song", tmp_path, "--force", "--dtype", "bfloat16")
    assert ran.code == 0, ran.err
    assert hub.files["me/song", "model.safetensors"] == (out / "model.safetensors").read_bytes()


def test_refused(
    hub: UploadHub, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another's name, no name at all, a stranger, no hub: what to type; the folder is there."""
    assert_refused(push(small, "you/song", tmp_path), 4, "you/song", "hf auth login")
    assert (tmp_path / "out" / "model.json").exists() and not hub.files
    assert_refused(push(small, "no name/", tmp_path, "--force"), 4, "no name/", "OWNER/NAME")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert_refused(push(small, "me/song", tmp_path, "--force"), 4, "me/song", "hf auth login")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert_refused(push(small, "me/song", tmp_path, "--force"), 1, "me/song", "--force")


def test_without_the_library(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert_refused(push(small, "me/song", tmp_path), 4, "songbloom[hub]")
