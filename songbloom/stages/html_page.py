"""Pages that need nothing but a browser: script, style, data and sound inside one HTML file.

Every text from outside gets into a page as JSON and is shown by its script as text, never as HTML.
"""

import base64
import html
import json
import string
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from songbloom import audio
from songbloom.units import Hz

ASSETS = Path(__file__).parents[1] / "assets"
DATA_MARK = "<!-- data -->"


def frame(page: str, title: str, styles: Sequence[str], scripts: Sequence[str]) -> str:
    """The page `page` of the assets but for its data, which is to replace `DATA_MARK`.

    Names are paths in the assets; styles and scripts are joined in their order.
    """
    style, script = ("\n".join(map(_asset, names)) for names in (styles, scripts))
    return string.Template(_asset(page)).substitute(
        title=html.escape(title), style=style, script=script, data=DATA_MARK
    )


def data(name: str, value: object) -> str:
    """An element holding JSON: nothing in it can end the element or begin another."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" id="{name}">{text}</script>'


def encoded(content: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(content).decode("ascii")


def vorbis(samples: np.ndarray, sample_rate: Hz) -> bytes:
    """An Ogg Vorbis file of float32 `[channels, n]`."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "sound.ogg"
        audio.save(path, samples, sample_rate)
        return path.read_bytes()


def _asset(name: str) -> str:
    return (ASSETS / name).read_text("utf-8")
