"""After an install: torch must be the pinned one, and a GPU build on a machine without one is told.

Some packages replace torch by another build without a word; that is found here, not in a later
import error.
"""

import re
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

constraints = (Path(__file__).parents[1] / "constraints.txt").read_text("utf-8")
pinned = re.search(r"^torch==(\S+)$", constraints, re.MULTILINE).group(1)
installed = version("torch")
if installed.split("+")[0] != pinned:
    sys.exit(f"torch {installed} is installed, not the pinned {pinned}: remove .venv and try again")

import torch  # noqa: E402

if torch.version.cuda and not shutil.which("nvidia-smi"):
    print(
        f"note: torch {installed} is a CUDA build, gigabytes that this machine without an NVIDIA "
        "GPU cannot use. It works all the same."
    )
