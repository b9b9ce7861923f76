"""A watermark that cannot be heard and can be found: this sound was made by songbloom.

Spread spectrum over the spectrum's magnitudes, after D. Kirovski and H. S. Malvar,
"Spread-spectrum watermarking of audio signals" (IEEE Trans. Signal Processing 51, 2003): time is
cut into slots of 43 ms and frequency into bands of 94 Hz, and each of these tiles is made louder or
softer by STRENGTH dB as a fixed sequence of signs says. The detector adds up the tiles' levels
times the signs. Signs repeat every PERIOD slots, and all places at which the sequence may begin
are tried, so a song that was cut or delayed is found too; one that is played faster is not.

The gains do not depend on the song. So the watermark is a linear filter that changes over time:
marked stems add up to the marked song. The signs are public: the watermark declares, it does not
prove, and whoever wants to remove it can.

False alarms. For a sound made without knowledge of the signs, the score at one place is a sum of
independent signs times fixed levels, divided by the levels' norm, and by Hoeffding's inequality
P(score >= s) <= exp(-s^2 / 2), whatever the sound. With the union over all places that are tried,
THRESHOLD leaves less than one false alarm in a million sounds.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soxr
from scipy import ndimage

from songbloom.loudness import Decibels
from songbloom.units import SAMPLE_RATE, Hz, Seconds

NAME = "songbloom-spread-spectrum-1"
STRENGTH: Decibels = 0.4
PERIOD = 256  # slots, 10.9 s
SHORTEST: Seconds = 5.0  # less is not tried
_SEED = 0x534F4E47424C4F4F4D  # "SONGBLOOM"
_SLOT = 2048  # samples at 48 kHz
_FRAME, _STEP = 1024, 512  # of the filter: four frames in a slot
_LEAD = _STEP // 2  # by which the first frame begins before the song, so that the four fill a slot
_BINS = 4  # in a band
_FIRST, _BANDS = 10, 84  # bins 10 to 345: 234 Hz to 8.1 kHz, which coders keep
_LISTEN = _SLOT // 4  # steps in which the detector looks for the beginning
_TRIED = PERIOD * (_SLOT // _LISTEN)
FALSE_ALARMS = 1e-6  # of sounds without the watermark, at most
THRESHOLD = math.sqrt(2 * math.log(_TRIED / FALSE_ALARMS))
_CHUNK = 512  # slots that are listened to at a time
_FLOOR = 1e-12  # power of a tile below which nothing is heard
_BEFORE_AND_AFTER = np.array([-1.0, -2.0, 6.0, -2.0, -1.0]) / 6
_BANDS_AROUND = 9
_STEADIEST: Decibels = 0.3  # that the level of a tone that is held rises by
_CLIP = 2.0  # times what is usual; a tile that rises more is an event, not noise
_AROUND = (5, 3)  # slots and bands that tell what is usual


@dataclass(frozen=True)
class Found:
    """What the detector heard: the watermark is there if `score` reaches `THRESHOLD`.

    `offset` is where a period begins, in seconds; both are 0 for a sound too short to be tried.
    """

    score: float
    offset: Seconds

    @property
    def present(self) -> bool:
        return self.score >= THRESHOLD


def signs() -> np.ndarray:
    """The sequence `[PERIOD, bands]` of +1 and -1."""
    draws = np.random.Generator(np.random.PCG64(_SEED)).integers(0, 2, (PERIOD, _BANDS))
    return 2.0 * draws - 1.0


def embed(samples: np.ndarray, sample_rate: Hz) -> np.ndarray:
    """`[channels, n]` with the watermark, float32.

    It is made at 48 kHz and added: a song at another rate is not resampled, its residual is.
    """
    if sample_rate == SAMPLE_RATE:
        return np.asarray(samples + _residual(samples), dtype=np.float32)
    copy = soxr.resample(samples.T, sample_rate, SAMPLE_RATE, quality="VHQ").T
    residual = soxr.resample(_residual(copy).T, SAMPLE_RATE, sample_rate, quality="VHQ").T
    marked = np.array(samples, dtype=np.float32)
    size = min(marked.shape[1], residual.shape[1])
    marked[:, :size] += residual[:, :size]
    return marked


def _residual(samples: np.ndarray) -> np.ndarray:
    """What the watermark adds to 48 kHz `[channels, n]`.

    The frames are short, so that next to nothing is added more than 21 ms before a drum is struck.
    """
    length = samples.shape[1]
    frames = -(-length // _STEP) + 1
    padded = np.pad(samples, ((0, 0), (_LEAD, frames * _STEP + _FRAME - length)))
    out = np.zeros(padded.shape, dtype=np.float32)
    gains = np.zeros((PERIOD, _FRAME // 2 + 1))
    low = _FIRST * _FRAME // _SLOT
    gains[:, low : low + _BANDS * _BINS * _FRAME // _SLOT] = np.repeat(
        10 ** (STRENGTH / 20 * signs()) - 1, _BINS * _FRAME // _SLOT, axis=1
    )
    window = _window()
    for number in range(frames):
        at = number * _STEP
        spectrum = np.fft.rfft(window * padded[:, at : at + _FRAME])
        gain = gains[number * _STEP // _SLOT % PERIOD]
        out[:, at : at + _FRAME] += window * np.fft.irfft(spectrum * gain)
    return out[:, _LEAD : _LEAD + length]


def _window() -> np.ndarray:
    """Kaiser-Bessel-derived: used twice its halves add up to one, and far bins hear nothing."""
    rise = np.cumsum(np.kaiser(_STEP + 1, 4 * np.pi))
    half = np.sqrt(rise[:-1] / rise[-1])
    return np.concatenate([half, half[::-1]])


def detect(samples: np.ndarray, sample_rate: Hz) -> Found:
    """Look for the watermark in `[channels, n]` at any sample rate."""
    if samples.shape[1] < SHORTEST * sample_rate:
        return Found(0.0, 0.0)
    if sample_rate != SAMPLE_RATE:
        samples = soxr.resample(samples.T, sample_rate, SAMPLE_RATE, quality="VHQ").T
    keys = np.conj(np.fft.fft(signs(), axis=0))
    best = Found(0.0, 0.0)
    for start in range(0, _SLOT, _LISTEN):
        folded = _folded(samples[:, start:])
        scores = np.fft.ifft(np.fft.fft(folded, axis=0) * keys, axis=0).real.sum(axis=1)
        scores /= max(float(np.sqrt(np.square(folded).sum())), 1e-30)
        at = int(scores.argmax())
        if scores[at] > best.score:
            best = Found(float(scores[at]), (at * _SLOT + start) / SAMPLE_RATE)
    return best


def _folded(samples: np.ndarray) -> np.ndarray:
    """What each tile says of its sign, summed over periods `[PERIOD, bands]`.

    A tile is as loud as the tiles around it, give or take what is usual there: the steadier the
    sound, the more a tile that is louder says.
    """
    levels = np.concatenate([*_levels(samples)])
    rises = _rises(levels)
    usual = np.sqrt(ndimage.uniform_filter(np.square(rises), _AROUND) + _STEADIEST**2)
    told = _rises(np.clip(rises / usual, -_CLIP, _CLIP) / usual)
    told[levels <= 10 * math.log10(_FLOOR)] = 0.0
    told = np.pad(told, ((0, -len(told) % PERIOD), (0, 0)))
    return np.asarray(told.reshape(-1, PERIOD, _BANDS).sum(axis=0))


def _rises(levels: np.ndarray) -> np.ndarray:
    """`[slots, bands]` less the slots before and after, and less what the bands around rise by.

    It is its own adjoint, so that doing it twice with weights between is least squares.
    """
    rises = ndimage.convolve1d(levels, _BEFORE_AND_AFTER, axis=0)
    return np.asarray(rises - ndimage.uniform_filter1d(rises, _BANDS_AROUND, axis=1))


def _levels(samples: np.ndarray) -> Iterator[np.ndarray]:
    """dB of each tile `[slots, bands]`, in chunks: two frames in it, all channels."""
    window = np.hanning(_SLOT + 2)[1:-1]
    padded = np.pad(samples, ((0, 0), (_SLOT // 4, _SLOT)))
    slots = samples.shape[1] // _SLOT
    for begin in range(0, slots, _CHUNK):
        size = min(_CHUNK, slots - begin) * _SLOT
        level = np.zeros((size // _SLOT, _BANDS))
        for shift in (0, _SLOT // 2):
            at = begin * _SLOT + shift
            frames = padded[:, at : at + size].reshape(len(samples), -1, _SLOT) * window
            spectrum = np.fft.rfft(frames)[..., _FIRST : _FIRST + _BINS * _BANDS]
            power = np.square(np.abs(spectrum)).sum(axis=0).reshape(-1, _BANDS, _BINS).sum(axis=2)
            level += 5 * np.log10(power / _SLOT + _FLOOR / 10)
        yield level
