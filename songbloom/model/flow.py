"""Rectified flow. t = 1 is noise, t = 0 is data; everything here is pure.

noisy = (1 - t) * latents + t * noise, velocity = noise - latents; generation integrates
d(latents)/dt = velocity from t = 1 down to 0 with Euler steps.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def logit_normal_t(shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """t in (0, 1) as sigmoid of a standard normal (Esser et al. 2024): most draws are mid-way."""
    return torch.randn(shape, generator=generator).sigmoid()


def interpolate(latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """The noisy latents at t; `t` broadcasts against the leading dimensions."""
    t = t.reshape(t.shape + (1,) * (latents.ndim - t.ndim))
    return (1 - t) * latents + t * noise


def velocity_target(latents: Tensor, noise: Tensor) -> Tensor:
    """d(noisy)/dt, the regression target."""
    return noise - latents


def euler(
    velocity: Callable[[Tensor, Tensor], Tensor],
    noise: Tensor,
    *,
    num_steps: int,
    noise_temperature: float = 1.0,
) -> Tensor:
    """Integrate `velocity(noisy, t)` from t = 1 to 0 in `num_steps` equal steps.

    t is a 0-d tensor on the CPU, so that comparing it never waits for an accelerator.

    With `noise_temperature` T < 1 the path starts at zero instead of noise, and in the step that
    crosses t = T the data estimate is noised afresh: (1 - t') * (x - v) + t' * noise. (The estimate
    takes a whole velocity, as if still at t = 1: so does the released sampler.)
    """
    times = torch.linspace(1.0, 0.0, num_steps + 1)
    x = noise if noise_temperature >= 1 else torch.zeros_like(noise)
    for t, t_next in zip(times[:-1], times[1:], strict=True):
        v = velocity(x, t.to(x.dtype))
        if t > noise_temperature >= t_next:
            x = (1 - t_next) * (x - v) + t_next * noise
        else:
            x = x + (t_next - t) * v
        x = x.to(noise.dtype)
    return x
