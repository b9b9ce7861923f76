"""Where a song's randomness comes from. Each song has its own draws, whatever shares its batch."""

import hashlib
from typing import Protocol

import torch
from torch import Tensor

from songbloom.model.sampling import invert_cdf


class Draws(Protocol):
    """What generation asks for, in the order it asks."""

    def reference(self) -> torch.Generator:
        """The generator that the reference clip's posterior is sampled with."""
        ...

    def token(self, probs: Tensor, patch: int, position: int) -> Tensor:
        """Sample a token (0-d) from `probs` `[V + 1]`."""
        ...

    def noise(self, patch: int, shape: tuple[int, int]) -> Tensor:
        """Standard normal `[P, C]` on the CPU: where the patch's flow starts."""
        ...


class CounterDraws:
    """The default: every number follows from (seed, what for, which patch) alone.

    So a patch keeps its draws whatever is sampled before it, and any device gives the same ones.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def reference(self) -> torch.Generator:
        """See `Draws`."""
        return self._generator("reference", 0)

    def token(self, probs: Tensor, patch: int, position: int) -> Tensor:
        """See `Draws`."""
        uniform = torch.rand(position + 1, generator=self._generator("sketch", patch))[-1:]
        return invert_cdf(probs[None], uniform.to(probs.device))[0]

    def noise(self, patch: int, shape: tuple[int, int]) -> Tensor:
        """See `Draws`."""
        return torch.randn(shape, generator=self._generator("noise", patch))

    def _generator(self, purpose: str, patch: int) -> torch.Generator:
        digest = hashlib.sha256(f"songbloom/{self.seed}/{purpose}/{patch}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class ReleaseDraws:
    """`--rng release`: one stream, drawn in the released order, for seeds that must agree with it.

    The reference's posterior noise first (a second row for the null clip is drawn and left unused),
    then per patch 16 multinomial draws over all tokens and one patch of noise.
    """

    def __init__(self, seed: int) -> None:
        self.stream = torch.Generator().manual_seed(seed)

    def reference(self) -> torch.Generator:
        """See `Draws`."""
        return self.stream

    def token(self, probs: Tensor, patch: int, position: int) -> Tensor:
        """See `Draws`."""
        return torch.multinomial(probs.cpu(), 1, generator=self.stream)[0].to(probs.device)

    def noise(self, patch: int, shape: tuple[int, int]) -> Tensor:
        """See `Draws`."""
        return torch.randn((1, *shape), generator=self.stream)[0]
