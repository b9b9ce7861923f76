"""A small band in numpy: plucked, struck, bowed and electric tones, bass and drums.

The same notes always give the same samples: noise comes from fixed seeds.
"""

import functools

import numpy as np
from scipy import signal

from songbloom.synth.arrangement import CRASH, HAT, KICK, OPEN_HAT, RIM, SNARE
from songbloom.units import SAMPLE_RATE

TONE_SECONDS = 4.0
RELEASE = 0.08  # seconds


def tone(program: int, midi: int) -> np.ndarray:
    """A held tone of a General MIDI program (0-127), float32 `[samples]`, peak about 1."""
    if program in (24, 25, 26, 27):
        return _plucked(midi, brightness=0.35 + 0.15 * (program - 24))
    if program in (4, 5):
        return _electric_piano(midi, ratio=1.0 if program == 4 else 2.0)
    if program < 16:
        return _struck(midi, hardness=1.0 if program == 0 else 0.7)
    if program < 24:
        return _organ(midi)
    if 32 <= program < 40:
        return _bass(midi, saw=program >= 38)
    return _strings(midi, brightness=0.5 if program < 80 else 0.25)


@functools.lru_cache(maxsize=32)
def drum(midi: int) -> np.ndarray:
    """A hit on a General MIDI drum, float32 `[samples]`, peak about 1."""
    if midi == KICK:
        t = _time(0.35)
        phase = 2 * np.pi * (48 * t + 90 * 0.035 * (1 - np.exp(-t / 0.035)))
        return _unit(
            np.sin(phase) * np.exp(-t / 0.11) + 0.2 * _noise(midi, len(t)) * np.exp(-t / 0.004)
        )
    if midi == SNARE:
        t = _time(0.3)
        body = 0.5 * np.sin(2 * np.pi * 190 * t) * np.exp(-t / 0.06)
        return _unit(body + _band(_noise(midi, len(t)), 1200, 9000) * np.exp(-t / 0.075))
    if midi == RIM:
        t = _time(0.08)
        return _unit(np.sin(2 * np.pi * 1700 * t) * np.exp(-t / 0.012))
    seconds, decay = {HAT: (0.12, 0.03), OPEN_HAT: (0.5, 0.18), CRASH: (1.6, 0.5)}.get(
        midi, (0.3, 0.1)
    )
    t = _time(seconds)
    return _unit(_band(_noise(midi, len(t)), 5500, 16000) * np.exp(-t / decay))


def _time(seconds: float) -> np.ndarray:
    return np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE


def _frequency(midi: int) -> float:
    return 440.0 * 2 ** ((midi - 69) / 12)


def _noise(seed: int, length: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(length)


def _band(samples: np.ndarray, low: float, high: float) -> np.ndarray:
    sections = signal.butter(2, (low, high), "bandpass", fs=SAMPLE_RATE, output="sos")
    return signal.sosfilt(sections, samples)


def _unit(samples: np.ndarray) -> np.ndarray:
    return (samples / (np.abs(samples).max() + 1e-9)).astype(np.float32)


@functools.lru_cache(maxsize=256)
def _plucked(midi: int, brightness: float) -> np.ndarray:
    """Karplus-Strong (1983) as a recursive filter: a comb whose loop averages two neighbours."""
    period = SAMPLE_RATE / _frequency(midi)
    delay = int(period - 0.5)
    share = period - 0.5 - delay  # linear interpolation in the loop tunes it
    burst = np.zeros(round(TONE_SECONDS * SAMPLE_RATE))
    burst[:delay] = signal.lfilter([brightness], [1, brightness - 1], _noise(midi, delay))
    loop = np.zeros(delay + 3)
    loss = 0.5 * 0.001 ** (1.0 / (_frequency(midi) * 5.0))
    loop[0] = 1.0
    loop[delay] -= loss * (1 - share)
    loop[delay + 1] -= loss
    loop[delay + 2] -= loss * share
    return _unit(signal.lfilter([1.0], loop, burst))


@functools.lru_cache(maxsize=256)
def _struck(midi: int, hardness: float) -> np.ndarray:
    """A piano-like tone: high partials die first."""
    t, f0 = _time(TONE_SECONDS), _frequency(midi)
    levels = [np.exp(-0.28 * n / hardness) for n in range(1, 15)]
    decay = 1.6 * (261 / f0) ** 0.5
    out = _partials(levels, f0, damping=0.35 / decay) * np.exp(-t / decay)
    return _unit(out * np.minimum(1.0, t / 0.003))


@functools.lru_cache(maxsize=256)
def _electric_piano(midi: int, ratio: float) -> np.ndarray:
    """Two-operator frequency modulation (Chowning 1973) with a bell at the start."""
    t, f0 = _time(TONE_SECONDS), _frequency(midi)
    index = 1.4 * np.exp(-t / 0.5)
    body = np.sin(2 * np.pi * f0 * t + index * np.sin(2 * np.pi * ratio * f0 * t))
    bell = 0.12 * np.sin(2 * np.pi * min(14 * f0, 15000) * t) * np.exp(-t / 0.08)
    return _unit((body + bell) * np.exp(-t / 1.3) * np.minimum(1.0, t / 0.004))


@functools.lru_cache(maxsize=256)
def _organ(midi: int) -> np.ndarray:
    """Drawbars 16', 8', 5 1/3', 4', 2 2/3', 2' and 1 1/3' as partials of the octave below."""
    t = _time(TONE_SECONDS)
    drawbars = {1: 0.6, 2: 1.0, 3: 0.35, 4: 0.6, 6: 0.3, 8: 0.25, 12: 0.1}
    out = _partials([drawbars.get(n, 0.0) for n in range(1, 13)], _frequency(midi) / 2)
    return _unit(out * np.minimum(1.0, t / 0.01) * (1 + 0.05 * np.sin(2 * np.pi * 6 * t)))


@functools.lru_cache(maxsize=256)
def _strings(midi: int, brightness: float) -> np.ndarray:
    """Three detuned saws of few partials, slow to speak."""
    t, f0 = _time(TONE_SECONDS), _frequency(midi)
    levels = [np.exp(-n * (1 - brightness) * 0.5) / n for n in range(1, 17)]
    voices = [_partials(levels, f0 * detune) for detune in (0.996, 1.0, 1.0037)]
    out = voices[1] + np.roll(voices[0], 97) + np.roll(voices[2], 211)  # not in phase
    return _unit(out * np.minimum(1.0, t / 0.12))


@functools.lru_cache(maxsize=256)
def _bass(midi: int, saw: bool) -> np.ndarray:
    t = _time(TONE_SECONDS)
    levels = [1.0 / n if saw else np.exp(-0.75 * (n - 1)) for n in range(1, 13)]
    out = _partials(levels, _frequency(midi), damping=0.5) * np.exp(-0.5 * t)
    return _unit(out * np.minimum(1.0, t / 0.005))


def _partials(levels: list[float], f0: float, damping: float = 0.0) -> np.ndarray:
    """Harmonics of `f0`, number n at `levels[n - 1]`, decaying as exp(-damping n t).

    The sum of levels[n] z^n by Horner's rule: one product a partial in place of one sine.
    """
    t = _time(TONE_SECONDS)
    z = np.exp((2j * np.pi * f0 - damping) * t).astype(np.complex64)
    out = np.zeros(len(t), dtype=np.complex64)
    for n in range(min(len(levels), int(12_000 / f0)), 0, -1):
        out += np.float32(levels[n - 1])
        out *= z
    return out.imag
