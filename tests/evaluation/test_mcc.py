"""The laws of MCC: a clip scores 1 against itself, and other songs' clips score lower."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation import bands

from songbloom.errors import MissingAssetError, SongBloomError, UsageError
from songbloom.evaluation import mcc
from songbloom.evaluation.embeddings import Embedder, Embeddings, Model


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bands.write_songs(tmp_path_factory.mktemp("bands"))


@pytest.fixture(scope="module")
def metric(songs: Path) -> mcc.MCC:
    return mcc.load({}, songs / "work")


def test_a_clip_against_itself(songs: Path, metric: mcc.MCC) -> None:
    """The reference itself scores 1."""
    item = bands.items(songs)[0]
    assert item.reference is not None
    measured = metric.measure(replace(item, audio=item.reference))
    assert round(measured.amount, 6) == 1.0


def test_shuffled_pairs_score_lower(songs: Path, metric: mcc.MCC) -> None:
    """Each song is most like its own clip, and the part `shuffled` is the mean of all pairs that
    do not belong together."""
    own = [metric.measure(item) for item in bands.items(songs)]
    others = [[metric.measure(i) for i in bands.items(songs, n)] for n in (1, 2, 3)]
    for number, song in enumerate(own):
        assert all(song.amount > other[number].amount + 0.02 for other in others)
    mean = float(np.mean([song.amount for other in others for song in other]))
    assert metric.parts(own)["shuffled"] == pytest.approx(mean, abs=1e-9)
    assert metric.combine(own) > mean + 0.1
    assert metric.parts(own[:1])["shuffled"] is None


def test_clips_that_several_songs_share(songs: Path, metric: mcc.MCC) -> None:
    """Songs with the same clip are no shuffled pair of each other."""
    first, second, third, _ = bands.items(songs)
    shared = replace(second, reference=first.reference)
    found = [metric.measure(item) for item in (first, shared, third)]
    a, b, c = (song.arrays["song"] for song in found)
    one, two = found[0].arrays["reference"], found[2].arrays["reference"]
    expected = float(np.mean([a @ two, b @ two, c @ one, c @ one]))
    assert mcc.shuffled(found) == pytest.approx(expected, abs=1e-12)


def test_words_need_a_model_that_reads(songs: Path, tmp_path: Path, metric: mcc.MCC) -> None:
    """A description is refused by musicnn, and compared by a model with a text side."""
    text = tmp_path / "style.txt"
    text.write_text("slow piano")
    item = replace(bands.items(songs)[0], reference=text)
    with pytest.raises(SongBloomError, match=r"style.txt: is a text, and musicnn hears"):
        metric.measure(item)
    toy = Model(
        "toy",
        16_000,
        dict,
        lambda: Embedder(lambda mono: np.eye(2)[:1], lambda words: np.array([[len(words), 0.0]])),
    )
    assert mcc.MCC(Embeddings(toy, tmp_path)).measure(item).amount == 1.0


def test_clips_that_cannot_be_used(songs: Path, tmp_path: Path, metric: mcc.MCC) -> None:
    """A silent clip and a clip that is not there are errors of that song, with the reason."""
    bands.audio.save(tmp_path / "still.wav", np.zeros((1, 32_000), np.float32), 16_000)
    item = bands.items(songs)[0]
    with pytest.raises(SongBloomError, match="still.wav: is silent"):
        metric.measure(replace(item, reference=tmp_path / "still.wav"))
    with pytest.raises(SongBloomError, match="gone.wav"):
        metric.measure(replace(item, reference=tmp_path / "gone.wav"))


def test_settings(tmp_path: Path) -> None:
    """Unknown backends, keys and values name what is possible; a model that is not on this machine
    says how it is fetched."""
    for settings, said in (
        ({"backend": "mulan"}, "expected musicnn, muq-mulan"),
        ({"against": "references"}, "against: unknown"),
        ({"backend": 3}, "expected text"),
        ({"model": "x"}, "in the package"),
    ):
        with pytest.raises(UsageError, match=said):
            mcc.load(settings, tmp_path)
    with pytest.raises(MissingAssetError) as caught:
        mcc.load({"backend": "clap"}, tmp_path).identity()
    assert "hf download laion/larger_clap_music" in caught.value.hint or "pip" in caught.value.hint
