"""The accompaniment as sound, 48 kHz stereo."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from songbloom.synth import instruments, soundfont
from songbloom.synth.arrangement import Event, arrange
from songbloom.synth.score import Score
from songbloom.units import SAMPLE_RATE

OWN = "songbloom"  # this package's own instruments, as truth.json records them
_LEVEL = {"drums": 0.5, "bass": 0.42, "comp": 0.2, "pad": 0.1}
_WIDTH = {"drums": 0.25, "bass": 0.0, "comp": 0.5, "pad": 0.8}


def instruments_of(score: Score, fonts: Sequence[Path]) -> Path | None:
    """The soundfont that plays a score: one of `fonts`, or None for this package's instruments."""
    return random.Random(f"instruments {score.style}").choice((None, *fonts))


def play(score: Score, font: Path | None = None) -> np.ndarray:
    """The score's accompaniment, float32 `[2, samples]`. Raises as `soundfont.play`."""
    side = 1.0 if score.style % 2 else -1.0
    if font is not None:
        return soundfont.play(arrange(score), score.programs, score.duration, font, side=side)
    out = np.zeros((2, round(score.duration * SAMPLE_RATE)), dtype=np.float32)
    for event in arrange(score):
        wave = _strike(score, event)
        begin = round(event.start * SAMPLE_RATE)
        wave = wave[: out.shape[1] - begin]
        left, right = _pan(event, side)
        out[0, begin : begin + len(wave)] += left * wave
        out[1, begin : begin + len(wave)] += right * wave
    return out


def _strike(score: Score, event: Event) -> np.ndarray:
    loudness = _LEVEL[event.track] * (event.velocity / 100.0) ** 1.5
    if event.track == "drums":
        return loudness * instruments.drum(event.midi)
    held = instruments.tone(score.programs[event.track], event.midi)
    release = round(instruments.RELEASE * SAMPLE_RATE)
    length = min(len(held) - release, round((event.end - event.start) * SAMPLE_RATE))
    wave = loudness * held[: length + release]
    wave[length:] *= np.linspace(1.0, 0.0, release, dtype=np.float32)
    return wave


def _pan(event: Event, side: float) -> tuple[float, float]:
    """Equal-power gains; chords lean by pitch, the pad alternates."""
    width = _WIDTH[event.track] * side
    if event.track == "pad":
        width *= 1.0 if event.midi % 2 else -1.0
    elif event.track == "drums":
        width *= {36: 0.0, 38: 0.2, 42: 1.0}.get(event.midi, -0.8)
    else:
        width *= np.clip((event.midi - 58) / 8.0, -1.0, 1.0)
    angle = (width + 1.0) * np.pi / 4
    return float(np.cos(angle) * 1.2), float(np.sin(angle) * 1.2)
