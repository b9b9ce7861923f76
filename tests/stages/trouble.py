"""A stage that does what a song's title says: the accidents of long runs."""

import ctypes
import errno
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.stages.stage import Item, Process
from songbloom.tables import PrepareConfig


def load(settings: PrepareConfig, device: str) -> Process:
    """No model."""
    return process


def process(item: Item, folder: Path) -> Mapping[str, Any]:
    """Obey the title; a song without one is done."""
    what, _, rest = item.track.title.partition(" ")
    (folder / "begun").write_text(item.track.id)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "crash":
        ctypes.string_at(0)
    elif what == "hang":
        time.sleep(600)
    elif what == "raise":
        raise ValueError(f"no good:\n {item.track.id}")
    elif what == "refuse":
        raise SongBloomError("a clear reason", "a hint")
    elif what == "full":
        raise OSError(errno.ENOSPC, "No space left on device")
    elif what == "missing":
        raise MissingAssetError("no model", "get it")
    elif what == "flaky":  # fails as often as the title says
        tries = Path(rest.split()[0])
        tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
        if len(tries.read_text()) <= int(rest.split()[1]):
            raise OSError(errno.EIO, "Input/output error")
    return {"id": item.track.id, "process": os.getpid()}
