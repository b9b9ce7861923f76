"""Rectified flow against closed forms and a slow reading of the released sampler."""

import math

import pytest
import torch
from model.small import largest, seeded
from torch import Tensor

from songbloom.model.flow import euler, interpolate, logit_normal_t, velocity_target

STEPS = [1, 2, 3, 7, 36, 100]


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


@pytest.mark.parametrize("num_steps", STEPS)
def test_constant_velocity_lands_exactly(num_steps: int) -> None:
    """A constant velocity moves the noise by minus itself, whatever the number of steps."""
    noise, speed = draw(1, 2, 4, 8), draw(2, 2, 4, 8)
    landed = euler(lambda x, t: speed, noise, num_steps=num_steps)
    assert largest(landed - (noise - speed)) < 1e-6


@pytest.mark.parametrize("num_steps", STEPS)
def test_true_velocity_transports_noise_to_data(num_steps: int) -> None:
    """velocity = noise - latents carries that noise to those latents."""
    latents, noise = draw(3, 2, 4, 8), draw(4, 2, 4, 8)
    landed = euler(lambda x, t: velocity_target(latents, noise), noise, num_steps=num_steps)
    assert largest(landed - latents) < 1e-6


def test_path_ends() -> None:
    """t = 0 is the data and t = 1 is the noise, per batch entry."""
    latents, noise = draw(5, 2, 3, 4, 8), draw(6, 2, 3, 4, 8)
    t = torch.tensor([[0.0, 1.0, 0.25], [1.0, 0.0, 0.5]], dtype=torch.float64)
    noisy = interpolate(latents, noise, t)
    assert torch.equal(noisy[0, 0], latents[0, 0])
    assert torch.equal(noisy[1, 0], noise[1, 0])
    assert torch.equal(noisy[0, 2], 0.75 * latents[0, 2] + 0.25 * noise[0, 2])


def test_target_is_the_paths_derivative() -> None:
    """velocity_target is d(noisy)/dt of `interpolate`, by automatic differentiation."""
    latents, noise = draw(7, 6), draw(8, 6)
    t = torch.full((6,), 0.3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(interpolate(latents, noise, t).sum(), t)
    assert largest(slope - velocity_target(latents, noise)) < 1e-12


def test_error_shrinks_with_the_step() -> None:
    """On dx/dt = x, whose exact x(0) is noise / e, Euler's error is O(1/num_steps)."""
    noise = draw(9, 64)
    errors = [largest(euler(lambda x, t: x, noise, num_steps=n) - noise / math.e) for n in STEPS]
    assert errors == sorted(errors, reverse=True)
    halving = [
        largest(euler(lambda x, t: x, noise, num_steps=n) - noise / math.e) for n in (50, 100, 200)
    ]
    assert halving[0] / halving[1] == pytest.approx(2, rel=0.02)
    assert halving[1] / halving[2] == pytest.approx(2, rel=0.02)


def test_times_run_from_noise_to_data() -> None:
    """The velocity is asked at t = 1, 1 - 1/n, ..., 1/n and never at 0."""
    seen: list[float] = []

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        seen.append(float(t))
        return x

    euler(velocity, draw(10, 2), num_steps=4)
    assert seen == [1.0, 0.75, 0.5, 0.25]


def slow_sampler(noise: list[float], num_steps: int, temperature: float) -> list[float]:
    """The released sampler number by number, for velocity = x / 2 - 3 t + 1."""
    results = []
    for start in noise:
        x = 0.0 if temperature < 1 else start
        for step in range(num_steps):
            t, after = 1 - step / num_steps, 1 - (step + 1) / num_steps
            v = x / 2 - 3 * t + 1
            if t > temperature and after <= temperature:
                data = x - v
                x = (1 - after) * data + after * start
            else:
                x = x + (after - t) * v
        results.append(x)
    return results


@pytest.mark.parametrize("temperature", [1.0, 0.95, 0.9, 0.51, 0.013])
@pytest.mark.parametrize("num_steps", [1, 3, 20, 36])
def test_noise_temperature(num_steps: int, temperature: float) -> None:
    """Start at zero below temperature 1, noise afresh in the step that crosses it."""
    noise = draw(11, 5)
    landed = euler(
        lambda x, t: x / 2 - 3 * t + 1,
        noise,
        num_steps=num_steps,
        noise_temperature=temperature,
    )
    slow = torch.tensor(slow_sampler(noise.tolist(), num_steps, temperature), dtype=torch.float64)
    assert largest(landed - slow) < 1e-5


def test_noise_is_heard_once_below_temperature_one() -> None:
    """The velocity's first input is zeros, whatever the noise; the result depends on the noise."""
    first: list[Tensor] = []

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        first.append(x)
        return x

    landed = [
        euler(velocity, draw(seed, 5), num_steps=36, noise_temperature=0.95) for seed in (1, 2)
    ]
    assert not first[0].any()
    assert largest(landed[0] - landed[1]) > 0.1


def test_t_is_logit_normal() -> None:
    """t is the sigmoid of a standard normal: symmetric about 1/2 with that spread, and seeded."""
    t = logit_normal_t((20_000,), seeded(1))
    assert torch.equal(t, logit_normal_t((20_000,), seeded(1)))
    assert float(t.mean()) == pytest.approx(0.5, abs=0.01)
    logits = torch.logit(t.double())
    assert float(logits.std()) == pytest.approx(1, abs=0.02)
    assert float(t.min()) > 0 and float(t.max()) < 1
