"""Imports a tool in the Python that would serve it, run by `tool_worker.py` like any tool.

load      {"modules": [name, ...]}: imports them
versions  {"packages": [name, ...]} -> {"versions": {name: version}, "seconds": of importing}
"""

import importlib
import importlib.metadata
import platform
import time
from typing import Any


def load(options: dict[str, Any]) -> float:
    """Import the modules; the seconds that it took."""
    start = time.monotonic()
    for module in options["modules"]:
        importlib.import_module(module)
    return time.monotonic() - start


def call(model: float, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Serve `versions`; Python's own is always among them."""
    versions = {name: importlib.metadata.version(name) for name in arguments["packages"]}
    return {"versions": {**versions, "python": platform.python_version()}, "seconds": model}
