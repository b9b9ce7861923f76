"""Shell completion: the scripts, and what they ask the program for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli.helpers import Cli, assert_refused

SYNTAX = {"bash": ["bash", "-n"], "zsh": ["zsh", "-n"], "fish": ["fish", "-n"]}


@pytest.mark.parametrize("shell", SYNTAX)
def test_script_names_the_program(cli: Cli, tmp_path: Path, shell: str) -> None:
    """The script of each shell asks `songbloom` for words; the shell itself accepts it."""
    ran = cli("completion", shell)
    assert (ran.code, ran.err) == (0, "")
    assert "_SONGBLOOM_COMPLETE" in ran.out and f"complete_{shell}" in ran.out
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed, so its parser cannot be asked")
    script = tmp_path / "script"
    script.write_text(ran.out)
    subprocess.run([*SYNTAX[shell], str(script)], check=True)


def test_unknown_shell(cli: Cli) -> None:
    """Another shell is refused with those that are known."""
    assert_refused(cli("completion", "tcsh"), 2, "tcsh", "bash, zsh, fish")


def offered(line: str) -> list[str]:
    """What bash would be offered after `line` (the last word is unfinished)."""
    environment = {
        **os.environ,
        "_SONGBLOOM_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    command = [sys.executable, "-m", "songbloom_cli"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return ran.stdout.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("songbloom gen", {"generate"}),
        ("songbloom generate --sk", {"--sketch-cfg"}),
        ("songbloom generate x --format ", {"flac", "wav", "mp3", "ogg"}),
        ("songbloom model show full_", {"full_150s", "full_240s"}),
        ("songbloom pull songbloom_full_2", {"songbloom_full_240s"}),
    ],
)
def test_words_are_offered(line: str, words: set[str]) -> None:
    """Commands, flags and the values of flags complete."""
    assert words <= set(offered(line))
