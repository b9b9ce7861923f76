"""Seconds of work for each second of song, split into prefix, sketch (AR), flow (DiT) and VAE.

    python benchmarks/generate.py                        # the embedded model, and dim 512 at random
    python benchmarks/generate.py --sizes seedling --patches 20 --json

One thread, float32, 36 Euler steps, guidance on in both stages. "large" has random weights: 8 AR
and 4 DiT layers 512 wide, 16384 sketch codes, and the released VAE's architecture.
"""

import argparse
import json
import resource
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from songbloom.generation.decode import decode
from songbloom.generation.draws import CounterDraws
from songbloom.generation.engine import generate_patches
from songbloom.hub import EMBEDDED_FOLDER
from songbloom.model.checkpoint import load_model
from songbloom.model.conditioning import Conditions, LyricIds
from songbloom.model.config import ModelConfig
from songbloom.model.songbloom import SongBloom
from songbloom.model.vae import OobleckConfig, OobleckVAE

LARGE = ModelConfig(dim=512, num_heads=8, ar_layers=8, dit_layers=4, ffn_dim=2048)


def build(size: str) -> tuple[SongBloom, Any]:
    """(model, VAE) of a size."""
    if size == "seedling":
        loaded = load_model(EMBEDDED_FOLDER / "seedling", device=torch.device("cpu"))
        return loaded.songbloom, loaded.vae
    model = SongBloom(LARGE)
    model.init_weights(torch.Generator().manual_seed(0))
    return model.eval().requires_grad_(False), OobleckVAE(OobleckConfig()).eval()


def timed(spent: dict[str, float], part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, its time added to `spent[part]`."""

    def call(*args: Any, **kwargs: Any) -> Any:
        started_at = time.perf_counter()
        result = function(*args, **kwargs)
        spent[part] += time.perf_counter() - started_at
        return result

    return call


def measure(size: str, patches: int) -> dict[str, float]:
    """Seconds per second of song by part, their sum, and the peak memory of this process so far."""
    model, vae = build(size)
    config = model.config
    spent: dict[str, float] = defaultdict(float)
    ones = torch.ones(config.lyric_length, dtype=torch.int64)
    lyrics = LyricIds(ones * 20, ones, ones)
    conditions = Conditions(lyrics, torch.randn(config.reference_frames, config.latent_dim))
    model.dit.forward = timed(spent, "dit", model.dit.forward)  # type: ignore[method-assign]
    sampling = replace(config.sampling, max_duration=patches * config.patch_size / 25)
    model.sketch_lm.head[2].bias.data[-1] = -1e9  # never ends early
    started_at = time.perf_counter()
    made = []
    for step in generate_patches(model, [conditions], sampling, [CounterDraws(0)]):
        made.append(step[0].latents)
        if len(made) == 1:
            first = time.perf_counter() - started_at - spent["dit"]
    generated = time.perf_counter() - started_at
    per_patch = (generated - spent["dit"] - first) / max(1, patches - 1)
    timed(spent, "vae", decode)(vae, torch.cat(made))
    spent |= {"prefix": max(0.0, first - per_patch), "ar": per_patch * patches}
    seconds = len(made) * config.patch_size / 25
    row = {part: spent[part] / seconds for part in ("prefix", "ar", "dit", "vae")}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**row, "total": sum(row.values()), "song_seconds": seconds, "peak_mb": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["seedling", "large"])
    parser.add_argument("--patches", type=int, default=16, help="patches of 0.64 s to generate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    rows = {size: measure(size, arguments.patches) for size in arguments.sizes}
    if arguments.json:
        print(json.dumps({"threads": arguments.threads, "seconds_per_song_second": rows}, indent=1))
        return
    for size, row in rows.items():
        print(f"{size:10}" + "".join(f"  {part} {value:.3f}" for part, value in row.items()))


if __name__ == "__main__":
    main()
