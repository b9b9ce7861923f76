"""What sketch tokens say and what VAE latents keep of songs never heard before, and their speed.

    python benchmarks/tokens.py [--songs N] [--seed S] [--language en|zh] [--config FILE] [--json]

Composes N songs of the held-out voices and words, sings them, and runs `tokenize` and
`encode-latents` on them with the backends of the configuration.

* Purity: a code is taken for the label (phone, note where there is a voice, chord where there is
  none) that it most often stood for in every second song; the share of the other songs' frames that
  this names rightly, and the other way round. It needs no meaning of codes, so it is there for MuQ
  too; a code that was not met counts as wrong, so it grows with the number of songs. For the
  embedded codec, whose codes have a meaning, also the accuracy.
* Latents: log-mel distance of the decoded mix (natural log; 80 bands), of the decoded vocals alone,
  share of the vocals' voiced frames kept within 50 cents, their median pitch error in cents, and
  the mix's SI-SDR in dB. The embedded VAE makes its phases up, so its SI-SDR means nothing.
* Real-time factor: seconds of wall clock a second of music, on one thread, files read and written.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from songbloom import audio, config
from songbloom.manifest import Track
from songbloom.model.sketch_symbols import score_to_labels
from songbloom.stages import encode_latents, tokenize
from songbloom.stages.stage import Item, Process
from songbloom.synth.render import render
from songbloom.synth.score import Score, compose
from songbloom.tables import PrepareConfig
from songbloom.training.seedling_vae_score import log_mel_distance, pitch_kept
from songbloom.training.sketch_codec import score_tokens
from songbloom.units import HOP, SAMPLE_RATE


def purity(tokens: np.ndarray, labels: np.ndarray, half: np.ndarray) -> float:
    """The share of frames whose label is the commonest that their code has in the other half."""
    _, codes = np.unique(tokens, return_inverse=True)
    right = 0
    for this in (False, True):
        table = np.zeros((codes.max() + 1, labels.max() + 1), np.int64)
        np.add.at(table, (codes[half != this], labels[half != this]), 1)
        named = np.where(table.any(1), table.argmax(1), -1)
        right += int((named[codes[half == this]] == labels[half == this]).sum())
    return right / len(tokens)


def token_scores(heard: list[np.ndarray], scores: list[Score], seedling: bool) -> dict[str, Any]:
    """Purity of tokens against the songs' scores, and the embedded codec's accuracy."""
    labels = [score_to_labels(score) for score in scores]
    lengths = [min(len(h), len(known.phone)) for h, known in zip(heard, labels, strict=True)]
    cut = list(zip(labels, lengths, strict=True))
    tokens = np.concatenate([h[:n] for h, n in zip(heard, lengths, strict=True)])
    phone = np.concatenate([known.phone[:n] for known, n in cut])
    note = np.concatenate([known.note[:n] for known, n in cut])
    chord = np.concatenate([known.chord[:n] for known, n in cut])
    half = np.repeat(np.arange(len(heard)) % 2 == 1, lengths)
    sung = phone > 0
    told: dict[str, Any] = {
        "frames": len(tokens),
        "codes": len(np.unique(tokens)),
        "phone_purity": purity(tokens, phone, half),
        "sung_phone_purity": purity(tokens[sung], phone[sung], half[sung]),
        "note_purity": purity(tokens[sung], note[sung], half[sung]),
        "chord_purity": purity(tokens[~sung], chord[~sung], half[~sung]),
    }
    if seedling:
        true = [known.tokens[:n] for known, n in cut]
        parts = [h[:n] for h, n in zip(heard, lengths, strict=True)]
        told["accuracy"] = score_tokens(parts, true)
    return told


@torch.inference_mode()
def latent_scores(vae: Any, latents: np.ndarray, score: Score) -> dict[str, float]:
    """How near the decoded mix and vocals come to what was sung."""
    made = render(score)
    mix, decoded = _pair(made.mix, vae, latents)
    encode = encode_latents.encoder(vae, "cpu")
    vocals, sung = _pair(made.vocals, vae, encode(made.vocals))
    kept, cents = pitch_kept(vocals, sung)
    return {
        "log_mel_l1": log_mel_distance(mix, decoded),
        "vocal_log_mel_l1": log_mel_distance(vocals, sung),
        "voiced_kept": kept,
        "f0_cents": cents,
        "si_sdr_db": si_sdr(mix, decoded),
    }


def si_sdr(true: torch.Tensor, made: torch.Tensor) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019)."""
    true, made = true.flatten().double(), made.flatten().double()
    target = true * (made @ true / true.square().sum())
    return float(10 * torch.log10(target.square().sum() / (made - target).square().sum()))


def _pair(sound: np.ndarray, vae: Any, latents: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Whole frames of a sound and of what the latents decode to, both `[1, 2, n]`."""
    original = torch.from_numpy(sound[None, :, : len(latents) * HOP])
    return original, vae.decode(torch.from_numpy(latents.astype(np.float32))[None])


def timed(process: Process, path: Path, folder: Path) -> tuple[Path, float]:
    """A stage's files for a song, and the seconds they took."""
    folder.mkdir(parents=True)
    begun = time.perf_counter()
    process(Item(Track(path.stem, path.name), path), folder)
    return folder, time.perf_counter() - begun


def measure(
    settings: PrepareConfig, songs: int, seed: int, language: str, work: Path
) -> dict[str, Any]:
    """Everything, of `songs` songs."""
    stages = {"tokenize": tokenize, "encode-latents": encode_latents}
    backends = {name: stage.backend(settings) for name, stage in stages.items()}
    processes = {name: stage.load(settings, "cpu") for name, stage in stages.items()}
    vae, _ = encode_latents.read_vae(encode_latents.vae_path(settings))
    scores, heard, kept = [], [], []
    spent, length = dict.fromkeys(stages, 0.0), 0.0
    for index in range(songs):
        score = compose(seed, index, split="test", language=language)
        audio.save(work / f"{index}.flac", render(score).mix, SAMPLE_RATE)
        for name, process in processes.items():
            folder, seconds = timed(process, work / f"{index}.flac", work / f"{index}-{name}")
            spent[name] += seconds
            if name == "tokenize":
                heard.append(np.load(folder / "tokens.npy"))
            else:
                latents = load_file(folder / "latents.safetensors")["latents"]
                kept.append(latent_scores(vae, latents, score))
        scores.append(score)
        length += score.duration
    return {
        "songs": songs,
        "language": language,
        "seconds": length,
        "backends": {name: backend.name for name, backend in backends.items()},
        "tokens": token_scores(heard, scores, backends["tokenize"].name == "seedling"),
        "latents": {key: float(np.mean([row[key] for row in kept])) for key in kept[0]},
        "rtf": {name: seconds / length for name, seconds in spent.items()},
    }


def main() -> None:
    """Parse the flags, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--songs", type=int, default=12, help="two at least")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--language", choices=("en", "zh"), default="en")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--json", action="store_true", help="one line of JSON, all digits")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    settings = config.load(flags.config).config.prepare
    with tempfile.TemporaryDirectory() as work:
        told = measure(settings, flags.songs, flags.seed, flags.language, Path(work))
    print(json.dumps(told) if flags.json else json.dumps(rounded(told), indent=1))


def rounded(value: Any) -> Any:
    """The same with four digits behind the point."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
