"""Songs as sound: whatever libsndfile reads, and through ffmpeg, if it is installed, the rest.

libsndfile reads WAV, FLAC, MP3, Ogg, Opus and AIFF. What it cannot open (AAC, ALAC, WMA ...) is
decoded by an `ffmpeg` on the PATH through a pipe. A file that libsndfile opens and that then breaks
off is an error: another decoder would hide it.
"""

import contextlib
import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from songbloom.audio import MAX_DURATION
from songbloom.errors import SongBloomError
from songbloom.units import Hz

_BLOCK = 1 << 17  # samples of each channel
_AU_HEADER = struct.Struct(">4sIIIII")  # magic, offset of the data, bytes, encoding, rate, channels
# ffmpeg also reads playlists, would follow them anywhere, and waits for ever for live ones.
_CONTAINERS = "mov,aac,asf,matroska,caf,ape,wv,tta,ac3,eac3,dts,amr,dsf,mp3,flac,ogg,wav,w64,aiff"
_SIDE = 0.5**0.5
_CUT_OFF = re.compile(r"^ ?(?:data|SSND) : (\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_SIZE = 0x7FFF0000  # what programs that write into a pipe give as a size is not less
# Channels to (left, right) after ITU-R BS.775, in the order of WAV and FLAC, by their number. The
# low-frequency channel is left out.
_LEFT, _RIGHT, _BOTH, _NOT = (1.0, 0.0), (0.0, 1.0), (_SIDE, _SIDE), (0.0, 0.0)
_SIDES = ((_SIDE, 0.0), (0.0, _SIDE))
_DOWNMIX = {
    3: (_LEFT, _RIGHT, _BOTH),
    4: (_LEFT, _RIGHT, *_SIDES),
    5: (_LEFT, _RIGHT, _BOTH, *_SIDES),
    6: (_LEFT, _RIGHT, _BOTH, _NOT, *_SIDES),
    7: (_LEFT, _RIGHT, _BOTH, _NOT, (0.5, 0.5), *_SIDES),
    8: (_LEFT, _RIGHT, _BOTH, _NOT, *_SIDES, *_SIDES),
}


@dataclass(frozen=True)
class Stream:
    """A song being decoded: float32 blocks `[channels, n]`, to be taken once, in order.

    `frames` is how many samples a channel its header promises, which for MP3 may be an estimate.
    """

    sample_rate: Hz
    channels: int
    blocks: Iterator[np.ndarray]
    frames: int | None = None


@contextlib.contextmanager
def stream(path: Path) -> Iterator[Stream]:
    """Decode a song block by block at its own rate.

    `SongBloomError` when it cannot be opened, and on the way when it breaks off or holds samples
    that are no numbers.
    """
    path = Path(path)
    _check_file(path)
    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(soundfile.SoundFile(os.fsencode(path)))
        except (soundfile.LibsndfileError, RuntimeError) as error:
            yield stack.enter_context(_ffmpeg(path, str(error)))
            return
        blocks = _checked(path, _libsndfile(path, source))
        yield Stream(source.samplerate, source.channels, blocks, source.frames)


def read(path: Path, sample_rate: Hz) -> np.ndarray:
    """A whole song, float32 `[channels, n]` at `sample_rate` Hz.

    `SongBloomError` as of `stream`, and for more than four hours.
    """
    parts: list[np.ndarray] = []
    with stream(path) as song:
        left = int(MAX_DURATION * song.sample_rate)
        for block in song.blocks:
            left -= block.shape[1]
            if left < 0:
                raise SongBloomError(
                    f"{path}: longer than the {MAX_DURATION / 3600:g} hours that can be read at "
                    "once",
                    "Cut the file into songs first.",
                )
            parts.append(block)
    samples = np.concatenate(parts, axis=1)
    if song.sample_rate != sample_rate:
        samples = soxr.resample(samples.T, song.sample_rate, sample_rate, quality="VHQ").T
    return np.ascontiguousarray(samples, dtype=np.float32)


def to_stereo(samples: np.ndarray) -> np.ndarray:
    """`[channels, n]` as `[2, n]`: mono doubled, surround mixed down after ITU-R BS.775.

    Surround is scaled so that it cannot clip; the low-frequency channel is left out. Of numbers of
    channels that stand for no layout the first two are kept.
    """
    channels = samples.shape[0]
    if channels == 1:
        return np.repeat(samples, 2, axis=0)
    if channels not in _DOWNMIX:
        return samples[:2]
    weights = np.array(_DOWNMIX[channels], dtype=np.float32)
    return np.asarray((weights / weights.sum(0)).T @ samples, dtype=np.float32)


def _check_file(path: Path) -> None:
    try:
        with open(path, "rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise SongBloomError(
            f"{path}: cannot be read ({error.strerror or error})",
            "Check that the file is there and that you may read it.",
        ) from error
    if empty:
        raise SongBloomError(f"{path}: is empty (0 bytes)", "Get a whole copy of the file.")


def _libsndfile(path: Path, source: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """Blocks `[channels, n]`; an error where the file is cut off."""
    short = _CUT_OFF.search(source.extra_info)  # WAV and AIFF, of which it reads what is there
    if short and int(short[2]) < int(short[1]) < _UNKNOWN_SIZE:
        raise _broken(path, f"{short[2]} of {short[1]} bytes are there")
    try:
        while len(block := source.read(_BLOCK, dtype="float32", always_2d=True)):
            yield block.T
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise _broken(path, str(error)) from error


@contextlib.contextmanager
def _ffmpeg(path: Path, reason: str) -> Iterator[Stream]:
    """The same through ffmpeg, which writes Sun AU: 24 bytes of header, then big-endian floats."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise SongBloomError(
            f"{path}: libsndfile cannot read it ({reason.strip()}), and ffmpeg is not installed",
            "If it is AAC, ALAC or WMA, install ffmpeg; else get a whole copy of the file.",
        )
    command = [program, "-nostdin", "-v", "error", "-xerror"]
    command += ["-protocol_whitelist", "file,pipe", "-format_whitelist", _CONTAINERS]
    command += ["-i", f"file:{path}", "-map", "0:a:0"]
    command += ["-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints
        )
        try:
            assert process.stdout is not None
            header = process.stdout.read(_AU_HEADER.size)
            if len(header) < _AU_HEADER.size:
                process.wait()
                complaints.seek(0)
                said = complaints.read().decode("utf-8", "replace").strip().split("\n")[-1]
                said = said.removeprefix(f"file:{path}: ") or "no sound in it"
                raise SongBloomError(
                    f"{path}: is not a sound file that libsndfile or ffmpeg can read ({said})",
                    "Get a whole copy of the file, or leave it out.",
                )
            _, offset, _, _, rate, channels = _AU_HEADER.unpack(header)
            process.stdout.read(offset - _AU_HEADER.size)
            blocks = _pipe(path, process, channels)
            yield Stream(rate, channels, _checked(path, blocks))
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _pipe(path: Path, process: "subprocess.Popen[bytes]", channels: int) -> Iterator[np.ndarray]:
    assert process.stdout is not None
    size = 4 * channels
    while data := process.stdout.read(_BLOCK * size):
        whole = len(data) // size * size
        yield np.frombuffer(data[:whole], dtype=">f4").astype(np.float32).reshape(-1, channels).T
    if process.wait():
        raise _broken(path, f"ffmpeg ends with code {process.returncode}")


def _checked(path: Path, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same blocks, all of numbers, and at least one sample in all."""
    empty = True
    for block in blocks:
        if not np.isfinite(block).all():
            raise SongBloomError(
                f"{path}: holds NaN or infinite samples", "Export it again as 16- or 24-bit PCM."
            )
        empty = False
        yield block
    if empty:
        raise SongBloomError(f"{path}: holds no sound", "Get a whole copy of the file.")


def _broken(path: Path, why: str) -> SongBloomError:
    return SongBloomError(
        f"{path}: breaks off while being read ({why})", "Get a whole copy of the file."
    )
