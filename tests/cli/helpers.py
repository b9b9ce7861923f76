"""How a command line ended, and the form that every refusal has."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ran:
    """How a command line ended."""

    code: int
    out: str
    err: str


Cli = Callable[..., Ran]


def assert_refused(ran: Ran, code: int, *words: str) -> None:
    """One line of what and where, one of what to do, the exit code, and nothing on stdout."""
    assert (ran.code, ran.out) == (code, ""), ran
    lines = ran.err.splitlines()
    assert len(lines) == 2, ran.err
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("  ") and lines[1].strip()
    for word in words:
        assert word in ran.err, f"{word!r} is not in {ran.err!r}"
    assert "fault of songbloom" not in ran.err
