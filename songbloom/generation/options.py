"""How to generate; everything left at None is the model's own default. Torch-free."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from songbloom.audio import FORMATS
from songbloom.errors import UsageError
from songbloom.model.config import ModelConfig, SamplingConfig
from songbloom.units import Seconds

Rng = Literal["default", "release"]
DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class GenerateOptions:
    """Options of a generation. Sample k of a song is drawn with `seed + k`.

    `rng` "default" draws each number from (seed, purpose, patch), the same on every device;
    "release" draws one stream in the released model's order. `lexicon` is a file of words and their
    symbols, `language` the code of the lyrics' language where the front end should not guess it.
    Raises `UsageError` at construction for a value out of range.
    """

    seed: int = 0
    num_steps: int | None = None
    sketch_cfg_scale: float | None = None
    latent_cfg_scale: float | None = None
    temperature: float | None = None
    top_k: int | None = None
    max_duration: Seconds | None = None
    n_samples: int = 1
    rng: str = "default"
    format: str = "flac"
    prompt_start: Seconds = 0.0
    device: str = "auto"
    dtype: str = "float32"
    batch_size: int = 1
    lexicon: Path | None = None
    language: str | None = None

    def __post_init__(self) -> None:
        for name, low in _LOWEST.items():
            value = getattr(self, name)
            if value is not None and not low <= value < math.inf:
                raise UsageError(
                    f"--{name.replace('_', '-')} is {value}; expected at least {low}",
                    "Leave it out to use the model's own default.",
                )
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise UsageError(f"--{name} is '{value}'; expected {', '.join(choices)}")

    def sampling(self, config: ModelConfig) -> tuple[SamplingConfig, list[str]]:
        """The model's sampling defaults with these options on top, and warnings.

        A `top_k` above the vocabulary means "all": it is clamped, with a warning.
        """
        names = {field.name for field in dataclasses.fields(SamplingConfig)}
        given = {k: v for k, v in dataclasses.asdict(self).items() if k in names and v is not None}
        sampling = dataclasses.replace(config.sampling, **given)
        tokens = config.sketch_vocab_size + 1
        if sampling.top_k <= tokens:
            return sampling, []
        warning = f"top_k {sampling.top_k} is more than the {tokens} sketch tokens: using {tokens}"
        warnings = [warning] if self.top_k is not None else []
        return dataclasses.replace(sampling, top_k=tokens), warnings


_LOWEST: dict[str, float] = {
    "seed": 0,
    "num_steps": 1,
    "sketch_cfg_scale": 0.0,
    "latent_cfg_scale": 0.0,
    "temperature": 0.0,
    "top_k": 0,
    "max_duration": 0.04,
    "n_samples": 1,
    "prompt_start": 0.0,
    "batch_size": 1,
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "rng": ("default", "release"),
    "format": FORMATS,
    "device": DEVICES,
    "dtype": DTYPES,
}
