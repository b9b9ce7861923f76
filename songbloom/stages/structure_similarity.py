"""Sections by listening alone: where somebody sings, and where a song repeats itself.

With the vocals known, stretches with and without singing part first, and sung sections begin with a
phrase. Among the phrases those open a section at which a repetition of the song begins or ends: the
peaks of a novelty curve over the smoothed time-lag matrix, after Serrà, Müller, Grosche and Arcos
(2014), "Unsupervised Music Structure Annotation by Time Series Structure Features and Segment
Similarity". Sung sections that come again are choruses, the most frequent and loudest ones.
Deterministic: there is nothing to draw.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import librosa
import numpy as np
from scipy import fft, ndimage, signal, stats
from scipy.cluster import hierarchy

from songbloom.stages.structure_sections import (
    LEAD,
    MIN_BREAK,
    SECONDS_PER_HOP,
    TAIL,
    Mark,
    Phrases,
    level,
    sung_share,
)
from songbloom.units import Hz, Seconds

SAMPLE_RATE: Hz = 16_000  # of all sound here: chords and timbre lie below 8 kHz
HOPS_PER_FRAME = 5  # a frame is a row of the similarity matrix: a quarter of a second
MAX_FRAMES = 2400  # longer songs (from ten minutes on) get longer frames: memory is the square
MIN_FRAMES = 32

_HOP = round(SAMPLE_RATE * SECONDS_PER_HOP)
_FFT = 4096
_BLOCK = 1200  # hops
_VOICE_DB = (-40.0, -25.0)  # least level of singing: in dBFS, and against the loud parts
_PHRASE_GAP: Seconds = 0.35
_MIN_PHRASE: Seconds = 0.3
_MIN_EDGE: Seconds = 2.0  # an intro or outro is no shorter
_MIN_SECTION: Seconds = 6.0
_EMBEDDING = 8  # frames: chords of two seconds are compared with chords of two seconds
_TIMBRE_WEIGHT = 0.2
_SHARPNESS = 20  # of similarity by rank: the nearest twentieth counts
_SMOOTH: Seconds = 2.5
_NOVEL = 1.1  # times the mean of the novelty curve
_NEAR = 4  # frames around a phrase's start in which its novelty peaks
_ALIKE = 0.5  # mean similarity by rank along a diagonal; chance gives 0.15, repetitions 0.8
_OVERLAP = 0.6  # of the shorter of two sections that must be compared
_DB_PER_REPEAT = 3.0  # how much louder a section must be that comes once less often
_GUESS = 0.3  # confidence of a label that nothing speaks for or against


@dataclass(frozen=True)
class Sound:
    """What is heard every 50 ms: `chroma` [12, n], `timbre` (MFCC) [13, n], `level` [n] in dBFS."""

    chroma: np.ndarray
    timbre: np.ndarray
    level: np.ndarray


def listen(mono: np.ndarray) -> Sound:
    """Hear a song `[n]` at 16 kHz."""
    # no tuning is estimated: a song that is off concert pitch is as like itself as any other
    chroma = librosa.filters.chroma(sr=SAMPLE_RATE, n_fft=_FFT, tuning=0.0)
    mel = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=_FFT, n_mels=40)
    notes, bands = [], []
    for spectrum in _spectra(mono):
        notes.append(chroma @ spectrum)
        bands.append(mel @ spectrum**2)
    decibels = librosa.power_to_db(np.concatenate(bands, axis=1))
    timbre = fft.dct(decibels, axis=0, norm="ortho")[1:14]
    return Sound(np.concatenate(notes, axis=1), timbre, level(mono, SAMPLE_RATE))


def _spectra(mono: np.ndarray) -> Iterator[np.ndarray]:
    """Magnitudes `[bins, hops]` of a minute of the song at a time, one every 50 ms in all."""
    hops = -(-len(mono) // _HOP)
    around = _FFT - _HOP
    padded = np.pad(mono, (around // 2, hops * _HOP - len(mono) + around - around // 2))
    for at in range(0, hops, _BLOCK):
        count = min(_BLOCK, hops - at)
        part = padded[at * _HOP : (at + count) * _HOP + around]
        yield np.abs(librosa.stft(part, n_fft=_FFT, hop_length=_HOP, center=False))


def find_phrases(vocals: np.ndarray) -> list[tuple[Seconds, Seconds]]:
    """When there is singing in separated vocals `[n]` at 16 kHz."""
    heard = level(vocals, SAMPLE_RATE)
    least = max(_VOICE_DB[0], float(np.percentile(heard, 95)) + _VOICE_DB[1])
    gap = round(_PHRASE_GAP / SECONDS_PER_HOP)
    sung = np.pad(heard > least, gap)
    sung = ndimage.binary_closing(sung, np.ones(gap))
    sung = ndimage.binary_opening(sung, np.ones(round(_MIN_PHRASE / SECONDS_PER_HOP)))[gap:-gap]
    edges = np.diff(np.pad(sung.astype(np.int8), 1))
    starts, ends = (np.flatnonzero(edges == way) * SECONDS_PER_HOP for way in (1, -1))
    return [(float(a), float(b)) for a, b in zip(starts, ends, strict=True)]


class _Part(NamedTuple):
    """A stretch of the song; `sung` where somebody sings, or may sing."""

    start: Seconds
    end: Seconds
    sung: bool


def segment(sound: Sound, phrases: Phrases | None, duration: Seconds) -> list[Mark]:
    """Marks of a song; `phrases` is None where the vocals are not known.

    Without the vocals everything counts as sung: nothing tells an intro from a verse then.
    """
    frames = _Frames.of(sound)
    parts = [
        _Part(start, end, stretch.sung)
        for stretch in _stretches(phrases, duration)
        for start, end in pairwise(_borders(stretch, frames, phrases))
    ]
    labels = _labels([part for part in parts if part.sung], frames, sound)
    return [
        Mark(*next(labels))
        if part.sung
        else Mark(_played(number, len(parts)), part.start, 1.0 - sung_share(*part[:2], phrases))
        for number, part in enumerate(parts)
    ]


def _played(number: int, count: int) -> str:
    if count == 1:
        return "inst"
    return {0: "intro", count - 1: "outro"}.get(number, "inst")


def _stretches(phrases: Phrases | None, duration: Seconds) -> Iterator[_Part]:
    """The song by turns with and without singing."""
    if phrases is None or not phrases:
        yield _Part(0.0, duration, phrases is None)
        return
    pauses = [(a[1], b[0]) for a, b in pairwise(phrases) if b[0] - a[1] > MIN_BREAK]
    edges = [phrases[0][0], *(time for pause in pauses for time in pause), phrases[-1][1]]
    at = 0.0
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        start, end = max(first - LEAD, 0.0), min(last + TAIL, duration)
        start = at if start - at < (0.0 if at else _MIN_EDGE) else start
        end = duration if last == edges[-1] and duration - end < _MIN_EDGE else end
        if start > at:
            yield _Part(at, start, False)
        yield _Part(start, end, True)
        at = end
    if at < duration:
        yield _Part(at, duration, False)


@dataclass(frozen=True)
class _Frames:
    """`similar` [n, n] by rank, 0-1; `novelty` [n], 1 on average; `step` in seconds."""

    similar: np.ndarray
    novelty: np.ndarray
    step: Seconds

    @classmethod
    def of(cls, sound: Sound) -> "_Frames":
        hops = max(HOPS_PER_FRAME, -(-len(sound.level) // MAX_FRAMES))
        features = np.concatenate(
            [_unit(np.log1p(10 * _scaled(_means(sound.chroma, hops)))),
             _TIMBRE_WEIGHT * _centred(_means(sound.timbre, hops))]
        )  # fmt: skip
        similar = _similarity(features)
        return cls(similar, _novelty(similar, hops * SECONDS_PER_HOP), hops * SECONDS_PER_HOP)

    def near(self, time: Seconds) -> float:
        """The highest novelty around a moment."""
        frame = int(time / self.step)
        return float(self.novelty[max(frame - _NEAR, 0) : frame + _NEAR + 1].max(initial=0.0))

    def alike(self, one: _Part, other: _Part) -> float:
        """How much two parts sound the same in the same order, 0-1: their best diagonal."""
        rows, columns = (
            slice(round(part.start / self.step), round(part.end / self.step))
            for part in (one, other)
        )
        block = self.similar[rows, columns]
        shorter = min(block.shape)
        if shorter < MIN_FRAMES // 4:
            return 0.0
        most = shorter - round(_OVERLAP * shorter)
        offsets = range(min(0, shorter - block.shape[0]) - most,
                        max(0, block.shape[1] - shorter) + most + 1)  # fmt: skip
        return max(float(np.trace(block, offset=at)) for at in offsets) / shorter


def _means(values: np.ndarray, hops: int) -> np.ndarray:
    """`[d, n]` -> `[d, n // hops]`, at least one."""
    count = max(values.shape[1] // hops, 1)
    whole = values[:, : count * hops]
    return whole.reshape(len(values), count, -1).mean(axis=2)


def _scaled(values: np.ndarray) -> np.ndarray:
    return values / (values.max() + 1e-9)


def _unit(values: np.ndarray) -> np.ndarray:
    return values / (np.linalg.norm(values, axis=0) + 1e-9)


def _centred(values: np.ndarray) -> np.ndarray:
    values = values - values.mean(axis=1, keepdims=True)
    return values / (np.linalg.norm(values, axis=0).mean() + 1e-9)


def _similarity(features: np.ndarray) -> np.ndarray:
    """Mutual similarity of frames `[d, n]` by rank, which needs no scale, `[n, n]`."""
    half = _EMBEDDING // 2
    padded = np.pad(features, ((0, 0), (half, _EMBEDDING - half - 1)), "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _EMBEDDING, axis=1)
    embedded = _unit(windows.transpose(0, 2, 1).reshape(-1, features.shape[1]))
    # rounded: the last bits of a matrix product depend on the processor, and would order equals
    ranks = stats.rankdata(np.round(embedded.T @ embedded, 6), axis=1) / features.shape[1]
    similar: np.ndarray = ((ranks + ranks.T) / 2) ** _SHARPNESS
    return similar


def _novelty(similar: np.ndarray, step: Seconds) -> np.ndarray:
    """How much the smoothed time-lag matrix changes at every frame, against its mean `[n]`."""
    if len(similar) < MIN_FRAMES:
        return np.zeros(len(similar))
    lags = librosa.segment.recurrence_to_lag(similar, pad=True)
    lags = ndimage.gaussian_filter(lags, (1.0, _SMOOTH / step))
    change = np.linalg.norm(np.diff(lags, axis=1, prepend=lags[:, :1]), axis=0)
    novelty: np.ndarray = change / (change.mean() + 1e-9)
    return novelty


def _borders(part: _Part, frames: _Frames, phrases: Phrases | None) -> list[Seconds]:
    """Where the sections of a part begin, and its end."""
    if phrases is None:
        peaks, _ = signal.find_peaks(frames.novelty)
        times = [float(peak * frames.step) for peak in peaks]
    else:
        times = [start - LEAD for start, _ in phrases]
    inside = [t for t in times if part.start + _MIN_SECTION <= t <= part.end - _MIN_SECTION]
    chosen: list[Seconds] = []
    for time in sorted(inside, key=lambda t: (-frames.near(t), t)) if part.sung else ():
        if frames.near(time) > _NOVEL and all(abs(time - c) >= _MIN_SECTION for c in chosen):
            chosen.append(time)
    return [part.start, *sorted(chosen), part.end]


def _labels(
    sung: Sequence[_Part], frames: _Frames, sound: Sound
) -> Iterator[tuple[str, Seconds, float]]:
    """Tag, start and confidence of the sung parts."""
    alike = np.array([[frames.alike(one, other) for other in sung] for one in sung])
    chorus = _chorus(sung, alike, sound)
    for number, part in enumerate(sung):
        others = [other for other in chorus if other != number]
        nearest = max((alike[number, other] for other in others), default=0.0)
        if not chorus:
            yield "verse", part.start, _GUESS
        elif number in chorus:
            yield "chorus", part.start, nearest
        else:
            yield "verse", part.start, 1.0 - nearest


def _chorus(sung: Sequence[_Part], alike: np.ndarray, sound: Sound) -> list[int]:
    """The parts that come again, the most frequent and loudest ones; none if all are alike."""
    if len(sung) < 2:
        return []
    distances = 1.0 - (alike + alike.T)[np.triu_indices(len(sung), 1)] / 2
    tree = hierarchy.linkage(distances, "average")
    clusters = hierarchy.fcluster(tree, 1.0 - _ALIKE, "distance")
    groups = [np.flatnonzero(clusters == name).tolist() for name in sorted(set(clusters))]
    again = [group for group in groups if len(group) > 1]
    if not again or len(groups) == 1:
        return []
    return max(
        again,
        key=lambda group: (
            _DB_PER_REPEAT * len(group) + _loudness([sung[number] for number in group], sound)
        ),
    )


def _loudness(parts: Sequence[_Part], sound: Sound) -> float:
    """dBFS of some parts together."""
    spans = [(round(p.start / SECONDS_PER_HOP), round(p.end / SECONDS_PER_HOP)) for p in parts]
    powers = np.concatenate([10 ** (sound.level[a:b] / 10) for a, b in spans])
    return float(10 * np.log10(powers.mean() + 1e-12))
