"""How well a codec keeps songs it has not seen: log-mel distance, voiced frames and pitch kept."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from songbloom.audio import load, to_stereo
from songbloom.model.seedling_vae import SeedlingVAE
from songbloom.units import HOP, SAMPLE_RATE, Seconds

Report: TypeAlias = dict[str, float | int | str]

_EXCERPT: Seconds = 20.0  # of each song, from its middle
_MAX_SONGS = 8
_VOICED = 0.8  # normalised autocorrelation above which a frame counts as voiced
_PITCHES = (70.0, 800.0)  # Hz, where a voice's pitch is looked for


def score(
    model: SeedlingVAE,
    songs: list[Path],
    on_progress: Callable[[Report], None],
) -> Report:
    """Encode and decode excerpts of `songs`; means over songs.

    `log_mel_l1` in natural-log units on the mix, `vocal_log_mel_l1` on the vocals alone,
    `voiced_kept` share of the vocals' voiced frames that are voiced within 50 cents afterwards,
    `f0_cents` their median pitch error, and seconds of work per second of audio.
    """
    rows = [_score_song(model, song) for song in songs[:_MAX_SONGS]]
    result: Report = {"songs": len(rows)}
    for key in sorted({key for row in rows for key in row}):
        result[key] = round(float(np.mean([row[key] for row in rows if key in row])), 4)
    on_progress({"stage": "score", **result})
    return result


def _score_song(model: SeedlingVAE, song: Path) -> dict[str, float]:
    mix = _excerpt(song / "audio.flac")
    begun = time.perf_counter()
    latents = model.encode(mix)
    encoded = time.perf_counter()
    decoded = model.decode(latents)
    elapsed = time.perf_counter() - encoded
    seconds = decoded.shape[-1] / SAMPLE_RATE
    row = {
        "log_mel_l1": log_mel_distance(mix, decoded),
        "encode_rtf": (encoded - begun) / seconds,
        "decode_rtf": elapsed / seconds,
    }
    if (song / "vocals.flac").exists():
        vocals = _excerpt(song / "vocals.flac")
        sung = model.decode(model.encode(vocals))
        kept, cents = pitch_kept(vocals, sung)
        row |= {
            "vocal_log_mel_l1": log_mel_distance(vocals, sung),
            "voiced_kept": kept,
            "f0_cents": cents,
        }
    return row


def _excerpt(path: Path) -> Tensor:
    """`[1, 2, n]`, whole frames from the song's middle."""
    audio = torch.from_numpy(to_stereo(load(path, SAMPLE_RATE))).unsqueeze(0)
    length = min(round(_EXCERPT * SAMPLE_RATE), audio.shape[-1]) // HOP * HOP
    start = (audio.shape[-1] - length) // 2
    return audio[..., start : start + length]


def log_mel_distance(before: Tensor, after: Tensor) -> float:
    """Mean absolute difference of 80-band log mel spectra (1024/256, floor 1e-3) of `[1, 2, n]`.

    The longer is cut to the length of the shorter.
    """
    length = min(before.shape[-1], after.shape[-1])
    before, after = before[..., :length], after[..., :length]
    return float((_log_mel(before) - _log_mel(after)).abs().mean())


def _log_mel(audio: Tensor) -> Tensor:
    window = torch.hann_window(1024)
    spectrum = torch.stft(audio[0], 1024, 256, window=window, return_complex=True).abs()
    spectrum = spectrum / window.square().sum().sqrt()  # [2, 513, frames]
    hz = torch.linspace(0, SAMPLE_RATE / 2, 513)
    mel = 2595 * torch.log10(1 + hz / 700)
    place = mel / mel[-1] * 81
    bank = (1 - (place[:, None] - torch.arange(1, 81)).abs()).clamp(min=0)
    bank = bank / bank.sum(0).clamp(min=1e-6)
    return torch.log(torch.einsum("cft,fm->cmt", spectrum, bank) + 1e-3)


def pitch_kept(before: Tensor, after: Tensor) -> tuple[float, float]:
    """The share of `before`'s voiced frames kept within 50 cents; the median error in cents."""
    pitch_before, voiced_before = _pitch(before)
    pitch_after, voiced_after = _pitch(after)
    both = voiced_before & voiced_after
    if not both.any():
        return 0.0, math.inf
    cents = 1200 * torch.log2(pitch_after / pitch_before).abs()
    kept = (both & (cents < 50)).sum() / voiced_before.sum()
    return float(kept), float(cents[both].median())


def _pitch(audio: Tensor) -> tuple[Tensor, Tensor]:
    """Pitch in Hz and voicing of each 10 ms by normalised autocorrelation of 40 ms at 12 kHz."""
    mono = torch.nn.functional.avg_pool1d(audio.mean(1, keepdim=True), 4)[0, 0]
    rate, size = SAMPLE_RATE // 4, 1024
    frames = mono.unfold(0, size, rate // 100)
    frames = frames - frames.mean(-1, keepdim=True)
    spectrum = torch.fft.rfft(frames, n=2 * size)
    shared = torch.fft.irfft(spectrum.abs().square())[:, :size]
    energy = torch.nn.functional.pad(frames.square().cumsum(-1), (1, 0))
    lags = torch.arange(size)
    head = energy[:, size - lags]
    tail = energy[:, -1:] - energy[:, lags]
    normal = shared / torch.sqrt(head * tail + 1e-6)
    low, high = int(rate / _PITCHES[1]), int(rate / _PITCHES[0])
    return _first_peak(normal[:, : high + 2], low, rate, frames.square().mean(-1))


def _first_peak(normal: Tensor, low: int, rate: int, power: Tensor) -> tuple[Tensor, Tensor]:
    """The first lag whose peak is near the highest, refined by a parabola."""
    inner = normal[:, low:-1]
    peak = (inner > normal[:, low - 1 : -2]) & (inner >= normal[:, low + 1 :])
    height = torch.where(peak, inner, -1.0)
    best = height.max(-1, keepdim=True).values
    lag = (height >= 0.9 * best).float().argmax(-1) + low
    rows = torch.arange(len(normal))
    left, mid, right = (normal[rows, lag + shift] for shift in (-1, 0, 1))
    offset = 0.5 * (left - right) / (left - 2 * mid + right).clamp(max=-1e-6)
    return rate / (lag + offset.clamp(-0.5, 0.5)), (best[:, 0] > _VOICED) & (power > 1e-5)
