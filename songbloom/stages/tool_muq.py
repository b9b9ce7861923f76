"""MuQ (Zhu et al. 2025), a self-supervised model of music, as the tools environment serves it.

Run by `tool_worker.py`: the standard library, numpy and the tool alone. Commands:

    load   {"model": folder, "layer": number of a hidden state, -1 = last, "device": "cpu"}
    embed  {"samples": float32 [n] at 24 kHz} -> {"embeddings": float32 [n // 960, D]}
"""

from typing import Any

import numpy as np

_HOP = 960  # samples at 24 kHz: 25 embeddings a second


def load(options: dict[str, Any]) -> Any:
    """(model, layer): MuQ's own loader reads a folder's safetensors, nothing pickled."""
    from muq import MuQ  # type: ignore[import-not-found, unused-ignore]

    model = MuQ.from_pretrained(options["model"], local_files_only=True)
    return model.to(options["device"]).eval(), options["layer"]


def call(model: Any, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Serve one command."""
    if command != "embed":
        raise ValueError(f"muq has no command '{command}'")
    muq, layer = model
    return {"embeddings": _embed(muq, layer, arguments["samples"])}


def _embed(model: Any, layer: int, samples: np.ndarray) -> np.ndarray:
    """Hidden states `[n // 960, D]` of mono sound `[n]`."""
    import torch

    device = next(model.parameters()).device
    with torch.inference_mode():
        states = model(torch.from_numpy(samples)[None].to(device)).hidden_states
    if not -len(states) <= layer < len(states):
        raise ValueError(f"layer {layer}: this model has hidden states 0 to {len(states) - 1}")
    embeddings: np.ndarray = states[layer][0].float().cpu().numpy()
    if len(embeddings) != len(samples) // _HOP:
        raise ValueError(f"{len(embeddings)} embeddings for {len(samples) // _HOP} frames")
    return embeddings
