"""Laws of reading songs: every format, rate and channel count; what is broken says how."""

import shutil
import struct
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from songbloom.errors import SongBloomError
from songbloom.stages import sound

RATE = 48_000
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")


def _tone(seconds: float = 2.0, channels: int = 2, rate: int = RATE) -> np.ndarray:
    """A tone a channel, `[channels, n]`."""
    time = np.arange(round(seconds * rate)) / rate
    return np.stack([0.3 * np.sin(2 * np.pi * 220 * (c + 1) * time) for c in range(channels)])


def _write(path: Path, samples: np.ndarray, rate: int = RATE, **options: str) -> Path:
    soundfile.write(str(path), samples.T, rate, **options)
    return path


@pytest.mark.parametrize("suffix", ["flac", "wav", "aiff", "mp3", "ogg", "opus"])
def test_formats_of_libsndfile(tmp_path: Path, suffix: str) -> None:
    """The same tone comes out of each, at the wanted rate."""
    options = {"format": "OGG", "subtype": "OPUS"} if suffix == "opus" else {}
    path = _write(tmp_path / f"a.{suffix}", _tone(), **options)
    heard = sound.read(path, 24_000)
    assert heard.dtype == np.float32 and heard.shape == (2, 48_000)
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(0.3 / 2**0.5, rel=0.02)
    assert np.abs(np.fft.rfft(heard[0])).argmax() == 220 * 2


@needs_ffmpeg
@pytest.mark.parametrize("codec", [["a.m4a"], ["a.aac"], ["-c:a", "alac", "b.m4a"], ["a.wma"]])
def test_formats_of_ffmpeg(tmp_path: Path, codec: list[str]) -> None:
    """What libsndfile does not know comes through the pipe with its rate and channels."""
    source, made = _write(tmp_path / "a.wav", _tone(), 44_100), tmp_path / codec[-1]
    command = ["ffmpeg", "-v", "error", "-i", str(source), *codec[:-1], str(made)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    with sound.stream(made) as song:
        assert (song.sample_rate, song.channels) == (44_100, 2)
    heard = sound.read(made, 44_100)
    assert heard.shape[1] == pytest.approx(2 * RATE, abs=4096)
    assert np.sqrt(np.mean(heard[:, 5000:90_000] ** 2)) == pytest.approx(0.3 / 2**0.5, rel=0.03)


def test_without_ffmpeg_the_error_names_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What libsndfile cannot open may be what ffmpeg could: the error says what to install."""
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(1000))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SongBloomError) as caught:
        sound.read(path, RATE)
    assert (
        "libsndfile" in caught.value.message and "ffmpeg is not installed" in caught.value.message
    )
    assert "install ffmpeg" in caught.value.hint


@pytest.mark.parametrize("rate", [8_000, 11_025, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_rate_and_channel_count(tmp_path: Path, rate: int, channels: int) -> None:
    """Channels stay as they are; the length in seconds too."""
    path = _write(tmp_path / "a.flac", _tone(1.0, channels, rate), rate)
    heard = sound.read(path, RATE)
    assert heard.shape[0] == channels and abs(heard.shape[1] - RATE) <= 6


def test_the_downmix_is_itu_and_cannot_clip() -> None:
    """Front left is heard left alone, the centre in the middle, the low channel nowhere."""
    for channels in range(1, 12):
        full = sound.to_stereo(np.ones((channels, 4), dtype=np.float32))
        assert full.shape == (2, 4) and np.abs(full).max() <= 1 + 1e-6
    left, right, centre, low, *_ = (sound.to_stereo(row[:, None])[:, 0] for row in np.eye(6))
    assert left[0] == pytest.approx(1 / (1 + 2**0.5)) and left[1] == 0 and right[0] == 0
    assert centre[0] == centre[1] == pytest.approx(left[0] / 2**0.5)
    assert not low.any()


@pytest.mark.parametrize("suffix", ["flac", "wav", "aiff"])
def test_a_file_that_is_cut_off_is_an_error(tmp_path: Path, suffix: str) -> None:
    """Half a file is no song: its lyrics would be those of the whole one."""
    path = _write(tmp_path / f"a.{suffix}", np.random.default_rng(0).normal(0, 0.1, (2, RATE)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SongBloomError, match="breaks off"):
        sound.read(path, RATE)


def test_a_wav_of_unknown_length_is_read(tmp_path: Path) -> None:
    """Programs that write into a pipe leave the largest number as the size."""
    path = _write(tmp_path / "a.wav", _tone(0.5))
    data = bytearray(path.read_bytes())
    at = data.index(b"data")
    data[at + 4 : at + 8] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(data)
    assert sound.read(path, RATE).shape == (2, RATE // 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"Hello, this is no song at all.\n" * 300, "libsndfile"),
        (bytes(30_000), "libsndfile"),
        (np.random.default_rng(1).bytes(30_000), "libsndfile"),
    ],
    ids=["empty", "text", "zeros", "noise"],
)
def test_what_is_no_sound_is_an_error(tmp_path: Path, content: bytes, words: str) -> None:
    """Whatever it is called."""
    path = tmp_path / "a.mp3"
    path.write_bytes(content)
    with pytest.raises(SongBloomError, match=words):
        sound.read(path, RATE)


@needs_ffmpeg
def test_playlists_are_not_followed(tmp_path: Path) -> None:
    """A text that names other files, or places in the network, is no song and ends at once."""
    _write(tmp_path / "real.wav", _tone(0.5))
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n"
    for number, text in enumerate(
        [
            f"{head}real.wav\n",
            f"{head}http://127.0.0.1:9/a.aac\n",
            "ffconcat version 1.0\nfile real.wav\n",
        ]
    ):
        path = tmp_path / f"{number}.m4a"
        path.write_text(text)
        errors: list[SongBloomError] = []
        thread = threading.Thread(target=_try, args=(path, errors), daemon=True)
        thread.start()
        thread.join(30)
        assert errors, text


def _try(path: Path, errors: list[SongBloomError]) -> None:
    try:
        sound.read(path, RATE)
    except SongBloomError as error:
        errors.append(error)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_an_error(tmp_path: Path, value: float) -> None:
    """Wherever they stand."""
    samples = _tone(4.0)
    samples[1, -3] = value
    path = _write(tmp_path / "a.wav", samples, subtype="FLOAT")
    with pytest.raises(SongBloomError, match="NaN"):
        sound.read(path, RATE)


def test_no_samples_are_an_error(tmp_path: Path) -> None:
    """A header alone."""
    with pytest.raises(SongBloomError, match="no sound"):
        sound.read(_write(tmp_path / "a.wav", np.zeros((2, 0))), RATE)


def test_more_than_four_hours_are_not_held(tmp_path: Path) -> None:
    """The error comes before the memory is gone."""
    path = tmp_path / "long.flac"
    with soundfile.SoundFile(str(path), "w", 1000, 1) as sink:
        for _ in range(5):
            sink.write(np.zeros(3600 * 1000, dtype=np.int16))
    with pytest.raises(SongBloomError, match="4 hours"):
        sound.read(path, 1000)
