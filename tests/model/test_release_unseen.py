"""Releases of other sizes than the miniature: imported, they agree with plain arithmetic."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from model.plain_release import PlainRelease, make_release
from model.small import largest, seeded

from songbloom.generation.draws import ReleaseDraws
from songbloom.generation.engine import generate_patches
from songbloom.model.checkpoint import Model, load_model
from songbloom.model.conditioning import Conditions, LyricIds
from songbloom.model.release import import_release
from songbloom.model.songbloom import Batch, FlowDraws

PHONEMES = (
    "[intro] [intro] , [verse] S IH1 T IY0  L AY1 T S . D R IY1 M Z . a . b . N OW1 , "
    "[chorus] f eng1 q ing1 , K AE1 T . [outro]"
)
UNSEEN: dict[str, dict[str, dict[str, Any]]] = {
    # head_dim 32: the DiT turns the whole head; a pair of guidance scales; lyrics are cut.
    "deep": {
        "model": {
            "dim": 96,
            "num_heads": 3,
            "lm_layers": 3,
            "diff_layers": 1,
            "num_pitch": 50,
            "rotary_base_val": 500,
            "block_size": 8,
            "timestep_features_dim": 64,
        },
        "inference": {
            "cfg_coef": [1.3, 2.0],
            "diff_temp": 0.6,
            "penalty_repeat": False,
            "top_k": 9,
            "steps": 7,
        },
        "lyrics": {"max_len": 17, "max_sentence_per_structure": 3},
        "prompt_wav": {"max_len": 20},
    },
    # head_dim 128: the DiT turns half of it; the flow begins at the noise; prompt is cut.
    "wide": {
        "model": {
            "dim": 128,
            "num_heads": 1,
            "lm_layers": 1,
            "diff_layers": 3,
            "num_pitch": 33,
            "rotary_base_val": 100_000,
            "hidden_scale": 2,
            "block_size": 4,
        },
        "inference": {"cfg_coef": 1.2, "diff_temp": 1.0, "top_k": 20, "penalty_window": 7},
        "lyrics": {"max_len": 45, "max_sentence_per_structure": 50},
        "prompt_wav": {"max_len": 11},
    },
}


@pytest.fixture(scope="module", params=sorted(UNSEEN))
def unseen(
    request: pytest.FixtureRequest, release_mini: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PlainRelease, Model]:
    """A random release in plain arithmetic, and the same one imported and loaded."""
    folder = tmp_path_factory.mktemp("unseen")
    plain = make_release(release_mini, folder / "release", **UNSEEN[request.param])
    import_release(folder / "release", folder / "model")
    return plain, load_model(folder / "model", device=torch.device("cpu"))


@pytest.fixture
def conditions(unseen: tuple[PlainRelease, Model]) -> Conditions:
    _, model = unseen
    tokens = model.vocabulary.encode(PHONEMES)
    ids = LyricIds.from_tokens(tokens, model.vocabulary, max_sentences=model.config.max_sentences)
    return Conditions(ids, torch.randn(15, 64, generator=seeded(1)))


@torch.no_grad()
def test_teacher_forced_pass(unseen: tuple[PlainRelease, Model], conditions: Conditions) -> None:
    """Prefix within 1e-6, logits within 5e-5 and velocities within 1e-5 of plain arithmetic."""
    plain, model = unseen
    size = model.config.patch_size
    assert conditions.reference is not None
    prefix = plain.prefix(PHONEMES, conditions.reference)
    assert largest(model.songbloom.prefix([conditions])[0] - prefix) < 1e-6
    generator = seeded(2)
    sketch = torch.randint(33, (1, 3 * size), generator=generator)
    latents = torch.randn(1, 3 * size, 64, generator=generator)
    t, noise = torch.rand(1, 3, generator=generator), torch.randn(1, 3, size, 64)
    none = torch.zeros(1, 3, dtype=torch.bool)
    batch = Batch(sketch, latents, torch.tensor([3 * size]), [conditions])
    said = model.songbloom.predict(batch, FlowDraws(t, noise, none, none, none[:, 0]))
    logits, velocity = plain.teacher_forced(prefix, sketch[0].tolist(), latents[0], t[0], noise[0])
    assert float(logits.std()) > 0.5, "logits must differ for the comparison to mean something"
    assert largest(said.logits[0] - logits) < 5e-5
    assert largest(said.velocity[0] - velocity) < 1e-5


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@torch.no_grad()
def test_generation(
    unseen: tuple[PlainRelease, Model], conditions: Conditions, temperature: float
) -> None:
    """A seeded song in the released order of draws: tokens equal, latents within 1e-5."""
    plain, model = unseen
    assert conditions.reference is not None
    tokens, latents = plain.generate(
        PHONEMES, conditions.reference, blocks=2, temperature=temperature, seed=5
    )
    sampling = replace(
        model.config.sampling,
        temperature=temperature,
        max_duration=2 * model.config.patch_size / 25,
    )
    patches = list(generate_patches(model.songbloom, [conditions], sampling, [ReleaseDraws(5)]))
    assert torch.cat([p[0].sketch for p in patches]).tolist() == tokens
    assert len(set(tokens)) > 2
    assert largest(torch.cat([p[0].latents for p in patches]) - latents) < 1e-5


def test_everything_is_read_from_the_yaml(unseen: tuple[PlainRelease, Model]) -> None:
    """Sizes and sampling defaults are the yaml's own."""
    plain, model = unseen
    yaml, config = plain.tree, model.config
    settings, inference = yaml["model"], yaml["inference"]
    conditions = settings["condition_provider_cfg"]
    assert (config.dim, config.num_heads) == (settings["dim"], settings["num_heads"])
    assert (config.ar_layers, config.dit_layers) == (
        settings["lm_layers"],
        settings["diff_layers"],
    )
    assert config.ar_rope_base == settings["rotary_base_val"]
    assert config.dit_rope_base == 20_000
    assert config.lyric_length == conditions["lyrics"]["max_len"]
    assert config.reference_frames == conditions["prompt_wav"]["max_len"]
    assert config.sampling.noise_temperature == inference["diff_temp"]
    assert config.sampling.top_k == inference["top_k"]
    assert config.sampling.num_steps == inference["steps"]
    assert config.sampling.max_duration == yaml["max_dur"] + 10
    scales = (config.sampling.sketch_cfg_scale, config.sampling.latent_cfg_scale)
    given = inference["cfg_coef"]
    assert scales == (tuple(given) if isinstance(given, list) else (given, given))
    assert config.sampling.repetition_penalty == (1.1 if inference["penalty_repeat"] else 1.0)
