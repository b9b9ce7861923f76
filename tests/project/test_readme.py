"""What the README tells people to type is what the program takes."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from songbloom_cli import man

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def typed() -> Iterator[list[str]]:
    """Every command of the README's shell blocks, in words, without comments and pipes."""
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL):
        for line in block.splitlines():
            yield from (shlex.split(part) for part in line.split("#")[0].split("|") if part.strip())


def full(words: list[str]) -> list[str]:
    """Without the short forms: `eval` is `evaluate`, whose `run` may be left out."""
    if words[1] in ("eval", "evaluate"):
        named = ("evaluate", words[2]) in dict(man.commands())
        return [words[0], "evaluate", *(() if named else ("run",)), *words[2:]]
    return words


COMMANDS = [full(words) for words in typed() if words[0] == "songbloom"]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_command_is_one_of_ours(words: list[str]) -> None:
    """The command exists, and every option that is typed is one of its own."""
    known = dict(man.commands())
    name = next(tuple(words[1:n]) for n in (3, 2) if tuple(words[1:n]) in known)
    options = {opt for param in known[name].params for opt in param.opts}
    given = {word for word in words if re.match(r"--?[a-z]", word)}
    assert given <= options


def test_make_targets_exist() -> None:
    """Every `make X` of the README is a target."""
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    made = [words[1] for words in typed() if words[0] == "make"]
    assert made and set(made) <= set(targets)


def test_every_place_exists() -> None:
    """Files and folders that the README names in code marks with a slash are in the tree."""
    for name in re.findall(
        r"`((?:songbloom|songbloom_cli|tests|benchmarks|examples|man)/[^`* ]*)`", README
    ):
        assert (ROOT / name).exists(), name


def test_nothing_is_left_to_fill_in() -> None:
    """No capital-letter placeholder has stayed in the text."""
    assert not re.findall(r"\b[A-Z]+_[A-Z]+\b", re.sub(r"`[^`]*`", "", README))


def test_every_command_is_told_of() -> None:
    """Each command stands in the README once at least."""
    told = {" ".join(words) for words in COMMANDS}
    for name, _ in man.commands():
        assert any(line.startswith(f"songbloom {' '.join(name)}") for line in told), name
