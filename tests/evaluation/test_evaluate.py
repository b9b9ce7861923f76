"""The laws of an evaluation: same bytes, nothing measured twice, no song stops another."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from evaluation.toys import LYRICS, Inline, songs, task, tone

from songbloom.errors import SongBloomError
from songbloom.evaluation import evaluate
from songbloom.files import sole_user

pytestmark = pytest.mark.usefixtures("toys")


def run(folder: Path, cache: Path, patience: int | None = None, **changes: Any) -> tuple[Any, Any]:
    """The result, and the songs that were worked on, in order."""
    crews = []

    def crew(task: Any) -> Inline:
        crews.append(Inline(task, patience))
        return crews[0]

    result = evaluate.evaluate(task(folder, cache, **changes), make_crew=crew)
    return result, crews[0].jobs if crews else []


def test_values_are_what_the_songs_say(tmp_path: Path) -> None:
    """A value is the sum of amounts over the sum of weights, per cent are a hundred times it, and
    a corpus metric combines arrays; songs stand in order with their own values."""
    folder = songs(tmp_path / "songs", 5)
    result, _ = run(folder, tmp_path / "cache")
    energies = [np.square(soundfile.read(path)[0]) for path in sorted(folder.glob("*.wav"))]
    level = np.concatenate(energies).mean()
    values = {name: row["value"] for name, row in result["metrics"].items()}
    assert values["level"] == pytest.approx(level, abs=2e-6)
    assert values["share"] == pytest.approx(100 * level, abs=2e-5)
    middle = np.median([energy.mean() for energy in energies])
    assert values["middle"] == pytest.approx(middle, abs=2e-6)
    assert [song["name"] for song in result["songs"]] == [f"song_{n:04d}" for n in range(5)]
    first = result["songs"][0]["measured"]
    assert first["share"]["value"] == pytest.approx(100 * energies[0].mean(), abs=1e-4)
    assert first["level"]["details"] == {"samples": 8000, "bad": None}
    for row in result["metrics"].values():
        low, high = row["interval"]
        assert low < row["value"] < high
    assert len(result["metrics"]["middle"]["replicates"]) == 5


def test_same_audio_same_bytes(tmp_path: Path) -> None:
    """Two evaluations write the same bytes wherever the songs lie, and no path or time in them."""
    for name in ("here", "there"):
        result, _ = run(songs(tmp_path / name / "songs", 3), tmp_path / name / "cache")
        evaluate.write(result, tmp_path / name / "evaluation.json")
    first, second = ((tmp_path / n / "evaluation.json").read_bytes() for n in ("here", "there"))
    assert first == second
    assert str(tmp_path).encode() not in first
    assert evaluate.read(tmp_path / "here") == json.loads(first)


def test_nothing_is_measured_twice(tmp_path: Path) -> None:
    """A second run works on nothing; changed lyrics or sound are worked on alone."""
    folder = songs(tmp_path / "songs", 4)
    first, jobs = run(folder, tmp_path / "cache")
    assert len(jobs) == 4 * (1 + 3)
    again, jobs = run(folder, tmp_path / "cache")
    assert (again, jobs) == (first, [])
    (folder / "song_0001.txt").write_text("[verse]\nother words\n")
    tone(folder / "song_0002.wav", level=0.2, seed=99)
    _, jobs = run(folder, tmp_path / "cache")
    assert sorted(jobs) == ["song_0001"] * 3 + ["song_0002"] * 4


def test_equal_songs_are_measured_once(tmp_path: Path) -> None:
    """Two songs with the same bytes share their measurements."""
    folder = songs(tmp_path / "songs", 2)
    for suffix in (".wav", ".txt"):
        (folder / f"copy{suffix}").write_bytes((folder / f"song_0000{suffix}").read_bytes())
    result, jobs = run(folder, tmp_path / "cache")
    assert len(jobs) == 2 * 4
    copy, original, _ = result["songs"]
    assert copy["measured"] == original["measured"]


def test_an_interrupted_evaluation_goes_on(tmp_path: Path) -> None:
    """What was measured before an interruption is kept, and the end is that of an undisturbed
    run."""
    folder = songs(tmp_path / "songs", 4)
    whole, jobs = run(folder, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "cache", patience=9)
    resumed, rest = run(folder, tmp_path / "cache")
    assert resumed == whole
    assert len(rest) == len(jobs) - 9


def test_a_lost_array_is_measured_again(tmp_path: Path) -> None:
    """Arrays that were deleted from the cache are made again, and nothing else."""
    folder = songs(tmp_path / "songs", 3)
    first, _ = run(folder, tmp_path / "cache")
    next((tmp_path / "cache" / "middle").rglob("arrays.safetensors")).unlink()
    again, jobs = run(folder, tmp_path / "cache")
    assert again == first
    assert len(jobs) == 1


def test_bad_songs_fail_alone(tmp_path: Path) -> None:
    """Silence, NaN, cut-off files, a moment of sound, no lyrics, a bad clip: each fails with its
    reason in every metric it spoils; the good are scored as if alone."""
    folder = songs(tmp_path / "songs", 5)
    alone, _ = run(folder, tmp_path / "alone")
    soundfile.write(folder / "x_silent.wav", np.zeros((16000, 2)), 8000)
    soundfile.write(folder / "x_quiet.wav", np.full((16000, 2), 5e-4), 8000, subtype="FLOAT")
    soundfile.write(folder / "x_nan.wav", np.full(16000, np.nan), 8000, subtype="FLOAT")
    (folder / "x_empty.wav").touch()
    (folder / "x_cut.flac").write_bytes(b"fLaC" + bytes(100))
    tone(folder / "x_short.wav", seconds=0.9)
    bad = ("silent", "quiet", "nan", "empty", "cut", "short")
    for name in bad:
        (folder / f"x_{name}.txt").write_text(LYRICS)
    tone(folder / "x_clip.wav").with_suffix(".txt").write_text(LYRICS)
    soundfile.write(folder / "x_clip.reference.wav", np.zeros(16000), 8000)
    tone(folder / "x_wordless.wav")
    tone(folder / "x_unreadable.wav")
    (folder / "x_unreadable.txt").write_bytes(bytes(range(128, 256)))
    result, _ = run(folder, tmp_path / "cache")
    reasons = {row["name"]: row["reason"] for row in result["failed"]}
    assert set(reasons) == {f"x_{name}" for name in (*bad, "clip", "wordless", "unreadable")}
    assert len(result["failed"]) == 9 * 3
    expected = {
        "silent": "is silent (all samples are 0)",
        "quiet": "its peak is at -66 dBFS",
        "nan": "NaN",
        "empty": "0 bytes",
        "short": "0.90 s long",
        "clip": "x_clip.reference.wav: is silent",
        "wordless": "no lyrics",
        "unreadable": "x_unreadable.txt",
    }
    for name, words in expected.items():
        assert words in reasons[f"x_{name}"]
    assert str(tmp_path) not in json.dumps(result)
    for name, row in alone["metrics"].items():
        found = result["metrics"][name]
        assert (found["value"], found["songs"], found["failed"]) == (row["value"], 5, 9)


def test_all_songs_fail(tmp_path: Path) -> None:
    """Where no song can be measured there is no value, no interval, and a reason each."""
    folder = tmp_path / "songs"
    tone(folder / "a.wav")
    result, _ = run(folder, tmp_path / "cache")
    assert {row["value"] for row in result["metrics"].values()} == {None}
    assert {row["interval"] for row in result["metrics"].values()} == {None}
    assert [row["metric"] for row in result["failed"]] == ["level", "share", "middle"]


def test_one_process_a_cache(tmp_path: Path) -> None:
    """A second evaluation in the same cache is refused while the first works."""
    folder = songs(tmp_path / "songs", 1)
    held = sole_user(tmp_path / "cache", SongBloomError("held"))
    with held, pytest.raises(SongBloomError, match="another evaluation works here"):
        run(folder, tmp_path / "cache")


def test_the_plan_tells_what_is_left(tmp_path: Path) -> None:
    """A dry run counts what each metric has still to measure, before and after."""
    folder = songs(tmp_path / "songs", 3)
    before = evaluate.plan(task(folder, tmp_path / "cache"))
    assert {row["to_measure"] for row in before["metrics"].values()} == {3}
    result, _ = run(folder, tmp_path / "cache")
    after = evaluate.plan(task(folder, tmp_path / "cache"))
    assert {row["to_measure"] for row in after["metrics"].values()} == {0}
    assert after["protocol"] == before["protocol"] == result["protocol"]["id"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 2}', '{"format": 1}'])
def test_other_files_are_no_results(tmp_path: Path, text: str) -> None:
    """A file that is no evaluation is refused."""
    path = tmp_path / "evaluation.json"
    path.write_text(text)
    with pytest.raises(SongBloomError, match="no evaluation"):
        evaluate.read(path)


@pytest.mark.slow
def test_a_thousand_songs_take_bounded_memory(tmp_path: Path) -> None:
    """Arrays of 1,000 songs, 128 MB in all, are put together in less than 40 MB."""
    folder = songs(tmp_path / "songs", 1000)
    run(folder, tmp_path / "cache")
    tracemalloc.start()
    result, jobs = run(folder, tmp_path / "cache")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert jobs == []
    assert result["metrics"]["middle"]["songs"] == 1000
    assert peak < 40e6, peak
