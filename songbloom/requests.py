"""What is to be sung: lyrics, with the reference clip that gives the style.

Torch-free. Lyrics come from a text file, from standard input, or many at once from a JSONL file in
the released layout (`idx`, `lyrics`, `prompt_wav` a line). One song's lyrics may be JSONL as well:
the keys tell which it is.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from songbloom import lyrics as lyric_text
from songbloom.errors import SongBloomError, UsageError
from songbloom.lyrics import Lyrics
from songbloom.lyrics.jsonl import is_document
from songbloom.lyrics.lint import ANY_MODEL, Limits

STDIN = "-"
BATCH_SUFFIX = ".jsonl"
_ITEM_KEYS = ("idx", "lyrics", "prompt_wav")
_MAX_NAME = 200  # characters of `idx`, which becomes a file name


@dataclass(frozen=True)
class Request:
    """One song to make: `idx` names it and its files, `reference` is the path of the style clip."""

    idx: str
    lyrics: Lyrics
    reference: Path


def is_batch(lyrics: str) -> bool:
    """Whether the lyrics argument names a JSONL batch, and not the lyrics of one song in JSONL."""
    path = Path(lyrics)
    if lyrics == STDIN or path.suffix.lower() != BATCH_SUFFIX:
        return False
    return not is_document(_first_row(path))


def read_requests(
    lyrics: str, prompt: Path | None, stdin: BinaryIO, limits: Limits = ANY_MODEL
) -> list[Request]:
    """The songs that the lyrics argument asks for: a file, `-` for `stdin`, or a JSONL batch.

    `prompt` is the reference clip; in a batch it serves the items that name none. `limits` are the
    model's: they say what can be sung and how long a tag is. Raises `UsageError` where a clip is
    not named and `SongBloomError` for lyrics that cannot be read, a batch line that is wrong (named
    by its number) and a clip that is not there.
    """
    if is_batch(lyrics):
        return _read_batch(Path(lyrics), prompt, limits)
    if prompt is None:
        raise UsageError(
            "No reference clip: the style of a song comes from about ten seconds of music",
            "Name one with --prompt CLIP.wav.",
        )
    if lyrics == STDIN:
        source = "standard input"
        idx, words = "song", lyric_text.parse_bytes(stdin.read(), source, **_ways(limits))
    else:
        idx, words = Path(lyrics).stem, lyric_text.read(Path(lyrics), **_ways(limits))
    return [Request(idx, words, _existing(prompt, "--prompt"))]


def _ways(limits: Limits) -> dict[str, Any]:
    """How lyrics are read for a model."""
    return {"frontend": limits.frontend, "convention": limits.convention}


def _first_row(path: Path) -> str:
    """The first row that is not blank; empty where the file cannot be read, which is told later."""
    try:
        with open(path, "rb") as stream:
            rows = (row.decode("utf-8-sig", errors="replace") for row in stream)
            return next((row for row in rows if row.strip()), "")
    except OSError:
        return ""


def _read_batch(path: Path, prompt: Path | None, limits: Limits) -> list[Request]:
    requests: dict[str, Request] = {}
    for where, line in _lines(path):
        request = _read_item(line, where, path.parent, prompt, limits)
        if request.idx in requests:
            raise SongBloomError(
                f"{where}: idx '{request.idx}' was used by an earlier line",
                "Give every line an idx of its own; it names the files.",
            )
        requests[request.idx] = request
    if not requests:
        raise SongBloomError(
            f"{path}: holds no songs", f"Write a JSON object a line with {', '.join(_ITEM_KEYS)}."
        )
    return list(requests.values())


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """(where, text) of every line that is not blank."""
    try:
        with open(path, "rb") as stream:
            for number, line in enumerate(stream, start=1):
                where = f"{path}:{number}"
                text = lyric_text.decode(line, where)
                if text.strip():
                    yield where, text
    except OSError as error:
        raise SongBloomError(
            f"{path}: cannot be read ({error.strerror or error})",
            "Name a .jsonl file with a song a line, or a text file with lyrics.",
        ) from error


def _read_item(line: str, where: str, folder: Path, prompt: Path | None, limits: Limits) -> Request:
    """One line of a batch. `prompt_wav` is looked for as it stands, then beside the batch file."""
    item = _parse_item(line, where)
    idx = _file_name(item["idx"], where)
    clip = item.get("prompt_wav") or (str(prompt) if prompt else None)
    if clip is None:
        raise SongBloomError(
            f"{where}: no prompt_wav", "Name a reference clip there, or one for all with --prompt."
        )
    reference = Path(clip)
    if not reference.exists() and (folder / clip).exists():
        reference = folder / clip
    words = lyric_text.parse(item["lyrics"], where, **_ways(limits))
    return Request(idx, words, _existing(reference, where))


def _parse_item(line: str, where: str) -> dict[str, str]:
    """The line's object, keys and types checked, `idx` made text."""
    try:
        item = json.loads(line)
    except ValueError as error:
        raise SongBloomError(
            f"{where}: is not JSON ({error})", "Write one JSON object a line."
        ) from error
    if not isinstance(item, dict):
        raise SongBloomError(f"{where}: is not a JSON object", "Write one JSON object a line.")
    for key in ("idx", "lyrics"):
        if key not in item:
            raise SongBloomError(f"{where}: no '{key}'", f"Each line has {', '.join(_ITEM_KEYS)}.")
    if isinstance(item["idx"], int) and not isinstance(item["idx"], bool):
        item["idx"] = str(item["idx"])
    for key in _ITEM_KEYS:
        if item.get(key) is not None and not isinstance(item[key], str):
            raise SongBloomError(f"{where}: '{key}' is not text", f"Put the {key} in quotes.")
    if item["idx"] is None or item["lyrics"] is None:
        raise SongBloomError(f"{where}: idx or lyrics is null", "Give both as text.")
    return item


def _file_name(idx: str, where: str) -> str:
    bad = not idx.strip() or idx.startswith(".") or len(idx) > _MAX_NAME
    if bad or any(c in '/\\:*?"<>|' or ord(c) < 32 for c in idx):
        raise SongBloomError(
            f"{where}: idx {idx[:60]!r} cannot be a file name",
            "Use letters, digits, - and _.",
        )
    return idx


def _existing(reference: Path, where: str) -> Path:
    if not reference.is_file():
        raise SongBloomError(
            f"{where}: no reference clip at {reference}", "Check the path of the clip."
        )
    return reference
