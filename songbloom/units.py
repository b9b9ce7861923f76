"""Units of time, and the only place that rounds between them.

A frame is one step of the sketch and of the latents: `hop` samples. A patch is `patch_size` frames.
"""

from typing import TypeAlias

Seconds: TypeAlias = float
Hz: TypeAlias = int
Frames: TypeAlias = int
Samples: TypeAlias = int

SAMPLE_RATE: Hz = 48_000
HOP: Samples = 1_920
FRAME_RATE: float = SAMPLE_RATE / HOP  # 25.0 frames a second


def frames_to_seconds(frames: Frames) -> Seconds:
    """Start time in seconds of frame number `frames`."""
    return frames * HOP / SAMPLE_RATE


def seconds_to_frames(seconds: Seconds) -> Frames:
    """The frame that contains time `seconds` (rounds to the nearest frame border)."""
    return round(seconds * SAMPLE_RATE / HOP)


def samples_to_frames(samples: Samples) -> Frames:
    """Whole frames in `samples` samples: an incomplete last frame is dropped, as the VAE does."""
    return samples // HOP
