"""Man pages from the app itself: `python -m songbloom_cli.man man` writes them (`make man`).

One page a command in section 1, and songbloom.toml(5) from the configuration's own texts. The same
code gives the same bytes: nothing here has a date.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from songbloom import config
from songbloom.files import write_text
from songbloom_cli.main import PROGRAM, app

EXIT_STATUS = (
    ("0", "Done."),
    ("1", "Failed."),
    ("2", "The command line, the environment or the TOML file cannot be meant."),
    ("3", "Some items failed; the others are done."),
    ("4", "A model, an extra or a program is missing, or a licence was not accepted."),
    ("130", "Interrupted; what was finished is kept."),
)


def pages() -> dict[str, str]:
    """File name -> text of every man page."""
    root: Any = typer.main.get_command(app)
    found = {f"{PROGRAM}.1": _main_page(root)}
    for words, command in commands():
        name = "-".join((PROGRAM, *words))
        found[f"{name}.1"] = _command_page(name, words, command)
    found["songbloom.toml.5"] = _toml_page()
    return found


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """(words, command) of every command that can be typed, groups opened, in the help's order."""
    root: Any = typer.main.get_command(app)

    def walk(group: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        for name, command in group.commands.items():
            if command.hidden:
                continue
            if hasattr(command, "commands"):
                yield from walk(command, (*words, name))
            else:
                yield (*words, name), command

    return walk(root, ())


def interface() -> list[str]:
    """Every command with its arguments and option names, a line each: what scripts rely on."""
    lines = [f"{PROGRAM} {_names(param)}" for param in _params(typer.main.get_command(app))]
    for words, command in commands():
        lines += [f"{PROGRAM} {' '.join(words)} {_names(param)}" for param in _params(command)]
    return lines


def _names(param: Any) -> str:
    if param.param_type_name == "argument":
        return _metavar(param)
    return " ".join([*param.opts, *param.secondary_opts])


def write(folder: Path) -> None:
    """Make `folder` hold exactly the pages: stale ones are removed."""
    wanted = pages()
    for stale in set(folder.glob("songbloom*.[15]")) - {folder / name for name in wanted}:
        stale.unlink()
    for name, text in wanted.items():
        write_text(folder / name, text)


def _main_page(root: Any) -> str:
    listed = [(" ".join((PROGRAM, *words)), _first(command)) for words, command in commands()]
    return _page(
        PROGRAM,
        1,
        _first(root),
        [
            ("SYNOPSIS", _text(f"`{PROGRAM}` [OPTIONS] COMMAND [ARGS]...")),
            ("DESCRIPTION", _paragraphs(root.help)),
            ("COMMANDS", _items(listed)),
            ("OPTIONS", _options(root)),
            ("EXIT STATUS", _items(list(EXIT_STATUS))),
            ("FILES", _files()),
            ("SEE ALSO", _see([f"{'-'.join((PROGRAM, *w))}(1)" for w, _ in commands()])),
        ],
    )


def _command_page(name: str, words: tuple[str, ...], command: Any) -> str:
    arguments = [p for p in _params(command) if p.param_type_name == "argument"]
    synopsis = " ".join([f"`{PROGRAM} {' '.join(words)}`", "[OPTIONS]", *map(_metavar, arguments)])
    sections = [("SYNOPSIS", _text(synopsis)), ("DESCRIPTION", _paragraphs(command.help))]
    if arguments:
        sections.append(("ARGUMENTS", _items([(_metavar(a), str(a.help)) for a in arguments])))
    sections += [
        ("OPTIONS", _options(command)),
        ("EXIT STATUS", _items(list(EXIT_STATUS))),
        ("SEE ALSO", _see([f"{PROGRAM}(1)", "songbloom.toml(5)"])),
    ]
    return _page(name, 1, _first(command), sections)


def _toml_page() -> str:
    sections = [
        (
            "DESCRIPTION",
            _paragraphs(
                "A TOML file with the tables below; every key may be left out. A flag wins over an "
                "environment variable `SONGBLOOM_<TABLE>_<KEY>`, which wins over this file. An "
                "unknown table or key is an error.\n\n`songbloom config show --origin` prints "
                "every value and where it comes from."
            ),
        )
    ]
    for table, cls in config.tables().items():
        rows = []
        for key in config.keys(table):
            default = f"Default: {config.default_text(table, key)}."
            flag = config.keys(table)[key].metadata.get("flag")
            also = f" Flag: `{flag}`." if flag else ""
            rows.append((key, f"{config.doc(table, key)} {default}{also}"))
        heading = [*_text(str(cls.__doc__)), *_items(rows)]
        sections.append((f"TABLE [{table}]", heading))
    sections += [("FILES", _files()), ("SEE ALSO", _see([f"{PROGRAM}(1)"]))]
    return _page("songbloom.toml", 5, "settings of songbloom", sections)


def _files() -> list[str]:
    return _items(
        [
            ("./songbloom.toml", "Read where no --config names another file."),
            ("$XDG_CONFIG_HOME/songbloom/songbloom.toml", "Read where the former is not there."),
            ("$XDG_DATA_HOME/songbloom/models", "Installed models."),
        ]
    )


def _page(name: str, section: int, summary: str, sections: list[tuple[str, list[str]]]) -> str:
    lines = [
        '.\\" Made from the program by `make man`; do not edit.',
        f'.TH "{_escape(name.upper())}" "{section}" "" "songbloom" "songbloom manual"',
        ".nh",
        ".ad l",
        ".SH NAME",
        f"{_escape(name)} \\- {_escape(summary[:1].lower() + summary[1:].rstrip('.'))}",
    ]
    for title, body in sections:
        lines += [f".SH {_escape(title)}", *body]
    return "\n".join(lines) + "\n"


def _params(command: Any) -> list[Any]:
    return [param for param in command.params if not getattr(param, "hidden", False)]


def _metavar(param: Any) -> str:
    return str(param.metavar or param.name.upper())


def _options(command: Any) -> list[str]:
    rows = []
    for param in _params(command):
        if param.param_type_name == "option":
            names = ", ".join(f"`{name}`" for name in reversed(param.opts))
            value = "" if param.is_flag else f" {_metavar(param)}"
            rows.append((f"{names}{value}", str(param.help)))
    rows.append(("`--help`", "Show the command's help and exit."))
    return _items(rows)


def _items(rows: list[tuple[str, str]]) -> list[str]:
    lines = []
    for term, text in rows:
        lines += [".TP", _escape(term) if "`" in term else f"\\fB{_escape(term)}\\fR", *_text(text)]
    return lines


def _paragraphs(text: str) -> list[str]:
    parts = [" ".join(part.split()) for part in text.split("\n\n")]
    return [line for part in parts for line in (".PP", *_text(part))]


def _text(text: str) -> list[str]:
    return [_escape(" ".join(text.split()))]


def _see(names: list[str]) -> list[str]:
    return [_escape(", ".join(re.sub(r"^(.*)\(", r"`\1`(", name) for name in names))]


def _first(command: Any) -> str:
    return " ".join(str(command.help).split("\n\n")[0].split())


def _escape(text: str) -> str:
    """Plain text as roff, words in backticks bold."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", text)
    return f"\\&{text}" if text.startswith(".") else text


if __name__ == "__main__":
    write(Path(sys.argv[1]))
