"""A short fingerprint of a recording, to find near-duplicates: other encodings, levels, trims.

Spectral peaks are paired with peaks that follow (Wang, "An industrial-strength audio search
algorithm", ISMIR 2003), and of the set of pairs a MinHash is kept (Broder 1997): `HASHES` bytes.
The share of equal bytes of two fingerprints estimates what share of their pairs the recordings have
in common, wherever in the song these are. Streaming: a song of any length takes the same memory.
"""

import base64

import numpy as np
import soxr
from scipy import fft
from scipy.ndimage import maximum_filter

from songbloom.units import Hz

VERSION = 1
HASHES = 128
_RATE: Hz = 8000
_WINDOW, _HOP = 1024, 128  # samples: 128 ms, 16 ms
_BINS = slice(8, 320)  # 60 Hz to 2.5 kHz
_NEIGHBOURHOOD = (31, 61)  # bins and frames, 240 Hz and 1 s: a peak is the highest in so many
_FLOOR = 60.0  # dB below the loudest of a piece
_SILENT = -60.0  # dB, of a piece's loudest bin
_PIECE = 2048 * _HOP  # samples looked at together: 33 s
_NEXT = 4  # peaks that each is paired with
_STEP, _STEPS = 6, 40  # frames that count as the same distance in time; how many such distances


class Fingerprint:
    """Takes blocks `[channels, n]` at `sample_rate` Hz, gives the fingerprint at the end."""

    def __init__(self, sample_rate: Hz) -> None:
        self._resampler = soxr.ResampleStream(sample_rate, _RATE, 1, dtype="float32", quality="HQ")
        self._rest = np.zeros(0, dtype=np.float32)
        self._least = np.full(HASHES, np.iinfo(np.uint32).max, dtype=np.uint32)

    def add(self, block: np.ndarray, *, last: bool = False) -> None:
        """The next block; `last` says that none follows."""
        mono = self._resampler.resample_chunk(block.mean(axis=0, dtype=np.float32), last=last)
        self._rest = np.concatenate([self._rest, mono])
        while len(self._rest) >= _PIECE or (last and len(self._rest) >= _WINDOW):
            piece, self._rest = self._rest[:_PIECE], self._rest[_PIECE:]
            pairs = _pairs(piece)
            if len(pairs):
                np.minimum(self._least, _minhash(pairs), out=self._least)

    def text(self) -> str:
        """The fingerprint in base64; "" of silence."""
        if (self._least == np.iinfo(np.uint32).max).all():
            return ""
        return base64.b64encode(self._least.astype(np.uint8).tobytes()).decode("ascii")


def decode(text: str) -> np.ndarray:
    """`HASHES` bytes, uint8; none of "" and of what is no fingerprint."""
    try:
        values = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    except ValueError:
        return np.zeros(0, dtype=np.uint8)
    return values if len(values) == HASHES else np.zeros(0, dtype=np.uint8)


def similarity(a: str, b: str) -> float:
    """Share of peak pairs that two recordings have in common, 0..1; 0 where one has none.

    Bytes that are equal by chance (1 in 256) are taken off.
    """
    one, other = decode(a), decode(b)
    if not len(one) or not len(other):
        return 0.0
    equal = float(np.mean(one == other))
    return max(0.0, (equal - 1 / 256) / (1 - 1 / 256))


def _pairs(samples: np.ndarray) -> np.ndarray:
    """Distinct hashes of the pairs of peaks in a piece, uint32."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    spectrum = np.abs(fft.rfft(frames * np.hanning(_WINDOW).astype(np.float32), axis=1))
    level = 20 * np.log10(spectrum[:, _BINS].T + 1e-9).astype(np.float32)
    top = level.max()
    if top < _SILENT:
        return np.zeros(0, dtype=np.uint32)
    peaks = (maximum_filter(level, _NEIGHBOURHOOD) == level) & (level > top - _FLOOR)
    times, bins = np.nonzero(peaks.T)
    found = []
    for step in range(1, _NEXT + 1):
        steps = (times[step:] - times[:-step]) // _STEP
        near = steps < _STEPS
        found.append((bins[:-step] * 512 + bins[step:])[near] * _STEPS + steps[near])
    return np.unique(np.concatenate(found)).astype(np.uint32)


def _minhash(pairs: np.ndarray) -> np.ndarray:
    """For each of `HASHES` hash functions its least value over the pairs, uint32."""
    rng = np.random.Generator(np.random.PCG64(20031026))
    factors = rng.integers(1, 1 << 32, HASHES, dtype=np.uint64) | np.uint64(1)
    offsets = rng.integers(0, 1 << 63, HASHES, dtype=np.uint64)
    mixed = pairs.astype(np.uint64)[:, None] * factors + offsets
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    return np.asarray((mixed >> np.uint64(32)).min(axis=0), dtype=np.uint32)
