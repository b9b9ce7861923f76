"""MuQ and MuQ-MuLan (Zhu et al. 2025), models of music, as the tools environment serves them.

Run by `tool_worker.py`: the standard library, numpy and the tool alone. MuQ embeds every frame:

    load         {"model": folder, "layer": number of a hidden state, -1 = last, "device": "cpu"}
    embed        {"samples": float32 [n] at 24 kHz} -> {"embeddings": float32 [n // 960, D]}

MuQ-MuLan embeds clips of ten seconds, and words, in one space:

    load         {"mulan": folder, "device": "cpu"}
    embed_clips  {"clips": float32 [n, 240000] at 24 kHz} -> {"embeddings": float32 [n, D]}
    embed_text   {"text": text} -> {"embeddings": float32 [1, D]}
"""

from typing import Any

import numpy as np

_HOP = 960  # samples at 24 kHz: 25 embeddings a second


def load(options: dict[str, Any]) -> Any:
    """(model, layer) or MuQ-MuLan: the library's loaders unpickle nothing but tensors."""
    import muq  # type: ignore[import-not-found, unused-ignore]

    if "mulan" in options:
        mulan = muq.MuQMuLan.from_pretrained(options["mulan"], local_files_only=True)
        return mulan.to(options["device"]).eval()
    model = muq.MuQ.from_pretrained(options["model"], local_files_only=True)
    return model.to(options["device"]).eval(), options["layer"]


def call(model: Any, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Serve one command."""
    if command == "embed":
        muq, layer = model
        return {"embeddings": _embed(muq, layer, arguments["samples"])}
    if command == "embed_clips":
        return {"embeddings": _embed_clips(model, arguments["clips"])}
    if command == "embed_text":
        return {"embeddings": _embed_text(model, arguments["text"])}
    raise ValueError(f"muq has no command '{command}'")


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


def _embed_clips(model: Any, clips: np.ndarray) -> np.ndarray:
    """Latents `[n, D]` of clips `[n, samples]`, each by itself."""
    import torch

    device = next(model.parameters()).device
    with torch.inference_mode():
        parts = [model(wavs=torch.from_numpy(clip)[None].to(device)) for clip in clips]
    embeddings: np.ndarray = torch.cat(parts).float().cpu().numpy()
    return embeddings


def _embed_text(model: Any, text: str) -> np.ndarray:
    """The latent `[1, D]` of a description."""
    import torch

    with torch.inference_mode():
        embeddings: np.ndarray = model(texts=[text]).float().cpu().numpy()
    return embeddings
