"""The embedded aligner by the sketch codec: what it takes each frame for, and the best path.

The codec has heard synthesised singers only; of voices unlike those it loses words.
"""

from collections.abc import Sequence

import numpy as np
import torch

from songbloom.model.sketch_codec import SketchCodec
from songbloom.stages import align_viterbi, codecs
from songbloom.stages.align_words import Aligner, Heard, SungLine
from songbloom.units import HOP, Frames, frames_to_seconds, samples_to_frames

_CHUNK: Frames = 1500  # one minute at a time, so that memory does not grow with the song


def load(device: str) -> Aligner:
    """The embedded sketch codec as an aligner."""
    codec = SketchCodec.load(codecs.SEEDLING, "sketch").to(device)

    def align(samples: np.ndarray, lines: Sequence[SungLine]) -> list[Heard | None]:
        words = [[word.phones for word in line.words] for line in lines]
        places = align_viterbi.align(log_posteriors(codec, samples), words)
        return [_heard(place) for place in places]

    return align


@torch.inference_mode()
def log_posteriors(codec: SketchCodec, samples: np.ndarray) -> np.ndarray:
    """How likely each phone is in each frame, `[T, 40]`, of sound `[channels, n]` at 48 kHz."""
    device = next(codec.parameters()).device
    frames = samples_to_frames(samples.shape[1])
    parts = [np.empty((0, align_viterbi.NUM_PHONES), np.float32)]
    for begin in range(0, frames, _CHUNK):
        first, end = max(begin - codec.halo, 0), min(begin + _CHUNK, frames)
        window = torch.from_numpy(samples[:, first * HOP : (end + codec.halo) * HOP])
        phone = codec.posteriors(window[None].to(device)).phone[0]
        parts.append(phone[begin - first : end - first].cpu().numpy())
    return np.concatenate(parts)


def _heard(place: align_viterbi.Place) -> Heard | None:
    if place.frames is None:
        return None
    start, end = map(frames_to_seconds, place.frames)
    return Heard(start, end, place.confidence)
