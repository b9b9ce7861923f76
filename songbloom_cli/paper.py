"""`songbloom evaluate paper`: the paper's table, and an evaluation of ours beside it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from songbloom_cli import options, output


def paper(
    result: Annotated[
        Path,
        typer.Argument(
            metavar="RESULT",
            help="evaluation.json, or the folder that `songbloom evaluate` wrote.",
            show_default=False,
        ),
    ],
    as_json: options.JsonOption = False,
) -> None:
    """Print Table 2 of the SongBloom paper, and a result beside it with what differs.

    They are scores of different protocols: the paper does not say enough to repeat its own.
    """
    from songbloom.evaluation import paper as library
    from songbloom.evaluation.evaluate import read

    both = library.beside(read(result))
    if as_json:
        output.result_json(both)
        return
    theirs, ours = both["paper"], both["here"]
    rows = [[system, *map(_published, values)] for system, values in theirs["systems"].items()]
    output.result(output.table(rows, ("paper, Table 2", *theirs["columns"])))
    pinned = ours["protocol"]
    output.result(
        f"\nhere: protocol {pinned['name']} {pinned['id']}, candidates: {pinned['candidates']}, "
        f"songs: {ours['test_set']['songs']}\n"
    )
    output.result(
        output.table(
            [_row(row) for row in ours["metrics"]],
            ("here", "value", "interval", "by", "the paper measured by"),
        )
    )
    output.result(f"\ntest set of the paper: {theirs['test_set']}")
    output.warning("different protocols: read the numbers beside each other, do not compare them")


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    ends = row["interval"]
    interval = "-" if ends is None else f"{_number(ends[0])} .. {_number(ends[1])}"
    return row["column"], _number(row["value"]), interval, row["backend"], row["paper"]


def _published(value: float | None) -> str:
    """With the decimals that the paper prints, three of the real-time factor."""
    return "-" if value is None else f"{value:.2f}" if round(value, 2) == value else f"{value:.3f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
