"""What runs in a worker: a stage kept in memory, one song after another, each a result.

The same object lives in a process of this machine or in a Ray actor. A song's files are written
into a folder under another name, made safe on disk and renamed: a folder that is there is whole.
"""

import contextlib
import errno
import faulthandler
import importlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.stages.ledger import Result
from songbloom.stages.stage import DETAILS, DETAILS_FILE, Item, Process
from songbloom.tables import PrepareConfig
from songbloom.units import Seconds

_PASSING = {errno.EIO, errno.EAGAIN, errno.ESTALE, errno.ETIMEDOUT, errno.EINTR, errno.ENETDOWN}
_PASSING |= {errno.ENETUNREACH, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EBUSY}
_HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # no song after this one would fare better
FIRST_PAUSE: Seconds = 1.0  # before the second attempt; twice as long before each further one


@dataclass(frozen=True)
class Job:
    """A song for a stage: `folder` is where its files belong, `timeout` in seconds."""

    key: str
    item: Item
    folder: Path
    timeout: Seconds


class Worker:
    """A stage at work on one device."""

    def __init__(self, settings: PrepareConfig, device: str, log: Path | None = None) -> None:
        self.settings, self.device, self.log = settings, device, log
        self._stage = ""
        self._process: Process | None = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            self._trace = open(log, "w")  # noqa: SIM115  # open as long as the process lives
            faulthandler.enable(self._trace)

    def run(self, stage: str, jobs: Sequence[Job]) -> list[Result]:
        """A result for each job. Raises only what would befall every song: a model that is missing,
        a full disk."""
        if stage != self._stage:
            self._process = None  # the last stage's model goes before the next one comes
            self._process = load(stage, self.settings, self.device)
            self._stage = stage
        return [self._timed(job) for job in jobs]

    def _timed(self, job: Job) -> Result:
        if self.log is not None:  # a process of our own may be ended by force: Python cannot always
            faulthandler.dump_traceback_later(job.timeout, exit=True, file=self._trace)
        started_at = time.monotonic()
        try:
            fields, size = self._attempt(job)
            return Result(fields, seconds=time.monotonic() - started_at, bytes=size)
        except MissingAssetError:
            raise
        except Exception as error:  # whatever a library throws at a bad file, the others go on
            if _errno(error) in _HOPELESS:
                raise
            passing = _is_passing(error)
            return Result(
                reason=_text(error, job.item),
                passing=passing,
                seconds=time.monotonic() - started_at,
            )
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _attempt(self, job: Job) -> tuple[dict[str, Any], int]:
        """Fields and bytes; again after a pause where the error may pass."""
        assert self._process is not None
        for attempt in range(self.settings.retries + 1):
            try:
                with _whole_folder(job.folder) as folder:
                    fields = without_details(self._stage, self._process(job.item, folder), folder)
                    size = sum(file.stat().st_size for file in folder.iterdir())
                return fields, size
            except Exception as error:
                if attempt == self.settings.retries or not _is_passing(error):
                    raise
            time.sleep(FIRST_PAUSE * 2**attempt)
        raise AssertionError


def load(stage: str, settings: PrepareConfig, device: str) -> Process:
    """A stage ready for songs, on one thread: their number would change last bits. A name with a
    dot is a module elsewhere."""
    if stage != "ingest":
        import torch  # ingest needs none, and is most of the work of a dry run

        torch.set_num_threads(1)
    name = stage if "." in stage else f"songbloom.stages.{stage.replace('-', '_')}"
    module = importlib.import_module(name)
    return module.load(settings, device)


@contextlib.contextmanager
def _whole_folder(target: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `target` once its files are on disk."""
    temporary = target.with_name(f".{target.name}")
    shutil.rmtree(temporary, ignore_errors=True)  # of a worker that was killed over this song
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if any(temporary.iterdir()):
            for file in temporary.iterdir():
                _to_disk(file)
            shutil.rmtree(target, ignore_errors=True)  # of a run killed before its row was written
            temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def without_details(stage: str, fields: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The fields for the manifest; the bulky ones go into a file."""
    bulky = {name: fields[name] for name in DETAILS.get(stage, ())}
    if bulky:
        text = json.dumps(bulky, ensure_ascii=False, sort_keys=True)
        (folder / DETAILS_FILE).write_text(text + "\n", encoding="utf-8")
    return {name: value for name, value in fields.items() if name not in bulky}


def _to_disk(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _text(error: Exception, item: Item) -> str:
    """An error in a line that tells the same on every machine: paths as in the manifest."""
    message = error.message if isinstance(error, SongBloomError) else None
    text = f"{type(error).__name__}: {error}" if message is None else message
    for path, name in ((item.audio, item.track.audio), (item.lyrics, item.track.lyrics)):
        text = text if path is None else text.replace(str(path), str(name))
    return " ".join(text.split())[:500]


def _is_passing(error: BaseException) -> bool:
    if (
        isinstance(error, ConnectionError | TimeoutError)
        or type(error).__name__ == "OutOfMemoryError"
    ):
        return True
    return _errno(error) in _PASSING


def _errno(error: BaseException | None) -> int | None:
    """The system's number of an error, or of what caused it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        error = error.__cause__
    return None
