"""Two systems by one protocol: the difference of every metric over the songs that both have."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from songbloom.errors import UsageError
from songbloom.evaluation.statistics import (
    Difference,
    Statistics,
    holm,
    paired,
    paired_jackknife,
)
from songbloom.evaluation.worker import plain

_SHOWN = 8  # hex digits of a hash in a message


def compare(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """System `one` against `other`, two results of `evaluate`.

    For each metric: both values over the songs that both have, their difference with an interval
    and a two-sided p-value, the p-value adjusted for the number of metrics (Holm), and a verdict:
    "A better", "B better", "A higher", "A lower" or "no difference" at the protocol's confidence.
    `UsageError` when the protocols differ, saying in what.
    """
    if one["protocol"]["id"] != other["protocol"]["id"]:
        raise UsageError(
            f"the protocols differ, so the scores cannot be compared: {_differences(one, other)}",
            "Score both with the same --protocol, metrics and test set.",
        )
    how = Statistics(**one["protocol"]["statistics"])
    rows = {name: _row(name, one, other, how) for name in one["metrics"]}
    for row, p in zip(rows.values(), holm([row["p"] for row in rows.values()]), strict=True):
        row["p_holm"] = p
        row["verdict"] = _verdict(row, how)
    protocol = {key: one["protocol"][key] for key in ("id", "name", "candidates", "statistics")}
    return {"protocol": protocol, "test_set": one["test_set"], "metrics": plain(rows)}


def _row(
    name: str, one: Mapping[str, Any], other: Mapping[str, Any], how: Statistics
) -> dict[str, Any]:
    told = one["metrics"][name]
    if "replicates" in told:
        values, difference, songs = _corpus(told, other["metrics"][name], how)
    else:
        values, difference, songs = _over_songs(name, one, other, how)
    return {
        "title": f"{name} ({told['backend']})",
        "unit": told["unit"],
        "better": told["better"],
        "one": values[0],
        "other": values[1],
        "difference": difference.value,
        "interval": difference.interval,
        "p": difference.p,
        "songs": songs,
    }


def _corpus(
    one: Mapping[str, Any], other: Mapping[str, Any], how: Statistics
) -> tuple[tuple[float, float], Difference, int]:
    values = _finite(one["value"]), _finite(other["value"])
    replicates = [[_finite(value) for value in row["replicates"]] for row in (one, other)]
    difference = paired_jackknife(values, (replicates[0], replicates[1]), how)
    return values, difference, min(one["songs"], other["songs"])


def _over_songs(
    name: str, one: Mapping[str, Any], other: Mapping[str, Any], how: Statistics
) -> tuple[tuple[float, float], Difference, int]:
    both = [_measured(name, result) for result in (one, other)]
    shared = sorted(both[0].keys() & both[1].keys())
    sides = [np.array([found[song] for song in shared]).reshape(-1, 2).T for found in both]
    pairs = [(side[0], side[1]) for side in sides]
    difference = paired(pairs[0], pairs[1], how)
    values = [
        amounts.sum() / weights.sum() if weights.sum() else math.nan for amounts, weights in pairs
    ]
    return (float(values[0]), float(values[1])), difference, len(shared)


def _measured(name: str, result: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Amount and weight by song, of those that count."""
    found = {}
    for song in result["songs"]:
        row = song["measured"].get(name)
        if row is not None and row["weight"]:
            found[str(song["name"])] = (row["value"] * row["weight"], row["weight"])
    return found


def _verdict(row: Mapping[str, Any], how: Statistics) -> str:
    if row["p_holm"] is None:
        return "too few songs"
    if row["p_holm"] > 1 - how.confidence:
        return "no difference"
    higher = row["difference"] > 0
    if row["better"] is None:
        return "A higher" if higher else "A lower"
    return "A better" if higher == (row["better"] == "higher") else "B better"


def _finite(value: float | None) -> float:
    return math.nan if value is None else value


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The parts that differ, in words."""
    a, b = one["protocol"], other["protocol"]
    found = []
    for name in sorted(a["identity"].keys() ^ b["identity"].keys()):
        found.append(f"only {'A' if name in a['identity'] else 'B'} has {name}")
    for name in sorted(a["identity"].keys() & b["identity"].keys()):
        found += _unlike(name, a["identity"][name], b["identity"][name])
    found += _unlike("", {"candidates": a["candidates"]}, {"candidates": b["candidates"]})
    found += _unlike("statistics", a["statistics"], b["statistics"])
    found += _unlike("test_set", one["test_set"], other["test_set"])
    return "; ".join(found) or "their ids, in nothing that they tell"


def _unlike(where: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    found = []
    for key in sorted(one.keys() | other.keys()):
        if one.get(key) != other.get(key):
            name = f"{where}.{key}" if where else key
            found.append(f"{name} is {_short(one.get(key))} in A and {_short(other.get(key))} in B")
    return found


def _short(value: object) -> str:
    text = str(value)
    is_hash = len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)
    return text[:_SHOWN] if is_hash else text
