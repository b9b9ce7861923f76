"""Stands in for torchaudio where none is installed: the tools import it and need none of it.

torchaudio's wheels are CUDA builds that a CPU torch cannot load. What is taken from here says so as
soon as it is used; where the real one is installed, that is what is imported.
"""

import sys
from types import ModuleType
from typing import Any

_PARTS = ("compliance", "compliance.kaldi", "functional", "pipelines", "transforms")
_PARTS += ("prototype", "prototype.transforms")


class _Missing:
    """Anything of torchaudio."""

    def __init__(self, *args: Any, **options: Any) -> None:
        raise ImportError("this needs torchaudio, which is not installed in the tools environment")


class _Part(ModuleType):
    """A module of torchaudio, in which every name is a `_Missing`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Missing


__version__ = "0"
__path__: list[str] = []  # a package
for _name in _PARTS:
    _part = _Part(f"{__name__}.{_name}")
    _part.__path__ = []
    sys.modules[_part.__name__] = _part
    _parent, _, _last = _part.__name__.rpartition(".")
    setattr(sys.modules[_parent], _last, _part)
sys.modules[f"{__name__}.pipelines"].__dict__["__all__"] = []  # whisperx looks models up in it
