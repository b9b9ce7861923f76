"""Tools whose pins cannot live beside ours, served by a worker in a Python of their own.

`Tool` speaks to a module `tool_NAME.py` of this folder, which `tool_worker.py` serves in the tools
environment, or in this process where the tool is installed here. Torch-free.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.stages import tool_worker
from songbloom.stages.tools_environment import PYTHON_VARIABLE, STUBS, TOOLS, imports_here, python
from songbloom.units import Seconds

LOAD_TIMEOUT: Seconds = 900.0  # gigabytes from a slow disk
FOLDER = Path(__file__).parent
_LAST_WORDS = 4096  # bytes of a worker's stderr that are kept
_QUOTED_LINES = 3  # of which an error quotes these
# One thread, so that results do not depend on cores; no network, so that nothing is fetched or
# told (pyannote counts its users) without a word.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "PYANNOTE_METRICS_ENABLED": "0",
}


class ToolError(SongBloomError):
    """A tool could not do an item; the next one may go well.

    `kind` is "timeout", "died", or the class of the exception in the tool.
    """

    def __init__(self, message: str, hint: str = "", *, kind: str) -> None:
        super().__init__(message, hint)
        self.kind = kind


class Tool:
    """A tool with its model loaded, for one item after another.

    The model is loaded by `start`, which `with` and the first `call` do. A worker that takes longer
    than `timeout` seconds over a call, or dies, is ended, and the next call starts another; in this
    process nothing can be ended. `options` is what the tool's `load` takes.
    """

    def __init__(self, name: str, options: Mapping[str, Any], *, timeout: Seconds) -> None:
        self.name = name
        self._options = dict(options)
        self._timeout = timeout
        self._program = None if imports_here(name) else python(name)
        self._worker: _Worker | _Here | None = None

    @property
    def where(self) -> str:
        """Where the tool works, in words."""
        return "in this process" if self._program is None else f"by {self._program}"

    def __enter__(self) -> "Tool":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def start(self) -> None:
        """Load the model, where it is not; `ToolError` when it cannot be."""
        if self._worker is not None:
            return
        file = FOLDER / f"tool_{self.name.replace('-', '_')}.py"
        self._worker = (
            _Here(self.name, file)
            if self._program is None
            else _Worker(self.name, file, self._program)
        )
        try:
            _ask(self._worker, "load", self._options, max(self._timeout, LOAD_TIMEOUT))
        except ToolError:
            self.close()
            raise

    def call(self, command: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What the tool's `call` returns for these arguments: JSON-able values and numpy arrays.

        `ToolError` when the tool fails, takes too long or dies.
        """
        self.start()
        assert self._worker is not None
        try:
            return _ask(self._worker, command, arguments, self._timeout)
        except _EndedError:
            self.close()
            raise

    def close(self) -> None:
        """End the worker; the tool may be started again."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None


@dataclass(frozen=True)
class Condition:
    """A tool that works: its version, torch's and Python's, and how long it takes to import."""

    versions: Mapping[str, str]
    python: str
    seconds: Seconds
    licence: str


def check(name: str) -> Condition:
    """Import a tool in a worker, as its stage would.

    `MissingAssetError` where it is not, `ToolError` where it does not import.
    """
    kind = TOOLS[name]
    program = Path(sys.executable) if imports_here(name) else python(name)
    worker = _Worker(name, FOLDER / "tool_check.py", program)
    again = f"Make the environment anew: songbloom tools install {name} --force"
    if named := os.environ.get(PYTHON_VARIABLE):
        again = f"Install it there, or unset {PYTHON_VARIABLE}, which names {named}."
    try:
        _ask(worker, "load", {"modules": list(kind.modules)}, LOAD_TIMEOUT)
        found = _ask(worker, "versions", {"packages": [name, "torch"]}, LOAD_TIMEOUT)
    except ToolError as error:
        raise ToolError(error.message, again, kind=error.kind) from error
    finally:
        worker.stop()
    return Condition(found["versions"], str(program), round(found["seconds"], 1), kind.licence)


class _EndedError(ToolError):
    """A worker is no more."""


class _Here:
    """A worker that is this process: what hangs in it hangs."""

    def __init__(self, name: str, file: Path) -> None:
        self.name = name
        self.folder = _scratch()
        if str(STUBS) not in sys.path:
            sys.path.append(str(STUBS))
        self._server = tool_worker.Server(file, self.folder)

    def exchange(self, line: str, timeout: Seconds) -> str:
        """The answer to a request, however long it takes."""
        with contextlib.redirect_stdout(sys.stderr):
            return self._server.answer(line)

    def stop(self) -> None:
        """Forget its files; what the tool imported stays in memory."""
        shutil.rmtree(self.folder, ignore_errors=True)


class _Worker:
    """A process of the tools' Python."""

    def __init__(self, name: str, file: Path, program: Path) -> None:
        self.name = name
        self.folder = _scratch()
        command = [program, "-I", FOLDER / "tool_worker.py", file, self.folder, STUBS]
        try:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **_ENVIRONMENT},
                start_new_session=True,  # its children are killed with it
            )
        except OSError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise MissingAssetError(
                f"{name}: {program} cannot be run ({error.strerror})",
                f"Type: songbloom tools install {name}",
            ) from error
        self._last_words = b""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def exchange(self, line: str, timeout: Seconds) -> str:
        """The answer to a request; `_EndedError` when there is none within `timeout` seconds."""
        late = threading.Event()

        def end() -> None:
            late.set()
            self._kill()

        timer = threading.Timer(timeout, end)
        timer.start()
        try:
            answer = self._pass_on(line.encode() + b"\n")
        finally:
            timer.cancel()
        if answer.endswith(b"\n"):
            return answer.decode()
        code = self._process.wait()
        how = f"took more than {timeout:g} s" if late.is_set() else _how_it_ended(code)
        raise _EndedError(
            f"{self.name}: its worker {how}; its last words: {self._quote()}",
            f"Type: songbloom tools check {self.name}",
            kind="timeout" if late.is_set() else "died",
        )

    def stop(self) -> None:
        """Kill the process and its children, and forget its files."""
        self._kill()
        self._process.wait()
        self._listener.join(1.0)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(BrokenPipeError):
                _pipe(stream).close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _pass_on(self, request: bytes) -> bytes:
        """One line there and one back; the answer of a process that ended is cut short."""
        try:
            _pipe(self._process.stdin).write(request)
            _pipe(self._process.stdin).flush()
            return _pipe(self._process.stdout).readline()
        except BrokenPipeError:
            return b""

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _listen(self) -> None:
        stderr = _pipe(self._process.stderr).fileno()
        while words := os.read(stderr, _LAST_WORDS):
            self._last_words = (self._last_words + words)[-_LAST_WORDS:]

    def _quote(self) -> str:
        self._listener.join(1.0)
        lines = self._last_words.decode("utf-8", "replace").splitlines()
        return " | ".join([line.strip() for line in lines if line.strip()][-_QUOTED_LINES:]) or "-"


def _ask(
    worker: _Worker | _Here, command: str, arguments: Mapping[str, Any], timeout: Seconds
) -> dict[str, Any]:
    packed = tool_worker.pack(dict(arguments), worker.folder, "request")
    line = json.dumps({"command": command, "arguments": packed})
    answer = json.loads(worker.exchange(line, timeout))
    if answer["ok"]:
        return tool_worker.unpack(answer["result"])
    raise ToolError(
        f"{worker.name}: {answer['error']} ({answer['kind']} at '{command}')",
        answer["hint"] or f"Type: songbloom tools check {worker.name}",
        kind=answer["kind"],
    )


def _scratch() -> Path:
    return Path(tempfile.mkdtemp(prefix="songbloom-tool-"))


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # every stream of a worker is a pipe
    return stream
