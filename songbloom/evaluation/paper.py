"""Table 2 of the SongBloom paper (NeurIPS 2025), to be read beside an evaluation of ours.

The paper does not publish its test set, nor name its recogniser, phonemes and embeddings, so its
numbers and ours are of different protocols. They are never put into one column, and what differs is
said of every metric.
"""

from collections.abc import Mapping
from typing import Any

COLUMNS = ("PER", "MCC", "FAD", "SER", "CE", "CU", "PC", "PQ", "RTF")
# system -> PER %, MCC, FAD, SER %, content enjoyment, content usefulness, production complexity,
# production quality, real-time factor
TABLE_2: Mapping[str, tuple[float | None, ...]] = {
    "Suno v4.5": (24.67, 0.69, 3.39, 10.43, 7.77, 7.93, 6.03, 8.40, None),
    "Udio v1.5": (20.04, 0.79, 4.04, 17.92, 7.47, 7.63, 6.29, 8.20, None),
    "Haimian": (10.03, 0.63, 5.45, 13.39, 7.55, 7.87, 5.75, 8.28, None),
    "Mureka-O1": (7.79, 0.86, 3.39, 31.37, 7.69, 7.84, 6.41, 8.45, None),
    "ACE-Step": (54.34, 0.62, 8.02, 12.27, 7.37, 7.52, 6.26, 7.85, None),
    "YuE-7B": (27.30, 0.62, 5.99, 13.93, 7.25, 7.59, 5.96, 8.03, 13.724),
    "DiffRhythm-full": (15.77, 0.70, 5.04, 46.62, 5.81, 7.29, 4.52, 7.73, 0.034),
    "SongEditor": (16.20, 0.77, 4.85, 18.06, 7.44, 7.80, 6.06, 8.27, 1.717),
    "SongBloom-full": (6.75, 0.88, 3.43, 17.67, 7.71, 7.88, 5.86, 8.43, 1.649),
    "SongBloom-full-ft": (5.49, 0.86, 3.20, 14.50, 7.79, 7.96, 5.88, 8.47, 1.649),
}
TEST_SET = (
    "lyrics by GPT-4o, clips of unseen real songs shuffled to them; not published, size not stated"
)
# metric of ours -> its columns there, and how the paper measured
METRICS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "per": (("PER",), "separated vocals; recogniser, normaliser and phonemes are not named"),
    "mcc": (("MCC",), "MuLan embeddings; which model is not named"),
    "fad": (("FAD",), "against the songs that the clips are from; embeddings are not named"),
    "ser": (("SER",), "structure by All-In-One, aligned by DTW; no more is said"),
    "aesthetics": (("CE", "CU", "PC", "PQ"), "Audiobox-Aesthetics"),
    "speed": (("RTF",), "hardware not stated"),
}


def beside(result: Mapping[str, Any]) -> dict[str, Any]:
    """The paper's table, and of an evaluation what stands beside it: {"paper", "here"}.

    "here" has the protocol, the test set and a row a metric that the paper has as well: its
    "columns" there, "value", "interval", "backend", how the paper measured ("paper").
    """
    rows = [_row(name, found) for name, found in result["metrics"].items() if name in METRICS]
    return {
        "paper": {
            "columns": list(COLUMNS),
            "systems": {system: list(values) for system, values in TABLE_2.items()},
            "test_set": TEST_SET,
        },
        "here": {
            "protocol": {key: result["protocol"][key] for key in ("id", "name", "candidates")},
            "test_set": dict(result["test_set"]),
            "metrics": [row for some in rows for row in some],
        },
    }


def _row(name: str, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A metric's rows: one for each of its columns in the paper."""
    columns, measured = METRICS[name]
    common = {"metric": name, "backend": found["backend"], "paper": measured}
    if len(columns) == 1:
        one = {"column": columns[0], "value": found["value"], "interval": found["interval"]}
        return [{**one, **common}]
    parts = {key.upper(): value for key, value in found["parts"].items()}
    return [{"column": c, "value": parts.get(c), "interval": None, **common} for c in columns]
