"""The last step: songs that are ready become records of the training set.

A record has the sections that the structure stage found, and in each the lines whose middle lies in
it. Words win over tags: a part with words is sung, whatever it was called, and a part without any
is instrumental. Lines that were not surely heard are left out, because a model learns silence or
other words from them.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from songbloom.data.shards import DatasetHeader, SungLine, SungSection, TrainingSong
from songbloom.lyrics.frontends import line_phonemes, refusals
from songbloom.lyrics.tags import NON_VOCAL_TAGS
from songbloom.manifest import Track
from songbloom.stages.stage import Item
from songbloom.units import Seconds

_PLAIN_TAG = {True: "verse", False: "inst"}  # of a part with words, and of one without


@dataclasses.dataclass(frozen=True)
class Rules:
    """What of a song goes into its record."""

    frontend: str
    min_line_confidence: float


def header(track: Track, frontend: str) -> DatasetHeader:
    """What made a song's tokens and latents, which is what made those of all."""
    tokens, latents = track.results["tokenize"], track.results["encode-latents"]
    return DatasetHeader(
        frontend=frontend,
        vae_hash=latents["vae_hash"],
        codebook_hash=tokens["codebook_hash"],
        sketch_vocab_size=tokens["vocab_size"],
        latent_dim=latents["latent_dim"],
    )


def training_song(item: Item, rules: Rules) -> TrainingSong:
    """A ready song's record. Tokens and latents end together, at the shorter of both."""
    arrays = load_file(item.folders["encode-latents"] / "latents.safetensors")
    sketch = np.load(item.folders["tokenize"] / "tokens.npy", allow_pickle=False)
    frames = min(len(sketch), len(arrays["latents"]))
    starts = [int(start) for start in item.results["encode-latents"]["reference_starts"]]
    length = arrays["references"].shape[1]
    inside = [number for number, start in enumerate(starts) if start + length <= frames]
    return TrainingSong(
        id=item.track.id,
        artist=item.track.artist,
        sketch=sketch[:frames],
        latents=arrays["latents"][:frames],
        sections=tuple(sung_sections(item.results, rules)),
        references=arrays["references"][inside],
        reference_starts=tuple(starts[number] for number in inside),
        beats=tuple(float(beat) for beat in item.results["structure"].get("beats") or ()),
    )


def sung_sections(results: Mapping[str, Mapping[str, Any]], rules: Rules) -> Iterator[SungSection]:
    """The sections of a song, each with the phonemes of the lines that are sung in it."""
    heard = [line for line in results["align"]["lines"] if _is_heard(line, rules)]
    sections = results["structure"]["sections"]
    for number, section in enumerate(sections):
        start, end = float(section["start"]), float(section["end"])
        last = number == len(sections) - 1
        mine = [line for line in heard if start <= _middle(line) and (last or _middle(line) < end)]
        lines = tuple(_sung(mine, rules.frontend))
        tag = section["tag"]
        if bool(lines) == (tag in NON_VOCAL_TAGS):
            tag = _PLAIN_TAG[bool(lines)]
        yield SungSection(tag, start, end, lines)


def _sung(lines: Sequence[Mapping[str, Any]], frontend: str) -> Iterator[SungLine]:
    """Lines with phonemes; those that the front end cannot say are left out."""
    refused = refusals([line["text"] for line in lines], frontend)
    said = [line for line, problem in zip(lines, refused, strict=True) if problem is None]
    phonemes = line_phonemes([line["text"] for line in said], frontend)
    for line, text in zip(said, phonemes, strict=True):
        if text:
            begins = _begins(line["words"], text, frontend)
            yield SungLine(float(line["start"]), float(line["end"]), text, begins)


def _begins(
    words: Sequence[Mapping[str, Any]], phonemes: str, frontend: str
) -> tuple[Seconds, ...]:
    """When each phoneme of a line begins, as its words were aligned and evenly within these; nobody
    knows where a word was not heard, or is said otherwise in its line than alone."""
    if any(word["start"] is None for word in words):
        return ()
    alone = [
        len(phoneme.split()) for phoneme in line_phonemes([w["text"] for w in words], frontend)
    ]
    if sum(alone) != len(phonemes.split(" ")):
        return ()
    return tuple(
        float(word["start"] + (word["end"] - word["start"]) * number / count)
        for word, count in zip(words, alone, strict=True)
        for number in range(count)
    )


def _is_heard(line: Mapping[str, Any], rules: Rules) -> bool:
    there = line["start"] is not None and line["end"] is not None and line["end"] > line["start"]
    return there and line["confidence"] >= rules.min_line_confidence


def _middle(line: Mapping[str, Any]) -> Seconds:
    return float(line["start"] + line["end"]) / 2
