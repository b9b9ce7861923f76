"""Audiobox-Aesthetics (Tjandra et al. 2025): what listeners would say of a song, from 1 to 10.

CE content enjoyment, CU content usefulness, PC production complexity, PQ production quality: a
model's guess, ten seconds at a time, of a song the mean by length. The metric's value is one of
them, `axis` in the protocol; the parts are all four. Complexity is neither good nor bad.

There is no embedded backend: `audiobox` needs `songbloom tools install audiobox-aesthetics` and the
weights (CC BY 4.0).
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from songbloom.errors import MissingAssetError, UsageError
from songbloom.evaluation import embeddings
from songbloom.evaluation.items import Item
from songbloom.evaluation.metric import Measured, ratio
from songbloom.stages import codecs, tools, tools_environment
from songbloom.units import Hz, Seconds

AXES = ("CE", "CU", "PC", "PQ")
REPOSITORY = "facebook/audiobox-aesthetics"
SAMPLE_RATE: Hz = 16_000
_TOOL = "audiobox-aesthetics"
_PATIENCE: Seconds = 600  # with one song
_SETTINGS = {"backend": "audiobox", "model": REPOSITORY, "axis": "PQ"}
_FILES = ("config.json", "model.safetensors")


@dataclass
class Aesthetics:
    """The metric; see the module."""

    model: str
    axis: str
    name: str = "aesthetics"
    unit: str = ""
    better: Literal["lower", "higher"] | None = "higher"
    needs: frozenset[str] = field(default=frozenset())
    corpus: bool = False

    def __post_init__(self) -> None:
        self.unit = f"{self.axis}, 1-10"
        self.better = None if self.axis == "PC" else "higher"

    def identity(self) -> dict[str, Any]:
        """The package's version, the weights' hash, the axis."""
        return {
            "backend": "audiobox",
            _TOOL: self._version(),
            "model": embeddings.content_hash([self._folder / name for name in _FILES]),
            "axis": self.axis,
        }

    def measure(self, item: Item) -> Measured:
        """The axis as amount, all four as details."""
        samples = embeddings.mono(item.audio, SAMPLE_RATE)
        found = self._tool.call("judge", {"samples": samples})
        return Measured(found[self.axis], 1.0, found)

    def combine(self, songs: Sequence[Measured]) -> float:
        """The songs' mean."""
        return ratio(songs)

    def parts(self, songs: Sequence[Measured]) -> dict[str, Any]:
        """The songs' mean of every axis."""
        return {axis: float(np.mean([song.details[axis] for song in songs])) for axis in AXES}

    @functools.cached_property
    def _folder(self) -> Path:
        folder = codecs.local_folder(self.model, "an Audiobox-Aesthetics model")
        for name in _FILES:
            if not (folder / name).is_file():
                raise MissingAssetError(
                    f"{folder / name}: no such file", f"Fetch it: hf download {REPOSITORY}"
                )
        return folder

    @functools.cached_property
    def _tool(self) -> tools.Tool:
        from songbloom.generation.device import choose_device

        options = {"model": str(self._folder.resolve()), "device": str(choose_device("auto"))}
        return tools.Tool(_TOOL, options, timeout=_PATIENCE)

    def _version(self) -> str:
        """The package's; `MissingAssetError` says how to install it."""
        if not tools_environment.imports_here(_TOOL):
            tools_environment.python(_TOOL)
        return tools_environment.pins(_TOOL)[_TOOL]


def load(settings: Mapping[str, Any], work: Path) -> Aesthetics:
    """The metric that a protocol's [aesthetics] describes: backend, model, axis."""
    for key, value in settings.items():
        if key not in _SETTINGS:
            raise UsageError(f"[aesthetics] {key}: unknown; expected {', '.join(_SETTINGS)}")
        if not isinstance(value, str):
            raise UsageError(f"[aesthetics] {key} is {value!r}; expected text")
    chosen = {**_SETTINGS, **settings}
    for key, known in (("backend", ("audiobox",)), ("axis", AXES)):
        if chosen[key] not in known:
            raise UsageError(f"[aesthetics] {key} is '{chosen[key]}'; expected {', '.join(known)}")
    return Aesthetics(chosen["model"], chosen["axis"])
