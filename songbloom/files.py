"""Files that are either whole or not there: written under a temporary name, then renamed."""

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from songbloom.errors import SongBloomError


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a path beside `target`, with its suffix, that becomes `target` on success.

    On any exception the temporary file is removed and `target` is as it was. `SongBloomError` when
    the folder cannot be written or the disk is full.
    """
    target = Path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{target.name[:80]}.", suffix=target.suffix, dir=target.parent
        )
        os.close(handle)
    except OSError as error:
        raise _unwritable(target, error) from error
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes private files; ours are ordinary ones
        os.replace(temporary, target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def sole_user(folder: Path, error: SongBloomError) -> Iterator[None]:
    """Hold a folder: `error` is raised where another process does. A kill lets it go."""
    with contextlib.closing(lock(folder, error)):
        yield


def lock(folder: Path, error: SongBloomError) -> IO[str]:
    """The open file `folder/.lock`, which one process alone can have until it closes it.

    `error` where another one has it, `SongBloomError` where the folder cannot be written.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        stream = open(Path(folder) / ".lock", "a")  # noqa: SIM115  # open as long as it is held
    except OSError as problem:
        raise _unwritable(folder, problem) from problem
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as held:
        stream.close()
        raise error from held
    except OSError:  # a file system without locks
        pass
    return stream


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _unwritable(target: Path, error: OSError) -> SongBloomError:
    reason = error.strerror or str(error)
    return SongBloomError(
        f"{target}: cannot be written ({reason})",
        "Choose another place with -o, or free some space there.",
    )
