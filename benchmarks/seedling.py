"""Where the embedded model loses its words: phoneme error rates along the chain.

    pip install 'songbloom[eval,prepare,synth]'
    python benchmarks/seedling.py [--songs N] [--model MODEL] [--cache DIR] [--json]

Held-out songs of 4 to 8 lines, with words partly and a voice wholly unseen, each sung to the first
ten seconds of the next one. Scored by `songbloom evaluate`'s offline PER on the mix as it is:

* `synthesised`: the song as it was made, which the recogniser mishears too
* `codec`: the same through the VAE
* `true sketch`: the DiT's song of the true sketch tokens
* `model`: the whole model, lyrics and clip alone
* `shuffled`: the model's songs against the next song's lyrics, what a guess costs
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from songbloom import audio, hub
from songbloom.evaluation import per
from songbloom.evaluation.items import Item
from songbloom.evaluation.normaliser import NAME
from songbloom.generation.decode import decode
from songbloom.generation.draws import CounterDraws
from songbloom.generation.engine import generate_patches
from songbloom.lyrics import parse
from songbloom.lyrics.frontends import phonemes
from songbloom.model.checkpoint import Model, load_model
from songbloom.model.conditioning import Conditions, LyricIds
from songbloom.model.sketch_symbols import score_to_tokens
from songbloom.synth.render import render
from songbloom.synth.score import Score, compose
from songbloom.units import SAMPLE_RATE

SEED, CLIP_SECONDS = 2026, 10
STEPS = ("synthesised", "codec", "true sketch", "model")


class TrueSketch(CounterDraws):
    """Draws that choose the tokens of a known sketch, and then the end."""

    def __init__(self, seed: int, sketch: Tensor, patch_size: int, eos: int) -> None:
        super().__init__(seed)
        self.sketch, self.patch_size, self.eos = sketch, patch_size, eos

    def token(self, probs: Tensor, patch: int, position: int) -> Tensor:
        """The true token, whatever the model thinks of it."""
        at = patch * self.patch_size + position
        return self.sketch[at] if at < len(self.sketch) else torch.tensor(self.eos)


def make_songs(model: Model, count: int, folder: Path) -> list[Score]:
    """Write `NUMBER/STEP.flac` for every song and step that is not there yet."""
    scores = [compose(SEED, n, split="test", num_lines=4 + n % 5) for n in range(count)]
    for number, score in enumerate(scores):
        own = folder / f"{number:03d}"
        if all((own / f"{step}.flac").exists() for step in STEPS):
            continue
        own.mkdir(parents=True, exist_ok=True)
        other = torch.from_numpy(render(scores[(number + 1) % count]).mix)
        clip = other[:, : CLIP_SECONDS * SAMPLE_RATE].mean(0, keepdim=True).expand(2, -1)
        mix = torch.from_numpy(render(score).mix)
        for step, sound in zip(STEPS, sounds(model, score, mix, clip, number), strict=True):
            audio.save(own / f"{step}.flac", sound.clamp(-1, 1).numpy(), SAMPLE_RATE)
    return scores


@torch.inference_mode()
def sounds(model: Model, score: Score, mix: Tensor, clip: Tensor, seed: int) -> Iterator[Tensor]:
    """The song `[2, n]` at each step of the chain."""
    yield mix
    yield decode(model.vae, model.vae.encode(mix[None])[0])
    config, vocabulary = model.config, model.vocabulary
    ids = vocabulary.encode(phonemes(parse(score.lyrics).line, config.frontend))
    lyrics = LyricIds.from_tokens(ids, vocabulary, max_sentences=config.max_sentences)
    conditions = Conditions(lyrics, model.vae.encode(clip[None])[0])
    sketch = torch.from_numpy(score_to_tokens(score))
    for draws in (
        TrueSketch(seed, sketch, config.patch_size, config.eos_id),
        CounterDraws(seed),
    ):
        patches = generate_patches(model.songbloom, [conditions], config.sampling, [draws])
        latents = [patch.latents for step in patches for patch in step]
        yield decode(model.vae, torch.cat([torch.zeros(0, config.latent_dim), *latents]))


def rates(scores: list[Score], folder: Path) -> list[dict[str, Any]]:
    """PER with its parts at every step."""
    metric = per.load({"separate_model": "none"}, folder / "work")
    rows = []
    for name, step, shift in (*((s, s, 0) for s in STEPS), ("shuffled", "model", 1)):
        measured = []
        for number in range(len(scores)):
            words = scores[(number + shift) % len(scores)].lyrics
            path = folder / f"{number:03d}" / f"{step}.flac"
            measured.append(metric.measure(Item(path.parent.name, path, lyrics=words)))
        parts = metric.parts(measured)
        kinds = ("rate", "substitutions", "deletions", "insertions", "word_error_rate")
        rows.append({"step": name, **{kind: round(parts[kind], 1) for kind in kinds}})
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--songs", type=int, default=50)
    parser.add_argument("--model", default="seedling")
    parser.add_argument("--cache", type=Path, help="keep the songs here")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    path = Path(args.model)
    model = load_model(
        path if path.is_dir() else hub.EMBEDDED_FOLDER / args.model, device=torch.device("cpu")
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.cache or Path(temporary)
        rows = rates(make_songs(model, args.songs, folder), folder)
    table = {"songs": args.songs, "recogniser": "whisper-tiny.en", "normaliser": NAME, "per": rows}
    if args.json:
        print(json.dumps(table, indent=1))
        return
    print(f"{args.songs} songs, PER in % by Whisper tiny.en, normaliser {NAME}")
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
