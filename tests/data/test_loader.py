"""The stream of samples: the same one however it is split, stopped, prefetched or stored."""

import itertools
import os
from collections import Counter
from pathlib import Path

import pytest
import torch
from data.small import nano_config, small_dataset, small_songs, write_small_dataset

from songbloom.data.dataset import Dataset
from songbloom.data.loader import Loader, MicroBatch, permutation
from songbloom.data.shards import DatasetHeader, open_shards, read_info
from songbloom.data.writer import ShardWriter, merge
from songbloom.errors import SongBloomError, UsageError
from songbloom.model.songbloom import SongBloom, draw_flow

SONGS = 11
Drawn = tuple[str, int, bytes]  # track, seed, everything the model gets


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_dataset(tmp_path_factory.mktemp("data") / "d", songs=SONGS)


@pytest.fixture
def dataset(folder: Path) -> Dataset:
    return small_dataset(folder, max_frames=64)


def unpack(micro: MicroBatch) -> list[Drawn]:
    """What each sample of a micro batch is, without its padding."""
    batch, found = micro.batch, []
    assert batch.ends is not None
    for row, (key, seed) in enumerate(zip(micro.keys, micro.seeds, strict=True)):
        length, conditions = int(batch.lengths[row]), batch.conditions[row]
        reference = torch.zeros(0) if conditions.reference is None else conditions.reference
        tensors = (
            batch.sketch[row, :length], batch.latents[row, :length], batch.ends[row],
            conditions.lyrics.tokens, conditions.lyrics.sections, reference,
        )  # fmt: skip
        found.append((key, seed, b"|".join(t.contiguous().numpy().tobytes() for t in tensors)))
    return found


def steps(loader: Loader, count: int) -> list[list[Drawn]]:
    """The samples of `count` steps, in this rank's order."""
    found = itertools.islice(loader, count)
    return [[drawn for micro in step for drawn in unpack(micro)] for step in found]


@pytest.fixture
def expected(dataset: Dataset) -> list[list[Drawn]]:
    """Twelve steps of six samples by one rank, over six and a half epochs."""
    return [sorted(s) for s in steps(Loader(dataset, global_batch=6, micro_batch=6, seed=3), 12)]


@pytest.mark.parametrize(
    ("world_size", "micro_batch"), [(1, 1), (1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2), (6, 1)]
)
@pytest.mark.parametrize("workers", [0, 2])
def test_every_split_sees_the_same_samples(
    dataset: Dataset, expected: list[list[Drawn]], world_size: int, micro_batch: int, workers: int
) -> None:
    """Any ranks, micro batches, accumulation and workers: in each step the same samples, to the
    bit, each on one rank."""
    streams = []
    for rank in range(world_size):
        loader = Loader(
            dataset, global_batch=6, micro_batch=micro_batch, rank=rank, world_size=world_size,
            seed=3, workers=workers,
        )  # fmt: skip
        assert loader.accumulation == 6 // (micro_batch * world_size)
        streams.append(steps(loader, 12))
        assert loader.consumed == 72
    for step, parts in zip(expected, zip(*streams, strict=True), strict=True):
        assert sorted(drawn for part in parts for drawn in part) == step


@pytest.mark.parametrize("stop", [1, 2, 5])
@pytest.mark.parametrize("workers", [0, 2])
def test_resume_is_invisible(
    dataset: Dataset, expected: list[list[Drawn]], stop: int, workers: int
) -> None:
    """Stopped within an epoch and across its border, the stream goes on as if it had not been,
    whatever was prefetched."""
    options = {"global_batch": 6, "micro_batch": 3, "seed": 3, "workers": workers}
    first = Loader(dataset, **options)
    before = steps(first, stop)
    second = Loader(dataset, **{**options, "seed": 99})
    second.load_state_dict(first.state_dict())
    after = steps(second, 12 - stop)
    assert [sorted(step) for step in before + after] == expected


def test_an_epoch_is_every_sample_once_though_ranks_change(dataset: Dataset) -> None:
    """Over changes of ranks, micro batches and even the batch, each epoch has each track once."""
    state = Loader(dataset, global_batch=2, micro_batch=1, seed=1).state_dict()
    keys: list[str] = []
    for world_size, micro_batch, batch, count in (
        (2, 1, 4, 2),
        (1, 2, 2, 3),
        (4, 1, 8, 2),
        (3, 1, 3, 1),
    ):
        ranks = [
            Loader(
                dataset, global_batch=batch, micro_batch=micro_batch, rank=rank,
                world_size=world_size,
            )
            for rank in range(world_size)
        ]  # fmt: skip
        for loader in ranks:
            loader.load_state_dict(state)
        keys += [key for loader in ranks for step in steps(loader, count) for key, _, _ in step]
        assert len({tuple(loader.state_dict().items()) for loader in ranks}) == 1
        state = ranks[0].state_dict()
    assert len(keys) == state["consumed"] == 33
    assert Counter(keys) == dict.fromkeys(dataset.shards.ids, 3)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    """Every order is a permutation; another epoch or seed has another one."""
    orders = [permutation(50, seed, epoch).tolist() for seed in range(3) for epoch in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 9
    assert permutation(5, 0, 0).tolist() == [1, 2, 3, 0, 4]  # old runs go on in it


def test_crops_differ_between_epochs(dataset: Dataset) -> None:
    """A track is drawn anew in each epoch."""
    loader = Loader(dataset, global_batch=SONGS, micro_batch=SONGS)
    drawn = [one for step in steps(loader, 4) for one in step]
    assert set(Counter(key for key, _, _ in drawn).values()) == {4}
    assert len(set(drawn)) == 4 * SONGS


def test_shards_do_not_matter(tmp_path: Path) -> None:
    """The same songs in other shards, another order of writing or merged slices: one stream."""
    songs = small_songs(6)
    header = DatasetHeader("v1", "vae", "codebook", 1480)

    def write(name: str, picked: slice, shard_bytes: int) -> Path:
        writer = ShardWriter(tmp_path / name, header, shard_bytes=shard_bytes)
        for song in songs[picked]:
            writer.add(song)
        writer.finish()
        return tmp_path / name

    whole = write("whole", slice(None), 1 << 30)
    backwards = write("backwards", slice(None, None, -1), 100_000)
    slices = [write("odd", slice(1, None, 2), 1 << 30), write("even", slice(0, None, 2), 1)]
    merge(slices, tmp_path / "merged")
    assert len(read_info(backwards).shards) > 1
    streams = [
        steps(Loader(Dataset(open_shards(path), nano_config()), global_batch=4, micro_batch=2), 4)
        for path in (whole, backwards, tmp_path / "merged")
    ]
    assert streams[0] == streams[1] == streams[2]


def test_padding_is_whole_patches_and_silent(dataset: Dataset) -> None:
    """Batches are padded with zeros to the longest sample's whole patches; dtypes are a model's."""
    whole = Dataset(dataset.shards, dataset.config)
    for step in itertools.islice(Loader(whole, global_batch=3, micro_batch=3), 4):
        batch = step[0].batch
        assert (batch.sketch.dtype, batch.latents.dtype) == (torch.int64, torch.float32)
        assert batch.sketch.shape[1] == -(-int(batch.lengths.max()) // 16) * 16
        assert step[0].num_frames == int(batch.lengths.sum())
        for row, length in enumerate(batch.lengths.tolist()):
            assert not batch.sketch[row, length:].any() and not batch.latents[row, length:].any()
            assert batch.latents[row, :length].any(dim=1).all()


def test_the_model_takes_what_the_loader_gives(dataset: Dataset) -> None:
    """A real batch passes through the model, drawn with the samples' own seeds."""
    model = SongBloom(dataset.config)
    model.init_weights(torch.Generator().manual_seed(0))
    micro = next(iter(Loader(dataset, global_batch=2, micro_batch=2)))[0]
    generators = [torch.Generator().manual_seed(seed) for seed in micro.seeds]
    num_patches = micro.batch.sketch.shape[1] // dataset.config.patch_size
    losses = model(micro.batch, draw_flow(dataset.config, num_patches, generators))
    losses.total.backward()
    assert torch.isfinite(losses.total)
    ended = sum(1 for end in micro.batch.ends if end)
    assert int(losses.sketch_count) == micro.num_frames + ended


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"global_batch": 6, "micro_batch": 4},
            "6 samples cannot be split .* of 4 on 1",
        ),
        ({"global_batch": 2, "micro_batch": 2, "world_size": 2}, "cannot be split"),
        ({"global_batch": 0, "micro_batch": 1}, "at least 1"),
        ({"global_batch": 2, "micro_batch": 1, "seed": -1}, "seed"),
        ({"global_batch": 2, "micro_batch": 1, "world_size": 2, "rank": 2}, "rank"),
    ],
)
def test_splits_that_do_not_come_out_are_refused(
    dataset: Dataset, options: dict[str, int], message: str
) -> None:
    """A batch that ranks and micro batches do not divide is a usage error."""
    with pytest.raises(UsageError, match=message):
        Loader(dataset, **options)


def test_the_hint_names_a_batch_that_fits(dataset: Dataset) -> None:
    """What the error suggests works."""
    with pytest.raises(UsageError) as caught:
        Loader(dataset, global_batch=13, micro_batch=2, world_size=3)
    assert "for example 12" in caught.value.hint


def test_a_checkpoint_of_other_tracks_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    """Another dataset, or one with a shard left out, would go on in another order: an error."""
    state = Loader(dataset, global_batch=2, micro_batch=2).state_dict()
    grown = small_dataset(tmp_path / "other", songs=SONGS + 1, max_frames=64)
    shorter = small_dataset(dataset.shards.folder, max_frames=64, min_frames=220)
    for other in (grown, shorter):
        with pytest.raises(SongBloomError, match=f"not the {SONGS} of the checkpoint"):
            Loader(other, global_batch=2, micro_batch=2).load_state_dict(state)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_that_breaks_later_is_named(tmp_path: Path, workers: int) -> None:
    """Damage after opening ends the stream with the shard's name, from a worker too; left out at
    opening, the rest of the songs are loaded."""
    header, songs = DatasetHeader("v1", "vae", "codebook", 1480), small_songs(4)
    writer = ShardWriter(tmp_path / "d", header, shard_bytes=1)
    for song in songs:
        writer.add(song)
    writer.finish()
    loader = Loader(
        Dataset(open_shards(tmp_path / "d"), nano_config()),
        global_batch=4, micro_batch=2, workers=workers,
    )  # fmt: skip
    bad = tmp_path / "d" / "shards" / "000002.safetensors"
    os.truncate(bad, 1000)
    with pytest.raises(SongBloomError, match=f"{bad}: missing or corrupt shard"):
        next(iter(loader))
    rest = Dataset(open_shards(tmp_path / "d", corrupt="skip"), nano_config())
    found = steps(Loader(rest, global_batch=3, micro_batch=1, workers=workers), 1)[0]
    assert {key for key, _, _ in found} == {song.id for song in songs} - {songs[2].id}
