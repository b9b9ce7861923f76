"""Training-only help to read lyrics; nothing of it is in the exported model.

A causal transformer learns the melody first and the words late: nothing tells it where in the
lyrics it is. Where the training set knows when each phoneme is sung, `Reader` tells it:

* One head of one AR layer is drawn towards the next lyric symbol (a causal prefix cannot look ahead
  from the current one).
* Linear heads name that symbol from what this head brings, and from the predicting outputs.

For the seedling's codebook, whose tokens are a phone and a pitch, the sketch tables are besides
sums of a phone and a pitch vector, written out as plain tables in the end; and tables start at unit
scale: at the usual .02 a symbol's identity drowns in what the layers add, and a short run learns
where to look but not what is there.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from songbloom.errors import UsageError
from songbloom.model.config import ModelConfig
from songbloom.model.layers import Attention, apply_rope, rope_table
from songbloom.model.sketch_symbols import NUM_CODES, NUM_PHONES, NUM_PITCHES, split_code
from songbloom.model.songbloom import Batch, FlowDraws, Losses, SongBloom

GUIDED_LAYER = 1
_TABLES = ("embedding", "head.2")  # of the sketch transformer
_PREFIX = "reader."


class ReadingSongBloom(SongBloom):
    """SongBloom with the reading losses in its training pass, each counted `weight` times."""

    def __init__(self, config: ModelConfig, weight: float) -> None:
        super().__init__(config)
        self.weight = weight
        self.reader = Reader(config)
        self._seen: dict[str, Tensor] = {}
        self._watch("inputs", self._guided)
        self._watch("outputs", self.sketch_lm.head)

    @property
    def _guided(self) -> Attention:
        guided: Any = self.sketch_lm.layers[min(GUIDED_LAYER, self.config.ar_layers - 1)]
        return guided.attention

    def _watch(self, name: str, module: nn.Module) -> None:
        def keep(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            self._seen[name] = arguments[0]

        module.register_forward_pre_hook(keep)

    def forward(self, batch: Batch, draws: FlowDraws) -> Losses:
        """The paper's losses, and `reading` where the batch knows what is sung next."""
        losses = super().forward(batch, draws)
        if batch.next_symbol is None:
            return losses
        reading = self.reader(self._guided, self._seen["inputs"], self._seen["outputs"], batch)
        return Losses(
            losses.total + self.weight * reading,
            *(losses.sketch, losses.flow, losses.sketch_count, losses.flow_count),
            reading=self.weight * reading,
        )


class Reader(nn.Module):
    """Where in the lyrics is the model?"""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.named = nn.Linear(config.dim, config.lyric_vocab_size)
        self.brought = nn.Linear(config.head_dim, config.lyric_vocab_size)

    def forward(
        self, attention: Attention, inputs: Tensor, outputs: Tensor, batch: Batch
    ) -> Tensor:
        """Sum of three means over the predicting positions that have a next symbol: -log of the
        guided head's attention to it, and cross-entropies of its id from what the head brings and
        from the outputs `[B, T + 1, D]`. `inputs` `[B, S, D]` are the guided layer's."""
        assert batch.next_symbol is not None
        following = batch.next_symbol
        known = following >= 0
        ids = self._ids(batch)
        scores, values = self._guided_head(attention, inputs, following.shape[1] - 1)
        attended = scores.log_softmax(dim=-1)  # [B, T + 1, S]
        at = following.clamp(min=0) + self._lyrics_at(inputs.shape[1], following.shape[1] - 1)
        looked = -attended.gather(2, at[..., None])[..., 0]
        return (looked * known).sum() / known.sum().clamp(min=1) + sum(
            _naming_loss(logits, ids)
            for logits in (self.brought(attended.exp() @ values), self.named(outputs))
        )

    def _ids(self, batch: Batch) -> Tensor:
        """The next symbol's id at every predicting position `[B, T + 1]`, -1 for none."""
        assert batch.next_symbol is not None
        rows = [
            conditions.lyrics.tokens.to(following.device)[following.clamp(min=0)]
            for conditions, following in zip(batch.conditions, batch.next_symbol, strict=True)
        ]
        return torch.where(batch.next_symbol >= 0, torch.stack(rows), -1)

    def _lyrics_at(self, length: int, frames: int) -> int:
        """Where the lyrics stand in a sequence `length` long that ends with `frames` frames."""
        bos = self._bos(length, frames)
        lyrics_last = self.config.prefix_order != "lyrics-reference"
        return bos - self.config.lyric_length if lyrics_last else 0

    def _bos(self, length: int, frames: int) -> int:
        patches = frames // self.config.patch_size
        return length - 1 - patches * (self.config.patch_size + 1)

    def _guided_head(
        self, attention: Attention, inputs: Tensor, frames: int
    ) -> tuple[Tensor, Tensor]:
        """Masked scores of head 0 from the predicting positions, and its values."""
        width, length = self.config.head_dim, inputs.shape[1]
        positions = self._bos(length, frames) + predicting_positions(
            frames, self.config.patch_size
        ).to(inputs.device)
        rows = attention.qkv.weight.split(self.config.dim)
        q, k, v = (inputs @ weight[:width].T for weight in rows)
        places = torch.arange(length, device=inputs.device)
        rope = rope_table(places, width, self.config.ar_rope_base)
        q, k = (apply_rope(x[:, None], rope)[:, 0] for x in (q, k))
        scores = (q[:, positions] @ k.transpose(1, 2)).float() / width**0.5
        return scores.masked_fill(places > positions[:, None], float("-inf")), v.float()


def _naming_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """Mean cross-entropy over the positions whose id is known; 0 where none is."""
    loss = F.cross_entropy(
        logits.float().flatten(0, 1), ids.flatten(), ignore_index=-1, reduction="sum"
    )
    return loss / (ids >= 0).sum().clamp(min=1)


def predicting_positions(frames: int, patch_size: int) -> Tensor:
    """Positions, counted from BOS, whose outputs predict frames 0..T: see `model.patches`."""
    everything = torch.arange(1 + frames // patch_size * (patch_size + 1))
    return everything[(everything == 0) | (everything % (patch_size + 1) != patch_size)]


class Factored(nn.Module):
    """Adds phone_table[phone(code)] + pitch_table[pitch(code)] to the first V rows of a table."""

    phone: Tensor  # [V] int64, the phone of every code
    pitch: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        phone, pitch = (torch.from_numpy(x) for x in split_code(np.arange(NUM_CODES)))
        self.register_buffer("phone", phone, persistent=False)
        self.register_buffer("pitch", pitch, persistent=False)
        self.phones = nn.Parameter(torch.zeros(NUM_PHONES, dim))
        self.pitches = nn.Parameter(torch.zeros(NUM_PITCHES, dim))

    def forward(self, free: Tensor) -> Tensor:
        """Free table `[V + extra, D]` -> the table in use."""
        return free + _factors(self.phones, self.pitches, len(free))


def _factors(phones: Tensor, pitches: Tensor, rows: int) -> Tensor:
    phone, pitch = (torch.from_numpy(x).to(phones.device) for x in split_code(np.arange(NUM_CODES)))
    return F.pad(phones[phone] + pitches[pitch], (0, 0, 0, rows - NUM_CODES))


def init_reader(model: ReadingSongBloom, generator: torch.Generator) -> None:
    """Draw the training-only heads."""
    for name, parameter in model.reader.named_parameters():
        nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.normal_(
            parameter, std=model.config.init_std, generator=generator
        )


def init_tables(model: SongBloom, generator: torch.Generator) -> None:
    """Give the tables of a newly drawn model unit scale."""
    std = model.config.init_std
    for table in (model.conditioner.lyrics.symbols, model.conditioner.lyrics.sentences):
        table.weight.data.div_(std)
    for name, scale in zip(_TABLES, (1.0, 2 * std), strict=True):
        module: Any = model.sketch_lm.get_submodule(name)
        factors = module.parametrizations.weight[0]
        module.parametrizations.weight.original.data.mul_(0.1 * scale / std)
        for factor in (factors.phones, factors.pitches):
            nn.init.normal_(factor, std=scale, generator=generator)


def factor_tables(model: SongBloom) -> None:
    """Make the sketch tables what they are plus sums of factors, which begin at zero.

    `UsageError` for a model whose codes are no pairs of a phone and a pitch.
    """
    if model.config.sketch_vocab_size != NUM_CODES:
        raise UsageError(
            f"[train] factored_sketch: for the seedling's codebook of {NUM_CODES} codes; the model "
            f"has {model.config.sketch_vocab_size}",
            "Leave factored_sketch out.",
        )
    for name in _TABLES:
        module = model.sketch_lm.get_submodule(name)
        parametrize.register_parametrization(module, "weight", Factored(model.config.dim))


def plain_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a plain SongBloom: tables written out, training-only parts left behind."""
    plain = {
        name: tensor
        for name, tensor in weights.items()
        if "parametrizations" not in name and not name.startswith(_PREFIX)
    }
    for table in _TABLES:
        inside = f"sketch_lm.{table}.parametrizations.weight"
        if f"{inside}.original" in weights:
            free = weights[f"{inside}.original"]
            phones, pitches = (weights[f"{inside}.0.{name}"] for name in ("phones", "pitches"))
            factors = _factors(phones, pitches, len(free))
            plain[f"sketch_lm.{table}.weight"] = free + factors
    return plain
