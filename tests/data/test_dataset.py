"""Samples: crops, the lyrics sung in them, references, dropped conditions, whose model they fit."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from data.small import nano_config, small_dataset, small_songs, write_small_dataset

from songbloom.data.dataset import Dataset, Sample, clip_beside, crop_lyrics
from songbloom.data.shards import DatasetHeader, SungLine, SungSection, TrainingSong, open_shards
from songbloom.data.writer import ShardWriter
from songbloom.errors import SongBloomError, UsageError
from songbloom.lyrics import parse
from songbloom.lyrics.frontends import FRONTENDS, phonemes
from songbloom.lyrics.vocabulary import V1_VOCABULARY
from songbloom.model.conditioning import NULL_CONDITIONS, Conditions
from songbloom.model.config import ObjectiveConfig
from songbloom.synth.score import compose
from songbloom.training.synthetic import sung_sections

SECTIONS = (
    SungSection("intro", 0.0, 3.2),
    SungSection("verse", 3.2, 9.0, (SungLine(4.0, 6.0, "A B"), SungLine(6.5, 8.5, "C"))),
    SungSection("chorus", 9.0, 12.0, (SungLine(9.5, 11.5, "D"),)),
    SungSection("outro", 12.0, 12.4),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_dataset(tmp_path_factory.mktemp("data") / "d", songs=4)


def samples(dataset: Dataset, epochs: int = 60) -> list[Sample]:
    return [
        dataset.sample(track, epoch=epoch, seed=5)
        for epoch in range(epochs)
        for track in range(len(dataset))
    ]


def write_songs(folder: Path, songs: Sequence[TrainingSong]) -> Path:
    writer = ShardWriter(folder, DatasetHeader("v1", "vae", "codebook", 1480))
    for song in songs:
        writer.add(song)
    writer.finish()
    return folder


def test_crops_lie_on_patch_borders(folder: Path) -> None:
    """A crop starts at a patch border and has the full length, or it ends with its song and lacks
    less than a patch; all such crops occur, and nothing in them is moved."""
    dataset = small_dataset(folder, max_frames=128, reference="other")
    starts: dict[str, set[int]] = {}
    for sample in samples(dataset):
        number = list(dataset.shards.ids).index(sample.key)
        song, length = dataset.shards.read(number), len(sample.sketch)
        starts.setdefault(sample.key, set()).add(sample.start)
        assert sample.start % 16 == 0
        assert sample.ends == (sample.start + length == song.num_frames)
        assert length == 128 or (sample.ends and 128 - 16 < length < 128)
        inside = slice(sample.start, sample.start + length)
        assert np.array_equal(sample.sketch, song.sketch[inside])
        assert np.array_equal(sample.latents, song.latents[inside])
    for number, key in enumerate(dataset.shards.ids):
        last = -(-(int(dataset.shards.frames[number]) - 128) // 16) * 16
        assert starts[key] == set(range(0, last + 1, 16)) and last > 0


def test_short_songs_stay_whole(folder: Path) -> None:
    """Songs no longer than a crop are taken from start to end, with and without a limit."""
    for limit in (None, 4096):
        for sample in samples(small_dataset(folder, max_frames=limit, reference="other"), epochs=2):
            assert sample.start == 0 and sample.ends


def test_songs_below_the_shortest_length_are_left_out(folder: Path) -> None:
    """`min_frames` counts frames of the song, and nothing left is an error."""
    frames = small_dataset(folder).shards.frames
    dataset = small_dataset(folder, min_frames=int(frames.max()))
    longest = {key for key, n in zip(dataset.shards.ids, frames, strict=True) if n == frames.max()}
    assert {sample.key for sample in samples(dataset, epochs=2)} == longest
    with pytest.raises(SongBloomError, match="no song has 100000 frames"):
        small_dataset(folder, min_frames=100_000)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 12.4, "[intro] [intro] [intro] , [verse] A B . C , [chorus] D , [outro]"),
        (0, 2.56, "[intro] [intro] [intro]"),
        (0, 0.4, ""),  # not half a second of an intro that goes on
        (2.0, 5.5, "[intro] , [verse] A B"),
        (5.12, 9.4, "[verse] C"),
        (5.0, 10.6, "[verse] A B . C , [chorus] D"),
        (8.0, 9.0, "[verse]"),  # its words are all before
        (10.6, 12.2, "[chorus]"),
        (5.0, 7.5, "[verse] A B"),  # a middle belongs to what begins with it
        (12.0, 12.4, "[outro]"),
    ],
)
def test_lyrics_are_those_of_the_crop(start: float, end: float, expected: str) -> None:
    """Lines whose middle is inside, in order; silent parts as their tag once a second."""
    assert text_of(SECTIONS, start, end) == expected


def text_of(sections: Sequence[SungSection], start: float, end: float) -> str:
    return " ".join(symbol for symbol, _ in crop_lyrics(sections, start, end))


@pytest.mark.parametrize("timed", [False, True])
def test_every_phoneme_belongs_to_one_crop(timed: bool) -> None:
    """Crops that tile a song share its phonemes out: none twice, none lost; a line without times of
    its phonemes stays whole."""
    sections = tuple(sung_sections(compose(3, 0, num_lines=8)))
    if not timed:
        sections = tuple(
            dataclasses.replace(
                section, lines=tuple(dataclasses.replace(li, begins=()) for li in section.lines)
            )
            for section in sections
        )
    whole = [line.phonemes for section in sections for line in section.lines]
    end = sections[-1].end
    for length in (0.64, 2.56, 10.24):
        edges = [i * length for i in range(int(end / length) + 2)]
        texts = [text_of(sections, a, b) for a, b in zip(edges, edges[1:], strict=False)]
        lines = [
            line
            for text in texts
            for part in text.split(" , ")
            for line in part.split("] ")[-1].split(" . ")
            if line and not line.endswith("]") and not line.startswith("[")
        ]
        assert " ".join(lines) == " ".join(whole)
        assert (lines == whole) == (not timed)


def test_a_cut_line_gives_what_is_sung_of_it() -> None:
    """A phoneme counts where it begins, with its time; the tag begins with what is left."""
    line = SungLine(4.0, 6.0, "A B C", (4.0, 5.0, 5.5))
    sections = [SungSection("verse", 3.0, 7.0, (line,))]
    assert crop_lyrics(sections, 0.0, 5.0) == [("[verse]", 3.0), ("A", 4.0)]
    assert crop_lyrics(sections, 5.0, 9.0) == [("[verse]", 5.0), ("B", 5.0), ("C", 5.5)]
    assert crop_lyrics(sections, 6.0, 9.0) == [("[verse]", 6.0)]


def test_tags_have_times_where_all_lines_do() -> None:
    """A silent part's tags begin a second apart; beside a line of unknown times none is looked at,
    as one would be while that line is sung."""
    line = SungLine(4.0, 6.0, "A", (4.0,))
    intro, verse = SungSection("intro", 0.5, 2.6, ()), SungSection("verse", 3.0, 7.0, (line,))
    found = [("[intro]", 0.5), ("[intro]", 1.5), (",", None), ("[verse]", 3.0), ("A", 4.0)]
    assert crop_lyrics([intro, verse], 0.0, 9.0) == found
    untimed = dataclasses.replace(verse, lines=(dataclasses.replace(line, begins=()),))
    assert all(at is None for _, at in crop_lyrics([intro, untimed], 0.0, 9.0))


@pytest.mark.parametrize("frontend", FRONTENDS)
@pytest.mark.parametrize("index", range(20))
def test_a_whole_song_is_conditioned_as_in_generation(index: int, frontend: str) -> None:
    """The lyrics of an uncropped song are what the front end makes of its text, so training and
    generation hear the same symbols (but for how often a silent part's tag is said)."""
    score = compose(7, index)
    text = text_of(tuple(sung_sections(score, frontend)), 0, score.duration)
    expected = phonemes(parse(score.lyrics).line, frontend)
    assert tags_once(text) == tags_once(expected)


def tags_once(text: str) -> str:
    return re.sub(r"(\[\w+\])( \1)+", r"\1", text)


def test_symbols_and_sections_reach_the_model(folder: Path) -> None:
    """The conditions hold the vocabulary's ids of the crop's text."""
    dataset = small_dataset(folder, max_frames=96, dropout=False)
    for sample in samples(dataset, epochs=5):
        song = dataset.shards.read(list(dataset.shards.ids).index(sample.key))
        span = (sample.start / 25, (sample.start + len(sample.sketch)) / 25)
        text = text_of(song.sections, *span)
        expected = V1_VOCABULARY.encode(text) if text else [0]
        assert sample.conditions.lyrics.tokens.tolist() == expected


def place(songs: Sequence[TrainingSong], reference: torch.Tensor) -> tuple[str, int]:
    """(track, start) of the clip that a reference is."""
    for song in songs:
        for clip, start in zip(song.references, song.reference_starts, strict=True):
            if np.array_equal(clip.astype(np.float32), reference.numpy()):
                return song.id, start
    raise AssertionError("a reference that is no clip")


@pytest.mark.parametrize("policy", ["same", "other", "mixed"])
def test_references_are_never_of_the_window_being_learned(folder: Path, policy: str) -> None:
    """A clip is of another song, or shares no frame with the crop; the policy chooses which."""
    dataset = small_dataset(folder, max_frames=64, reference=policy, dropout=False)
    songs = [dataset.shards.read(i) for i in range(len(dataset.shards))]
    own, strangers, seen = 0, 0, set()
    for sample in samples(dataset):
        assert sample.conditions.reference is not None
        track, start = place(songs, sample.conditions.reference)
        seen.add((track, start))
        length, end = len(sample.conditions.reference), sample.start + len(sample.sketch)
        if track == sample.key:
            own += 1
            assert start + length <= sample.start or start >= end
        else:
            strangers += 1
    assert (own > 0, strangers > 0) == (policy != "other", policy != "same")
    if policy != "same":
        assert len(seen) == sum(len(song.references) for song in songs)
    if policy == "mixed":
        assert abs(own / (own + strangers) - 0.5) < 0.12


def test_a_whole_song_makes_room_for_its_own_clip(folder: Path, tmp_path: Path) -> None:
    """Where every clip of a song overlaps the crop, the crop is the longest part beside one, from a
    patch border on; a song that is no longer than its clip hears another's, a lone one none."""
    dataset = small_dataset(folder, reference="same", dropout=False)
    songs = [dataset.shards.read(i) for i in range(len(dataset.shards))]
    for sample in samples(dataset, epochs=5):
        assert sample.conditions.reference is not None
        track, at = place(songs, sample.conditions.reference)
        song = songs[list(dataset.shards.ids).index(sample.key)]
        behind = at + len(sample.conditions.reference)
        parts = [(0, at - at % 16), (behind + -behind % 16, song.num_frames)]
        longest = max(parts, key=lambda part: part[1] - part[0])
        assert track == sample.key and (sample.start, len(sample.sketch)) == (
            longest[0],
            longest[1] - longest[0],
        )
        assert sample.ends == (longest[1] == song.num_frames)
        told = sample.conditions.reference_sketch
        assert told is not None and told.tolist() == song.sketch[at:behind].tolist()
    filled = dataclasses.replace(songs[0], references=songs[0].latents[None], reference_starts=(0,))
    lone = write_songs(tmp_path / "lone", [filled])
    both = write_songs(tmp_path / "both", [filled, songs[1]])
    lone_data = Dataset(open_shards(lone), nano_config(), reference="same", dropout=False)
    assert lone_data.sample(0, epoch=0, seed=0).conditions.reference is None
    sample = Dataset(open_shards(both), nano_config(), reference="same", dropout=False).sample(
        0, epoch=0, seed=0
    )
    assert sample.conditions.reference is not None and len(sample.sketch) == filled.num_frames
    assert place([filled, songs[1]], sample.conditions.reference)[0] == songs[1].id


def test_songs_without_clips_are_no_references(tmp_path: Path) -> None:
    """Only songs that have clips lend them, all alike often; none at all is the null reference."""
    songs = small_songs(5)
    bare = [
        dataclasses.replace(song, references=np.zeros((0, 1, 64)), reference_starts=())
        for song in songs
    ]
    some = open_shards(write_songs(tmp_path / "some", [bare[0], songs[1], bare[2], *songs[3:]]))
    heard: dict[str, list[str]] = {}
    for sample in samples(Dataset(some, nano_config(), reference="other", dropout=False)):
        assert sample.conditions.reference is not None
        heard.setdefault(sample.key, []).append(place(songs, sample.conditions.reference)[0])
    lenders = {songs[1].id, songs[3].id, songs[4].id}
    for key, tracks in heard.items():
        assert set(tracks) == lenders - {key}
        assert min(map(tracks.count, set(tracks))) > len(tracks) / len(set(tracks)) / 2
    none = open_shards(write_songs(tmp_path / "none", bare))
    assert all(
        sample.conditions.reference is None
        for sample in samples(Dataset(none, nano_config(), dropout=False), epochs=2)
    )


def test_clips_that_touch_a_crop_are_beside_it() -> None:
    """Frames are half open: a clip may end where the crop begins and begin where it ends."""
    starts = (0, 6, 29, 30)
    song = dataclasses.replace(
        small_songs(1)[0], references=np.zeros((4, 10, 64)), reference_starts=starts
    )
    assert [clip_beside(song, (10, 30), draw, 4) for draw in (0.0, 0.5)] == [
        (0, (10, 30)),
        (3, (10, 30)),
    ]
    assert clip_beside(song, (0, 6), 0.0, 4) == (1, (0, 6))
    # None is beside [9, 31): each leaves whole patches of 4 from 9 on, or what lies behind it.
    parts = [clip_beside(song, (9, 31), draw, 4) for draw in (0.0, 0.25, 0.5, 0.75)]
    assert parts == [(0, (13, 31)), (1, (17, 31)), (2, (9, 29)), (3, (9, 29))]
    assert clip_beside(song, (0, 3), 0.0, 4) == (1, (0, 3))


def test_conditions_are_dropped_at_the_models_rates(folder: Path) -> None:
    """Null conditions and null references come as often as the objective says, or never."""
    rates = ObjectiveConfig(condition_dropout=0.3, reference_dropout=0.2)
    dataset = Dataset(open_shards(folder), nano_config(objective=rates), max_frames=64)
    drawn = [sample.conditions for sample in samples(dataset, epochs=500)]
    null = sum(conditions is NULL_CONDITIONS for conditions in drawn)
    kept = [conditions for conditions in drawn if conditions is not NULL_CONDITIONS]
    assert abs(null / len(drawn) - 0.3) < 0.04
    assert abs(sum(c.reference is None for c in kept) / len(kept) - 0.2) < 0.04
    whole = samples(small_dataset(folder, max_frames=64, dropout=False), epochs=50)
    assert all(sample.conditions.reference is not None for sample in whole)


def equal(a: Conditions, b: Conditions) -> bool:
    def tensors(c: Conditions) -> list[torch.Tensor]:
        reference = torch.zeros(0) if c.reference is None else c.reference
        return [c.lyrics.tokens, c.lyrics.sections, c.lyrics.sentences, reference]

    return all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))


def test_a_sample_depends_on_seed_epoch_and_track_alone(folder: Path) -> None:
    """Drawn in another order, from another opening, samples are the same; every one of the three
    changes what is drawn."""
    dataset = small_dataset(folder, max_frames=64)
    forwards = samples(dataset, epochs=8)
    again = small_dataset(folder, max_frames=64)
    places = [(epoch, track) for epoch in range(8) for track in range(4)]
    for (epoch, track), one in reversed(list(zip(places, forwards, strict=True))):
        other = again.sample(track, epoch=epoch, seed=5)
        assert (one.key, one.start, one.seed) == (other.key, other.start, other.seed)
        assert torch.equal(one.latents, other.latents) and equal(one.conditions, other.conditions)
    seeds = {sample.seed for sample in forwards}
    seeds |= {dataset.sample(track, epoch=epoch, seed=6).seed for epoch, track in places}
    assert len(seeds) == 2 * len(places)


@pytest.mark.parametrize(
    ("changes", "hashes", "message"),
    [
        ({}, {"codebook_hash": "f00d"}, "codebook ee788b.*the model has f00d.*--codecs MODEL"),
        ({}, {"vae_hash": "f00d"}, "VAE 5444.*the model has f00d.*--vae-model MODEL"),
        ({"sketch_vocab_size": 99}, {}, "1480; the model has 99.*sketch_vocab_size = 1480"),
        ({"latent_dim": 8}, {}, "64; the model has 8.*latent_dim = 64"),
        ({"frontend": "release"}, {}, "end v1; the model has release.*prepare.*--frontend release"),
    ],
)
def test_data_of_another_model_are_refused(
    folder: Path, changes: dict[str, object], hashes: dict[str, str], message: str
) -> None:
    """Another codebook, VAE, size or front end is an error that names both and what to type."""
    with pytest.raises(SongBloomError) as caught:
        Dataset(open_shards(folder), nano_config(**changes), **hashes)
    assert re.search(message, f"{caught.value.message} {caught.value.hint}")


def test_a_model_without_sketch_takes_any_codebook(folder: Path) -> None:
    """What a model does not look at need not fit."""
    config = nano_config(sketch_vocab_size=0, dit_inputs="hidden+context")
    assert len(Dataset(open_shards(folder), config, codebook_hash="f00d")) == 4


def test_subsets_keep_to_themselves(folder: Path) -> None:
    """Parts of a dataset have their own tracks, references from these alone, and fingerprints."""
    dataset = small_dataset(folder, reference="other", dropout=False)
    whole = dataset.fingerprint
    assert {sample.key for sample in samples(dataset, epochs=1)} == set(dataset.shards.ids)
    parts = [dataset.subset([2, 0]), dataset.subset([1, 3], dropout=True)]
    songs = [dataset.shards.read(i) for i in range(4)]
    for part, own in zip(parts, ((0, 2), (1, 3)), strict=True):
        keys = [dataset.shards.ids[i] for i in own]
        assert [part.sample(i, epoch=0, seed=0).key for i in range(len(part))] == keys
        for sample in samples(part, epochs=8):
            if sample.conditions.reference is not None:
                assert place(songs, sample.conditions.reference)[0] in keys
    assert (parts[0].dropout, parts[1].dropout) == (False, True)
    assert len({whole, dataset.fingerprint, *(part.fingerprint for part in parts)}) == 3


def test_the_models_own_hashes_are_accepted(folder: Path) -> None:
    """Equal hashes pass."""
    header = open_shards(folder).info.header
    hashes = {"codebook_hash": header.codebook_hash, "vae_hash": header.vae_hash}
    assert len(Dataset(open_shards(folder), nano_config(), **hashes)) == 4


@pytest.mark.parametrize("options", [{"max_frames": 100}, {"max_frames": 0}, {"reference": "own"}])
def test_options_that_cannot_be_meant(folder: Path, options: dict[str, object]) -> None:
    """A crop of no whole patches and an unknown policy are usage errors."""
    with pytest.raises(UsageError):
        small_dataset(folder, **options)
