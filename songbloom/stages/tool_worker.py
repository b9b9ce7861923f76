"""Serves one tool in its own Python: JSON lines in, JSON lines out, arrays by file.

`songbloom.stages.tools` starts it as `python -I tool_worker.py TOOL_FILE FOLDER STUBS`, where the
Python need not have songbloom: this file imports the standard library and numpy alone. TOOL_FILE is
a module, under the same rule, with

    load(options) -> model                    once
    call(model, command, arguments) -> dict   for each item

A request is `{"command", "arguments"}`, and `load` is the first command. The answer, which comes
before the next request, is `{"ok": true, "result"}` or `{"ok": false, "kind", "error", "hint"}`,
`kind` being the exception's class and `hint` its attribute of that name. An array in arguments or
result stands as `{"npy": path}`, a file in FOLDER that its reader removes.
"""

import importlib.util
import json
import os
import queue
import shutil
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np


class Server:
    """A tool's module and its model, once they are loaded."""

    def __init__(self, tool_file: Path, folder: Path) -> None:
        self._file = tool_file
        self._folder = folder
        self._tool: Any = None
        self._model: Any = None

    def answer(self, line: str) -> str:
        """The answer to a request; whatever goes wrong in the tool is told in it."""
        request = json.loads(line)
        try:
            result = self._do(request["command"], unpack(request["arguments"]))
            packed = pack(result, self._folder, "answer")
            return json.dumps({"ok": True, "result": packed}, default=_plain)
        except Exception as error:
            told = {"kind": type(error).__name__, "error": str(error) or repr(error)}
            return json.dumps({"ok": False, **told, "hint": str(getattr(error, "hint", ""))})

    def _do(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if command == "load":
            _mend_torchaudio()
            self._tool = _module(self._file)
            self._model = self._tool.load(arguments)
            return {}
        result: dict[str, Any] = self._tool.call(self._model, command, arguments)
        return result


def pack(values: dict[str, Any], folder: Path, name: str) -> dict[str, Any]:
    """`values` with their arrays written to files `NAME-KEY.npy` in `folder`."""
    packed = {}
    for key, value in values.items():
        if isinstance(value, np.ndarray):
            path = folder / f"{name}-{key}.npy"
            np.save(path, value, allow_pickle=False)
            value = {"npy": str(path)}
        packed[key] = value
    return packed


def unpack(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with the arrays that their files hold; the files are removed."""
    unpacked = {}
    for key, value in values.items():
        if isinstance(value, dict) and value.keys() == {"npy"}:
            path = Path(value["npy"])
            value = np.load(path, allow_pickle=False)
            path.unlink()
        unpacked[key] = value
    return unpacked


def _plain(value: object) -> object:
    """A numpy number as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} cannot stand in an answer")


def _mend_torchaudio() -> None:
    """Let torchaudio import beside a CPU torch, which cannot load its compiled part.

    Its wheels are CUDA builds. Spectrograms and the like are plain torch and stay what they are.
    """
    try:
        importlib.import_module("torchaudio")
    except ModuleNotFoundError:
        return
    except Exception:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        extension = ModuleType("torchaudio._extension")
        extension.__dict__["_IS_TORCHAUDIO_EXT_AVAILABLE"] = False
        extension.__dict__["fail_if_no_align"] = lambda function: function
        sys.modules[extension.__name__] = extension


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Serve until standard input ends, which it does when the parent closes it or dies."""
    tool_file, folder, stubs = map(Path, sys.argv[1:])
    requests, replies = _own_pipes()
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    # A thread of its own sees the end of the pipe while the tool computes.
    threading.Thread(target=_read, args=(requests, lines, folder), daemon=True).start()
    sys.path.append(str(stubs))  # the last resort: a module that is really there is found before
    server = Server(tool_file, folder)
    while True:
        replies.write(server.answer(lines.get()).encode() + b"\n")
        replies.flush()


def _own_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The pipes to the parent, moved to where nothing that prints or reads can meet them."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return requests, replies


def _read(requests: BinaryIO, lines: "queue.SimpleQueue[str]", folder: Path) -> None:
    for line in requests:
        lines.put(line.decode())
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()
