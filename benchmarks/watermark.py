"""How well the watermark is found: on recordings, whole and coded, and on what does not carry it.

    python benchmarks/watermark.py RECORDING...

For each recording its first 45 seconds: SDR in dB and level of the residual in dBFS, then the
detector's score without the watermark, without it after MP3, with it, and with it after MP3 at 128
and 64 kbit/s, Opus at 96, through 22.05 kHz, and of 15 seconds after MP3 at 128. Needs ffmpeg.
"""

import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr

from songbloom.export import watermark
from songbloom.stages import sound
from songbloom.units import SAMPLE_RATE

COLUMNS = ("sdr", "level", "clean", "+mp3", "marked", "mp3 128", "mp3 64", "opus", "22 kHz", "15 s")


def coded(samples: np.ndarray, kind: str, bitrate: str) -> np.ndarray:
    """The sound after ffmpeg's encoder."""
    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder) / "a.wav", Path(folder) / f"b.{kind}"
        soundfile.write(plain, samples.T, SAMPLE_RATE, subtype="FLOAT")
        command = ["ffmpeg", "-v", "error", "-i", plain, "-b:a", bitrate, small]
        subprocess.run(command, check=True)
        return sound.read(small, SAMPLE_RATE)


def row(path: Path) -> list[float]:
    """The numbers of one recording, as COLUMNS."""
    song = sound.to_stereo(sound.read(path, SAMPLE_RATE))[:, : 45 * SAMPLE_RATE]
    marked = watermark.embed(song, SAMPLE_RATE)
    power, residual = (float(np.mean(np.square(x))) for x in (song, marked - song))
    there = soxr.resample(marked.T, SAMPLE_RATE, 22_050)
    versions = (
        song,
        coded(song, "mp3", "128k"),
        marked,
        coded(marked, "mp3", "128k"),
        coded(marked, "mp3", "64k"),
        coded(marked, "opus", "96k"),
        soxr.resample(there, 22_050, SAMPLE_RATE).T,
        coded(marked[:, 15 * SAMPLE_RATE : 30 * SAMPLE_RATE], "mp3", "128k"),
    )
    scores = [watermark.detect(x, SAMPLE_RATE).score for x in versions]
    return [10 * math.log10(power / residual), 10 * math.log10(residual), *scores]


def main() -> None:
    print(f"found from {watermark.THRESHOLD:.2f}")
    print(f"{'':24}" + "".join(f"{name:>9}" for name in COLUMNS))
    rows = []
    for name in sys.argv[1:]:
        rows.append(row(Path(name)))
        print(f"{Path(name).stem[:24]:24}" + "".join(f"{x:9.1f}" for x in rows[-1]), flush=True)
    for label, pick in (("least", np.min), ("median", np.median), ("most", np.max)):
        print(f"{label:24}" + "".join(f"{x:9.1f}" for x in pick(rows, axis=0)))


if __name__ == "__main__":
    main()
