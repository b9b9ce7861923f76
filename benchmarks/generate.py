"""Seconds of work for each second of song, split into prefix, sketch (AR), flow (DiT) and VAE.

    python benchmarks/generate.py                        # the embedded model, and dim 512 at random
    python benchmarks/generate.py --sizes seedling --patches 20 --json

One thread, float32, 36 Euler steps, guidance on in both stages. "large" has random weights: 8 AR
and 4 DiT layers 512 wide, 16384 sketch codes, and the released VAE's architecture. Each size runs
in a process of its own, so that its peak memory is its own; a short run is made and thrown away
first. Parts: prefix = conditions and the first pass over them; ar = the sketch transformer, its
head and the draws; dit = the flow; vae = decoding. Encoding the reference clip is not counted.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from songbloom.generation.decode import decode
from songbloom.generation.draws import CounterDraws
from songbloom.generation.engine import generate_patches
from songbloom.hub import EMBEDDED_FOLDER
from songbloom.model.checkpoint import load_model
from songbloom.model.conditioning import Conditions, LyricIds
from songbloom.model.config import ModelConfig, SamplingConfig, preset
from songbloom.model.seedling_vae import SeedlingVAE, SeedlingVAEConfig
from songbloom.model.songbloom import SongBloom
from songbloom.model.vae import OobleckConfig, OobleckVAE

LARGE = ModelConfig(dim=512, num_heads=8, ar_layers=8, dit_layers=4, ffn_dim=2048)
PARTS = ("prefix", "ar", "dit", "vae")


def build(size: str) -> tuple[SongBloom, Any]:
    """(model, VAE) of a size; a seedling that is not installed has random weights."""
    folder = EMBEDDED_FOLDER / "seedling"
    if size == "seedling" and folder.is_dir():
        loaded = load_model(folder, device=torch.device("cpu"))
        return loaded.songbloom, loaded.vae
    model = SongBloom(preset("seedling") if size == "seedling" else LARGE)
    model.init_weights(torch.Generator().manual_seed(0))
    vae = SeedlingVAE(SeedlingVAEConfig()) if size == "seedling" else OobleckVAE(OobleckConfig())
    return model.eval().requires_grad_(False), vae.eval().requires_grad_(False)


class Stopwatch:
    """Seconds spent in each part of a model whose methods it wraps."""

    def __init__(self, model: SongBloom) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        outputs = model.sketch_lm.forward
        whole, step = self.timed("prefix", outputs), self.timed("step", outputs)

        def forward(x: Tensor, cache: Any = None) -> Tensor:
            return (whole if x.shape[1] > 1 else step)(x, cache)

        model.sketch_lm.forward = forward  # type: ignore[method-assign]
        model.prefix = self.timed("prefix", model.prefix)  # type: ignore[method-assign]
        model.dit.forward = self.timed("dit", model.dit.forward)  # type: ignore[method-assign]

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, its time added to `part`."""

        def call(*args: Any, **kwargs: Any) -> Any:
            started_at = time.perf_counter()
            result = function(*args, **kwargs)
            self.spent[part] += time.perf_counter() - started_at
            return result

        return call


def measure(size: str, patches: int, steps: int) -> dict[str, float]:
    """Seconds per second of song by part, their sum, and this process's peak memory in MB."""
    model, vae = build(size)
    config = model.config
    watch = Stopwatch(model)
    ones = torch.ones(config.lyric_length, dtype=torch.int64)
    lyrics = LyricIds(ones * 20, ones, ones)
    conditions = Conditions(lyrics, torch.randn(config.reference_frames, config.latent_dim))
    model.state_dict()["sketch_lm.head.2.bias"][-1] = -1e9  # never ends early

    def sing(count: int) -> tuple[Tensor, float]:
        seconds = count * config.patch_size / 25
        sampling = replace(SamplingConfig(), num_steps=steps, max_duration=seconds)
        started_at = time.perf_counter()
        songs = generate_patches(model, [conditions], sampling, [CounterDraws(0)])
        latents = torch.cat([step[0].latents for step in songs])
        return latents, time.perf_counter() - started_at

    decode(vae, sing(1)[0])
    watch.spent.clear()
    latents, generated = sing(patches)
    watch.timed("vae", decode)(vae, latents)
    spent = watch.spent
    spent["ar"] = generated - spent["prefix"] - spent["dit"]
    seconds = len(latents) / 25
    row = {part: spent[part] / seconds for part in PARTS}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**row, "total": sum(row.values()), "song_seconds": seconds, "peak_mb": peak}


def measure_apart(size: str, arguments: argparse.Namespace) -> dict[str, float]:
    """`measure` in a process of its own."""
    numbers = [f"--{name}={getattr(arguments, name)}" for name in ("patches", "steps", "threads")]
    command = [sys.executable, __file__, "--json", "--alone", "--sizes", size, *numbers]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout)["seconds_per_song_second"][size])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=["seedling", "large"])
    parser.add_argument("--patches", type=int, default=16, help="patches of 0.64 s to generate")
    parser.add_argument("--steps", type=int, default=36, help="Euler steps a patch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    rows = {
        size: measure(size, arguments.patches, arguments.steps)
        if arguments.alone
        else measure_apart(size, arguments)
        for size in arguments.sizes or ["seedling", "large"]
    }
    if arguments.json:
        print(json.dumps({"threads": arguments.threads, "seconds_per_song_second": rows}, indent=1))
        return
    columns = [*PARTS, "total", "song_seconds", "peak_mb"]
    print(f"{'':10}" + "".join(f"{column:>14}" for column in columns))
    for size, row in rows.items():
        print(f"{size:10}" + "".join(f"{row[column]:14.3f}" for column in columns))


if __name__ == "__main__":
    main()
