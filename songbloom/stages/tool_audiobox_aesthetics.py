"""Audiobox-Aesthetics (Tjandra et al. 2025), guesses of what listeners would say, as the tools
environment serves it.

Run by `tool_worker.py`: the standard library, numpy and the tool alone. Commands:

    load    {"model": folder with config.json and model.safetensors, "device": "cpu"}
    judge   {"samples": float32 [n] at 16 kHz} -> {"CE", "CU", "PC", "PQ"}, about 1 to 10
"""

from typing import Any

import numpy as np

_AXES = ("CE", "CU", "PC", "PQ")
_WINDOW = 160_000  # samples, ten seconds: what the model was trained on


def load(options: dict[str, Any]) -> Any:
    """The model, by its library's own loader of a folder's safetensors."""
    from audiobox_aesthetics.model.aes import (  # type: ignore[import-not-found, unused-ignore]
        AesMultiOutput,
    )

    model = AesMultiOutput.from_pretrained(options["model"], local_files_only=True)
    return model.to(options["device"]).eval()


def call(model: Any, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Serve one command."""
    if command != "judge":
        raise ValueError(f"audiobox-aesthetics has no command '{command}'")
    return _judge(model, arguments["samples"])


def _judge(model: Any, samples: np.ndarray) -> dict[str, float]:
    """Each axis of sound `[n]`: the mean over clips of ten seconds by their lengths."""
    import torch

    device = next(model.parameters()).device
    clips = torch.from_numpy(samples).split(_WINDOW)
    axes: dict[str, list[float]] = {axis: [] for axis in _AXES}
    for clip in clips:
        wav = torch.nn.functional.pad(clip, (0, _WINDOW - len(clip)))[None, None]
        mask = (torch.arange(_WINDOW) < len(clip))[None, None]
        with torch.inference_mode():
            guesses = model({"wav": wav.to(device), "mask": mask.to(device)})
        for axis in _AXES:
            scale = model.target_transform[axis]
            axes[axis].append(float(guesses[axis]) * scale["std"] + scale["mean"])
    weights = [len(clip) for clip in clips]
    return {axis: float(np.average(axes[axis], weights=weights)) for axis in _AXES}
