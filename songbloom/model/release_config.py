"""The released yaml: resolve its `${...}` expressions, and read our config out of it.

The release reads it with OmegaConf and five resolvers of its own. Here they are plain functions:
`eval` does arithmetic only, and `load_yaml` and `dynamic_path` stay inside the release's folder.
"""

import ast
import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from songbloom.errors import SongBloomError
from songbloom.lyrics.vocabulary import Vocabulary
from songbloom.model.config import ModelConfig, ObjectiveConfig, SamplingConfig
from songbloom.units import SAMPLE_RATE

Number = TypeVar("Number", int, float)

# What the release calls the files that all its models share.
VAE_CONFIG = "stable_audio_1920_vae.json"
VAE_WEIGHTS = "autoencoder_music_dsp1920.ckpt"
VOCABULARY = "vocab_g2p.yaml"
_INNERMOST = re.compile(r"\$\{([^${}]*)\}")
_EXTRA_SECONDS = 10.0  # the release's inference script adds these to the yaml's max_dur
_ARITHMETIC: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.USub: operator.neg,
}
# What the release could be told but the released models never are; anything else is refused.
_FIXED = {
    "model.time_cond_type": "prepend",
    "model.diffusion_objective": "rectified_flow",
    "model.timestep_sampler": "logit_normal",
    "model.backend": "llama",
    "model.condition_provider_cfg.lyrics.mode": "sum",
    "model.condition_provider_cfg.lyrics.type": "phoneme_tokenizer",
    "model.condition_provider_cfg.prompt_wav.type": "audio_tokenizer_wrapper",
    "model.fuser_cfg.prepend": ["lyrics", "prompt_wav"],
    "train_dataset.lyric_processor": "phoneme",
    "inference.dit_cfg_type": "h",
}


class ReleaseYaml:
    """A released yaml file, expressions resolved. `folder` stands for its `???`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.parent
        self.tree = _load_yaml(path)
        self.tree = self._resolve(self.tree, depth=0)

    def __getitem__(self, dotted: str) -> Any:
        """A value by its dotted path. `SongBloomError` naming the key that is not there."""
        return self._lookup(dotted)

    def get(self, dotted: str, default: Any) -> Any:
        """A value by its dotted path, or `default`."""
        try:
            return self._lookup(dotted)
        except SongBloomError:
            return default

    def number(self, dotted: str, kind: Callable[[Any], Number]) -> Number:
        """A value as int or float (yaml reads 2e4 as text). `SongBloomError` naming the key."""
        value = self._lookup(dotted)
        try:
            return kind(float(value))
        except (TypeError, ValueError, OverflowError) as error:
            message = f"{self.path}: {dotted} is {value!r}; expected a number"
            raise SongBloomError(message, "Fetch the release's yaml again.") from error

    def _lookup(self, dotted: str) -> Any:
        node = self.tree
        for key in dotted.split("."):
            if isinstance(node, list):
                node = {str(i): value for i, value in enumerate(node)}
            if not isinstance(node, dict) or key not in node:
                raise SongBloomError(
                    f"{self.path}: lacks the key '{dotted}'", "Fetch the release's yaml again."
                )
            node = node[key]
        return node

    def _resolve(self, node: Any, depth: int) -> Any:
        if isinstance(node, dict):
            return {key: self._resolve(value, depth) for key, value in node.items()}
        if isinstance(node, list):
            return [self._resolve(value, depth) for value in node]
        return self._resolve_text(node, depth) if isinstance(node, str) else node

    def _resolve_text(self, text: str, depth: int) -> Any:
        """Innermost expressions first; a string that is one expression becomes its value."""
        value: Any = text
        while isinstance(value, str) and (match := _INNERMOST.search(value)):
            if depth > 20:
                raise SongBloomError(f"{self.path}: '{text}' refers to itself")
            result = self._resolve(self._expression(match[1]), depth + 1)
            whole = match.span() == (0, len(value))
            value = result if whole else value[: match.start()] + str(result) + value[match.end() :]
        return value

    def _expression(self, expression: str) -> Any:
        name, colon, argument = expression.partition(":")
        if not colon:
            return self._lookup(expression)
        if name == "dynamic_path":
            return argument.replace("???", ".", 1)
        if name == "load_yaml":
            return _load_yaml(self.file(argument))
        if name == "get_fname":
            return Path(argument).stem
        if name == "concat":
            return "".join(part.strip() for part in argument.split(","))
        if name == "eval":
            return self._arithmetic(argument)
        raise SongBloomError(
            f"{self.path}: unknown resolver '${{{name}:...}}'",
            "Known: dynamic_path, load_yaml, get_fname, concat, eval.",
        )

    def file(self, relative: str) -> Path:
        """A file of the release. `SongBloomError` when it is missing or outside the folder."""
        path = (self.folder / relative).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise SongBloomError(f"{self.path}: '{relative}' points outside the release's folder")
        if not path.is_file():
            raise SongBloomError(
                f"{self.folder}: lacks {relative}, which {self.path.name} names",
                "Put all files of the release into one folder.",
            )
        return path

    def _arithmetic(self, text: str) -> Any:
        def value(node: ast.AST) -> Any:
            if isinstance(node, ast.Expression):
                return value(node.body)
            if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
                return node.value
            if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
                return _ARITHMETIC[type(node.op)](value(node.left), value(node.right))
            if isinstance(node, ast.UnaryOp) and type(node.op) in _ARITHMETIC:
                return _ARITHMETIC[type(node.op)](value(node.operand))
            raise SongBloomError(f"{self.path}: '${{eval:{text}}}' is more than arithmetic")

        try:
            return value(ast.parse(text.strip(), mode="eval"))
        except (SyntaxError, ZeroDivisionError) as error:
            raise SongBloomError(f"{self.path}: '${{eval:{text}}}' ({error})") from error


def model_config(release: ReleaseYaml) -> ModelConfig:
    """Our config of a released model. `SongBloomError` for what we do not implement, by key."""
    for key, expected in _FIXED.items():
        if release[key] != expected:
            raise SongBloomError(
                f"{release.path}: {key} is {release[key]!r}; only {expected!r} is supported"
            )
    dim = release.number("model.dim", int)
    conditions = "model.condition_provider_cfg"
    return ModelConfig(
        dim=dim,
        num_heads=release.number("model.num_heads", int),
        ar_layers=release.number("model.lm_layers", int),
        dit_layers=release.number("model.diff_layers", int),
        ffn_dim=int(release.get("model.hidden_scale", 4)) * dim,
        sketch_vocab_size=release.number("model.num_pitch", int),
        patch_size=release.number("model.block_size", int),
        latent_dim=release.number("model.latent_dim", int),
        lyric_vocab_size=len(vocabulary(release)),
        lyric_length=release.number(f"{conditions}.lyrics.max_len", int),
        max_sentences=release.number(f"{conditions}.lyrics.max_sentence_per_structure", int),
        reference_frames=release.number(f"{conditions}.prompt_wav.max_len", int),
        time_features_dim=release.number("model.timestep_features_dim", int),
        ar_rope_base=release.number("model.rotary_base_val", float),
        init_std=release.number("model.init_std", float),
        frontend="release",
        objective=_objective(release),
        sampling=_sampling(release),
    )


def vocabulary(release: ReleaseYaml) -> Vocabulary:
    """The lyric symbols. `SongBloomError` when they are no list of distinct ones, "" first."""
    key = "model.condition_provider_cfg.lyrics.vocab_list"
    try:
        return Vocabulary(tuple(release[key]))
    except (TypeError, ValueError) as error:
        raise SongBloomError(f"{release.path}: {key} is no vocabulary ({error})") from error


def _objective(release: ReleaseYaml) -> ObjectiveConfig:
    dropout = release.number("model.h_dropout", float)
    return ObjectiveConfig(
        masking="release",
        joint_mask_rate=dropout,
        sketch_mask_rate=dropout,
        condition_dropout=release.number("model.cfg_dropout", float),
        reference_dropout=release.number("model.attribute_dropout.wav.prompt_wav", float),
    )


def _sampling(release: ReleaseYaml) -> SamplingConfig:
    scale = "inference.cfg_coef"  # a number for both, or a pair
    names = [f"{scale}.0", f"{scale}.1"] if isinstance(release[scale], list) else [scale, scale]
    sketch_scale, latent_scale = (release.number(name, float) for name in names)
    penalize = bool(release["inference.penalty_repeat"])
    return SamplingConfig(
        num_steps=release.number("inference.steps", int),
        sketch_cfg_scale=sketch_scale,
        latent_cfg_scale=latent_scale,
        temperature=release.number("inference.temp", float),
        top_k=release.number("inference.top_k", int),
        noise_temperature=release.number("inference.diff_temp", float),
        repetition_penalty=1.1 if penalize else 1.0,
        repetition_window=release.number("inference.penalty_window", int),
        max_duration=release.number("max_dur", float) + _EXTRA_SECONDS,
    )


def _load_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f"{path}:{line + 1}" if line is not None else str(path)
        raise SongBloomError(f"{where}: not readable as yaml", "Fetch the file again.") from error


def release_tree(config: ModelConfig, name: str) -> dict[str, Any]:
    """The released yaml's tree of a config, of files called as the release calls them.

    What it cannot say is left out; reading it back with `model_config` shows what that was.
    """
    sampling, objective = config.sampling, config.objective
    scales = [sampling.sketch_cfg_scale, sampling.latent_cfg_scale]
    return {
        "precision": "bf16-mixed",
        "min_dur": 0,
        "max_dur": _whole(sampling.max_duration - _EXTRA_SECONDS),
        "sr": SAMPLE_RATE,
        "pretrained_path": _in_folder(f"{name}.pt"),
        "train_dataset": {"lyric_processor": "phoneme", "prompt_len": 10},
        "vae": {
            "vae_cfg": _in_folder(VAE_CONFIG),
            "vae_ckpt": _in_folder(VAE_WEIGHTS),
            "sr": "${sr}",
        },
        "model": {
            "block_size": config.patch_size,
            "latent_dim": config.latent_dim,
            "dim": config.dim,
            "num_heads": config.num_heads,
            "lm_layers": config.ar_layers,
            "diff_layers": config.dit_layers,
            "num_pitch": config.sketch_vocab_size,
            "time_cond_type": "prepend",
            "timestep_features_dim": config.time_features_dim,
            "diffusion_objective": "rectified_flow",
            "timestep_sampler": "logit_normal",
            "backend": "llama",
            "rotary_base_val": _whole(config.ar_rope_base),
            "init_std": config.init_std,
            "h_dropout": objective.joint_mask_rate,
            **({} if config.ffn_dim == 4 * config.dim else _hidden_scale(config)),
            "condition_provider_cfg": {
                "prompt_wav": {
                    "type": "audio_tokenizer_wrapper",
                    "output_dim": "${model.dim}",
                    "audio_tokenizer": None,
                    "max_len": config.reference_frames,
                },
                "lyrics": {
                    "type": "phoneme_tokenizer",
                    "output_dim": "${model.dim}",
                    "vocab_list": f"${{load_yaml:{_in_folder(VOCABULARY)}}}",
                    "max_len": config.lyric_length,
                    "max_sentence_per_structure": config.max_sentences,
                    "mode": "sum",
                },
            },
            "cfg_dropout": objective.condition_dropout,
            "attribute_dropout": {
                "text": {"lyrics": 0.0},
                "wav": {"prompt_wav": objective.reference_dropout},
            },
            "fuser_cfg": {
                "cross_attention_pos_emb": False,
                "cross_attention_pos_emb_scale": 1,
                "sum": [],
                "prepend": ["lyrics", "prompt_wav"],
                "cross": [],
                "input_interpolate": [],
            },
        },
        "inference": {
            "cfg_coef": scales[0] if scales[0] == scales[1] else scales,
            "temp": sampling.temperature,
            "diff_temp": sampling.noise_temperature,
            "top_k": sampling.top_k,
            "penalty_repeat": sampling.repetition_penalty != 1.0,
            "penalty_window": sampling.repetition_window,
            "steps": sampling.num_steps,
            "dit_cfg_type": "h",
        },
    }


def _whole(number: float) -> int | float:
    """A whole number as such, as the release writes it and counts with it."""
    return int(number) if number.is_integer() else number


def _hidden_scale(config: ModelConfig) -> dict[str, Any]:
    """The feed-forward's width over the model's, where it is not the usual four."""
    return {"hidden_scale": config.ffn_dim // config.dim}


def _in_folder(file: str) -> str:
    return f"${{dynamic_path:???/{file}}}"
