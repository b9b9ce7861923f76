"""Tools whose pins cannot live beside ours: a Python of their own, and a worker that serves one.

`Tool` speaks to a module `tool_NAME.py` of this folder, served by `tool_worker.py` in the tools
environment, or in this process where the tool is installed here. Torch-free.
"""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from songbloom.errors import SongBloomError
from songbloom.stages import tool_worker
from songbloom.stages.tools_environment import STUBS, imports_here, python
from songbloom.units import Seconds

LOAD_TIMEOUT: Seconds = 900.0  # gigabytes from a slow disk
FOLDER = Path(__file__).parent
_LAST_WORDS = 4096  # bytes of a worker's stderr that an error may quote


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
    than `timeout` seconds over a call, or dies, is ended, and the next call starts another.
    `options` is what `tool_NAME.load` takes.
    """

    def __init__(self, name: str, options: Mapping[str, Any], *, timeout: Seconds) -> None:
        self.name = name
        self._options = dict(options)
        self._timeout = timeout
        self._python = None if imports_here(name) else python(name)
        self._numbers = itertools.count(1)
        self._worker: _Worker | _Here | None = None

    @property
    def where(self) -> str:
        """Where the tool works, in words."""
        return "in this process" if self._python is None else f"by {self._python}"

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
        self._worker = _Here(file) if self._python is None else _Worker(self._python, file)
        try:
            self._ask("load", self._options, max(self._timeout, LOAD_TIMEOUT))
        except ToolError:
            self.close()
            raise

    def call(self, command: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What the tool's `call` returns for these arguments: JSON-able values and numpy arrays.

        `ToolError` when the tool fails, takes too long or dies.
        """
        self.start()
        return self._ask(command, arguments, self._timeout)

    def close(self) -> None:
        """End the worker; the tool may be started again."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def _ask(self, command: str, arguments: Mapping[str, Any], timeout: Seconds) -> dict[str, Any]:
        assert self._worker is not None
        number = next(self._numbers)
        packed = tool_worker.pack(dict(arguments), self._worker.folder, f"request-{number}")
        line = json.dumps({"id": number, "command": command, "arguments": packed})
        try:
            answer = json.loads(self._worker.ask(line, timeout))
        except _Ended as ended:
            self.close()
            raise ToolError(
                f"{self.name}: its worker {ended.how} at '{command}'. Its last words: "
                f"{ended.last_words or 'none'}",
                f"Type: songbloom tools check {self.name}",
                kind=ended.kind,
            ) from None
        if answer["ok"]:
            return tool_worker.unpack(answer["result"])
        raise ToolError(
            f"{self.name}: {answer['error']} ({answer['kind']} at '{command}')",
            answer["hint"] or f"Type: songbloom tools check {self.name}",
            kind=answer["kind"],
        )


class _Ended(Exception):
    """A worker is no more: `kind` as in ToolError, `how` in words."""

    def __init__(self, kind: str, how: str, last_words: str) -> None:
        super().__init__(how)
        self.kind, self.how, self.last_words = kind, how, last_words


class _Here:
    """A worker that is this process."""

    def __init__(self, file: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="songbloom-tool-"))
        if str(STUBS) not in sys.path:
            sys.path.append(str(STUBS))
        self._server = tool_worker.Server(file, self.folder)

    def ask(self, line: str, timeout: Seconds) -> str:
        """The answer, however long it takes: what may hang belongs into a process of its own."""
        with contextlib.redirect_stdout(sys.stderr):
            return self._server.answer(line)

    def stop(self) -> None:
        """Forget its files; what the tool imported stays in memory."""
        shutil.rmtree(self.folder, ignore_errors=True)


class _Worker:
    """A process of the tools' Python."""

    def __init__(self, program: Path, file: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="songbloom-tool-"))
        command = [program, "-I", FOLDER / "tool_worker.py", file, self.folder, STUBS]
        self._process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            start_new_session=True,  # its children are killed with it
        )
        self._last_words = b""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def ask(self, line: str, timeout: Seconds) -> str:
        """The answer to a request; `_Ended` when there is none within `timeout` seconds."""
        stdin, stdout = _pipe(self._process.stdin), _pipe(self._process.stdout)
        late = threading.Event()

        def end() -> None:
            late.set()
            self._kill()

        timer = threading.Timer(timeout, end)
        timer.start()
        try:
            stdin.write(line.encode() + b"\n")
            stdin.flush()
            answer: bytes = stdout.readline()
        except BrokenPipeError:
            answer = b""
        finally:
            timer.cancel()
        if answer.endswith(b"\n"):
            return answer.decode()
        if late.is_set():
            raise _Ended("timeout", f"took more than {timeout:g} s", self._quote())
        raise _Ended("died", _how_it_ended(self._process.wait()), self._quote())

    def stop(self) -> None:
        """Kill the process and its children, and forget its files."""
        self._kill()
        self._process.wait()
        self._listener.join(1.0)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(BrokenPipeError):
                _pipe(stream).close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _listen(self) -> None:
        stderr = _pipe(self._process.stderr).fileno()
        while words := os.read(stderr, _LAST_WORDS):
            self._last_words = (self._last_words + words)[-_LAST_WORDS:]

    def _quote(self) -> str:
        self._listener.join(1.0)
        lines = self._last_words.decode("utf-8", "replace").split("\n")
        return " | ".join([line.strip() for line in lines if line.strip()][-3:])


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # every stream of a worker is a pipe
    return stream


def _environment() -> dict[str, str]:
    """What a worker sees: one thread, so that results do not depend on cores, and no network."""
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **quiet}
