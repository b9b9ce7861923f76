"""What the sound says of itself, and how fast songs were made."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from generation.conftest import make_model

from songbloom.errors import SongBloomError, UsageError
from songbloom.evaluation import signal, speed
from songbloom.evaluation.items import Item, find
from songbloom.generation.options import GenerateOptions
from songbloom.generation.song import generate
from songbloom.lyrics import parse
from songbloom.requests import Request

RATE = 48_000


def sine(level: float, seconds: float = 3.0, frequency: float = 997.0) -> np.ndarray:
    """A sine in both channels, `[n, 2]`."""
    time = np.arange(round(seconds * RATE)) / RATE
    return np.repeat(level * np.sin(2 * np.pi * frequency * time)[:, None], 2, axis=1)


def measured(path: Path, samples: np.ndarray) -> dict[str, Any]:
    """What `signal` finds in these samples."""
    soundfile.write(path, samples, RATE, subtype="PCM_24")
    found = signal.load({}, path.parent).measure(Item("x", path))
    assert found.amount == found.details["loudness"]
    return dict(found.details)


def test_loudness_is_the_standards(tmp_path: Path) -> None:
    """A sine at 997 Hz of -20 dBFS in both channels has -20 LUFS, and its peak is -20 dBTP."""
    found = measured(tmp_path / "x.wav", sine(0.1))
    assert found["loudness"] == pytest.approx(-20.0, abs=0.05)
    assert found["true_peak"] == pytest.approx(-20.0, abs=0.05)
    assert (found["clipped_share"], found["silent_share"], found["channels"]) == (0, 0, 2)


def test_clipping_is_counted(tmp_path: Path) -> None:
    """Samples cut off at full scale are counted; a sine that just reaches it is not clipped."""
    assert measured(tmp_path / "full.wav", sine(0.9999, frequency=4000))["clipped_share"] == 0
    loud = np.clip(sine(2.0, frequency=100), -1, 1)
    share = measured(tmp_path / "cut.wav", loud)["clipped_share"]
    assert share == pytest.approx(float(np.mean(np.abs(loud) >= 0.999)), rel=0.01)


def test_silence_is_counted(tmp_path: Path) -> None:
    """A second of nothing in four is a quarter, and the longest one is a second."""
    song = np.concatenate([sine(0.1, 1.0), np.zeros((RATE, 2)), sine(0.1, 2.0)])
    found = measured(tmp_path / "x.wav", song)
    assert found["silent_share"] == pytest.approx(0.25, abs=0.01)
    assert found["longest_silence"] == pytest.approx(1.0, abs=0.11)


def test_mono_and_surround(tmp_path: Path) -> None:
    """One channel and six are measured as well."""
    for channels in (1, 6):
        samples = np.repeat(sine(0.1)[:, :1], channels, axis=1)
        assert measured(tmp_path / f"{channels}.wav", samples)["channels"] == channels


def recorded(folder: Path, **changes: Any) -> Item:
    """A song whose bundle holds a record of speed."""
    record = {"song_seconds": 10.0, "work_seconds": 40.0, "first_audio_seconds": 2.0}
    record |= {"songs_together": 2, "device": "cpu", "dtype": "float32", "threads": 1}
    folder.mkdir()
    (folder / "speed.json").write_text(json.dumps(record | changes))
    return Item("x", folder / "x.flac", bundle=folder)


def test_the_real_time_factor(tmp_path: Path) -> None:
    """Work of songs made together is shared; songs without a record do not count."""
    metric = speed.load({}, tmp_path)
    songs = [
        metric.measure(recorded(tmp_path / "a")),
        metric.measure(recorded(tmp_path / "b", songs_together=1, first_audio_seconds=6.0)),
        metric.measure(Item("other", tmp_path / "other.wav")),
    ]
    assert songs[0].details["real_time_factor"] == 2.0
    assert metric.combine(songs) == pytest.approx((20 + 40) / 20)
    assert metric.parts(songs) == {
        "recorded": 2,
        "first_audio_seconds": 4.0,
        "slowest_first_audio_seconds": 6.0,
        "devices": ["cpu float32"],
    }


def test_what_generate_records(tmp_path: Path) -> None:
    """The record beside a generated song is read as it is; its first audio comes before its end."""
    make_model(tmp_path / "model")
    soundfile.write(tmp_path / "clip.wav", sine(0.1, 1.0), RATE)
    request = Request("x", parse("[verse] hello"), tmp_path / "clip.wav")
    generate([request], tmp_path / "model", tmp_path / "out", GenerateOptions())
    (item,) = find(tmp_path / "out", references=tmp_path)
    assert (item.name, item.reference) == ("x", tmp_path / "clip.wav")
    found = speed.load({}, tmp_path).measure(item)
    assert found.weight == soundfile.info(item.audio).duration
    assert 0 < found.details["first_audio_seconds"] <= found.details["work_seconds"]


@pytest.mark.parametrize(
    "changes", [{"song_seconds": 0}, {"songs_together": 0}, {"work_seconds": None}]
)
def test_records_that_are_none(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A damaged record fails its song."""
    with pytest.raises(SongBloomError, match="no record of speed"):
        speed.load({}, tmp_path).measure(recorded(tmp_path / "a", **changes))


def test_there_are_no_settings(tmp_path: Path) -> None:
    """A setting that is not there is refused."""
    for module in (signal, speed):
        with pytest.raises(UsageError, match="unknown setting 'x'"):
            module.load({"x": 1}, tmp_path)
