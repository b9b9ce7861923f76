"""The configuration: strict, layered, each value with its origin."""

from pathlib import Path

import pytest

from songbloom import config, toml
from songbloom.audio import FORMATS
from songbloom.config import load
from songbloom.errors import SongBloomError, UsageError
from songbloom.generation.options import DEVICES, DTYPES, GenerateOptions
from songbloom.tables import Config

ROOT = Path(__file__).parents[2]


def written(folder: Path, text: str) -> Path:
    path = folder / "my.toml"
    path.write_text(text, "utf-8")
    return path


def test_example_is_the_code() -> None:
    """config.toml.example is what the dataclasses give."""
    assert (ROOT / "config.toml.example").read_text("utf-8") == config.example()


def test_example_loads_to_the_defaults() -> None:
    """The example as it stands changes nothing: every value in it is the default."""
    loaded = load(ROOT / "config.toml.example", environment={})
    assert loaded.config == Config()


def test_example_uncommented_sets_every_key(tmp_path: Path) -> None:
    """With the comment marks of unset keys removed, every key of every table is set and valid."""
    names = {key for table in config.tables() for key in config.keys(table)}
    lines = [
        line.removeprefix("# ") if line.removeprefix("# ").split(" = ")[0] in names else line
        for line in config.example().splitlines()
    ]
    loaded = load(written(tmp_path, "\n".join(lines)), environment={})
    assert "default" not in loaded.origins.values()


def test_every_key_tells_its_meaning() -> None:
    """Each key has a sentence, each number without choices says its unit or is a plain ratio."""
    for table in config.tables():
        for key, spec in config.keys(table).items():
            assert spec.metadata["doc"].endswith("."), f"{table}.{key}"
            assert spec.default is not None or {"unset", "example"} <= set(spec.metadata)


def test_file_environment_flag_win_in_this_order(tmp_path: Path) -> None:
    """TOML < environment < flag, and each value says where it comes from."""
    path = written(tmp_path, "[generate]\nseed = 1\ntop_k = 2\ntemperature = 1\n")
    loaded = load(
        path,
        environment={"SONGBLOOM_GENERATE_SEED": "3", "SONGBLOOM_GENERATE_TOP_K": "4"},
        flags={"generate.seed": 5, "generate.rng": None},
    )
    generate, origins = loaded.config.generate, loaded.origins
    assert (generate.seed, generate.top_k, generate.temperature) == (5, 4, 1.0)
    assert isinstance(generate.temperature, float)
    assert origins["generate.seed"] == "--seed"
    assert origins["generate.top_k"] == "SONGBLOOM_GENERATE_TOP_K"
    assert origins["generate.temperature"] == str(path)
    assert origins["generate.rng"] == "default"


def test_discovery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """./songbloom.toml is read before the user's own; a named file before both."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    assert load(environment={}).path is None
    user = tmp_path / "config" / "songbloom" / "songbloom.toml"
    user.parent.mkdir(parents=True)
    user.write_text("[generate]\nseed = 1\n")
    assert load(environment={}).config.generate.seed == 1
    (tmp_path / "songbloom.toml").write_text("[generate]\nseed = 2\n")
    assert load(environment={}).config.generate.seed == 2
    named = written(tmp_path, "[generate]\nseed = 3\n")
    assert load(named, environment={}).config.generate.seed == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[generate]\nsede = 1", ("unknown key 'sede'", "[generate]", "'seed'")),
        ("[generte]\nseed = 1", ("unknown table [generte]", "'generate'")),
        ("seed = 1", ("'seed'", "outside of any table")),
        ("generate = 1", ("'generate'", "outside of any table")),
        ("[generate]\nseed = '1'", ("generate.seed", "a whole number")),
        ("[generate]\nseed = true", ("generate.seed", "a whole number")),
        ("[generate]\nseed = 1.5", ("generate.seed", "a whole number")),
        ("[generate]\nseed = -1", ("generate.seed", "0 or more")),
        ("[generate]\nseed = 9223372036854775808", ("generate.seed", "or less")),
        ("[generate]\nnum_steps = 0", ("generate.num_steps", "1 or more", "the model's own")),
        ("[generate]\ntemperature = nan", ("generate.temperature", "finite")),
        ("[generate]\ntemperature = -0.1", ("generate.temperature", "0.0 or more")),
        ("[generate]\nmax_duration = 0", ("generate.max_duration", "0.04 or more")),
        ("[generate]\nformat = 'aiff'", ("generate.format", "flac, wav, mp3, ogg")),
        ("[generate]\nmodel = ' '", ("generate.model", "some text")),
        ("[generate]\nmodel = []", ("generate.model", "text in quotes")),
        ("[generate\nseed = 1", ("is not TOML", "line 1")),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    """Each mistake is named with the file, the key and what was expected."""
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load(path, environment={})
    told = f"{caught.value.message} {caught.value.hint}"
    for word in (str(path), *words):
        assert word in told
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SONGBLOOM_GENERATE_SEED", "one", ("SONGBLOOM_GENERATE_SEED", "whole number")),
        ("SONGBLOOM_GENERATE_SED", "1", ("SONGBLOOM_GENERATE_SED", "SONGBLOOM_GENERATE_SEED")),
        ("SONGBLOOM_SYNTH_WORKERS", "0", ("SONGBLOOM_SYNTH_WORKERS", "1 or more")),
        ("SONGBLOOM_MODELS_FOLDER", "", ("SONGBLOOM_MODELS_FOLDER", "some text")),
    ],
)
def test_wrong_environment(name: str, value: str, words: tuple[str, ...]) -> None:
    """A variable that is misspelt or cannot be meant is refused by its name."""
    with pytest.raises(UsageError) as caught:
        load(ROOT / "config.toml.example", environment={name: value})
    assert all(word in f"{caught.value.message} {caught.value.hint}" for word in words)


def test_foreign_variables_are_left_alone() -> None:
    """Variables that name no table are not ours to judge."""
    environment = {"SONGBLOOM_TOOLS_PYTHON": "python", "PATH": "x"}
    assert load(ROOT / "config.toml.example", environment=environment).config == Config()


def test_unreadable_files(tmp_path: Path) -> None:
    """A missing file, a folder and bytes that are no text are refused by name."""
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing.toml", tmp_path, binary):
        with pytest.raises(SongBloomError, match=str(path)):
            load(path, environment={})


def test_wrong_flag_is_named_as_typed() -> None:
    """A flag's own name stands in its error."""
    with pytest.raises(UsageError, match="--steps: -3 is not possible; expected 1 or more"):
        load(ROOT / "config.toml.example", environment={}, flags={"generate.num_steps": -3})


def test_toml_values_round_trip() -> None:
    """What is written as TOML reads back as it was, quotes and backslashes too."""
    for value in ("a\\b\"c'", "ü", 3, 0.1, True, False):
        assert toml.loads(f"x = {config.toml_value(value)}")["x"] == value


def test_generate_table_fits_the_engine() -> None:
    """[generate] has the engine's options with the same defaults and choices, and the model."""
    values = {key: spec.default for key, spec in config.keys("generate").items()}
    assert values.pop("model") == "seedling"
    options = GenerateOptions(**values)
    assert options == GenerateOptions()
    choices = {k: s.metadata.get("choices") for k, s in config.keys("generate").items()}
    assert (choices["format"], choices["device"], choices["dtype"]) == (FORMATS, DEVICES, DTYPES)
