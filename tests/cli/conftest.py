"""The command line run in this process, in a folder and a home of its own."""

import io
import os
import sys
from pathlib import Path

import pytest
from cli.helpers import Cli, Ran

from songbloom_cli.main import run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder; the user's configuration and data folders lie inside it."""
    for name in [name for name in os.environ if name.startswith("SONGBLOOM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


@pytest.fixture
def cli(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`cli("generate", "x.txt", stdin=b"...")` -> exit code, stdout, stderr."""

    def call(*args: object, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        capsys.readouterr()
        code = run([str(arg) for arg in args])
        shown = capsys.readouterr()
        return Ran(code, shown.out, shown.err)

    return call
