"""Eight-bit weights, and what they change: measured on patches that the whole model sang."""

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from songbloom.errors import SongBloomError
from songbloom.export import trial
from songbloom.export.trial import Trial, build, conditions, predict, sing
from songbloom.model.checkpoint import Contents
from songbloom.model.config import ModelConfig
from songbloom.model.int8 import INT8, quantise
from songbloom.units import Seconds

_PATCHES = 4  # in which the change is measured
_TIMED = 3  # of which the first is left out, since it reads the lyrics as well
_DIGITS = 4  # that mean something


def estimate(config: ModelConfig) -> Seconds:
    """About how long `measure` and `speeds` take together."""
    return trial.estimate(config, songs=7, patches=2 * _PATCHES + 4 * _TIMED)


def quantised(contents: Contents) -> Contents:
    """The contents with int8 weights in the blocks. `SongBloomError` where they are so already."""
    if "quantisation" in contents.info:
        raise SongBloomError(
            f"{contents.info['name']}: its weights are quantised already",
            "Name the model that it was made of.",
        )
    described = {**contents.info, "quantisation": {"kind": INT8}}
    return dataclasses.replace(contents, info=described, songbloom=quantise(contents.songbloom))


def measure(whole: Contents, small: Contents) -> dict[str, Any]:
    """What quantisation changed, in float32, with `whole`'s own song in both models' ears.

    `logits_kl`: mean Kullback-Leibler divergence of the sketch's distributions in nats;
    `logits_rms`: root mean square change of a logit over the logits' spread; `same_token`: share of
    positions whose likeliest token is the same; `velocity_rms`: change of the flow's velocity over
    the velocity, root mean squares. Nothing here depends on the clock.
    """
    lyrics = conditions(whole)
    model = build(whole, torch.float32)
    song = _whole_patches(sing(model, lyrics, _PATCHES), whole)
    before = predict(model, lyrics, song)
    del model
    after = predict(build(small, torch.float32), lyrics, song)
    found = {"velocity_rms": _relative(before.velocity, after.velocity)}
    if whole.config.sketch_size:
        found |= _logit_changes(before.logits[0], after.logits[0])
    return {"patches": len(song.latents) // whole.config.patch_size, **_rounded(found)}


def speeds(whole: Contents, small: Contents) -> dict[str, float]:
    """Seconds of the fastest patch on this machine's CPU: one song, the model's own sampling."""
    lyrics = conditions(whole)
    found = {}
    for name, contents, dtype in (
        ("float32", whole, torch.float32),
        ("bfloat16", whole, torch.bfloat16),
        ("int8, float32 activations", small, torch.float32),
        ("int8, bfloat16 activations", small, torch.bfloat16),
    ):
        model = build(contents, dtype)
        times = sing(model, lyrics, _TIMED).times
        found[name] = min(times[1:] or times, default=math.nan)
    return found


def _whole_patches(song: Trial, contents: Contents) -> Trial:
    """The song, or where the model ended it at once, as many patches of drawn frames."""
    if len(song.latents) >= contents.config.patch_size:
        return song
    generator = torch.Generator().manual_seed(0)
    frames = _PATCHES * contents.config.patch_size
    tokens = torch.randint(
        max(1, contents.config.sketch_vocab_size), (frames,), generator=generator
    )
    latents = torch.randn(frames, contents.config.latent_dim, generator=generator)
    return Trial(tokens, latents, song.times)


def _logit_changes(before: Tensor, after: Tensor) -> dict[str, float]:
    """`[T, V]` each."""
    p, q = before.log_softmax(-1), after.log_softmax(-1)
    spread = before - before.mean(-1, keepdim=True)
    return {
        "logits_kl": float((p.exp() * (p - q)).sum(-1).mean()),
        "logits_rms": float(
            (after - before).square().mean().sqrt() / spread.square().mean().sqrt()
        ),
        "same_token": float((before.argmax(-1) == after.argmax(-1)).float().mean()),
    }


def _relative(before: Tensor, after: Tensor) -> float:
    return float((after - before).square().mean().sqrt() / before.square().mean().sqrt())


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.{_DIGITS}g}") for name, value in values.items()}
