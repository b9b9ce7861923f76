"""config show: every setting, and where it comes from."""

import json
from pathlib import Path

import pytest
from cli.helpers import Cli, assert_refused

from songbloom import config, toml


def test_shows_what_the_commands_take(
    cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The TOML it prints, given back as a file, is the same configuration."""
    (home / "songbloom.toml").write_text('[generate]\ntop_k = 7\nmodel = "a\\\\b"\n')
    monkeypatch.setenv("SONGBLOOM_SYNTH_SEED", "9")
    shown = cli("config", "show").out
    (home / "copy.toml").write_text(shown)
    monkeypatch.delenv("SONGBLOOM_SYNTH_SEED")
    copy = config.load(home / "copy.toml", environment={}).config
    assert (copy.generate.top_k, copy.generate.model, copy.synth.seed) == (7, "a\\b", 9)
    assert cli("config", "show", "--config", "copy.toml").out == shown


def test_origin(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--origin names file, variable or default for every key, as TOML comments and as JSON."""
    (home / "songbloom.toml").write_text("[generate]\ntop_k = 7\n")
    monkeypatch.setenv("SONGBLOOM_SYNTH_SEED", "9")
    text = cli("config", "show", "--origin").out
    assert toml.loads(text)["generate"]["top_k"] == 7
    lines = {line.split(" =")[0].removeprefix("# "): line for line in text.splitlines()}
    assert lines["top_k"].endswith("songbloom.toml")
    assert lines["temperature"].endswith("# default")
    assert "# SONGBLOOM_SYNTH_SEED" in text
    data = json.loads(cli("config", "show", "--origin", "--json").out)
    assert data["path"].endswith("songbloom.toml")
    assert data["generate"]["temperature"] is None
    assert data["origins"]["synth.seed"] == "SONGBLOOM_SYNTH_SEED"
    assert data["origins"].keys() == {f"{t}.{k}" for t in config.tables() for k in config.keys(t)}


def test_wrong_settings_stop_every_command(cli: Cli, home: Path) -> None:
    """A misspelt key is refused wherever the file is read, with the nearest name."""
    (home / "songbloom.toml").write_text("[generate]\nsede = 1\n")
    for args in (("config", "show"), ("models",), ("synth", "--songs", 1, "-o", "c")):
        assert_refused(cli(*args), 2, "songbloom.toml", "sede", "'seed'")
