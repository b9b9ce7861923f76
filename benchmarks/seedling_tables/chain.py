"""Where words are lost: error rates of phones at every step from the synthesiser to the model.

`per`: the offline protocol's PER of the English songs, in all and of words that training has sung
(`seen`) and has not; `lost`: what a step costs beyond the one before. It hears the mix as it is and
not the separated voice, since its floor is lower so: what it mishears of songs sung without an
error (`floor`).

`probe`: the phones that the model's own sketch codec hears against the true ones, in per cent; of
Mandarin it is all there is, since no packaged recogniser speaks it. It can show that phones are
missing, swapped or out of order, and by English, which has both, how far it agrees with a
recogniser. It cannot show that a person would understand: the codec has heard this synthesiser
alone, and taught the DiT by its own tokens, so that it may hear what nobody else does. Nor can it
show tones, or what the nearest ARPAbet phones make one (q and ch, x and sh). What it mishears of
the song as made is its floor, which is high where it was taught no Mandarin.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from seedling_tables.songs import STEPS, Song
from songbloom import audio
from songbloom.evaluation import edits, per, protocol
from songbloom.evaluation.items import Item
from songbloom.evaluation.metric import Measured
from songbloom.evaluation.statistics import Statistics, bootstrap, paired
from songbloom.model.sketch_codec import SketchCodec
from songbloom.model.sketch_symbols import PHONES
from songbloom.stages import align_seedling
from songbloom.synth.lyrics import closed_words
from songbloom.synth.syllables import base
from songbloom.synth.words import held_out
from songbloom.units import SAMPLE_RATE

SETTINGS, SEPARATED = {"separate_model": "none"}, {"separate_model": "seedling"}
SHUFFLED = "shuffled"  # the model's songs against the next song's lyrics: what a guess costs
_CHANGE = 1.5  # nats; of 0 to 6 the lowest floor, in either language
Counts = tuple[np.ndarray, np.ndarray]  # errors and phones of every song


def table(songs: Sequence[Song], mandarin: Sequence[Song], codec: SketchCodec) -> dict[str, Any]:
    """All of it; `songs` are English."""
    metric = per.load(SETTINGS, songs[0].work)
    separated = per.load(SEPARATED, songs[0].work)
    measured = {step: _measured(metric, songs, step) for step in (*STEPS, SHUFFLED)}
    items = [_item(song, "model", song) for song in songs]
    wanted = protocol.Protocol("offline", ("per",), settings={"per": SETTINGS})
    test_set = protocol.test_set_hash(items, metric.needs)
    told = protocol.identity(wanted, {"per": metric.identity()}, test_set)
    return {
        "protocol": told["id"],
        "recogniser": metric.identity()["backend"],
        "normaliser": metric.identity()["normaliser"],
        "floor": [
            {"separation": "none"} | share("per", *_counts(measured["synthesised"])),
            {"separation": "seedling"}
            | share("per", *_counts(_measured(separated, songs, "synthesised"))),
        ],
        "per": [_per_row(metric, step, found) for step, found in measured.items()],
        "lost": [
            _lost("codec", measured["codec"], measured["synthesised"], aim=10),
            _lost("true sketch", measured["true sketch"], measured["codec"]),
            _lost("model", measured["model"], measured["codec"], aim=15),
        ],
        "probe": [
            row
            for language, some in (("en", songs), ("zh", mandarin))
            for row in (_probe_rows(language, some, codec) if some else ())
        ],
    }


def interval(amounts: Any, weights: Any) -> list[float] | None:
    """95 % of the bootstrap over songs of a share, in per cent."""
    found = bootstrap(np.asarray(amounts, float), np.asarray(weights, float), Statistics())
    return found and [round(100 * value, 1) for value in found]


def percent(amounts: Any, weights: Any) -> float | None:
    """A share in per cent; None of nothing."""
    weight = float(np.sum(weights))
    return round(100 * float(np.sum(amounts)) / weight, 1) if weight else None


def pairs_of(songs: Sequence[Song], step: str) -> list[tuple[Song, Song, str]]:
    """(whose sound, whose lyrics, step of the sound) of every song at a step or `SHUFFLED`."""
    if step != SHUFFLED:
        return [(song, song, step) for song in songs]
    return [(song, songs[(n + 1) % len(songs)], "model") for n, song in enumerate(songs)]


def _item(song: Song, step: str, words: Song) -> Item:
    return Item(song.truth.name, song.sound(step), lyrics=words.score.lyrics)


def _measured(metric: per.PER, songs: Sequence[Song], step: str) -> list[Measured]:
    return [
        metric.measure(_item(song, sound, words)) for song, words, sound in pairs_of(songs, step)
    ]


def _per_row(metric: per.PER, step: str, found: Sequence[Measured]) -> dict[str, Any]:
    row = {"step": step, **share("per", *_counts(found))}
    for name, unseen in (("seen", False), ("unseen", True)):
        counts = np.array([_of_words(song, unseen) for song in found])
        row |= share(name, counts[:, 0], counts[:, 1])
    parts = metric.parts(found)
    kinds = ("substitutions", "deletions", "insertions", "word_error_rate")
    return row | {kind: round(parts[kind], 1) for kind in kinds}


def share(name: str, amounts: Any, weights: Any) -> dict[str, Any]:
    """A share in per cent and its interval, under a name."""
    return {name: percent(amounts, weights), f"{name}_95": interval(amounts, weights)}


def _counts(found: Sequence[Measured]) -> Counts:
    return np.array([song.amount for song in found]), np.array([song.weight for song in found])


def _of_words(song: Measured, unseen: bool) -> tuple[int, int]:
    """Errors and phones of the words that training never sang, or of the others."""
    words = [word for line in song.details["lines"] for word in line["words"]]
    mine = [(wrong, phones) for text, phones, wrong in words if is_unseen(text) == unseen]
    return sum(wrong for wrong, _ in mine), sum(phones for _, phones in mine)


def is_unseen(word: str) -> bool:
    """Whether training never sings a word, written small."""
    return held_out(word) and word not in {known.lower() for known in closed_words()}


def _lost(
    step: str, later: Sequence[Measured], before: Sequence[Measured], aim: int | None = None
) -> dict[str, Any]:
    """Points of PER that a step adds, over the same songs; `aim` is the most that it should."""
    difference = paired(_counts(later), _counts(before), Statistics())
    bounds = difference.interval and [round(100 * value, 1) for value in difference.interval]
    return {"step": step, "points": round(100 * difference.value, 1), "points_95": bounds} | (
        {"aim": aim} if aim else {}
    )


def _probe_rows(
    language: str, songs: Sequence[Song], codec: SketchCodec
) -> Iterator[dict[str, Any]]:
    heard = {path: heard_phones(codec, path) for s in songs for path in map(s.sound, STEPS)}
    for step in (*STEPS, SHUFFLED):
        counts = [
            (wrong_phones(asked := true_phones(words), heard[song.sound(sound)]), len(asked))
            for song, words, sound in pairs_of(songs, step)
        ]
        yield {"language": language, "step": step, **share("wrong", *np.array(counts).T)}


def heard_phones(codec: SketchCodec, path: Path) -> list[str]:
    """What the sketch codec takes a song's voice to sing: the likeliest path that seldom changes,
    since a phone of one frame is more often a doubt than a sound."""
    likely = align_seedling.log_posteriors(codec, audio.load(path, SAMPLE_RATE))
    best, before = likely[:1].sum(axis=0), []
    for frame in likely[1:]:
        change = best.max() - _CHANGE
        before.append(np.where(best >= change, np.arange(len(best)), best.argmax()))
        best = np.maximum(best, change) + frame
    phones = [int(best.argmax())]
    for back in reversed(before):
        phones.append(int(back[phones[-1]]))
    return [phone for phone, _ in groupby(PHONES[i] for i in reversed(phones)) if phone]


def true_phones(song: Song) -> list[str]:
    """What it should sing; a phone twice in a row is one, as the codec cannot tell."""
    return [phone for phone, _ in groupby(base(phone.symbol) for phone in song.score.phones)]


def wrong_phones(asked: Sequence[str], heard: Sequence[str]) -> int:
    """Phones substituted, left out or put in."""
    return sum(step.kind != "equal" for step in edits.align(asked, heard))
