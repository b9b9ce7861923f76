"""`songbloom prepare`: a folder of songs through every stage to a training set.

    DATA/manifest.jsonl     a row a song: what was found, what became of it and why
    DATA/prepare.json       settings, filters, and the backend of every stage
    DATA/dataset.json ...   the training set (`songbloom.data.shards`), of the songs that are ready
    DATA/README.md          the dataset card
    DATA/work/              the ledger, and the files of every stage under their content addresses

Where a song stands follows from the ledger alone (`Chain.settle`): it waits at its first stage
without a result, unless that stage failed or a filter refused it. So the same command goes on where
it stopped, a changed setting does again just what depends on it, and workers, machines, kills and
order leave no trace in the result.
"""

import dataclasses
import importlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from songbloom import manifest
from songbloom.errors import UsageError
from songbloom.files import sha256
from songbloom.manifest import Decision, State, Track
from songbloom.stages import filters, runner
from songbloom.stages.crews import Crew
from songbloom.stages.ledger import Ledger, Result
from songbloom.stages.sources import Sources, in_slice
from songbloom.stages.stage import (
    NEEDS,
    STAGES,
    Backend,
    Item,
    digest,
    read_details,
    result_folder,
)
from songbloom.stages.worker import Job
from songbloom.tables import FiltersConfig, PrepareConfig
from songbloom.units import Seconds

Event = Mapping[str, Any]
# files that a finished song can do without: its stems, and what has none
OPTIONAL = ("ingest", "separate")
_TAGS = ("title", "artist", "year", "language", "licence")
_FIRST_TIMEOUT: Seconds = 60.0  # beside what grows with a song: time to load a model
_SLOWEST_DISK = 1e6  # bytes a second: how long reading a file may take


@dataclass(frozen=True)
class Part:
    """Slice `number` of `count`, from 1: songs whose files have certain sizes."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Part":
        """`17/512`. `UsageError` for anything else."""
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise UsageError(
                f"--slice {text}: is no slice; expected I/N with I from 1 to N",
                "For example --slice 1/4, and 2/4, 3/4, 4/4 in other jobs.",
            )
        return cls(int(number), int(count))


def backends(settings: PrepareConfig, stages: Sequence[str] = STAGES) -> dict[str, Backend]:
    """What each stage would work with. `MissingAssetError` for one that is not there."""
    return {stage: backend(stage, settings) for stage in stages}


def backend(stage: str, settings: PrepareConfig) -> Backend:
    """What a stage would work with. `MissingAssetError` when that is not there."""
    module = importlib.import_module(f"songbloom.stages.{stage.replace('-', '_')}")
    return module.backend(settings)


class Chain:
    """A corpus, its ledger, and the rules by which songs move on."""

    def __init__(
        self,
        root: Path,
        work: Path,
        settings: PrepareConfig,
        refusing: FiltersConfig,
        chosen: Mapping[str, Backend] | None = None,
        stages: Sequence[str] = STAGES,
    ) -> None:
        self.root, self.work = Path(root), Path(work)
        self.settings, self.filters = settings, refusing
        self.stages = tuple(stages)
        self.backends = backends(settings, self.stages) if chosen is None else chosen
        self._hashes = {stage: found.hash for stage, found in self.backends.items()}
        self.ledger = Ledger(self.work / "ledger.sqlite")

    def close(self) -> None:
        """Let go of the ledger."""
        self.ledger.close()

    # --- where songs stand ------------------------------------------------------------------------

    def take(self, sources: Sources, part: Part = Part(), limit: int | None = None) -> int:
        """Make a corpus, or its slice, the songs of this run; how many they are."""
        return self.ledger.replace_tracks(_limited(self._stamped(sources, part), limit))

    def songs(self, last: str | None = None) -> Iterator[Track]:
        """Every song as it stands, in order of the ids; `ready` means done with all stages, or
        with those up to `last`."""
        return (self.settle(track, stamp, last) for track, stamp in self.ledger.tracks())

    def settle(self, track: Track, stamp: str, last: str | None = None) -> Track:
        """A song with all that is known of it, and where it stands."""
        results: dict[str, Mapping[str, Any]] = {}  # the track's own, and grows
        track, decisions = dataclasses.replace(track, results=results), list[Decision]()

        def stands(state: State, stage: str = "", reason: str = "") -> Track:
            return dataclasses.replace(
                track, state=state, stage=stage, reason=reason, decisions=tuple(decisions)
            )

        for stage in self.stages[: self.stages.index(last) + 1] if last else self.stages:
            key = self.key(stage, track, stamp)
            result = self.ledger.get(stage, key)
            if result is None:
                first = self._deleted(stage, results) or stage
                for later in self.stages[self.stages.index(first) :]:
                    results.pop(later, None)
                return stands("pending", first)
            if result.reason:
                return stands("failed", stage, result.reason)
            if stage == "ingest":
                track = _ingested(track, result, results)
            else:
                results[stage] = {**result.fields, "key": key, "files": result.bytes > 0}
            found = filters.judge(stage, track, self.filters)
            if stage == "ingest" and last != "ingest":
                found += self._is_original(track)
            decisions += found
            if refused := next((d for d in found if not d.kept), None):
                return stands("rejected", stage, filters.reason(refused))
        return stands("ready")

    def key(self, stage: str, track: Track, stamp: str) -> str:
        """Content address of a stage's result: all that it follows from. A file is not read to see
        whether it was ingested: its stamp tells."""
        if stage == "ingest":
            return digest([stage, self._hashes[stage], stamp])
        found = track.results
        known = {
            "audio": found["ingest"]["audio_sha256"],
            "lyrics": found["ingest"]["lyrics_sha256"],
        }
        needs = [known[need] if need in known else found[need]["key"] for need in NEEDS[stage]]
        if beside := self.backends[stage].beside:
            path = (self.root / track.audio).parent / beside
            needs.append(sha256(path) if path.is_file() else "")
        return digest([stage, self._hashes[stage], *needs])

    def folder(self, stage: str, key: str) -> Path:
        """Where a result's files lie."""
        return result_folder(self.work, stage, key)

    def item(self, track: Track) -> Item:
        """A song as the stages take it, with every field and file of those that are done."""
        done = [stage for stage in track.results if stage != "ingest"]
        results = {stage: read_details(self.work, track, stage) for stage in done}
        return Item(
            track=track,
            audio=self.root / track.audio,
            lyrics=None if track.lyrics is None else self.root / track.lyrics,
            results={**track.results, **results},
            folders={stage: self.folder(stage, results[stage]["key"]) for stage in done},
        )

    # --- moving songs on --------------------------------------------------------------------------

    def run(
        self,
        crew: Crew,
        stages: Sequence[str],
        on_event: Callable[[Event], None],
        *,
        batch: int = 1,
    ) -> None:
        """Do what is missing of these stages, in their order."""
        self.mend()
        for stage in (s for s in self.stages if s in stages):
            waiting = sum(1 for _ in self._waiting(stage))
            on_event({"event": "stage", "stage": stage, "waiting": waiting, **self._who(stage)})
            if waiting:
                self._run_stage(crew, stage, waiting, on_event, batch)
            if stage == "ingest":
                self._find_originals()

    def mend(self) -> None:
        """Take back results of finished songs whose files somebody deleted."""
        self._find_originals()
        for track in self.songs():
            for stage in (s for s in self.stages if s not in OPTIONAL and track.state == "ready"):
                if not self._has_files(stage, track.results):
                    self.ledger.forget(stage, track.results[stage]["key"])

    def _deleted(self, stage: str, results: Mapping[str, Mapping[str, Any]]) -> str | None:
        """The first stage that has to be done again for this one, as its files are gone."""
        for need in (name for name in NEEDS[stage] if name in results):
            if not self._has_files(need, results):
                return self._deleted(need, results) or need
        return None

    def _has_files(self, stage: str, results: Mapping[str, Mapping[str, Any]]) -> bool:
        fields = results[stage]
        return not fields["files"] or self.folder(stage, fields["key"]).is_dir()

    def _run_stage(
        self, crew: Crew, stage: str, waiting: int, on_event: Callable[[Event], None], batch: int
    ) -> None:
        jobs = (self._job(stage, track, stamp) for track, stamp in self._waiting(stage))
        for done, (job, result) in enumerate(runner.run(crew, stage, jobs, batch=batch), 1):
            self.ledger.put(stage, job.key, result)
            told: dict[str, Any] = {"state": "failed" if result.reason else "done"}
            told |= {"reason": result.reason} if result.reason else {}
            told |= {"seconds": round(result.seconds, 3), "done": done, "of": waiting}
            on_event({"event": "song", "stage": stage, "id": job.item.track.id, **told})

    def _who(self, stage: str) -> dict[str, str]:
        return {"backend": self.backends[stage].name, "why": self.backends[stage].why}

    def _waiting(self, stage: str) -> Iterator[tuple[Track, str]]:
        """Songs that wait at a stage; of those that share a result, the first."""
        for track, stamp in self.ledger.tracks():
            settled = self.settle(track, stamp, stage if stage == "ingest" else None)
            if settled.state == "pending" and settled.stage == stage:
                yield settled, stamp

    def _job(self, stage: str, track: Track, stamp: str) -> Job:
        key, item = self.key(stage, track, stamp), self.item(track)
        length = track.duration
        if length is None:
            length = _size(item.audio) / _SLOWEST_DISK
        timeout = _FIRST_TIMEOUT + self.settings.item_timeout * length
        return Job(key, item, self.folder(stage, key), timeout)

    def _find_originals(self) -> None:
        settled = (track for track in self.songs("ingest") if track.state == "ready")
        self.ledger.replace_originals((t.results["ingest"]["audio_sha256"], t.id) for t in settled)

    def _is_original(self, track: Track) -> tuple[Decision, ...]:
        first = self.ledger.original(track.results["ingest"]["audio_sha256"])
        return (Decision("duplicate", first or track.id, track.id, first in (None, track.id)),)

    def _stamped(self, sources: Sources, part: Part) -> Iterator[tuple[Track, str]]:
        for track in sources.tracks:
            audio = self.root / track.audio
            if part.count == 1 or in_slice(_size(audio), part.number, part.count):
                lyrics = _stamp(self.root / track.lyrics) if track.lyrics else track.lyrics_text
                yield track, digest([track.id, track.audio, _stamp(audio), lyrics])


def count(songs: Iterable[Track]) -> tuple[Counter[str], Counter[tuple[str, str, str]]]:
    """Songs by state, and those that are not ready by (state, stage, rule or reason)."""
    states, reasons = Counter[str](), Counter[tuple[str, str, str]]()
    for track in songs:
        states[track.state] += 1
        if track.state in ("failed", "rejected"):
            plain = track.reason.removeprefix(f"{track.audio}: ")
            refused = next((d.rule for d in track.decisions if not d.kept), plain)
            reasons[track.state, track.stage, refused] += 1
    return states, reasons


def write_manifest(path: Path, chain: Chain) -> None:
    """Every song as it stands, a row each."""
    manifest.write(path, chain.songs())


def _ingested(track: Track, result: Result, results: dict[str, Mapping[str, Any]]) -> Track:
    """A song with what its file says of itself, where nobody said otherwise. The key stays out of
    the manifest: it tells of file times."""
    fields = dict(result.fields)
    own = {name: fields.pop(name, "") for name in _TAGS}
    results["ingest"] = fields
    if len(fields["lyrics_languages"]) == 1:
        own["language"] = own["language"] or fields["lyrics_languages"][0]
    said = {name: value for name, value in own.items() if value and not getattr(track, name)}
    return dataclasses.replace(track, duration=fields["duration"], **said)


def _limited(pairs: Iterable[tuple[Track, str]], limit: int | None) -> Iterator[tuple[Track, str]]:
    for number, pair in enumerate(pairs):
        if number == limit:
            return
        yield pair


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _stamp(path: Path) -> list[int]:
    """Size and time of a file's last change; nothing of one that cannot be seen."""
    try:
        seen = os.stat(path)
    except OSError:
        return []
    return [seen.st_size, seen.st_mtime_ns]
