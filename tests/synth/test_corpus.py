"""Laws of the corpus: same seed same bytes whatever the workers, resumable, whole or not there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from songbloom import audio
from songbloom.errors import SongBloomError, UsageError
from songbloom.files import sha256
from songbloom.synth import corpus
from songbloom.synth.score import compose
from songbloom.units import SAMPLE_RATE

pytest.importorskip("pyworld", reason="needs the extra songbloom[synth]")
pytest.importorskip("espeakng_loader", reason="needs the extra songbloom[synth]")

FILES = {"audio.flac", "lyrics.txt", "truth.json", "vocals.flac", "backing.flac"}


def _hashes(output: Path) -> dict[str, str]:
    return {str(p.relative_to(output)): sha256(p) for p in sorted(output.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("corpus")
    corpus.make_corpus(output, seed=98, songs=2, workers=1)
    return output


def test_each_song_is_a_folder_of_five_files_that_agree(made: Path) -> None:
    for index in range(2):
        folder = corpus.song_folder(made, index)
        assert {path.name for path in folder.iterdir()} == FILES
        score = compose(98, index)
        assert corpus.load_score(folder) == score
        assert (folder / "lyrics.txt").read_text() == score.lyrics
        assert json.loads((folder / "truth.json").read_text())["instruments"] == "songbloom"
        header = audio.info(folder / "audio.flac")
        assert (header.sample_rate, header.channels) == (SAMPLE_RATE, 2)
        assert header.duration == pytest.approx(score.duration, abs=1e-4)


def test_workers_do_not_change_the_bytes(made: Path, tmp_path: Path) -> None:
    corpus.make_corpus(tmp_path, seed=98, songs=2, workers=2)
    assert _hashes(tmp_path) == _hashes(made)


def test_songs_that_are_there_are_kept_and_missing_ones_made_again(
    made: Path, tmp_path: Path
) -> None:
    before = _hashes(made)
    first = corpus.song_folder(made, 0)
    untouched = (corpus.song_folder(made, 1) / "audio.flac").stat().st_mtime_ns
    (first / "truth.json").unlink()  # as if only half of it had been copied
    seen: list[tuple[int, int]] = []
    report = corpus.make_corpus(
        made, seed=98, songs=2, workers=1, on_progress=lambda done, all, _: seen.append((done, all))
    )
    assert (report.made, report.kept, seen) == (1, 1, [(2, 2)])
    assert _hashes(made) == before
    assert (corpus.song_folder(made, 1) / "audio.flac").stat().st_mtime_ns == untouched


def test_killed_at_work_it_leaves_no_half_song(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from songbloom.synth import corpus\n"
        f"corpus.make_corpus(Path({str(tmp_path)!r}), seed=98, songs=4, workers=1)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while not list(tmp_path.glob(".song_*/audio.flac")):
        assert process.poll() is None or corpus.is_done(corpus.song_folder(tmp_path, 3))
        if process.poll() is not None:
            break
    process.kill()
    process.wait()
    for folder in tmp_path.glob("song_*"):
        assert {path.name for path in folder.iterdir()} == FILES


def test_the_plan_counts_what_is_left_and_makes_nothing(made: Path, tmp_path: Path) -> None:
    plan = corpus.plan_corpus(made, seed=98, songs=3)
    assert (plan.songs, plan.done) == (3, 2)
    assert 0 < plan.bytes < plan.duration * corpus.BYTES_PER_SECOND
    hour = corpus.plan_corpus(tmp_path / "new", seed=98, hours=0.1)
    assert hour.duration >= 360 > hour.duration - 45
    assert not (tmp_path / "new").exists()


def test_another_seeds_folder_is_refused(made: Path) -> None:
    with pytest.raises(UsageError, match="seed 98"):
        corpus.make_corpus(made, seed=4, songs=1)
    with pytest.raises(UsageError, match="split train"):
        corpus.make_corpus(made, seed=98, songs=1, split="test")


@pytest.mark.parametrize(
    "size", [{}, {"songs": 1, "hours": 1.0}, {"songs": 0}, {"hours": -1.0}, {"hours": float("nan")}]
)
def test_sizes_that_cannot_be_meant_are_refused(size: dict, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="how many songs"):
        corpus.make_corpus(tmp_path, seed=1, **size)


def test_an_unwritable_place_is_one_plain_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SongBloomError, match="cannot be written"):
        corpus.make_corpus(tmp_path / "file", seed=1, songs=1, workers=1)


def test_a_broken_truth_is_one_plain_error(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text("{}")
    with pytest.raises(SongBloomError, match="not a synthetic song"):
        corpus.load_score(tmp_path)
