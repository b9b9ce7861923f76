"""A step whose loss is finite and whose gradient is not, under any engine.

python overflow.py ZERO    prints what the engine says; fails where anything has moved
"""

import sys

import torch
import torch.distributed as dist

from songbloom.model.conditioning import NULL_CONDITIONS
from songbloom.model.config import ModelConfig
from songbloom.model.songbloom import Batch, SongBloom, draw_flow
from songbloom.training.engine import Engine, EngineSettings, build_engine
from songbloom.training.optim import AdamWSettings

CONFIG = ModelConfig(
    dim=32, num_heads=1, ar_layers=1, dit_layers=1, ffn_dim=32, sketch_vocab_size=20, latent_dim=4
)


def step(engine: Engine, *, steep: bool) -> None:
    """Learn from noise; a `steep` loss has the same value and an infinite slope."""
    seeded = torch.Generator().manual_seed(1)
    frames = 2 * CONFIG.patch_size
    batch = Batch(
        torch.zeros(1, frames, dtype=torch.int64),
        torch.randn(1, frames, CONFIG.latent_dim, generator=seeded),
        lengths=torch.tensor([frames]),
        conditions=[NULL_CONDITIONS],
    )
    losses = engine.losses(batch, draw_flow(CONFIG, 2, [seeded]), last=True)
    loss = losses.total
    if steep:
        loss = loss + (loss - loss.detach()).sqrt()
    assert torch.isfinite(loss)
    engine.backward(loss)
    engine.step(1e-3, 0.9)


def overflow(zero: int) -> str:
    """What the engine says to a second step that overflows."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model = SongBloom(CONFIG)
        model.init_weights(torch.Generator().manual_seed(0))
        settings = EngineSettings(AdamWSettings(), average=True, zero=zero)
        engine = build_engine(model, settings, torch.device("cpu"))
        step(engine, steep=False)
        before = [engine.weights(averaged=averaged) for averaged in (False, True)]
        try:
            step(engine, steep=True)
        except FloatingPointError as error:
            after = [engine.weights(averaged=averaged) for averaged in (False, True)]
            for ours, theirs in zip(before, after, strict=True):
                assert all(torch.equal(theirs[name], tensor) for name, tensor in ours.items())
            return str(error)
        raise AssertionError("nothing was said")
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(overflow(int(sys.argv[1])))
