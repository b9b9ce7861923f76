"""Start a new model from the weights of a model folder: one of ours, or an imported release."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from songbloom.errors import SongBloomError
from songbloom.lyrics.vocabulary import Vocabulary
from songbloom.model.checkpoint import (
    WEIGHTS,
    check_keys,
    check_whole_weights,
    load_tensors,
    read_info,
    verify,
)
from songbloom.model.config import ModelConfig
from songbloom.model.songbloom import SongBloom
from songbloom.training.auxiliary import HELPERS

# What may differ from the folder's config: how the new model is trained and sampled; and how much
# room the conditions have, which moves positions but changes no weight's meaning.
_FREE = ("objective", "sampling", "init_std")
_ROOM = ("lyric_length", "reference_frames")
_SKETCH_TABLES = ("sketch_lm.embedding.", "sketch_lm.head.")
_RESET = "--reset-sketch draws its sketch embedding and head anew."


def init_from(
    model: SongBloom,
    folder: Path,
    *,
    vocabulary: Vocabulary,
    codebook_hash: str,
    reset_sketch: bool,
    generator: torch.Generator,
) -> list[str]:
    """Copy the weights of a model folder into `model`; returns what a user should be warned of.

    `vocabulary` is the new model's lyric table, `codebook_hash` that of its training set. With
    `reset_sketch` the sketch embedding and head are drawn from `generator`, whatever their size in
    the folder. `SongBloomError` when configs, lyric tables, front ends or codebooks differ, and for
    a folder whose codebook is unknown, naming both sides.
    """
    folder = Path(folder)
    info = read_info(folder)
    verify(folder, info)
    check_whole_weights(folder, info, "training")
    theirs = ModelConfig.from_dict(info["config"], str(folder / "model.json"))
    _check_lyrics(folder, theirs, model.config, vocabulary)
    warnings = list(_compare(folder, theirs, model.config, reset_sketch=reset_sketch))
    if model.config.sketch_vocab_size and not reset_sketch:
        _check_codebook(folder, info, codebook_hash)
    drawn = _SKETCH_TABLES if reset_sketch else ()
    tensors = load_tensors(folder / WEIGHTS)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(drawn)}
    own = {
        n: t.shape for n, t in model.state_dict().items() if not n.startswith((*drawn, *HELPERS))
    }
    check_keys(own, kept, str(folder))
    model.load_state_dict(kept, strict=False)
    model.init_weights(generator, only=drawn)
    return warnings


def _compare(
    folder: Path, theirs: ModelConfig, ours: ModelConfig, *, reset_sketch: bool
) -> Iterator[str]:
    """Warnings; `SongBloomError` naming every key that must not differ and does."""
    free = (*_FREE, "sketch_vocab_size") if reset_sketch else _FREE
    before, after = theirs.to_dict(), ours.to_dict()
    changes = {
        key: f"{key} {before[key]} (the new model: {after[key]})"
        for key in before
        if before[key] != after[key] and key not in free
    }
    refused = [change for key, change in changes.items() if key not in _ROOM]
    if refused:
        hint = "Train with that model's own config, the one in its model.json."
        raise SongBloomError(
            f"{folder}: another kind of model: {', '.join(refused)}",
            _RESET if changes.keys() - set(_ROOM) == {"sketch_vocab_size"} else hint,
        )
    yield from (f"{folder}: {change}" for change in changes.values())
    if reset_sketch:
        yield "the sketch embedding and head are drawn anew: the sketch is learnt from nothing"


def _check_lyrics(
    folder: Path, theirs: ModelConfig, ours: ModelConfig, vocabulary: Vocabulary
) -> None:
    if theirs.frontend != ours.frontend:
        raise SongBloomError(
            f"{folder}: reads lyrics with the front end '{theirs.frontend}'; "
            f"the new model with '{ours.frontend}'",
            f"Prepare the songs with --frontend {theirs.frontend}, and train with that model's own "
            "config, the one in its model.json.",
        )
    symbols = json.loads((folder / "vocabulary.json").read_text("utf-8"))
    if tuple(symbols) != vocabulary.symbols:
        same = [a == b for a, b in zip(symbols, vocabulary.symbols, strict=False)] + [False]
        raise SongBloomError(
            f"{folder}: its {len(symbols)} lyric symbols are not the {len(vocabulary)} of the new "
            f"model: they differ from number {same.index(False)} on",
            "Train with the lyric table of that model, its vocabulary.json.",
        )


def _check_codebook(folder: Path, info: dict[str, Any], codebook_hash: str) -> None:
    theirs = str(info.get("codebook_hash", "unknown"))
    if theirs == "unknown":
        raise SongBloomError(
            f"{folder}: its sketch codebook is unknown, so it cannot be fine-tuned on newly "
            "extracted tokens: the same token would mean something else",
            _RESET,
        )
    if theirs != codebook_hash:
        raise SongBloomError(
            f"{folder}: its sketch codebook is {theirs[:12]}; the training set's tokens were made "
            f"with {codebook_hash[:12]}",
            f"Make the tokens with that model's codec; or {_RESET}",
        )
