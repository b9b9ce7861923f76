"""Training-only help for a small model with little time; nothing of it is in the exported model.

* The sketch tables are sums of a phone and a pitch vector, written out as plain tables at the end.
* Symbol, sentence and sketch tables start at unit scale: at the usual .02 a symbol's identity
  drowns in what the layers add, and a short run learns where to look but not what is there.
* One head of one AR layer is drawn towards the next lyric symbol (a causal prefix cannot look ahead
  from the current one); linear heads name that symbol from what this head brings and at the end.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from songbloom.model.config import ModelConfig
from songbloom.model.layers import Attention, apply_rope, rope_table
from songbloom.model.sketch_symbols import NUM_PHONES, NUM_PITCHES, split_code
from songbloom.model.songbloom import SongBloom

GUIDED_LAYER = 1
_FACTORED = ("embedding", "head.2")  # of the sketch transformer


class Factored(nn.Module):
    """Adds phone_table[phone(code)] + pitch_table[pitch(code)] to the first V rows of a table."""

    phone: Tensor  # [V] int64, the phone of every code
    pitch: Tensor

    def __init__(self, num_codes: int, dim: int, std: float, generator: torch.Generator) -> None:
        super().__init__()
        phone, pitch = (torch.from_numpy(x) for x in split_code(np.arange(num_codes)))
        self.register_buffer("phone", phone, persistent=False)
        self.register_buffer("pitch", pitch, persistent=False)
        self.phones = nn.Parameter(torch.randn(NUM_PHONES, dim, generator=generator) * std)
        self.pitches = nn.Parameter(torch.randn(NUM_PITCHES, dim, generator=generator) * std)

    def forward(self, free: Tensor) -> Tensor:
        """Free table `[V + extra, D]` -> the table in use."""
        factors = self.phones[self.phone] + self.pitches[self.pitch]
        return free + F.pad(factors, (0, 0, 0, len(free) - len(factors)))


def prepare_tables(model: SongBloom, generator: torch.Generator) -> None:
    """Give the tables unit scale and make the sketch ones sums of factors and a small free part."""
    config = model.config
    for table in (model.conditioner.lyrics.symbols, model.conditioner.lyrics.sentences):
        table.weight.data.div_(config.init_std)
    for name, scale in (("embedding", 1.0), ("head.2", 2 * config.init_std)):
        module = model.sketch_lm.get_submodule(name)
        _table(module).data.mul_(0.1 * scale / config.init_std)
        factors = Factored(config.sketch_vocab_size, config.dim, scale, generator)
        parametrize.register_parametrization(module, "weight", factors)


def _table(module: Any) -> Tensor:
    """The table in use, whether parametrised or plain."""
    return module.weight


def plain_state(model: SongBloom) -> dict[str, Tensor]:
    """The state dict of a factorised model with its tables written out."""
    state = {k: v for k, v in model.state_dict().items() if "parametrizations" not in k}
    for name in _FACTORED:
        weight = _table(model.sketch_lm.get_submodule(name))
        state[f"sketch_lm.{name}.weight"] = weight.detach().clone()
    return state


class ReadingLosses(nn.Module):
    """Where am I in the lyrics? The guided attention head and the next-symbol classifier."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.next_symbol = nn.Linear(config.dim, config.lyric_vocab_size)
        self.brought_symbol = nn.Linear(config.head_dim, config.lyric_vocab_size)
        self._inputs: Tensor | None = None

    def watch(self, model: SongBloom) -> None:
        """Keep the guided layer's normalised input of each pass."""
        _guided_attention(model).register_forward_pre_hook(self._keep)

    def _keep(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        self._inputs = arguments[0]

    def symbol_loss(self, outputs: Tensor, next_id: Tensor) -> Tensor:
        """Cross-entropy of the next symbol's id at every predicting output `[B, T + 1, D]`."""
        logits = self.next_symbol(outputs).flatten(0, 1)
        return F.cross_entropy(logits, next_id.flatten(), ignore_index=-1)

    def attention_losses(
        self, model: SongBloom, next_symbol: Tensor, next_id: Tensor, *, lyrics_at: int, bos_at: int
    ) -> tuple[Tensor, Tensor]:
        """Where the guided head looks, and what it brings, at positions that have a next symbol.

        The first is -log of its attention to that symbol, the second the cross-entropy of the
        symbol's id from the head's own output. `lyrics_at` and `bos_at` are where lyrics and BOS
        stand in the watched sequence.
        """
        frames = next_symbol.shape[1] - 1
        scores, values = self._guided_head(model, bos_at, frames)  # [B, T + 1, S], [B, S, K]
        log_attention = scores.log_softmax(dim=-1)
        target = next_symbol.clamp(min=0) + lyrics_at
        found = log_attention.gather(2, target[..., None])[..., 0]
        known = next_symbol >= 0
        looked = -(found * known).sum() / known.sum().clamp(min=1)
        logits = self.brought_symbol(log_attention.exp() @ values).flatten(0, 1)
        return looked, F.cross_entropy(logits, next_id.flatten(), ignore_index=-1)

    def _guided_head(self, model: SongBloom, bos_at: int, frames: int) -> tuple[Tensor, Tensor]:
        """Masked scores of head 0 from the predicting positions, and its values."""
        inputs, width = self._inputs, self.config.head_dim
        assert inputs is not None, "watch() first"
        positions = bos_at + predicting_positions(frames, self.config.patch_size)
        weight = _guided_attention(model).qkv.weight
        q, k, v = (inputs @ rows[:width].T for rows in weight.split(self.config.dim))
        rope = rope_table(torch.arange(inputs.shape[1]), width, self.config.ar_rope_base)
        q, k = (apply_rope(x[:, None], rope)[:, 0] for x in (q, k))
        scores = q[:, positions] @ k.transpose(1, 2) / width**0.5
        future = torch.arange(inputs.shape[1]) > positions[:, None]
        return scores.masked_fill(future, float("-inf")), v


def _guided_attention(model: Any) -> Attention:
    return model.sketch_lm.layers[GUIDED_LAYER].attention


def predicting_positions(frames: int, patch_size: int) -> Tensor:
    """Positions, counted from BOS, whose outputs predict frames 0..T: see `model.patches`."""
    everything = torch.arange(1 + frames // patch_size * (patch_size + 1))
    return everything[(everything == 0) | (everything % (patch_size + 1) != patch_size)]
