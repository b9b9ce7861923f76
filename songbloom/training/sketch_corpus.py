"""Synthetic songs as training crops for the sketch codec: stems in memory, remixed at every draw.

A song is kept as two mono stems at 24 kHz (where the codec's spectra begin) and its frame labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from songbloom import audio
from songbloom.errors import UsageError
from songbloom.model.sketch_codec import SketchCodec, cqt_frequencies, mel_frequencies
from songbloom.model.sketch_symbols import FrameLabels, score_to_labels
from songbloom.synth.corpus import load_score
from songbloom.units import HOP, SAMPLE_RATE, Frames

IGNORED = -100  # a label that carries no loss

_HALF_HOP = HOP // 2  # samples a frame at 24 kHz
_SCALE = 2.0**14  # int16 stems with 6 dB of room above full scale
_NEEDED = ("audio.flac", "vocals.flac", "backing.flac", "truth.json")
_NATURAL_SHARE = 0.3  # of the crops keep the song's own mix
_NOISE_SHARE = 0.5
_DB_OF_FEATURES = 4 / 70  # the codec's features rise by 4 over the 70 dB to full scale


@dataclass(frozen=True)
class Song:
    """`vocals` and `backing`: mono int16 `[960 * T]` at 24 kHz, 2**14 is full scale."""

    vocals: np.ndarray
    backing: np.ndarray
    labels: FrameLabels

    @property
    def num_frames(self) -> Frames:
        """T, the frames that have both sound and labels."""
        return min(len(self.vocals) // _HALF_HOP, len(self.labels.phone))


@dataclass(frozen=True)
class Batch:
    """Crops and what is known of them.

    `signal` `[B, 960 * T]` at 24 kHz; `mel_tilt` `[B, 1, M]` and `cqt_tilt` `[B, 1, Q]` are added
    to the features (an equaliser); `phone`, `note`, `chord` `[B, T]` int64, `IGNORED` where
    unknown.
    """

    signal: Tensor
    mel_tilt: Tensor
    cqt_tilt: Tensor
    phone: Tensor
    note: Tensor
    chord: Tensor


def song_folders(corpus: Path) -> list[Path]:
    """The synthetic songs in `corpus`, by name. `UsageError` when there are none."""
    found = sorted(path.parent for path in Path(corpus).glob("*/truth.json"))
    folders = [path for path in found if all((path / name).is_file() for name in _NEEDED)]
    if not folders:
        raise UsageError(
            f"{corpus}: holds no synthetic songs; expected folders with {', '.join(_NEEDED)}",
            f"Make some: songbloom synth --songs 20 -o {corpus}",
        )
    return folders


def load_song(folder: Path, codec: SketchCodec) -> Song:
    """Read a song's stems and labels; `codec` only lends its low-pass filter."""
    vocals, backing = (
        _read_stem(Path(folder) / name, codec) for name in ("vocals.flac", "backing.flac")
    )
    length = min(len(vocals), len(backing))
    return Song(vocals[:length], backing[:length], score_to_labels(load_score(folder)))


def draw_batch(
    songs: Sequence[Song], rng: np.random.Generator, *, size: int, crop: Frames, mel_bands: int
) -> Batch:
    """`size` random crops of `crop` frames, remixed, equalised and noised as `rng` says.

    A song is drawn in proportion to its length; one shorter than a crop is padded with silence
    that carries no loss.
    """
    frames = np.array([song.num_frames for song in songs], dtype=np.float64)
    chosen = rng.choice(len(songs), size=size, p=frames / frames.sum())
    signals, labels = zip(*(_draw_crop(songs[i], rng, crop) for i in chosen), strict=True)
    mel, cqt = _draw_tilts(rng, size, mel_bands)
    phone, note, chord = torch.from_numpy(np.stack(labels, axis=1))
    signal = torch.from_numpy(np.stack(signals))
    return Batch(signal, mel, cqt, phone, note, chord)


def _read_stem(path: Path, codec: SketchCodec) -> np.ndarray:
    mono = torch.from_numpy(audio.to_mono(audio.load(path, SAMPLE_RATE)))
    with torch.inference_mode():
        halved = codec.halve(mono)[0].numpy()
    return np.clip(np.round(halved * _SCALE), -32768, 32767).astype(np.int16)


def _draw_crop(song: Song, rng: np.random.Generator, crop: Frames) -> tuple[np.ndarray, np.ndarray]:
    """Signal `[960 * crop]` float32 and labels `[3, crop]` int64 (phone, note, chord)."""
    length = min(crop, song.num_frames)
    begin = int(rng.integers(0, song.num_frames - length + 1))
    window = slice(begin * _HALF_HOP, (begin + length) * _HALF_HOP)
    signal = np.zeros(crop * _HALF_HOP, dtype=np.float32)
    signal[: length * _HALF_HOP] = _mix(song.vocals[window], song.backing[window], rng)
    labels = np.full((3, crop), IGNORED, dtype=np.int64)
    frames = slice(begin, begin + length)
    phone, note = song.labels.phone[frames], song.labels.note[frames]
    labels[0, :length] = phone
    labels[1, :length] = np.where(phone > 0, note, IGNORED)
    labels[2, :length] = song.labels.chord[frames]
    return signal, labels


def _mix(vocals: np.ndarray, backing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The stems at other levels, and sometimes a floor of white noise, float32."""
    natural = rng.random() < _NATURAL_SHARE
    decibels = rng.uniform((-6.0, -9.0, -10.0), (6.0, 9.0, 3.0))
    vocal, back, whole = (1.0, 1.0, 1.0) if natural else 10 ** (decibels / 20)
    mix = (vocal * whole / _SCALE) * vocals.astype(np.float32)
    mix += (back * whole / _SCALE) * backing.astype(np.float32)
    if rng.random() < _NOISE_SHARE:
        level = 10 ** (rng.uniform(-80.0, -45.0) / 20)
        mix += np.float32(level) * rng.standard_normal(len(mix), dtype=np.float32)
    return mix


def _draw_tilts(rng: np.random.Generator, size: int, mel_bands: int) -> tuple[Tensor, Tensor]:
    """Smooth random equaliser curves over log frequency, in units of the features."""
    slope = rng.normal(0.0, 1.0, (size, 1))  # decibels an octave
    depth, phase = rng.normal(0.0, 2.0, (size, 1)), rng.uniform(0, 2 * np.pi, (size, 1))
    period = rng.uniform(2.0, 6.0, (size, 1))  # octaves

    def curve(hz: np.ndarray) -> Tensor:
        octaves = np.log2(hz / 500.0)[None]
        decibels = slope * octaves + depth * np.cos(2 * np.pi * octaves / period + phase)
        return torch.from_numpy((_DB_OF_FEATURES * decibels).astype(np.float32))[:, None]

    return curve(mel_frequencies(mel_bands)), curve(cqt_frequencies())
