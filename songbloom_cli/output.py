"""The only file that prints: results on stdout, everything else on stderr.

Three ways of showing: for people (results, notes, progress on a terminal), `--json` (one JSON
object, or one event a line for long work), `--quiet` (results and errors alone).
"""

import json
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

_UNITS = ("B", "kB", "MB", "GB", "TB")


class _Mode:
    """What the flags of this run ask for."""

    quiet = False
    debug = False


_mode = _Mode()


def configure(*, quiet: bool, debug: bool) -> None:
    """Set how this run shows things."""
    _mode.quiet = quiet
    _mode.debug = debug


def result(text: str) -> None:
    """A result, for people and pipes, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def result_json(data: object) -> None:
    """A result as one JSON object."""
    result(json.dumps(data, indent=1, ensure_ascii=False, default=str))


def event(data: Mapping[str, Any]) -> None:
    """One event of long work as a line of JSON, at once."""
    result(json.dumps(data, ensure_ascii=False, default=str))


def note(text: str) -> None:
    """Something worth knowing that is not the result."""
    if not _mode.quiet:
        _say(text)


def warning(text: str) -> None:
    """Something that is probably not as the user thinks; shown unless quiet."""
    note(f"warning: {text}")


def error(message: str, hint: str = "") -> None:
    """What went wrong in one line, and what to do in another."""
    _say("error: " + " ".join(message.split()))
    if hint:
        _say("  " + " ".join(hint.split()))


def crash(problem: BaseException) -> None:
    """The traceback of the exception being handled, where --debug asks for it."""
    if _mode.debug:
        traceback.print_exception(problem, file=sys.stderr)


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Columns of text, padded with two spaces between them."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    padded = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines]
    return "\n".join(line.rstrip() for line in padded)


def tree(data: Mapping[str, Any], indent: int = 0) -> str:
    """Nested values as indented `key  value` lines."""
    width = max((len(str(key)) for key in data), default=0)
    lines = []
    for key, value in data.items():
        if isinstance(value, Mapping):
            lines += [f"{' ' * indent}{key}", tree(value, indent + 2)]
        else:
            lines.append(
                f"{' ' * indent}{str(key).ljust(width)}  {_cell(value, str(key))}".rstrip()
            )
    return "\n".join(line for line in lines if line)


def size(count: int) -> str:
    """Bytes as people read them: `12.3 MB`, in powers of 1000."""
    if count < 1000:
        return f"{count} B"
    power = min((len(str(count)) - 1) // 3, len(_UNITS) - 1)
    return f"{count / 1000**power:.1f} {_UNITS[power]}"


def shows_progress() -> bool:
    """Whether there is a terminal to show progress on, and no wish to be quiet."""
    return sys.stderr.isatty() and not _mode.quiet


class Progress:
    """A line of progress on a terminal; nothing anywhere else."""

    def __init__(self, bar: Any = None) -> None:
        self._bar = bar
        self._task = None if bar is None else bar.add_task("", total=None)

    def update(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Show `text`, with `done` of `total` where they are known."""
        if self._bar is not None:
            self._bar.update(self._task, description=text, completed=done, total=total)


@contextmanager
def progress(enabled: bool = True) -> Iterator[Progress]:
    """Progress while the block runs; notes printed meanwhile stand above it."""
    if not (enabled and shows_progress()):
        yield Progress()
        return
    from rich.console import Console  # slow to import, and only a terminal needs it
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(20))
    with RichProgress(
        *columns,
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # results in a pipe stay in the pipe
    ) as bar:
        yield Progress(bar)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _cell(value: object, key: str = "") -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and "bytes" in key:
        return size(value)
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item, key) for item in value)
    return str(value)
