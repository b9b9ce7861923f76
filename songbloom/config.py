"""The settings of every command: one frozen dataclass a TOML table, each value with its origin.

A value comes from the first of: a flag, an environment variable `SONGBLOOM_<TABLE>_<KEY>`, the
TOML file, a preset (training only), the default in `songbloom.tables`. The TOML file is the one
named, else `./songbloom.toml`, else `songbloom.toml` in the user's configuration folder. Its table
[model] is kept as it stands: it changes single values of a preset's model.
"""

import dataclasses
import difflib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any, get_args, get_type_hints

from songbloom.errors import SongBloomError, UsageError
from songbloom.tables import Config

FILE_NAME = "songbloom.toml"


@dataclass(frozen=True)
class Loaded:
    """A checked configuration.

    `path` is the TOML file that was read (None: none was found); `origins` tells for each
    `table.key` where its value came from: `default`, a preset, a file, an environment variable or a
    flag. `model` is the file's table [model], unchecked.
    """

    config: Config
    path: Path | None
    origins: Mapping[str, str]
    model: Mapping[str, Any]


def tables() -> dict[str, type]:
    """Table name -> its dataclass, in the order they are shown."""
    return {f.name: type(f.default) for f in dataclasses.fields(Config)}


def keys(table: str) -> dict[str, "dataclasses.Field[Any]"]:
    """Key -> its field (`default` and `metadata`), in order."""
    return {f.name: f for f in dataclasses.fields(tables()[table])}


def kind(table: str, key: str) -> type:
    """`int`, `float`, `str` or `bool`: what the key holds when it is set."""
    hint = get_type_hints(tables()[table])[key]
    return next((arg for arg in get_args(hint) if arg is not NoneType), hint)


def doc(table: str, key: str) -> str:
    """One line of meaning, with unit and choices."""
    meta = keys(table)[key].metadata
    extras = [str(meta["unit"])] if "unit" in meta else []
    extras += [" | ".join(meta["choices"])] if "choices" in meta else []
    return f"{meta['doc']} ({'; '.join(extras)})" if extras else str(meta["doc"])


def default_text(table: str, key: str) -> str:
    """The default in words: its value, or what leaving the key out means."""
    spec = keys(table)[key]
    return str(spec.metadata["unset"] if spec.default is None else spec.default)


def find(folder: Path | None = None) -> Path | None:
    """The TOML file read when none is named: in `folder` (the current one), else the user's."""
    import platformdirs  # only needed when there is no file here

    here = (folder or Path.cwd()) / FILE_NAME
    if here.is_file():
        return here
    user = platformdirs.user_config_path("songbloom", appauthor=False) / FILE_NAME
    return user if user.is_file() else None


def load(
    path: Path | None = None,
    *,
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    preset: tuple[str, Mapping[str, object]] | None = None,
) -> Loaded:
    """Put together file, environment and flags.

    `flags` maps `table.key` to a value; None means that the flag was not given. `preset` is a name
    and values that stand above the defaults only, `table.key` as well. `UsageError` for an
    unknown table or key (naming the nearest), a wrong type, or a value out of range, always saying
    where it was written; `SongBloomError` for a file that cannot be read.
    """
    source = path or find()
    values: dict[str, object] = {}
    origins = {f"{t}.{k}": "default" for t in tables() for k in keys(t)}
    model: dict[str, Any] = {}
    if preset is not None:
        _merge(values, origins, preset[1], f"preset {preset[0]}")
    if source is not None:
        found, model = _read(source)
        _merge(values, origins, found, str(source))
    for name, (variable, value) in _from_environment(
        os.environ if environment is None else environment
    ).items():
        _merge(values, origins, {name: value}, variable)
    for name, value in (flags or {}).items():
        if value is not None:
            table, key = name.split(".")
            flag = str(keys(table)[key].metadata.get("flag", "command line"))
            _merge(values, origins, {name: value}, flag)
    built = {
        table: cls(**{k: values[f"{table}.{k}"] for k in keys(table) if f"{table}.{k}" in values})
        for table, cls in tables().items()
    }
    return Loaded(Config(**built), source, MappingProxyType(origins), model)


def example() -> str:
    """The text of `config.toml.example`: every table and key, its meaning, its default."""
    lines = [
        "# songbloom.toml: every table and key with its default.",
        "# Copy it to ./songbloom.toml, or to the folder that `songbloom config show` names.",
        "# SONGBLOOM_<TABLE>_<KEY> in the environment wins over this file; flags win over both.",
    ]
    for table, cls in tables().items():
        lines += ["", f"# {cls.__doc__}", f"[{table}]"]
        for key, spec in keys(table).items():
            unset = spec.default is None
            absent = f" Left out: {default_text(table, key)}." if unset else ""
            lines.append(f"# {doc(table, key)}{absent}")
            value = spec.metadata["example"] if unset else spec.default
            lines.append(f"{'# ' if unset else ''}{key} = {toml_value(value)}")
    return "\n".join(lines) + "\n"


def toml_value(value: object) -> str:
    """A str, bool, int or float as TOML writes it."""
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value).lower() if isinstance(value, bool) else str(value)


def nearest(word: str, known: list[str]) -> str:
    """`did you mean 'seed'?`, or the list of what is known when nothing is near."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"


def _merge(
    values: dict[str, object], origins: dict[str, str], new: Mapping[str, object], origin: str
) -> None:
    for name, value in new.items():
        table, key = name.split(".")
        values[name] = _checked(table, key, value, origin)
        origins[name] = origin


def _read(path: Path) -> tuple[dict[str, object], dict[str, Any]]:
    """A TOML file as `table.key` -> value, its names checked; and its table [model]."""
    from songbloom import toml  # the parser costs start-up time that `--help` need not pay

    try:
        text = path.read_text(encoding="utf-8")
        document = toml.loads(text)
    except OSError as error:
        raise SongBloomError(
            f"{path}: cannot be read ({error.strerror or error})",
            "Name another file with --config, or leave it out.",
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 text", "Save it as UTF-8.") from error
    except toml.TOMLDecodeError as error:
        raise UsageError(
            f"{path}: is not TOML ({error})", "Compare with `songbloom config show --toml`."
        ) from error
    found: dict[str, object] = {}
    model = document.pop("model", {})
    if not isinstance(model, dict):
        raise UsageError(
            f"{path}: key 'model' stands outside of any table", "Write a table [model]."
        )
    for table, content in document.items():
        if table not in tables() or not isinstance(content, dict):
            what = f"unknown table [{table}]" if isinstance(content, dict) else f"key '{table}'"
            where = "" if isinstance(content, dict) else " stands outside of any table"
            raise UsageError(f"{path}: {what}{where}", _sentence(nearest(table, list(tables()))))
        for key, value in content.items():
            if key not in keys(table):
                raise UsageError(
                    f"{path}: unknown key '{key}' in [{table}]",
                    _sentence(nearest(key, list(keys(table)))),
                )
            found[f"{table}.{key}"] = value
    return found, model


def _from_environment(environment: Mapping[str, str]) -> dict[str, tuple[str, object]]:
    """`table.key` -> (variable, value) of every `SONGBLOOM_<TABLE>_<KEY>`."""
    found: dict[str, tuple[str, object]] = {}
    for table in tables():
        prefix = f"SONGBLOOM_{table.upper()}_"
        for variable in sorted(v for v in environment if v.startswith(prefix)):
            key = variable.removeprefix(prefix).lower()
            if key not in keys(table):
                known = [prefix + k.upper() for k in keys(table)]
                raise UsageError(
                    f"{variable}: no such setting (in the environment)",
                    _sentence(nearest(variable, known)),
                )
            value = _parse(kind(table, key), environment[variable])
            found[f"{table}.{key}"] = (variable, value)
    return found


def _parse(wanted: type, text: str) -> object:
    """A variable's text as the wanted type; text that cannot be one stays text, to be refused."""
    if wanted is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    try:
        return wanted(text)
    except ValueError:
        return text


def _checked(table: str, key: str, value: object, origin: str) -> object:
    """The value (an int made float where one is wanted); `UsageError` when it cannot be meant."""
    meta = keys(table)[key].metadata
    wanted = kind(table, key)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    problem = ""
    if type(value) is not wanted:
        problem = f"expected {_a(wanted)}"
    elif isinstance(value, float) and not math.isfinite(value):
        problem = "expected a finite number"
    elif "choices" in meta and value not in meta["choices"]:
        problem = f"expected one of {', '.join(meta['choices'])}"
    elif isinstance(value, str) and not value.strip():
        problem = "expected some text"
    elif isinstance(value, int | float) and (limit := _limit(meta, value)):
        problem = f"expected {limit}"
    if not problem:
        return value
    name = origin if origin.startswith(("--", "SONGBLOOM_")) else f"{origin}: {table}.{key}"
    raise UsageError(
        f"{name}: {value!r} is not possible; {problem}",
        f"Leave it out for the default: {default_text(table, key)}.",
    )


def _limit(meta: Mapping[str, Any], value: float) -> str:
    """Which limit a number breaks, in words; empty when none."""
    if "minimum" in meta and value < meta["minimum"]:
        return f"{meta['minimum']} or more"
    if "maximum" in meta and value > meta["maximum"]:
        return f"{meta['maximum']} or less"
    return ""


def _a(wanted: type) -> str:
    names = {int: "a whole number", float: "a number", str: "text in quotes", bool: "true or false"}
    return names[wanted]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
