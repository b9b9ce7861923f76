"""The metrics there are, by the names that protocols and `--metrics` use."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from songbloom.evaluation.metric import Metric

METRICS: Mapping[str, str] = {
    "per": "songbloom.evaluation.per:load",
    "mcc": "songbloom.evaluation.mcc:load",
    "fad": "songbloom.evaluation.fad:load",
    "ser": "songbloom.evaluation.ser:load",
    "aesthetics": "songbloom.evaluation.aesthetics:load",
    "signal": "songbloom.evaluation.signal:load",
    "speed": "songbloom.evaluation.speed:load",
}


def load(name: str, settings: Mapping[str, Any], work: Path) -> Metric:
    """A metric with a protocol's settings; `work` is where metrics share what they derive."""
    module, _, function = METRICS[name].partition(":")
    metric: Metric = getattr(importlib.import_module(module), function)(settings, work)
    return metric
