"""The accompaniment through FluidSynth, with the instruments of a General MIDI soundfont.

FluidSynth is LGPL and found at run time: the package `pyfluidsynth` and the system's library.
"""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from songbloom.errors import MissingAssetError, UsageError
from songbloom.files import sha256
from songbloom.synth.arrangement import Event
from songbloom.units import SAMPLE_RATE, Samples, Seconds

_CHANNELS = {"comp": 0, "bass": 1, "pad": 2, "drums": 9}  # General MIDI: drums are on the tenth
_VOLUMES = {"comp": 84, "bass": 108, "pad": 64, "drums": 112}  # of 127
_VOLUME, _PAN, _MIDDLE = 7, 10, 64  # controllers, and where the pan rests
_PANS = {"comp": 26, "pad": -26, "bass": 0, "drums": 0}
_DRUM_BANK = 128


@functools.cache
def identity(font: Path) -> str:
    """A soundfont's name and hash, as truth.json records it."""
    try:
        return f"{font.name} {sha256(font)}"
    except OSError as error:
        raise UsageError(
            f"{font}: cannot be read ({error.strerror})", "Name a soundfont: --soundfont FILE.sf2"
        ) from error


def play(
    events: Iterable[Event],
    programs: Mapping[str, int],
    duration: Seconds,
    font: Path,
    *,
    side: float,
) -> np.ndarray:
    """Every event with the font's instruments, float32 `[2, samples]`, 48 kHz.

    `programs` are those of the tracks; `side` +-1 says which of them stand left. `UsageError` for a
    file that is no soundfont, `MissingAssetError` where FluidSynth is not installed.
    """
    synth = _synth()
    try:
        _set_up(synth, font, programs, side)
        return _played(synth, _messages(events), round(duration * SAMPLE_RATE))
    finally:
        synth.delete()


def check_installed() -> None:
    """`MissingAssetError` where FluidSynth is not installed."""
    _synth().delete()


def _synth() -> Any:
    try:
        import fluidsynth
    except ImportError as error:  # the package, or the library that it looks for
        raise MissingAssetError(
            f"FluidSynth is not installed ({error})",
            "Type: pip install 'songbloom[soundfont]'. Besides, the system needs libfluidsynth "
            "(Debian: apt install libfluidsynth3).",
        ) from error
    return fluidsynth.Synth(gain=0.8, samplerate=float(SAMPLE_RATE))


def _set_up(synth: Any, font: Path, programs: Mapping[str, int], side: float) -> None:
    number = synth.sfload(str(font))
    if number < 0:
        raise UsageError(f"{font}: is no soundfont", "Name one: --soundfont FILE.sf2")
    for track, channel in _CHANNELS.items():
        bank, program = (_DRUM_BANK, 0) if track == "drums" else (0, programs.get(track, 0))
        synth.program_select(channel, number, bank, program)
        synth.cc(channel, _VOLUME, _VOLUMES[track])
        synth.cc(channel, _PAN, _MIDDLE + round(side * _PANS[track]))


def _messages(events: Iterable[Event]) -> list[tuple[Samples, int, int, int]]:
    """`(sample, velocity, channel, note)` in order of time; velocity 0 ends a note, and at the
    same sample ends come first."""
    messages = []
    for event in events:
        channel = _CHANNELS[event.track]
        begin, end = round(event.start * SAMPLE_RATE), round(event.end * SAMPLE_RATE)
        messages += [(begin, event.velocity, channel, event.midi), (end, 0, channel, event.midi)]
    return sorted(messages)


def _played(
    synth: Any, messages: Iterable[tuple[Samples, int, int, int]], length: Samples
) -> np.ndarray:
    parts, at = [], 0
    for sample, velocity, channel, note in messages:
        if sample >= length:
            break
        parts.append(synth.get_samples(sample - at))
        at = sample
        synth.noteon(channel, note, velocity)
    parts.append(synth.get_samples(length - at))
    return np.concatenate(parts).reshape(-1, 2).T.astype(np.float32) / 32768.0
