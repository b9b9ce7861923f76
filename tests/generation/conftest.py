"""A small model folder and what to sing with it: songs in fractions of a second."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from model.small import small_model

from songbloom.lyrics import parse
from songbloom.lyrics.vocabulary import RELEASE_VOCABULARY
from songbloom.model.checkpoint import describe_vae, save_model
from songbloom.model.config import SamplingConfig
from songbloom.model.vae import OobleckConfig, OobleckVAE
from songbloom.requests import Request

LYRICS = "[verse] Light in the morning.Follow me home , [chorus] Sing it again"


@dataclass(frozen=True)
class Stage:
    """A model folder, a clip and lyrics on disk."""

    model: Path
    clip: Path
    lyrics: Path
    requests: list[Request]


def make_model(folder: Path, *, end_bias: float = 0.0, **changes: Any) -> None:
    """Random weights, patches of 4 frames, a narrow VAE; `end_bias` makes songs end early."""
    sampling = SamplingConfig(num_steps=3, top_k=20, max_duration=0.8)
    sizes = {"reference_frames": 25, "lyric_length": 64, "sampling": sampling}
    model = small_model(**{**sizes, **changes})
    model.sketch_lm.head[2].bias.data[-1] = end_bias
    torch.manual_seed(2)
    vae = OobleckVAE(OobleckConfig(channels=4, multipliers=(1, 1, 1, 1, 1), latent_dim=8))
    vae.decoder[-1].weight.data.mul_(8)  # audible
    save_model(
        folder,
        info={"name": "small", "licence": "none"},
        config=model.config,
        vocabulary=RELEASE_VOCABULARY,
        songbloom=model.state_dict(),
        vae=vae.state_dict(),
        vae_info=describe_vae(vae),
    )


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """What every song here is made with."""
    folder = tmp_path_factory.mktemp("stage")
    make_model(folder / "model")
    time = np.arange(48_000) / 48_000
    clip = 0.3 * np.stack([np.sin(2 * np.pi * f * time) for f in (220, 331)], axis=1)
    soundfile.write(folder / "clip.wav", clip, 48_000)
    (folder / "lyrics.txt").write_text(LYRICS, encoding="utf-8")
    request = Request("song", parse(LYRICS), folder / "clip.wav")
    return Stage(folder / "model", folder / "clip.wav", folder / "lyrics.txt", [request])
