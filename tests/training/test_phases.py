"""The embedded model's trainer: exact resume, phases that move their own half, lyric symbols."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from songbloom.errors import SongBloomError
from songbloom.lyrics.document import Line, Section
from songbloom.lyrics.one_line import one_line
from songbloom.lyrics.release import phonemes
from songbloom.lyrics.vocabulary import RELEASE_VOCABULARY
from songbloom.model.config import preset
from songbloom.model.patches import split_outputs
from songbloom.model.sketch_symbols import NUM_CODES
from songbloom.model.songbloom import SongBloom
from songbloom.synth.score import Score, compose
from songbloom.training.auxiliary import plain_state, predicting_positions
from songbloom.training.examples import NOTHING_NEXT, Example, from_score, lyric_symbols
from songbloom.training.phases import Phase, TrainConfig, Trainer, train

MODEL = replace(preset("nano"), sketch_vocab_size=NUM_CODES, lyric_length=200)


def config(phase: Phase, steps: int) -> TrainConfig:
    return TrainConfig(model=MODEL, phase=phase, steps=steps, frames_per_step=300, save_every=2)


def songs() -> list[Example]:
    rng = np.random.default_rng(0)
    scores = [compose(9, i, num_lines=1) for i in range(2)]
    empty = [from_score(score) for score in scores]
    return [
        replace(e, latents=rng.normal(size=(e.num_frames, 64)).astype(np.float32)) for e in empty
    ]


@pytest.mark.parametrize("phase", ["read", "listen", "paint", "sing"])
def test_resume_is_invisible(tmp_path: Path, phase: Phase) -> None:
    """A run killed after three steps and taken up again ends in the same bytes as a whole one."""
    examples = [] if phase == "read" else songs()
    whole = train(config(phase, 4), tmp_path / "whole", examples=examples)

    def kill(row: dict[str, float]) -> None:
        if row["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config(phase, 4), tmp_path / "killed", examples=examples, on_log=kill)
    resumed = train(config(phase, 4), tmp_path / "killed", examples=examples)
    assert resumed.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("phase", ["read", "listen", "paint", "sing"])
def test_a_phase_moves_its_own_half(phase: Phase) -> None:
    """read and listen move all but the DiT, paint the DiT alone, sing both."""
    trainer = Trainer(config(phase, 4), songs())
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.step(1)
    moved = {n for n, v in trainer.model.named_parameters() if not torch.equal(v, before[n])}
    dit = {name for name in moved if name.startswith("dit.")}
    assert bool(dit) == (phase in ("paint", "sing"))
    assert bool(moved - dit) == (phase != "paint")


def test_audio_phases_need_songs() -> None:
    """A phase that hears refuses to run without songs."""
    with pytest.raises(SongBloomError, match="paint"):
        Trainer(config("paint", 1), [])


def test_plain_weights_are_the_trained_model() -> None:
    """The exported tables give the same logits as the factored ones, under the model's own keys."""
    trainer = Trainer(config("read", 1), [])
    plain = SongBloom(MODEL)
    plain.load_state_dict(plain_state(trainer.model), strict=True)
    x = torch.randn(1, 5, MODEL.dim, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([3, NUM_CODES - 1, MODEL.eos_id])
    ours = trainer.model.sketch_lm
    assert torch.equal(ours.head(x), plain.sketch_lm.head(x))
    assert torch.equal(ours.embedding(tokens), plain.sketch_lm.embedding(tokens))


def line_of(score: Score) -> str:
    sections = []
    for number, section in enumerate(score.sections):
        lines = tuple(Line(line.text) for line in score.lines if line.section == number)
        repeats = 1 if lines else max(1, round(section.end - section.start))
        sections.append(Section(section.tag, lines, repeats))
    return one_line(sections)


def test_lyric_symbols_are_the_front_ends() -> None:
    """The symbols learned from are those that generation will make of the same lyrics.

    A few songs differ by a homograph, which the front end decides by its neighbours.
    """
    scores = [compose(5, i) for i in range(20)]
    asked = [RELEASE_VOCABULARY.encode(phonemes(line_of(score))) for score in scores]
    learned = [lyric_symbols(score)[0] for score in scores]
    assert sum(a == b for a, b in zip(asked, learned, strict=True)) >= 18


def test_next_symbol_is_the_first_to_begin() -> None:
    """Against a plain search: at frame f, the first sung symbol that begins in f or later."""
    score = compose(6, 2, num_lines=2)
    example = from_score(score)
    _, starts = lyric_symbols(score)
    for frame in range(0, example.num_frames + 1, 7):
        later = [index for index, at in starts if int(at * 25) >= frame]
        assert example.next_symbol[frame] == (later[0] if later else NOTHING_NEXT)


def test_predicting_positions_are_those_split_off() -> None:
    """Positions counted from BOS are where `split_outputs` takes its predictions from."""
    numbered = torch.arange(1 + 3 * 17)[None, :, None]
    predicting, _ = split_outputs(numbered, 16)
    assert predicting.flatten().tolist() == predicting_positions(48, 16).tolist()
