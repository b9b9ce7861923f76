"""What every stage is: a backend with an identity, and a function from a song to fields and files.

A stage is a module `songbloom.stages.NAME` with

    backend(settings) -> Backend            which one would work, and why; cheap, imports no torch
    load(settings, device) -> Process       the model in memory, ready for one song after another
    Process = (item, folder) -> fields      JSON-able fields; files go into `folder`, which is empty

What a process returns and writes may depend on the item, the settings and the backend's identity
alone: not on the songs before it, the number of workers, the time, or absolute paths.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from songbloom.errors import SongBloomError
from songbloom.lyrics import formats
from songbloom.lyrics.document import Lyrics
from songbloom.manifest import Track

# stage -> what its result follows from: the sound, the lyrics, results of other stages
NEEDS: Mapping[str, tuple[str, ...]] = {
    "ingest": (),
    "separate": ("audio",),
    "align": ("separate", "lyrics"),
    "structure": ("align", "audio"),
    "tokenize": ("audio",),
    "encode-latents": ("audio",),
}
STAGES = tuple(NEEDS)
# stage -> fields that go to `details.json` beside its files: a manifest of 1.5 million rows is read
# as a whole, and the words of a song are twenty times all the rest of its row
DETAILS: Mapping[str, tuple[str, ...]] = {
    "align": ("lines", "recovered", "transcript"),
    "structure": ("beats",),
}
DETAILS_FILE = "details.json"


@dataclass(frozen=True)
class Backend:
    """What does a stage's work: `name` as in the settings, `why` it was chosen, in words.

    `identity` is everything its results depend on beside the song: versions, hashes of weights,
    settings. `beside` names a file in the song's folder that they follow from too. `licence` of the
    weights where it binds the user.
    """

    name: str
    why: str
    identity: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""
    beside: str = ""

    @property
    def hash(self) -> str:
        """Hex SHA-256 of name and identity."""
        return digest([self.name, dict(self.identity)])


@dataclass(frozen=True)
class Item:
    """A song on its way through a stage.

    `audio` is its sound file; `folders` holds the files of the stages that are done, `results`
    their fields.
    """

    track: Track
    audio: Path
    lyrics: Path | None = None
    results: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)

    def read_lyrics(self) -> Lyrics | None:
        """The lyrics that came with the song; None where there are none."""
        if self.track.lyrics_text is not None:
            return formats.parse(self.track.lyrics_text, self.track.id)
        return None if self.lyrics is None else formats.read(self.lyrics)


Process = Callable[[Item, Path], Mapping[str, Any]]


def result_folder(work: Path, stage: str, key: str) -> Path:
    """Where the files of a result lie."""
    return Path(work) / stage / key[:2] / key


def read_details(work: Path, track: Track, stage: str) -> dict[str, Any]:
    """All fields of a stage's result, those in its `details.json` too. `SongBloomError` when that
    was deleted or damaged."""
    fields = dict(track.results[stage])
    if stage not in DETAILS:
        return fields
    path = result_folder(work, stage, fields["key"]) / DETAILS_FILE
    try:
        return fields | json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise SongBloomError(
            f"{path}: cannot be read ({error})",
            "Delete its folder, then type the same `songbloom prepare` again.",
        ) from error


def digest(value: object) -> str:
    """Hex SHA-256 of a JSON-able value, its keys in order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
