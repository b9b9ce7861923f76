"""A few patches sung by a model that is about to leave: to compare it with what it was made of."""

import dataclasses
import itertools
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from songbloom.generation.draws import CounterDraws
from songbloom.generation.engine import generate_patches
from songbloom.lyrics import frontends
from songbloom.model.checkpoint import Contents, load_weights
from songbloom.model.conditioning import Conditions, LyricIds
from songbloom.model.config import ModelConfig
from songbloom.model.int8 import use_int8
from songbloom.model.songbloom import Batch, Predictions, SongBloom, draw_flow
from songbloom.units import FRAME_RATE, Seconds

LINE = "[verse] Light in the morning.Follow me home , [chorus] Sing it again"
_SEED = 0
_FLOPS = 2e10  # a second, of a thread: for estimates


@dataclass(frozen=True)
class Trial:
    """What a model sang: tokens `[T]`, latents `[T, C]`, and how long each patch took."""

    sketch: Tensor
    latents: Tensor
    times: tuple[Seconds, ...]


def estimate(config: ModelConfig, *, songs: int, patches: int) -> Seconds:
    """About how long it takes to sing so many patches in so many songs on this machine's CPU."""
    block = 4 * config.dim**2 + 3 * config.dim * config.ffn_dim
    prefix = config.prefix_length * config.ar_layers
    steps = config.sampling.num_steps * config.dit_length * config.dit_layers
    patch = (config.sketch_size + 1) * config.ar_layers + steps
    products = 2 * block * (songs * prefix + patches * patch)  # two: guidance
    return 2 * products / (_FLOPS * torch.get_num_threads())


def build(contents: Contents, dtype: torch.dtype) -> SongBloom:
    """The model of a folder's contents, for inference, on the CPU."""
    with torch.device("meta"):
        model = SongBloom(contents.config)
        if "quantisation" in contents.info:
            use_int8(model)
    load_weights(model, contents.songbloom, contents.info["name"], dtype)
    return model.eval().requires_grad_(False)


def conditions(contents: Contents) -> Conditions:
    """`LINE` as the model reads it, and no reference."""
    said = frontends.phonemes(LINE, contents.config.frontend)
    tokens, most = contents.vocabulary.encode(said), contents.config.max_sentences
    return Conditions(LyricIds.from_tokens(tokens, contents.vocabulary, max_sentences=most), None)


def sing(model: SongBloom, lyrics: Conditions, patches: int) -> Trial:
    """Sample with the model's own settings and a fixed seed. It may end the song before."""
    size = model.config.patch_size
    sampling = dataclasses.replace(
        model.config.sampling, max_duration=patches * size / FRAME_RATE, keep_last_patch=True
    )
    made, times = [], [time.perf_counter()]
    for (patch,) in generate_patches(model, [lyrics], sampling, [CounterDraws(_SEED)]):
        made.append(patch)
        times.append(time.perf_counter())
    return Trial(
        torch.cat([torch.zeros(0, dtype=torch.int64), *(patch.sketch for patch in made)]),
        torch.cat([torch.zeros(0, model.config.latent_dim), *(patch.latents for patch in made)]),
        tuple(after - before for before, after in itertools.pairwise(times)),
    )


@torch.inference_mode()
def predict(model: SongBloom, lyrics: Conditions, song: Trial) -> Predictions:
    """The teacher-forced pass over a song of whole patches; the same t and noise every time."""
    config = model.config
    length = len(song.latents) // config.patch_size * config.patch_size
    sketch = song.sketch[:length] if config.sketch_size else torch.zeros(length, dtype=torch.int64)
    batch = Batch(
        sketch[None],
        song.latents[None, :length].to(model.sketch_lm.bos.dtype),
        torch.tensor([length]),
        [lyrics],
    )
    generator = torch.Generator().manual_seed(_SEED)
    draws = draw_flow(config, length // config.patch_size, [generator])
    draws = dataclasses.replace(
        draws,
        drop_hidden=torch.zeros_like(draws.drop_hidden),
        drop_sketch=torch.zeros_like(draws.drop_sketch),
    )
    return model.predict(batch, draws)
