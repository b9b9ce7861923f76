"""One stage for some songs: `songbloom separate`, `align`, `structure`, `tokenize`, ...

The songs go through what the stage needs, nothing is filtered, and results are laid out under the
songs' names. What was done is kept in `FOLDER/work`, so the same again costs nothing.
"""

import dataclasses
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from songbloom.errors import SongBloomError, UsageError
from songbloom.files import atomic_path, sole_user, write_text
from songbloom.manifest import Track
from songbloom.stages import sources
from songbloom.stages.chain import Chain, Event
from songbloom.stages.crews import Crew
from songbloom.stages.prepare import permissive
from songbloom.stages.stage import DETAILS_FILE, NEEDS, STAGES, read_details
from songbloom.tables import PrepareConfig


@dataclass(frozen=True)
class Made:
    """What a stage made of a song: its files, or the reason why it could not."""

    id: str
    files: tuple[Path, ...] = ()
    reason: str = ""


def needed(stage: str) -> tuple[str, ...]:
    """A stage and all that it builds on, in order."""
    wanted, todo = {"ingest", stage}, [stage]
    while todo:
        more = [need for need in NEEDS[todo.pop()] if need in STAGES]
        wanted |= set(more)
        todo += more
    return tuple(name for name in STAGES if name in wanted)


def run_stage(
    stage: str,
    songs: Path,
    output: Path,
    settings: PrepareConfig,
    make_crew: Callable[[Path], Crew],
    on_event: Callable[[Event], None],
    *,
    lyrics: Path | None = None,
) -> list[Made]:
    """Run a stage over a sound file, a folder or a manifest; files go to `output/SONG/`.

    `lyrics` are those of a single sound file, where they do not lie beside it.
    """
    found = sources.find(songs, exclude=[output])
    busy = SongBloomError(f"{output}: another process works here", "Choose another -o.")
    with sole_user(output, busy):
        chain = Chain(found.root, output / "work", settings, permissive(), stages=needed(stage))
        try:
            if lyrics is not None:
                found = _with_lyrics(found, lyrics)
            chain.ledger.forget_failures(passing_only=False)
            chain.take(found)
            crew = make_crew(chain.work / "logs")
            try:
                chain.run(crew, needed(stage), on_event)
            finally:
                crew.close()
            return list(_lay_out(stage, chain, output))
        finally:
            chain.close()


def _with_lyrics(found: sources.Sources, lyrics: Path) -> sources.Sources:
    """The one song with other lyrics. `UsageError` when there are more, or no such lyrics."""
    tracks = list(itertools.islice(found.tracks, 2))
    if len(tracks) != 1 or not lyrics.is_file():
        what = "is no file" if len(tracks) == 1 else "are the lyrics of which song?"
        raise UsageError(
            f"--lyrics {lyrics}: {what}", "For example: songbloom align song.flac --lyrics song.txt"
        )
    track = dataclasses.replace(tracks[0], lyrics=os.path.relpath(lyrics, found.root))
    return sources.Sources(found.root, iter([track]))


def _lay_out(stage: str, chain: Chain, output: Path) -> Iterator[Made]:
    for track in chain.songs():
        if stage not in track.results:
            yield Made(track.id, reason=track.reason or "was not done")
            continue
        folder = output / track.id
        yield Made(track.id, tuple(_files(stage, chain, track, folder)))


def _files(stage: str, chain: Chain, track: Track, folder: Path) -> Iterator[Path]:
    found = read_details(chain.work, track, stage)
    fields = {k: v for k, v in found.items() if k not in ("key", "files")}
    described = folder / f"{stage}.json"
    write_text(described, json.dumps(fields, indent=1, ensure_ascii=False) + "\n")
    yield described
    made = chain.folder(stage, track.results[stage]["key"])
    for file in sorted(made.glob("*")):
        if file.name == DETAILS_FILE:
            continue
        target = folder / file.name
        with atomic_path(target) as temporary:
            temporary.unlink()
            try:
                os.link(file, temporary)
            except OSError:  # another file system
                shutil.copyfile(file, temporary)
        yield target
