"""Composed songs as a dataset."""

from pathlib import Path

import numpy as np
import pytest

from songbloom.data.dataset import NOTHING_NEXT, Dataset
from songbloom.data.shards import open_shards, verify
from songbloom.hub import EMBEDDED_FOLDER
from songbloom.model.checkpoint import read_info
from songbloom.model.config import preset
from songbloom.model.sketch_symbols import score_to_tokens
from songbloom.synth.corpus import load_score, make_corpus, song_folder
from songbloom.synth.score import compose
from songbloom.training.synthetic import (
    RETIMED_BY,
    clip_starts,
    drawn_lines,
    retimed,
    token_latents,
    write_dataset,
    write_like,
)

SEEDLING = EMBEDDED_FOLDER / "seedling"


def test_the_same_songs_are_the_same_bytes(tmp_path: Path) -> None:
    """Songs depend on the seed alone, and more songs begin with the fewer."""
    first, again, other, more = (
        write_dataset(tmp_path / name, songs=songs, seed=seed, num_lines=1)
        for name, songs, seed in (("a", 2, 0), ("b", 2, 0), ("c", 2, 1), ("d", 3, 0))
    )
    assert first == again != other
    assert verify(tmp_path / "a") == []
    songs = [open_shards(tmp_path / name).read(1) for name in ("a", "d")]
    assert np.array_equal(songs[0].latents, songs[1].latents) and more.songs == 3
    assert np.array_equal(songs[0].sketch, score_to_tokens(compose(0, 1, num_lines=1)))


def test_clips_lie_within_the_song() -> None:
    """Every song of any length has clips, none longer than ten seconds nor beyond the end."""
    for frames in (1, 2, 3, 30, 749, 750, 4000):
        starts, length = clip_starts(frames)
        assert starts and 1 <= length <= 250 and starts[-1] + length <= frames


def test_latents_tell_tokens_apart() -> None:
    """The latents of a held token lie near its own direction: there is something to learn."""
    sketch = np.repeat([3, 700, 3, 1200], 40)
    latents = token_latents(sketch, 64, seed=0).astype(np.float64)
    means = [latents[40 * i + 10 : 40 * i + 30].mean(axis=0) for i in range(4)]
    assert np.corrcoef(means[0], means[2])[0, 1] > 0.95
    assert abs(np.corrcoef(means[0], means[1])[0, 1]) < 0.5


def test_scores_without_sound_are_of_any_length() -> None:
    """Two to eight lines, all as often."""
    counts = np.bincount([drawn_lines(1, index) for index in range(700)], minlength=9)
    assert counts[:2].sum() == 0 and (counts[2:] > 60).all()


@pytest.mark.skipif(not SEEDLING.is_dir(), reason="the embedded model is not installed")
def test_songs_are_sung_for_a_models_own_codecs(tmp_path: Path) -> None:
    """With codecs the dataset names their hashes; sung, its latents are their VAE's."""
    pytest.importorskip("pyworld")
    pytest.importorskip("espeakng_loader")
    info = write_dataset(tmp_path / "d", songs=1, num_lines=1, codecs=SEEDLING, sound="sung")
    model = read_info(SEEDLING)
    assert info.header.vae_hash == model["sha256"]["vae.safetensors"]
    assert info.header.codebook_hash == model["codebook_hash"]
    song = open_shards(tmp_path / "d").read(0)
    start, clip = song.reference_starts[1], song.references[1]
    # The clip is of the mono mix, so it is near the song's own latents and not equal to them.
    window = song.latents[start : start + len(clip)].astype(np.float64)
    assert 0.5 < np.corrcoef(clip.astype(np.float64).ravel(), window.ravel())[0, 1] < 1


def test_retimed_latents_sound_at_the_scaled_times() -> None:
    """What a frame's centre has at a time, the retimed one has at that time by `faster`."""
    at = (np.arange(400) + 0.5) / 25
    for faster in (0.8, 1.0, 1.1, 1.25):
        ramp = np.stack([at, 7 - at], axis=1)
        found = retimed(ramp, faster)
        assert len(found) == round(400 / faster)
        centres = (np.arange(len(found)) + 0.5) / 25 * faster
        inside = (centres >= at[0]) & (centres <= at[-1])
        assert found[inside, 0] == pytest.approx(centres[inside])
        assert found.sum(axis=1) == pytest.approx(np.full(len(found), 7.0))


@pytest.mark.skipif(not SEEDLING.is_dir(), reason="the embedded model is not installed")
def test_songs_like_others_have_their_style_and_their_clips(tmp_path: Path) -> None:
    """Each song in turn lends a score its voice, a clip, and its sound for a past, over and over;
    song and clip are in one tempo, often another one than the song's own."""
    pytest.importorskip("pyworld")
    pytest.importorskip("espeakng_loader")
    corpus = tmp_path / "corpus"
    make_corpus(corpus, songs=2, seed=1, workers=1)
    likes = [load_score(song_folder(corpus, index)) for index in range(2)]
    assert likes[0].voice != likes[1].voice  # else nothing is shown
    write_like(tmp_path / "d", corpus, songs=8, seed=1, codecs=SEEDLING)
    assert verify(tmp_path / "d") == []
    shards = open_shards(tmp_path / "d")
    faster = []
    for number in range(8):
        song, like = shards.read(number), likes[number % 2]
        assert song.artist == like.voice
        assert song.reference_starts == (song.num_frames,)
        own, heard = (
            np.diff([b for b in song.beats if (b < song.num_frames / 25) == mine])
            for mine in (True, False)
        )
        assert own == pytest.approx(np.full(len(own), own[0]), abs=0.002)
        assert heard == pytest.approx(np.full(len(heard), own[0]), abs=0.002)
        faster.append(60 / own[0] / like.tempo)
        period = round(like.duration * 25 / faster[-1])
        past = song.latents.astype(np.float32)
        if len(past) > period + 100:
            assert max(_likeness(past, period + more) for more in (-1, 0, 1)) > 0.99
    assert all(1 / RETIMED_BY < 1.01 * ratio < 1.02 * RETIMED_BY for ratio in faster)
    assert 1 <= sum(abs(ratio - 1) < 0.005 for ratio in faster) < 6
    sample = Dataset(shards, preset("seedling"), reference="same", dropout=False).sample(
        0, epoch=0, seed=0
    )
    assert len(sample.sketch) == shards.read(0).num_frames  # its clip takes no room
    assert sample.conditions.reference is not None and sample.conditions.reference_sketch is None
    waits = sample.next_beat.numpy()
    last = np.flatnonzero(waits == 0).max()
    assert (waits[last + 1 :] == NOTHING_NEXT).all(), "its clip's beats do not follow its own"


def _likeness(past: np.ndarray, lag: int) -> float:
    """How alike a past `[T, C]` and itself `lag` frames later are: a mix may end a frame later than
    its score says."""
    return float(np.corrcoef(past[lag:].ravel(), past[:-lag].ravel())[0, 1])
