"""Stands in for x_clip, which brings torchvision: muq imports its tokenizer for a text model that
MuQ-MuLan is not made of (its words go through XLM-RoBERTa)."""

import sys
from types import ModuleType, SimpleNamespace

__path__: list[str] = []  # a package
_part = ModuleType(f"{__name__}.tokenizer")
_part.__dict__["tokenizer"] = SimpleNamespace(vocab_size=49408)  # the original's
sys.modules[_part.__name__] = _part
