"""Training-only losses that help to read the lyrics, to listen to the reference and to keep time;
nothing of them is in the exported model.

A causal transformer learns the melody first and the words late: nothing tells it where in the
lyrics it is. Where the training set knows when each phoneme is sung, `Reader` tells it:

* One head in each of three AR layers is drawn towards the next lyric symbol (a causal prefix cannot
  look ahead from the current one). The first finds it by what has been sung last, which other lines
  may have, too; the second brings what the first has found so far to where the third stands.
* Where no symbol is to come they are drawn to the sequence's beginning: the song may end.
* Linear heads name that symbol from what these heads bring, and from the predicting outputs, and
  from what they bring its line, by which like words are told apart.
* Others name, before any of these layers, the last symbols sung: many words share two.
* Another tells from these outputs in how many frames it begins: what lasts how long is little of
  the sketch loss, which a rest's many like tokens make up.

Nor does anything tell it to hear the reference: once a song has begun, its own past says as much.
`Listener` does:

* Another head of that layer is drawn to hear the whole reference evenly where hidden vectors come
  from, the DiT's only source of it. Linear heads tell the reference's latents, frame by frame, from
  the values of this head, and their mean from the hidden vectors.
* A third names the reference's notes where it stands in the prefix, as later layers meet it there.

Nor to keep time: a beat lasts no whole number of frames, and each song's another one. `BeatCounter`
has linear heads tell the tempo and in how many frames the next beat falls, where the reference
stands, for the last layers to use, and from the outputs and the hidden vectors.

For the seedling's codebook, whose tokens are a phone and a pitch, the sketch tables are besides
sums of a phone and a pitch vector, written out as plain tables in the end; and tables start at unit
scale: at the usual .02 a symbol's identity drowns in what the layers add, and a short run learns
where to look but not what is there.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
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
from songbloom.model.songbloom import Batch, FlowDraws, Losses, Predictions, SongBloom

GUIDED_LAYER, READ_LAYERS = 1, 3  # the first of them, and how many from there on are read with
READING_HEAD, LISTENING_HEAD = 0, -1
SOUND_SCALE = 10.0  # of squares, as mean latents of songs differ by about a third
SYMBOLS_BACK = 4  # that are named before the first layer that reads
LONGEST_WAIT = 64  # frames till the next symbol that are told apart
WAIT_SCALE = 0.3  # of the loss of telling them, which no one can wholly
_TABLES = ("embedding", "head.2")  # of the sketch transformer
LONGEST_BEAT = 48  # frames till the next beat that are told apart
SLOWEST, TEMPI, TEMPO_STEP = 40.0, 84, 2 ** (1 / 36)  # beats a minute; how many, each so much more
TEMPO_BLUR = 1.0  # steps by which one that is told may be off
HELPERS = ("reader.", "listener.", "counter.")  # how the names of what only training has begin


class AssistedSongBloom(SongBloom):
    """SongBloom with the losses of `Reader`, `Listener` and `BeatCounter` in its training pass,
    each counted as often as its weight says."""

    def __init__(
        self, config: ModelConfig, reading: float, listening: float = 0.0, counting: float = 0.0
    ) -> None:
        super().__init__(config)
        self.weights = reading, listening, counting
        self.reader = Reader(config) if reading else None  # what is idle is not trained
        self.listener = Listener(config) if listening else None
        self.counter = BeatCounter(config) if counting else None
        self._seen: dict[str, Tensor] = {}
        for step in range(READ_LAYERS):
            self._watch(f"inputs {step}", self._guided(step))
        self._watch("outputs", self.sketch_lm.head)

    def _guided(self, step: int) -> Attention:
        """Of the layers that read, this many after the first; the model's last if it has fewer."""
        block: Any = self.sketch_lm.layers[min(GUIDED_LAYER + step, self.config.ar_layers - 1)]
        return block.attention

    def _watch(self, name: str, module: nn.Module) -> None:
        def keep(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            self._seen[name] = arguments[0]

        module.register_forward_pre_hook(keep)

    def losses(self, predictions: Predictions, batch: Batch, draws: FlowDraws) -> Losses:
        """The paper's losses, and `auxiliary`: what this class adds to them."""
        losses = super().losses(predictions, batch, draws)
        reading, listening, counting = self.weights
        inputs, outputs = self._inputs(), self._seen["outputs"]
        added = losses.total.new_zeros(())
        if self.reader and batch.next_symbol is not None:
            read = [(self._guided(step), x) for step, x in enumerate(inputs)]
            added = added + reading * self.reader(read, outputs, batch)
        if self.listener:
            hidden = predictions.hidden
            added = added + listening * self.listener(self._guided(0), inputs[0], hidden, batch)
        if self.counter and batch.next_beat is not None:
            added = added + counting * self.counter(inputs[1], outputs, predictions.hidden, batch)
        return dataclasses.replace(losses, total=losses.total + added, auxiliary=added)

    def _inputs(self) -> list[Tensor]:
        return [self._seen[f"inputs {step}"] for step in range(READ_LAYERS)]


class Listener(nn.Module):
    """What does the reference sound like, and which notes does it play?"""

    classes: Tensor  # [V] int64

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.sound = nn.Linear(config.dim, config.latent_dim)
        self.frames = nn.Linear(config.head_dim, config.latent_dim)
        classes = np.arange(config.sketch_vocab_size)
        if config.sketch_vocab_size == NUM_CODES:
            classes = split_code(classes)[1]  # its notes are style, its phones are not
        self.notes = nn.Linear(config.dim, int(classes.max(initial=0)) + 1)
        self.register_buffer("classes", torch.from_numpy(classes).long(), persistent=False)

    def forward(self, attention: Attention, inputs: Tensor, hidden: Tensor, batch: Batch) -> Tensor:
        """Sum of four means over the songs that have a reference: how far the guided head's
        attention is from an even one over it where the hidden vectors `[B, N, D]` come from;
        squared errors of its latents as told by the values of this head, and of their mean as told
        by the hidden vectors; the cross-entropy of its notes as told where it stands. `inputs`
        `[B, S, D]` are the guided layer's."""
        if not self.config.reference_frames:
            return hidden.new_zeros(())
        heard = [
            (row, conditions.reference, conditions.reference_sketch)
            for row, conditions in enumerate(batch.conditions)
            if conditions.reference is not None and len(conditions.reference)
        ]
        looked, values = self._guided_head(attention, inputs, hidden.shape[1])
        standing = inputs[:, reference_places(self.config)]
        told, notes = self.sound(hidden).float(), self.notes(standing).float()
        # Every rank's pass reaches all weights, as sharing out gradients wants.
        total = (told.sum() + notes.sum() + values.sum()) * 0
        for row, reference, sketch in heard:
            latents = reference[: self.config.reference_frames].to(told.device)
            patches = -(-int(batch.lengths[row]) // self.config.patch_size)
            total = total + looked[row, :patches].mean()
            total = total + F.mse_loss(values[row, : len(latents)], latents)
            mean = latents.mean(dim=0).expand(patches, -1)
            total = total + SOUND_SCALE * F.mse_loss(told[row, :patches], mean)
            if sketch is not None:
                classes = self.classes[sketch[: len(latents)].to(told.device)]
                total = total + F.cross_entropy(notes[row, : len(classes)], classes)
        return total / max(len(heard), 1)

    def _guided_head(
        self, attention: Attention, inputs: Tensor, patches: int
    ) -> tuple[Tensor, Tensor]:
        """How far its attention is from an even one over the reference, in nats `[B, N]` at every
        hidden vector, and what its values tell of each frame of it `[B, reference_frames, C]`."""
        size = self.config.patch_size
        bos = inputs.shape[1] - 1 - patches * (size + 1)
        positions = bos + hidden_positions(patches, size).to(inputs.device)
        scores, values = guided_head(self.config, attention, inputs, positions, LISTENING_HEAD)
        inside = scores[..., reference_places(self.config)]
        looked = scores.logsumexp(dim=-1) - inside.mean(dim=-1) - math.log(inside.shape[-1])
        values = values[:, reference_places(self.config)]
        return looked, self.frames(values.to(inputs.dtype)).float()


class BeatCounter(nn.Module):
    """When does the beat fall?"""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.heard = nn.Linear(config.dim, LONGEST_BEAT)
        self.heard_tempo = nn.Linear(config.dim, TEMPI)
        self.wait = nn.Linear(config.dim, LONGEST_BEAT)
        self.tempo = nn.Linear(config.dim, TEMPI)

    def forward(self, inputs: Tensor, outputs: Tensor, hidden: Tensor, batch: Batch) -> Tensor:
        """Sum of four means: cross-entropies of the frames until the next beat and of the tempo, as
        told by a later layer's inputs `[B, S, D]` where the reference stands, and by the outputs
        `[B, T + 1, D]` and the hidden vectors `[B, N, D]`."""
        assert batch.next_beat is not None and batch.tempo is not None
        size, tempo = self.config.patch_size, batch.tempo
        told = torch.cat([outputs, hidden], dim=1)
        beats = torch.cat([batch.next_beat, batch.next_beat[:, size::size]], dim=1)
        total = _naming_loss(self.wait(told), beats.clamp(max=LONGEST_BEAT - 1))
        total = total + _tempo_loss(self.tempo(told), tempo)
        standing = inputs[:, reference_places(self.config)]
        clips = self._of_clips(batch, standing.shape[1])
        heard = (clips >= 0).any(dim=1)
        total = total + _naming_loss(self.heard(standing), clips.clamp(max=LONGEST_BEAT - 1))
        late = standing[:, standing.shape[1] // 2 :]  # where enough has been heard
        return total + _tempo_loss(self.heard_tempo(late), tempo * heard)

    def _of_clips(self, batch: Batch, frames: int) -> Tensor:
        """Frames until the reference's next beat `[B, frames]`, -1 for unknown."""
        found = torch.full((len(batch.lengths), frames), -1, device=batch.lengths.device)
        for row, conditions in enumerate(batch.conditions):
            if conditions.reference_beats is not None:
                own = conditions.reference_beats[:frames]
                found[row, : len(own)] = own.to(found.device)
        return found


def _tempo_loss(logits: Tensor, tempo: Tensor) -> Tensor:
    """Mean cross-entropy of tempi `[B]` at all positions `[B, Q, TEMPI]` of the songs that have
    one, told a little blurred."""
    known = tempo > 0
    steps = torch.log2(tempo.clamp(min=1.0) / SLOWEST) / math.log2(TEMPO_STEP)
    bins = torch.arange(TEMPI, device=tempo.device)
    wanted = torch.softmax(-0.5 * ((bins - steps[:, None]) / TEMPO_BLUR) ** 2, dim=1)
    loss = -(wanted[:, None] * logits.float().log_softmax(dim=-1)).sum(dim=(1, 2))
    return (loss * known).sum() / (known.sum() * logits.shape[1]).clamp(min=1)


class Reader(nn.Module):
    """Where in the lyrics is the model?"""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        names = config.lyric_vocab_size + 1  # the last is for nothing
        self.named = nn.Linear(config.dim, names)
        names_and_lines = names + config.max_sentences
        self.brought = nn.ModuleList(
            nn.Linear(config.head_dim, names_and_lines) for _ in range(READ_LAYERS)
        )
        self.sung = nn.ModuleList(nn.Linear(config.dim, names) for _ in range(SYMBOLS_BACK))
        self.wait = nn.Linear(config.dim, LONGEST_WAIT)

    def forward(
        self, layers: Sequence[tuple[Attention, Tensor]], outputs: Tensor, batch: Batch
    ) -> Tensor:
        """Sum of means over the predicting positions of which is known what comes next: of each
        layer, which has inputs `[B, S, D]`, -log of the guided head's attention to it and
        cross-entropies of its id and its line from what this head brings; and cross-entropies of
        its id and of the frames until it begins from the outputs `[B, T + 1, D]`, and of the ids of
        those before it from the first layer's inputs."""
        assert batch.next_symbol is not None
        ids, lines, waits = self._ids(batch), self._lines(batch), frames_until(batch.next_symbol)
        names = self.named.out_features
        total = _naming_loss(self.named(outputs), ids)
        total = total + WAIT_SCALE * _naming_loss(self.wait(outputs), waits)
        for brought, (attention, inputs) in zip(self.brought, layers, strict=True):
            looked, values = self._looked(attention, inputs, batch.next_symbol)
            total = total + (looked * (ids >= 0)).sum() / (ids >= 0).sum().clamp(min=1)
            told = brought(values)
            total = total + _naming_loss(told[..., :names], ids)
            total = total + _naming_loss(told[..., names:], lines)
        return total + self._recalled(layers[0][1], batch)

    def _recalled(self, inputs: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy of the ids of the last symbols sung, from the first layer's inputs."""
        assert batch.next_symbol is not None
        standing = inputs[:, self._predicting(inputs.shape[1], batch.next_symbol.shape[1] - 1)]
        columns = [conditions.lyrics.tokens for conditions in batch.conditions]
        losses = [
            _naming_loss(sung(standing), _followed(columns, batch, back))
            for back, sung in enumerate(self.sung, start=1)
        ]
        return torch.stack(losses).mean()

    def _looked(
        self, attention: Attention, inputs: Tensor, following: Tensor
    ) -> tuple[Tensor, Tensor]:
        """-log of the guided head's attention to what follows `[B, T + 1]`, and what it brings."""
        frames = following.shape[1] - 1
        bos = self._bos(inputs.shape[1], frames)
        positions = self._predicting(inputs.shape[1], frames).to(inputs.device)
        scores, values = guided_head(self.config, attention, inputs, positions, READING_HEAD)
        attended = scores.log_softmax(dim=-1)  # [B, T + 1, S]
        at = torch.where(following < 0, bos, following + self._lyrics_at(bos))
        return -attended.gather(2, at[..., None])[..., 0], attended.exp() @ values

    def _ids(self, batch: Batch) -> Tensor:
        """The next symbol's id at every predicting position `[B, T + 1]`, the one for nothing
        behind the last of a song that has times, -1 where it has none and beyond its end."""
        assert batch.next_symbol is not None
        at = torch.arange(batch.next_symbol.shape[1], device=batch.next_symbol.device)
        timed = (batch.next_symbol >= 0).any(dim=1, keepdim=True) & (at <= batch.lengths[:, None])
        nothing = torch.where(timed, self.named.out_features - 1, -1)
        ids = _followed([conditions.lyrics.tokens for conditions in batch.conditions], batch)
        return torch.where(batch.next_symbol >= 0, ids, nothing)

    def _lines(self, batch: Batch) -> Tensor:
        """The next symbol's sentence in its section `[B, T + 1]`, -1 where none is next."""
        lines = _followed([conditions.lyrics.sentences for conditions in batch.conditions], batch)
        return torch.where(lines > 0, lines.clamp(max=self.config.max_sentences - 1), -1)

    def _lyrics_at(self, bos: int) -> int:
        """Where the lyrics stand in a sequence whose BOS stands at `bos`."""
        lyrics_last = self.config.prefix_order != "lyrics-reference"
        return bos - self.config.lyric_length if lyrics_last else 0

    def _predicting(self, length: int, frames: int) -> Tensor:
        """Where in a sequence of this length the positions stand that predict frames 0..T."""
        return predicting_positions(frames, self.config.patch_size) + self._bos(length, frames)

    def _bos(self, length: int, frames: int) -> int:
        patches = frames // self.config.patch_size
        return length - 1 - patches * (self.config.patch_size + 1)


def _followed(columns: Sequence[Tensor], batch: Batch, back: int = 0) -> Tensor:
    """What each song's column `[L]` has for the next symbol, or so many places before it
    `[B, T + 1]`; -1 where none is next, or there is no such place."""
    assert batch.next_symbol is not None
    at = batch.next_symbol - back
    rows = [
        column.to(places.device)[places.clamp(min=0)]
        for column, places in zip(columns, at, strict=True)
    ]
    return torch.where((batch.next_symbol >= 0) & (at >= 0), torch.stack(rows), -1)


def reference_places(config: ModelConfig) -> slice:
    """Where the reference stands in the sequence."""
    first = config.lyric_length if config.prefix_order == "lyrics-reference" else 0
    return slice(first, first + config.reference_frames)


def guided_head(
    config: ModelConfig, attention: Attention, inputs: Tensor, positions: Tensor, head: int
) -> tuple[Tensor, Tensor]:
    """Masked scores `[B, Q, S]` of a head from Q positions of its layer's inputs `[B, S, D]`, and
    its values."""
    width, length = config.head_dim, inputs.shape[1]
    first = head % config.num_heads * width
    own = slice(first, first + width)
    q, k, v = (inputs @ weight[own].T for weight in attention.qkv.weight.split(config.dim))
    places = torch.arange(length, device=inputs.device)
    rope = rope_table(places, width, config.ar_rope_base)
    q, k = (apply_rope(x[:, None], rope)[:, 0] for x in (q, k))
    scores = (q[:, positions] @ k.transpose(1, 2)).float() / width**0.5
    return scores.masked_fill(places > positions[:, None], float("-inf")), v.float()


def frames_until(following: Tensor) -> Tensor:
    """In how many frames the next symbol `[B, T + 1]` begins, at most LONGEST_WAIT - 1; -1 where
    there is none, or where the crop ends before it."""
    last = F.pad(following[:, 1:] != following[:, :-1], (0, 1))  # frames in which one begins
    at = torch.arange(following.shape[1], device=following.device)
    begins = torch.where(last, at, following.shape[1]).flip(1).cummin(dim=1).values.flip(1)
    known = (following >= 0) & (begins < following.shape[1])
    return torch.where(known, (begins - at).clamp(max=LONGEST_WAIT - 1), -1)


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


def hidden_positions(patches: int, patch_size: int) -> Tensor:
    """Positions, counted from BOS, whose outputs are the hidden vectors: see `model.patches`."""
    return (patch_size + 1) * torch.arange(1, patches + 1) - 1


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


def init_auxiliary(model: AssistedSongBloom, generator: torch.Generator) -> None:
    """Draw the training-only heads."""
    heads = [(name, p) for name, p in model.named_parameters() if name.startswith(HELPERS)]
    for name, parameter in heads:
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
        if "parametrizations" not in name and not name.startswith(HELPERS)
    }
    for table in _TABLES:
        inside = f"sketch_lm.{table}.parametrizations.weight"
        if f"{inside}.original" in weights:
            free = weights[f"{inside}.original"]
            phones, pitches = (weights[f"{inside}.0.{name}"] for name in ("phones", "pitches"))
            factors = _factors(phones, pitches, len(free))
            plain[f"sketch_lm.{table}.weight"] = free + factors
    return plain
