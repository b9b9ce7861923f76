"""What a SongBloom model is: its sizes, its training objective and its own sampling defaults.

Torch-free. Presets are TOML files in `songbloom/presets/`.
"""

import dataclasses
import difflib
import math
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal, get_args, get_type_hints

from songbloom.errors import UsageError
from songbloom.toml import loads
from songbloom.units import FRAME_RATE, Frames, Seconds

PRESETS = (
    "nano",
    "seedling",
    "seedling_read",
    "seedling_follow",
    "seedling_paint",
    "tiny",
    "full",
    "full_150s",
    "full_240s",
)
# The rows of the paper's Tables 4 and 5 and Figure 2, at small scale: preset("ablations/base").
ABLATIONS = (
    "base",
    "hidden",
    "hidden_context",
    "no_sketch",
    "sketch_pitch",
    "sketch_pitch_chroma",
    "patch_4",
    "patch_8",
    "patch_32",
    "patch_64",
    "patch_all",
)
Masking = Literal["paper", "release"]
DitInputs = Literal["hidden", "hidden+context", "hidden+context+sketch"]
PrefixOrder = Literal["reference-lyrics", "lyrics-reference"]


@dataclass(frozen=True)
class SamplingConfig:
    """How a model likes to be sampled; every value can be overridden at generation.

    The defaults are the paper's. `noise_temperature` below 1 starts the flow from zeros and
    re-noises where t crosses it (the release's `diff_temp`); `repetition_penalty` divides the
    logits of recently sung tokens, over the last `repetition_window` tokens (1.0 = off). The patch
    in which the song ends is cut at its end when `keep_last_patch`, else left out, as in the
    release.
    """

    num_steps: int = 36
    sketch_cfg_scale: float = 1.5
    latent_cfg_scale: float = 1.5
    temperature: float = 0.9
    top_k: int = 200
    noise_temperature: float = 1.0
    repetition_penalty: float = 1.0
    repetition_window: int = 50
    keep_last_patch: bool = False
    max_duration: Seconds = 150.0

    @property
    def max_frames(self) -> Frames:
        """Length limit in frames."""
        return math.ceil(self.max_duration * FRAME_RATE - 1e-6)


@dataclass(frozen=True)
class ObjectiveConfig:
    """The training loss: `sketch + flow_weight * flow` (paper eq. 7; lambda = 0.1).

    `masking` names what the DiT loses while training. "paper": hidden and sketch together with
    rate `joint_mask_rate`, and the sketch alone with rate `sketch_mask_rate`. "release": each on
    its own, hidden with `joint_mask_rate` and sketch with `sketch_mask_rate` (both .05 there).
    The paper does not publish its rates. `condition_dropout` replaces all conditions by the null
    condition, `reference_dropout` the reference alone. `past_dropout` is the share of songs that
    neither half hears the sound of, so far: what they sound like, only the reference can tell.
    """

    flow_weight: float = 0.1
    masking: Masking = "paper"
    joint_mask_rate: float = 0.1
    sketch_mask_rate: float = 0.05
    condition_dropout: float = 0.1
    reference_dropout: float = 0.1
    past_dropout: float = 0.0

    def __post_init__(self) -> None:
        _check_choice("masking", self.masking, get_args(Masking))


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of a SongBloom model. Widths are of both transformers, which share `dim`.

    `ar_rope_base` differs between released models; `dit_rope_base` is 20000 in all of them.
    `prefix_order` is the order of the conditions before BOS (the release's by default).

    What the paper's ablations change: `dit_inputs` is what the DiT sees besides time and noisy
    latents (context is the patch before); `sketch_vocab_size` 0 is a model without sketch, whose
    AR transformer hears patches alone and whose songs end by length; `patch_size`.
    Raises `UsageError` at construction when two values contradict each other.
    """

    dim: int
    num_heads: int
    ar_layers: int
    dit_layers: int
    ffn_dim: int
    sketch_vocab_size: int = 16_384
    patch_size: Frames = 16
    latent_dim: int = 64
    lyric_vocab_size: int = 330
    lyric_length: int = 600
    max_sentences: int = 50
    reference_frames: Frames = 250
    time_features_dim: int = 256
    ar_rope_base: float = 20_000.0
    dit_rope_base: float = 20_000.0
    init_std: float = 0.02
    dit_inputs: DitInputs = "hidden+context+sketch"
    prefix_order: PrefixOrder = "reference-lyrics"
    frontend: str = "release"
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise UsageError(f"model: {name} is {getattr(self, name)}; expected at least 1")
        if self.sketch_vocab_size < 0:
            raise UsageError(
                f"model: sketch_vocab_size is {self.sketch_vocab_size}; expected at least 0",
                "0 is a model without sketch.",
            )
        _check_choice("dit_inputs", self.dit_inputs, get_args(DitInputs))
        _check_choice("prefix_order", self.prefix_order, get_args(PrefixOrder))
        if "sketch" in self.dit_inputs and not self.sketch_vocab_size:
            raise UsageError(
                f"model: dit_inputs is '{self.dit_inputs}', but sketch_vocab_size 0 is no sketch",
                'Without a sketch, write dit_inputs = "hidden+context" or "hidden".',
            )
        if self.dim % self.num_heads:
            raise UsageError(f"model: dim {self.dim} is not a multiple of {self.num_heads} heads")
        if self.head_dim < 32 or self.head_dim % 2:
            raise UsageError(
                f"model: dim {self.dim} over {self.num_heads} heads gives a head_dim of "
                f"{self.head_dim}; expected an even number of at least 32"
            )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.dim // self.num_heads

    @property
    def dit_rope_dim(self) -> int:
        """Head dimensions that the DiT rotates: half of them, but at least 32."""
        return max(self.head_dim // 2, 32)

    @property
    def eos_id(self) -> int:
        """The sketch token that ends a song."""
        return self.sketch_vocab_size

    @property
    def ignore_id(self) -> int:
        """The sketch target that carries no loss."""
        return self.sketch_vocab_size + 1

    @property
    def sketch_size(self) -> Frames:
        """Sketch tokens of a patch: one a frame, or none in a model without sketch."""
        return self.patch_size if self.sketch_vocab_size else 0

    @property
    def dit_sketch_size(self) -> Frames:
        """Sketch tokens of its patch that the DiT sees: all or none."""
        return self.sketch_size if "sketch" in self.dit_inputs else 0

    @property
    def dit_context_size(self) -> Frames:
        """Latents of the patch before that the DiT sees: all or none."""
        return self.patch_size if "context" in self.dit_inputs else 0

    @property
    def dit_length(self) -> int:
        """Vectors that the DiT works on: time, hidden, sketch, context, noisy latents."""
        return 2 + self.dit_sketch_size + self.dit_context_size + self.patch_size

    @property
    def prefix_length(self) -> int:
        """Vectors before BOS: the reference's and the lyrics'."""
        return self.reference_frames + self.lyric_length

    def sequence_length(self, num_patches: int) -> int:
        """Positions of the AR transformer: prefix, BOS, and each patch's sketch and latents."""
        return self.prefix_length + 1 + num_patches * (self.sketch_size + 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dict, for JSON and TOML."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "model config") -> "ModelConfig":
        """Inverse of `to_dict`. `UsageError` naming an unknown or missing key."""
        values = dict(values)
        for name, table in (("objective", ObjectiveConfig), ("sampling", SamplingConfig)):
            if isinstance(values.setdefault(name, {}), dict):
                values[name] = _build(table, values[name], f"{where}: [{name}]")
        return _build(cls, values, where)


_AT_LEAST_ONE = (
    "dim",
    "num_heads",
    "ar_layers",
    "dit_layers",
    "ffn_dim",
    "patch_size",
    "latent_dim",
    "lyric_vocab_size",
    "lyric_length",
    "max_sentences",
)


def preset(name: str) -> ModelConfig:
    """The config of a preset. `UsageError` with the nearest name when there is none."""
    values = preset_values(name)
    values.pop("train", None)
    return ModelConfig.from_dict(values, f"preset {name}")


def preset_values(name: str) -> dict[str, Any]:
    """A preset as it is written: the model's keys, and a table [train] with settings that suit it.

    `UsageError` with the nearest name when there is none.
    """
    ablations = [f"ablations/{ablation}" for ablation in ABLATIONS]
    if name not in (*PRESETS, *ablations):
        near = difflib.get_close_matches(name, (*PRESETS, *ablations), n=1)
        guess = f"Did you mean '{near[0]}'? " if near else ""
        listed = ablations if name.startswith("ablations") else PRESETS
        raise UsageError(f"{name}: no such preset", f"{guess}Presets: {', '.join(listed)}.")
    return loads((resources.files("songbloom") / "presets" / f"{name}.toml").read_text("utf-8"))


def _check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"model: {key} is '{value}'", f"Choose from: {', '.join(choices)}.")


def _build(cls: Any, values: dict[str, Any], where: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"Known keys: {', '.join(fields)}."
            raise UsageError(f"{where}: unknown key '{key}'", hint)
    missing = [
        name
        for name, f in fields.items()
        if name not in values
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UsageError(f"{where}: lacks {', '.join(missing)}")
    hints = get_type_hints(cls)
    for key, value in values.items():
        _check_type(f"{where}: {key}", value, hints[key])
    return cls(**values)


def _check_type(name: str, value: object, wanted: Any) -> None:
    """`UsageError` unless a number is where one belongs, finite, and words are where words do."""
    kind = wanted if isinstance(wanted, type) else str  # one of several words
    fits = isinstance(value, int | float if kind is float else kind)
    if kind in (int, float):
        fits = fits and not isinstance(value, bool) and math.isfinite(value)  # type: ignore[arg-type]
    if not fits:
        expected = {int: "a whole number", float: "a number", str: "text"}.get(kind, "a table")
        raise UsageError(f"{name} is {value!r}; expected {expected}")
