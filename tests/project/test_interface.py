"""What users' scripts rely on changes only on purpose: commands, options, TOML keys, exit codes.

`python tests/project/test_interface.py` writes the list anew; the difference is then to be read.
"""

from pathlib import Path

from songbloom import config, errors
from songbloom_cli import main, man

LIST = Path(__file__).parent / "interface.txt"


def interface() -> str:
    """Commands with their options, then TOML keys with kind, default, flag, then exit codes."""
    lines = man.interface()
    for table in config.tables():
        for key in config.keys(table):
            kind = config.kind(table, key).__name__
            lines.append(f"[{table}] {key}: {kind}, {config.default_text(table, key)}")
    for name in ("SongBloomError", "UsageError", "PartialError", "MissingAssetError"):
        lines.append(f"exit {getattr(errors, name).exit_code}: {name}")
    return "\n".join([*lines, f"exit {main.INTERRUPTED}: interrupted"]) + "\n"


def test_interface_is_the_checked_in_one() -> None:
    """Names are as listed in interface.txt."""
    assert interface() == LIST.read_text("utf-8")


def test_flags_of_the_configuration_exist() -> None:
    """Every flag that a key names is an option of some command."""
    options = {opt for _, command in man.commands() for p in command.params for opt in p.opts}
    for table in config.tables():
        for key, spec in config.keys(table).items():
            if "flag" in spec.metadata:
                assert spec.metadata["flag"] in options, f"{table}.{key}"


def test_every_generate_key_has_a_flag() -> None:
    """What a file can say about generation, the command line can say as well."""
    assert all("flag" in spec.metadata for spec in config.keys("generate").values())


if __name__ == "__main__":
    LIST.write_text(interface(), "utf-8")
