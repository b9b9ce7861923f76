"""merge-lora: an adapter and its base in, a model out; what does not fit is refused."""

import json
from pathlib import Path

import pytest
import torch
from cli.helpers import Cli, assert_refused
from generation.conftest import make_model
from model.small import seeded

from songbloom.model.checkpoint import load_model
from songbloom.training.lora import LoraConfig, add_lora, lora_state, save_lora


@pytest.fixture
def base(home: Path) -> Path:
    make_model(home / "base")
    return home / "base"


@pytest.fixture
def adapter(base: Path) -> Path:
    model = load_model(base, device=torch.device("cpu"))
    add_lora(model.songbloom, LoraConfig(rank=2), seeded(1))
    save_lora(base.parent / "adapter", lora_state(model.songbloom), LoraConfig(rank=2), model.info)
    return base.parent / "adapter"


def test_merge(cli: Cli, base: Path, adapter: Path) -> None:
    """stdout is the new model's folder; its model.json, shown with --json, names both parts."""
    ran = cli("merge-lora", base, adapter, "-o", "merged")
    assert (ran.code, ran.out, ran.err) == (0, "merged\n", "")
    written = json.loads(Path("merged/model.json").read_text("utf-8"))
    assert written["name"] == "merged" and written["merged"]["base"]["name"] == "small"
    ran = cli("merge-lora", base, adapter, "-o", "merged", "--force", "--name", "ours", "--json")
    assert ran.code == 0 and json.loads(ran.out)["name"] == "ours"


def test_refusals(cli: Cli, base: Path, adapter: Path, home: Path) -> None:
    """Folders that are none, another base, and a target that is there: each says what to do."""
    make_model(home / "other", end_bias=2.0)
    merge = ("merge-lora", base, adapter, "-o")
    assert cli(*merge, "merged").code == 0
    assert_refused(cli(*merge, "merged"), 2, "merged", "--force")
    assert_refused(cli(*merge, base, "--force"), 2, "base")
    assert_refused(cli("merge-lora", "other", adapter, "-o", "x"), 1, "another model than small")
    assert_refused(cli("merge-lora", base, base, "-o", "x"), 4, "adapter.json")
    assert_refused(cli("merge-lora", adapter, base, "-o", "x"), 4, "model.json")
    assert_refused(cli("merge-lora", base, adapter), 2, "--output")
    assert not Path("x").exists()
