"""How songs were chosen among candidates: what a bundle records, and what a protocol says of it.

A system that sings four times and keeps the best is another system than one that sings once, so the
policy is part of a protocol's id: "first", or "best of 4 by per, mcc". Free of torch.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from songbloom.errors import SongBloomError, UsageError
from songbloom.evaluation.items import Item
from songbloom.evaluation.protocol import FIRST, Protocol
from songbloom.toml import TOMLDecodeError, loads


@dataclass(frozen=True)
class Policy:
    """Best of `count` candidates by these metrics. `UsageError` for fewer than two, or by none."""

    count: int
    metrics: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.count < 2:
            raise UsageError(
                f"--best-of is {self.count}; expected at least 2", "Leave it out to sing once."
            )
        if not self.metrics:
            raise UsageError("--select: no metrics", "For example: --select per,mcc")

    def __str__(self) -> str:
        return f"best of {self.count} by {', '.join(self.metrics)}"


def best(
    scores: Sequence[Mapping[str, float | None]], better: Mapping[str, str]
) -> tuple[int, list[float]]:
    """The best of candidates by their mean rank over metrics, 1 the best; and all mean ranks.

    `better` says of every metric which way it is, "lower" or "higher"; the first one decides
    between candidates of the same mean rank, and then their order. Equals share their ranks, and a
    candidate that a metric could not measure is behind all others.
    """
    ranks = np.array(
        [_ranks([score.get(name) for score in scores], way) for name, way in better.items()]
    )
    means = ranks.mean(axis=0)
    order = np.lexsort((np.arange(len(scores)), ranks[0], means))
    return int(order[0]), [round(float(mean), 6) for mean in means]


def _ranks(values: Sequence[float | None], better: str) -> np.ndarray:
    sign = 1.0 if better == "lower" else -1.0
    return np.asarray(rankdata([np.inf if v is None else sign * v for v in values]))


def followed(protocol: Protocol, items: Sequence[Item]) -> Protocol:
    """The protocol with the policy that the songs' bundles record.

    Songs of other systems record none: of them the protocol itself must say it. `SongBloomError`
    where the songs differ, `UsageError` where the protocol says otherwise.
    """
    recorded = {_recorded(item.bundle) for item in items if item.bundle is not None}
    if len(recorded) > 1:
        raise SongBloomError(
            f"the songs were chosen in different ways: {'; '.join(sorted(recorded))}",
            "Score them apart, each in a folder of its own.",
        )
    policy = recorded.pop() if recorded else protocol.candidates
    if protocol.candidates not in (FIRST, policy):
        raise UsageError(
            f"protocol {protocol.name}: candidates = '{protocol.candidates}', and the songs are "
            f"'{policy}' by their bundles",
            "Generate them as the protocol says, or change it.",
        )
    return dataclasses.replace(protocol, candidates=policy)


def _recorded(bundle: Path) -> str:
    """The policy in a bundle; one that cannot be read is a song's problem, told elsewhere."""
    try:
        song: dict[str, Any] = loads((bundle / "song.toml").read_text("utf-8"))
        return str(song.get("selection", {}).get("policy", FIRST))
    except (OSError, ValueError, TOMLDecodeError, AttributeError):
        return FIRST
