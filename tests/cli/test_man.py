"""The man pages in man/ are those of this program."""

import shutil
import subprocess
from pathlib import Path

import pytest

from songbloom import config
from songbloom_cli import man

FOLDER = Path(__file__).parents[2] / "man"


def test_pages_are_not_stale() -> None:
    """man/ holds exactly what the app gives; `make man` writes it."""
    pages = man.pages()
    there = {path.name: path.read_text("utf-8") for path in FOLDER.iterdir()}
    assert there.keys() == pages.keys(), "type: make man"
    for name, text in pages.items():
        assert there[name] == text, f"{name} is stale; type: make man"


def test_write_removes_pages_of_old_commands(tmp_path: Path) -> None:
    """A command that is gone leaves no page, and other files stay."""
    (tmp_path / "songbloom-gone.1").write_text("old")
    (tmp_path / "README").write_text("mine")
    man.write(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {*man.pages(), "README"}


def test_a_page_for_every_command_and_key() -> None:
    """Each command has a page with its options, and songbloom.toml(5) has every key."""
    pages = man.pages()
    for words, command in man.commands():
        page = pages[f"songbloom-{'-'.join(words)}.1"].replace("\\-", "-")
        for param in command.params:
            word = man._names(param).split()[0]
            assert word in page
    for table in config.tables():
        for key in config.keys(table):
            assert f"\\fB{key}\\fR" in pages["songbloom.toml.5"]


def test_groff_has_no_complaint() -> None:
    """The pages are clean roff."""
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    for path in sorted(FOLDER.iterdir()):
        command = ["groff", "-man", "-Tutf8", "-ww", "-z", str(path)]
        assert subprocess.run(command, capture_output=True, text=True).stderr == "", path.name
