"""Activation checkpointing: the same gradients from less memory."""

from typing import Any

import torch
from model.small import random_batch, small_model
from torch import Tensor

from songbloom.model import dit, sketch_lm
from songbloom.model.songbloom import SongBloom


def checkpointed(on: bool) -> SongBloom:
    model = small_model().train()
    model.sketch_lm.activation_checkpointing = model.dit.activation_checkpointing = on
    return model


def gradients(model: SongBloom) -> dict[str, Tensor | None]:
    batch, draws = random_batch(model.config, [7, 12], 3)
    model(batch, draws).total.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def test_same_gradients() -> None:
    """With and without, every gradient is bit for bit the same, and so is the state dict."""
    plain, recomputed = gradients(checkpointed(False)), gradients(checkpointed(True))
    assert plain.keys() == recomputed.keys()
    for name, gradient in plain.items():
        assert gradient is not None and torch.equal(gradient, recomputed[name]), name
    assert checkpointed(True).state_dict().keys() == checkpointed(False).state_dict().keys()


def block_calls(model: SongBloom, *, with_gradients: bool) -> int:
    """How often a transformer block runs in a pass, its backward included."""
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    for module in model.modules():
        if isinstance(module, sketch_lm.Block | dit.Block):
            module.register_forward_pre_hook(count)
    if with_gradients:
        gradients(model)
    else:
        with torch.no_grad():
            model(*random_batch(model.config, [12], 3))
    return calls


def test_blocks_run_again_in_the_backward_pass() -> None:
    """With gradients every block runs twice; without, and when it is off, once."""
    blocks = 4
    assert block_calls(checkpointed(True), with_gradients=True) == 2 * blocks
    assert block_calls(checkpointed(True), with_gradients=False) == blocks
    assert block_calls(checkpointed(False), with_gradients=True) == blocks
