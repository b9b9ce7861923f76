"""A folder of songs as the answer to a test set: what was asked for is what the set says.

A system that leaves out what it finds hard must not look better for it: every song of the set is
scored, and one that is not there fails.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from songbloom import lyrics
from songbloom.errors import SongBloomError
from songbloom.evaluation import testset
from songbloom.evaluation.items import Item


def answers(items: Sequence[Item], test_set: Path) -> tuple[Item, ...]:
    """A song for each of the test set in the folder `test_set`, with its lyrics and clip; other
    songs are left out. `SongBloomError` for what is no test set, and where no song is of it."""
    by_name = {item.name: item for item in items}
    songs = testset.read(test_set)["songs"]
    if not any(song["name"] in by_name for song in songs):
        raise SongBloomError(
            f"{test_set}: none of its {len(songs)} songs is there; the first is called "
            f"'{songs[0]['name']}', here '{items[0].name}'",
            "Call songs as the test set does: song_0001.wav and so on.",
        )
    return tuple(_answer(by_name.get(song["name"]), song, test_set) for song in songs)


def _answer(item: Item | None, song: Mapping[str, Any], test_set: Path) -> Item:
    name, text = str(song["name"]), test_set / song["lyrics"]["file"]
    if item is None:
        missing = {"audio": "the test set asks for this song, and it is not there"}
        item = Item(name, Path(f"{name}.flac"), problems=missing)
    return dataclasses.replace(
        item,
        lyrics=lyrics.decode(text.read_bytes(), str(text)),
        reference=test_set / song["reference"]["file"],
        problems={key: why for key, why in item.problems.items() if key == "audio"},
    )
