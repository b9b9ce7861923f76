"""How loud a song is and how high its wave rises between the samples: ITU-R BS.1770-5.

Loudness is gated at -70 LUFS and 10 LU below what remains, over blocks of 400 ms every 100 ms. The
weighting filters are the standard's, computed for any sample rate. The true peak is read from the
wave oversampled to 176.4 kHz or more.
"""

import math
from collections.abc import Iterator

import numpy as np
from scipy import signal

from songbloom.units import Hz

LUFS = float
Decibels = float
SHORTEST = 0.4  # seconds; a shorter sound has no loudness
_ABSOLUTE_GATE: LUFS = -70.0
_RELATIVE_GATE = 10.0  # LU
_OFFSET = -0.691  # of the standard: the weighting's gain at 997 Hz
_STEPS = 4  # of 100 ms in a block
_CHUNK = 1 << 19  # samples that are filtered at a time
_TAPS = 16  # samples each side that the wave between samples is made of; flat up to 20 kHz
_OVERSAMPLED: Hz = 176_400  # at least


def integrated(samples: np.ndarray, sample_rate: Hz) -> LUFS:
    """Loudness of mono or stereo `[channels, n]`; -inf for silence and for less than 400 ms."""
    powers = _powers(samples, sample_rate)
    if len(powers) == 0:
        return -math.inf
    loud = powers[_lufs(powers) > _ABSOLUTE_GATE]
    if len(loud) == 0:
        return -math.inf
    loud = loud[_lufs(loud) > _lufs(loud.mean()) - _RELATIVE_GATE]
    return float(_lufs(loud.mean()))


def true_peak(samples: np.ndarray, sample_rate: Hz) -> Decibels:
    """The highest point of the wave between the samples as well, dBTP; -inf for silence."""
    peak = max((float(x.max(initial=0.0)) for x in peaks(samples, sample_rate)), default=0.0)
    return 20 * math.log10(peak) if peak > 0 else -math.inf


def peaks(samples: np.ndarray, sample_rate: Hz) -> Iterator[np.ndarray]:
    """Height of the wave from each sample up to the next, of all channels `[n]`, in chunks."""
    up = max(1, 2 ** math.ceil(math.log2(_OVERSAMPLED / sample_rate)))
    if up == 1:  # samples are close enough
        yield np.abs(samples).max(axis=0)
        return
    lowpass = np.float32(up) * signal.firwin(2 * up * _TAPS + 1, 1 / up, window=("kaiser", 8.0))
    padded = np.pad(samples, ((0, 0), (_TAPS, _TAPS))).astype(np.float32)
    for begin in range(0, samples.shape[1], _CHUNK):
        size = min(_CHUNK, samples.shape[1] - begin)
        part = padded[:, begin : begin + size + 2 * _TAPS]
        wave = signal.upfirdn(lowpass.astype(np.float32), part, up, axis=1)
        wave = wave[:, 2 * up * _TAPS :][:, : up * size]
        yield np.abs(wave).max(axis=0).reshape(size, up).max(axis=1)


def _powers(samples: np.ndarray, sample_rate: Hz) -> np.ndarray:
    """Weighted mean square of each block, summed over channels."""
    steps = int(samples.shape[1] * 10 / sample_rate)
    edges = np.round(np.arange(steps + 1) * sample_rate / 10).astype(np.int64)
    energy = np.zeros(max(0, steps - _STEPS + 1))
    for channel in samples:
        sums = _sums(channel, edges, _weighting(sample_rate))
        energy += sums[_STEPS:] - sums[:-_STEPS]
    return energy / (edges[_STEPS:] - edges[:-_STEPS])


def _sums(channel: np.ndarray, edges: np.ndarray, weighting: np.ndarray) -> np.ndarray:
    """Energy of the weighted channel up to each edge."""
    state = np.zeros((len(weighting), 2))
    sums, before = np.zeros(len(edges)), 0.0
    for begin in range(0, int(edges[-1]), _CHUNK):
        part = channel[begin : min(begin + _CHUNK, edges[-1])].astype(np.float64)
        part, state = signal.sosfilt(weighting, part, zi=state)
        running = before + np.cumsum(np.square(part))
        inside = (edges > begin) & (edges <= begin + len(part))
        sums[inside] = running[edges[inside] - begin - 1]
        before = running[-1]
    return sums


def _weighting(sample_rate: Hz) -> np.ndarray:
    """The shelf and the high pass of annex 1 as second-order sections, for any rate.

    At 48 kHz they are the standard's tables. The analogue parameters are those that reproduce the
    tables (B. De Man, "Evaluation of implementations of the EBU R128 loudness measurement", 2018).
    """
    gain, q, f = 3.999843853973347, 0.7071752369554196, 1681.974450955533
    k, high = math.tan(math.pi * f / sample_rate), 10 ** (gain / 20)
    band = high**0.4996667741545416
    shelf = [high + band * k / q + k * k, 2 * (k * k - high), high - band * k / q + k * k]
    shelf += [1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k]
    q, f = 0.5003270373238773, 38.13547087602444
    k = math.tan(math.pi * f / sample_rate)
    a0 = 1 + k / q + k * k
    high_pass = [1.0, -2.0, 1.0, 1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0]
    return np.array([np.array(shelf) / shelf[3], high_pass])


def _lufs(power: np.ndarray | np.float64) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.asarray(_OFFSET + 10 * np.log10(power))
