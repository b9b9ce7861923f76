"""Sound as something to look at: a mel spectrogram as a PNG file, and the peaks of a waveform."""

import struct
import zlib

import numpy as np

from songbloom.units import Hz

MAX_COLUMNS = 2400
_COLUMNS_PER_SECOND = 25  # one a frame, in songs of up to 96 s
_BANDS = 64
_LOWEST: float = 40.0  # Hz
_WINDOW = 1024
_RANGE = 80.0  # dB below the loudest that are still seen
# From dark to bright, evenly in lightness, for every kind of sight: stops of matplotlib's magma.
_STOPS = "000004 180f3d 440f76 721f81 9e2f7f cd4071 f1605d fd9668 feca8d fcfdbf"


def columns(seconds: float) -> int:
    """How many columns a picture of so long a song has."""
    return max(1, min(MAX_COLUMNS, round(seconds * _COLUMNS_PER_SECOND)))


def spectrogram(mono: np.ndarray, sample_rate: Hz) -> bytes:
    """A PNG file of `[samples]`: 64 mel bands from 40 Hz up, the lowest at the bottom."""
    width = columns(len(mono) / sample_rate)
    padded = np.pad(mono, (_WINDOW // 2, _WINDOW))
    starts = (np.arange(width) * len(mono) / width).astype(np.int64)
    window = np.hanning(_WINDOW).astype(np.float32)
    bank = _mel_bank(sample_rate)
    power = np.empty((_BANDS, width), dtype=np.float32)
    for begin in range(0, width, 256):  # a few columns at a time, to stay small
        frames = np.stack([padded[s : s + _WINDOW] for s in starts[begin : begin + 256]])
        power[:, begin : begin + 256] = bank @ (np.abs(np.fft.rfft(frames * window)) ** 2).T
    decibels = 10 * np.log10(np.maximum(power, 1e-10))
    shade = (decibels - decibels.max() + _RANGE) / _RANGE
    return png((np.clip(shade, 0, 1) * 255).astype(np.uint8)[::-1])


def peaks(samples: np.ndarray, count: int) -> np.ndarray:
    """The largest magnitude in each of `count` equal stretches of `[channels, n]`, `[count]`."""
    loudest = np.abs(samples).max(axis=0, initial=0.0)
    starts = (np.arange(count) * len(loudest) / count).astype(np.int64)
    return np.maximum.reduceat(loudest, starts)


def png(shades: np.ndarray) -> bytes:
    """A PNG file of uint8 `[height, width]` in the colours of sound, black to pale yellow."""
    height, width = shades.shape
    rows = np.pad(shades, ((0, 0), (1, 0))).tobytes()  # each row begins with its filter: none
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = (
        ("IHDR", header),
        ("PLTE", _palette()),
        ("IDAT", zlib.compress(rows, 9)),
        ("IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind.encode(), data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def _palette() -> bytes:
    stops = np.array([list(bytes.fromhex(stop)) for stop in _STOPS.split()], dtype=np.float64)
    at = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(at, np.arange(len(stops)), stops[:, c]) for c in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8).tobytes()


def _mel_bank(sample_rate: Hz) -> np.ndarray:
    """Triangles evenly spaced on the mel scale (2595 log10(1 + f / 700)), `[bands, bins]`."""
    lowest, highest = (2595 * np.log10(1 + f / 700) for f in (_LOWEST, sample_rate / 2))
    edges = 700 * (10 ** (np.linspace(lowest, highest, _BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(_WINDOW, 1 / sample_rate)
    # at least a bin wide on either side, or the lowest bands would fall between two bins
    width = np.maximum(np.diff(edges), sample_rate / _WINDOW)
    rising = (bins - edges[1:-1, None]) / width[:-1, None] + 1
    falling = (edges[1:-1, None] - bins) / width[1:, None] + 1
    return np.clip(np.minimum(rising, falling), 0, None).astype(np.float32)
