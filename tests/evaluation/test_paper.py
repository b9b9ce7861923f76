"""The paper's table: as published, and never in one column with ours."""

import json
from pathlib import Path
from typing import Any

from cli.helpers import assert_refused
from stages.corpora import run

from songbloom.evaluation import paper

AXES = {"CE": 7.5, "CU": 7.6, "PC": 5.0, "PQ": 8.0}


def result() -> dict[str, Any]:
    """What an evaluation with three metrics says."""
    plain = {"songs": 8, "failed": 0, "better": "lower", "parts": {}}
    return {
        "format": 1,
        "protocol": {"id": "0123456789abcdef", "name": "offline", "candidates": "first"},
        "test_set": {"hash": "00", "songs": 8},
        "metrics": {
            "per": {**plain, "value": 31.5, "interval": [20.0, 40.0], "unit": "%",
                    "backend": "whisper-tiny.en"},
            "aesthetics": {**plain, "value": 7.0, "interval": [6.0, 8.0], "unit": "",
                           "backend": "audiobox", "parts": AXES},
            "signal": {**plain, "value": -14.0, "interval": None, "unit": "LUFS", "backend": ""},
        },
        "songs": [],
        "failed": [],
    }  # fmt: skip


def test_every_system_has_every_column() -> None:
    """Ten systems of nine numbers; the paper's own are best in PER and PQ."""
    assert len(paper.TABLE_2) == 10
    assert {len(values) for values in paper.TABLE_2.values()} == {len(paper.COLUMNS)}
    best = min(paper.TABLE_2, key=lambda name: paper.TABLE_2[name][0] or 0)
    assert best == "SongBloom-full-ft"
    assert {c for columns, _ in paper.METRICS.values() for c in columns} == set(paper.COLUMNS)


def test_ours_stands_apart() -> None:
    """No system of the table is ours; each of our rows names its backend and the paper's way."""
    both = paper.beside(result())
    rows = both["here"]["metrics"]
    assert [row["column"] for row in rows] == ["PER", "CE", "CU", "PC", "PQ"]
    assert rows[0]["value"] == 31.5
    assert rows[-1]["value"] == 8.0
    assert all(row["backend"] and row["paper"] for row in rows)
    assert both["paper"]["systems"] == {k: list(v) for k, v in paper.TABLE_2.items()}


def test_command_line(tmp_path: Path) -> None:
    """Both tables on stdout, that they are not comparable on stderr."""
    (tmp_path / "evaluation.json").write_text(json.dumps(result()))
    ran = run("eval", "paper", tmp_path)
    assert ran.code == 0, ran.err
    for words in (
        "SongBloom-full-ft",
        "5.49",
        "8.40",
        "13.724",
        "0.034",
        "whisper-tiny.en",
        "31.5",
        "20 .. 40",
        "not named",
    ):
        assert words in ran.out
    assert "different protocols" in ran.err
    assert json.loads(run("eval", "paper", tmp_path, "--json").out) == paper.beside(result())
    assert_refused(run("eval", "paper", tmp_path / "none"), 1, "cannot be read")
