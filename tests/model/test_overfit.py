"""The whole model learns: it memorises one track and sings its sketch back."""

from dataclasses import replace

import numpy as np
import torch

from songbloom.data.dataset import crop_lyrics
from songbloom.generation.draws import CounterDraws
from songbloom.generation.engine import generate_patches
from songbloom.lyrics.vocabulary import V1_VOCABULARY
from songbloom.model.conditioning import Conditions, LyricIds
from songbloom.model.config import preset
from songbloom.model.sketch_symbols import NUM_CODES, score_to_tokens
from songbloom.model.songbloom import Batch, SongBloom, draw_flow
from songbloom.synth.score import compose
from songbloom.training.optim import warmup_cosine
from songbloom.training.synthetic import sung_sections

FRAMES = 80  # five patches and the end
_STEPS = 450


def test_memorises_a_track() -> None:
    """Trained on 3.2 s of a synthetic song, the nano preset sings exactly its sketch, greedily."""
    config = replace(preset("nano"), sketch_vocab_size=NUM_CODES)
    score = compose(3, 1, num_lines=2)
    tokens = score_to_tokens(score)
    voiced = int(np.argmax(tokens >= 37))
    sketch = torch.from_numpy(tokens[voiced : voiced + FRAMES])
    latents = _latents(sketch, config.latent_dim)
    text = " ".join(symbol for symbol, _ in crop_lyrics(tuple(sung_sections(score)), 0, 99))
    ids = V1_VOCABULARY.encode(text)
    symbols = LyricIds.from_tokens(ids, V1_VOCABULARY, max_sentences=50)
    conditions = Conditions(symbols, latents[: config.reference_frames])
    model = SongBloom(config)
    model.init_weights(torch.Generator().manual_seed(0))
    _fit(model, sketch, latents, conditions)
    sampling = replace(config.sampling, temperature=0.0, sketch_cfg_scale=1.0, latent_cfg_scale=1.0)
    patches = generate_patches(model.eval(), [conditions], sampling, [CounterDraws(0)])
    sung = torch.cat([step[0].sketch for step in patches])
    assert len(set(sketch.tolist())) > 10, "a sketch of few tokens would prove little"
    assert sung.tolist() == sketch.tolist()


def _latents(sketch: torch.Tensor, dim: int) -> torch.Tensor:
    """Latents that follow from the tokens: `[T, C]`."""
    table = torch.randn(NUM_CODES, dim, generator=torch.Generator().manual_seed(1))
    return 0.3 * table[sketch]


def _fit(
    model: SongBloom, sketch: torch.Tensor, latents: torch.Tensor, conditions: Conditions
) -> None:
    """Adam until the sketch is certain. One more patch of padding teaches the end."""
    size, pad = model.config.patch_size, model.config.patch_size
    batch = Batch(
        torch.nn.functional.pad(sketch, (0, pad))[None],
        torch.nn.functional.pad(latents, (0, 0, 0, pad))[None],
        torch.tensor([len(sketch)]),
        [conditions],
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(2)
    for step in range(_STEPS):
        optimizer.param_groups[0]["lr"] = 3e-3 * warmup_cosine(step, _STEPS, warmup=10)
        draws = draw_flow(model.config, batch.sketch.shape[1] // size, [generator])
        losses = model(batch, draws)
        optimizer.zero_grad()
        (losses.sketch + losses.flow).backward()
        optimizer.step()
    assert losses.sketch < 0.05
    assert losses.flow < 1.0
