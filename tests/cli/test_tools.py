"""tools: what is installed, what would be, and whether it works."""

import json
import sys
from pathlib import Path

import pytest
from cli.helpers import Cli, assert_refused

from songbloom.stages import tools_environment


def test_list(cli: Cli) -> None:
    """Each tool with its use and licence; MuQ's weights are named as non-commercial."""
    rows = json.loads(cli("tools", "list", "--json").out)
    assert [row["name"] for row in rows] == list(tools_environment.TOOLS)
    assert not any(row["version"] for row in rows)
    assert "CC BY-NC" in rows[0]["licence"]
    shown = cli("tools", "list").out
    assert all(name in shown for name in tools_environment.TOOLS)


def test_dry_run(cli: Cli, tmp_path: Path) -> None:
    """The steps with their packages, the Python and the folder; nothing is made."""
    plan = json.loads(cli("tools", "install", "muq", "--dry-run", "--json").out)
    assert list(plan["steps"]) == ["torch", "muq"] and plan["steps"]["muq"] > 30
    assert plan["python"] == sys.executable
    assert plan["disk_bytes"] > 1e8 and plan["seconds"] > 10
    assert not Path(plan["folder"]).exists() and str(tmp_path) in plan["folder"]
    assert "stable-audio-tools" in cli("tools", "install", "--dry-run").out


def test_check_of_what_is_not_there(cli: Cli) -> None:
    """Nothing installed, or not the one that is named: exit code 4 and what to type."""
    assert_refused(cli("tools", "check"), 4, "songbloom tools install")
    assert_refused(cli("tools", "check", "whisperx"), 4, "tools install whisperx")
    report = cli("tools", "check", "whisperx", "--json")
    assert report.code == 4 and "install whisperx" in json.loads(report.out)["whisperx"]["hint"]


def test_check_starts_the_tool(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python without the tool is found out by importing it."""
    monkeypatch.setenv(tools_environment.PYTHON_VARIABLE, sys.executable)
    assert_refused(cli("tools", "check", "muq"), 1, "No module named 'muq'", "unset")
    assert "muq  -" not in cli("tools", "list").out


def test_wrong_arguments(cli: Cli, tmp_path: Path) -> None:
    """Names of no tool and Pythons that are none."""
    for command in ("install", "check"):
        assert_refused(cli("tools", command, "musq"), 2, "musq", "whisperx")
    assert_refused(cli("tools", "install", "--python", tmp_path), 2, "does not run", "--python")
