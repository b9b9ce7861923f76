"""Audiobox-Aesthetics (Tjandra et al. 2025): what listeners would say of a song, from 1 to 10.

CE content enjoyment, CU content usefulness, PC production complexity, PQ production quality: a
model's guess, ten seconds at a time, of a song the mean by length. The metric's value is one of
them, `axis` in the protocol; the parts are all four. Complexity is neither good nor bad.

There is no embedded backend: `audiobox` needs the package audiobox-aesthetics and its weights
(CC BY 4.0). The package asks for torchaudio, which its model does not use.
"""

import functools
import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from songbloom.errors import MissingAssetError, SongBloomError, UsageError
from songbloom.evaluation import embeddings
from songbloom.evaluation.items import Item
from songbloom.evaluation.metric import Measured, ratio
from songbloom.stages import codecs
from songbloom.units import Hz

AXES = ("CE", "CU", "PC", "PQ")
REPOSITORY = "facebook/audiobox-aesthetics"
SAMPLE_RATE: Hz = 16_000
_WINDOW = 10 * SAMPLE_RATE
_SETTINGS = {"backend": "audiobox", "model": REPOSITORY, "axis": "PQ"}
_FILES = ("config.json", "model.safetensors")

Judge = Callable[[np.ndarray], Mapping[str, float]]


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
            "audiobox-aesthetics": _require(),
            "model": embeddings.content_hash([self._folder / name for name in _FILES]),
            "axis": self.axis,
        }

    def measure(self, item: Item) -> Measured:
        """The axis as amount, all four as details."""
        found = self._judge(embeddings.mono(item.audio, SAMPLE_RATE))
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
    def _judge(self) -> Judge:
        _require()
        return _load(self._folder)


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


def _require() -> str:
    """The package's version."""
    if importlib.util.find_spec("audiobox_aesthetics") is None:
        raise MissingAssetError(
            "[aesthetics] needs audiobox-aesthetics, which is not installed",
            "Type: pip install --no-deps audiobox-aesthetics",
        )
    return importlib.metadata.version("audiobox-aesthetics")


def _load(folder: Path) -> Judge:
    """The model of a folder, for one song after another."""
    import torch
    from audiobox_aesthetics.model.aes import AesMultiOutput

    from songbloom.generation.device import choose_device

    try:
        model: Any = AesMultiOutput.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise SongBloomError(
            f"{folder}: is no Audiobox-Aesthetics model that its package reads",
            f"Fetch it again: hf download {REPOSITORY}",
        ) from error
    device = choose_device("auto")
    model.eval().to(device)

    @torch.inference_mode()
    def judge(mono: np.ndarray) -> dict[str, float]:
        sound = torch.from_numpy(mono)
        clips = sound.split(_WINDOW)
        axes: dict[str, list[float]] = {axis: [] for axis in AXES}
        for clip in clips:
            wav = torch.nn.functional.pad(clip, (0, _WINDOW - len(clip)))[None, None].to(device)
            mask = (torch.arange(_WINDOW) < len(clip))[None, None].to(device)
            for axis, guess in model({"wav": wav, "mask": mask}).items():
                scale = model.target_transform[axis]
                axes[axis].append(float(guess) * scale["std"] + scale["mean"])
        lengths = [len(clip) for clip in clips]
        return {axis: float(np.average(axes[axis], weights=lengths)) for axis in AXES}

    return judge
