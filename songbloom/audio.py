"""Sound files in and out. In memory, audio is float32 `[channels, samples]` with its sample rate.

Anything libsndfile reads is read (WAV, FLAC, MP3, OGG Vorbis, Opus, AIFF ...); rates are converted
with soxr at its very-high quality setting.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from songbloom.errors import SongBloomError
from songbloom.units import Hz, Seconds

FORMATS = ("flac", "wav", "mp3", "ogg")  # of songs as they are made, by file suffix
_SUBTYPES = {"flac": "PCM_24", "wav": "PCM_24", "mp3": "MPEG_LAYER_III", "ogg": "VORBIS"}
_SUBTYPES["opus"] = "OPUS"  # of exported songs
MAX_DURATION: Seconds = 4 * 3600.0  # refuse to hold more than this in memory
_OGG_BLOCK = 1 << 16  # libsndfile's Vorbis encoder overflows its stack on very long single writes


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says: `duration` in seconds, `sample_rate` in Hz."""

    sample_rate: Hz
    channels: int
    duration: Seconds


def info(path: Path) -> AudioInfo:
    """Read a sound file's header. `SongBloomError` when it is missing or no sound file."""
    path = Path(path)
    if not path.is_file():
        raise SongBloomError(f"{path}: no such file", "Check the path of the audio file.")
    try:
        header = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        size = path.stat().st_size
        what = "is empty (0 bytes)" if size == 0 else "is not a sound file that can be read"
        raise SongBloomError(
            f"{path}: {what}; expected WAV, FLAC, MP3, OGG or Opus",
            "Convert it first, for example: ffmpeg -i INPUT -ar 48000 clip.wav",
        ) from error
    return AudioInfo(header.samplerate, header.channels, header.frames / header.samplerate)


def load(
    path: Path,
    sample_rate: Hz,
    *,
    start: Seconds = 0.0,
    duration: Seconds | None = None,
) -> np.ndarray:
    """Read a window of a sound file, resampled: float32 `[channels, samples]` at `sample_rate` Hz.

    Only the window is read, so an eight-hour file costs no more than a short one. `SongBloomError`
    for a missing or unreadable file, NaN or infinite samples, or a `start` past the end.
    """
    header = info(path)
    if start >= header.duration:
        raise SongBloomError(
            f"{path}: starts to be read at {start:g} s but is only {header.duration:.2f} s long",
            "Give an earlier start.",
        )
    if min(duration or header.duration, header.duration - start) > MAX_DURATION:
        raise SongBloomError(
            f"{path}: {header.duration / 3600:.1f} hours is more than the {MAX_DURATION / 3600:g} "
            "hours that can be read at once",
            "Cut the file into songs first.",
        )
    frames = -1 if duration is None else round(duration * header.sample_rate)
    try:
        samples, rate = soundfile.read(
            str(path),
            start=round(start * header.sample_rate),
            frames=frames,
            dtype="float32",
            always_2d=True,
        )
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise SongBloomError(
            f"{path}: breaks off while being read ({error})", "Get a whole copy of the file."
        ) from error
    if not np.isfinite(samples).all():
        raise SongBloomError(
            f"{path}: holds NaN or infinite samples", "Export the clip again as 16- or 24-bit PCM."
        )
    if rate != sample_rate:
        samples = soxr.resample(samples, rate, sample_rate, quality="VHQ")
    return np.ascontiguousarray(samples.T, dtype=np.float32)


def to_mono(audio: np.ndarray) -> np.ndarray:
    """Mean over channels, `[1, samples]`."""
    return audio.mean(axis=0, keepdims=True, dtype=np.float32)


def to_stereo(audio: np.ndarray) -> np.ndarray:
    """`[2, samples]`: mono is doubled; of more than two channels the first two are kept."""
    return np.repeat(audio, 2, axis=0) if audio.shape[0] == 1 else audio[:2]


def save(
    path: Path, audio: np.ndarray, sample_rate: Hz, *, compression: float | None = None
) -> None:
    """Write float32 `[channels, samples]` in the format that `path`'s suffix names.

    Samples beyond +-1 are clipped. `compression` of MP3, OGG and Opus is from 0 (largest) to 1;
    None is libsndfile's own. The same samples give the same bytes: OGG pages get a fixed stream
    serial number in place of libsndfile's random one.
    """
    kind = Path(path).suffix.lstrip(".").lower()
    if kind not in _SUBTYPES:
        raise SongBloomError(
            f"{path}: cannot write '.{kind}' files; expected one of {', '.join(_SUBTYPES)}",
            "Choose one with --format.",
        )
    samples = np.clip(audio.T, -1.0, 1.0)
    try:
        with soundfile.SoundFile(
            str(path),
            "w",
            sample_rate,
            audio.shape[0],
            subtype=_SUBTYPES[kind],
            format="OGG" if kind == "opus" else kind.upper(),
            compression_level=compression,
        ) as sink:
            for begin in range(0, len(samples), _OGG_BLOCK):
                sink.write(samples[begin : begin + _OGG_BLOCK])
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise OSError(None, str(error), str(path)) from error
    if kind in ("ogg", "opus"):
        _fix_ogg_serial(Path(path))


def _fix_ogg_serial(path: Path, serial: int = 0x53424C4D) -> None:
    """Give every page of a one-stream Ogg file the same serial number and a matching checksum.

    Page layout: RFC 3533 section 6 (serial at byte 14, CRC at 22, segment table at 26).
    """
    data = bytearray(path.read_bytes())
    at = 0
    while at < len(data):
        segments = data[at + 26]
        size = 27 + segments + sum(data[at + 27 : at + 27 + segments])
        data[at + 14 : at + 18] = serial.to_bytes(4, "little")
        data[at + 22 : at + 26] = bytes(4)
        data[at + 22 : at + 26] = _ogg_crc(data[at : at + size]).to_bytes(4, "little")
        at += size
    path.write_bytes(data)


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return table


_CRC = _crc_table()


def _ogg_crc(page: bytearray) -> int:
    """CRC-32 with polynomial 04C11DB7, no reflection, zero start: RFC 3533's page checksum."""
    value = 0
    for byte in page:
        value = ((value << 8) & 0xFFFFFFFF) ^ _CRC[(value >> 24) ^ byte]
    return value
