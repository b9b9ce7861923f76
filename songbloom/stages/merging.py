"""Slices of a corpus, prepared apart, become one training set."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from songbloom import manifest
from songbloom.data import writer
from songbloom.data.shards import DatasetInfo
from songbloom.errors import SongBloomError, UsageError
from songbloom.files import sole_user, write_text
from songbloom.stages import card

_OWN = ("slice", "inputs", "songs")  # what may differ between slices of one corpus
_FREE = ("workers", "device", "batch", "item_timeout", "retries", "stems")  # leave no trace


def merge(folders: Sequence[Path], output: Path) -> DatasetInfo:
    """Join the manifests and the training sets; the dataset hash is that of one run over all.

    Slices whose songs were all refused have no training set, and add rows of the manifest only.
    `SongBloomError` for slices made with other settings, and for a song in two of them.
    """
    if not folders:
        raise UsageError("merge: expected at least one folder", "songbloom merge A B -o ALL")
    described = [_described(Path(folder)) for folder in folders]
    for folder, description in zip(folders, described, strict=True):
        if _comparable(description) != _comparable(described[0]):
            raise SongBloomError(
                f"{folder}: was prepared with other settings than {folders[0]}",
                "Prepare all slices with the same settings.",
            )
    busy = SongBloomError(f"{output}: another process works here", "Choose another -o.")
    with sole_user(output, busy):
        full = [folder for folder in folders if (Path(folder) / "dataset.json").exists()]
        info = writer.merge(full, Path(output))
        manifests = [Path(folder) / "manifest.jsonl" for folder in folders]
        manifest.write(Path(output) / "manifest.jsonl", manifest.merge(manifests))
        whole = {**described[0], "slice": "1/1", "inputs": "", "songs": _songs(described)}
        write_text(Path(output) / "prepare.json", json.dumps(whole, indent=1) + "\n")
        card.write_card(Path(output))
    return info


def _described(folder: Path) -> dict[str, Any]:
    try:
        described: dict[str, Any] = json.loads((folder / "prepare.json").read_text("utf-8"))
        return described
    except (OSError, ValueError) as error:
        raise SongBloomError(
            f"{folder}: is not what `songbloom prepare` makes (no prepare.json)",
            "Name the folders that were given with -o.",
        ) from error


def _comparable(described: dict[str, Any]) -> dict[str, Any]:
    settings = {k: v for k, v in described.get("settings", {}).items() if k not in _FREE}
    return {k: v for k, v in described.items() if k not in _OWN} | {"settings": settings}


def _songs(described: Sequence[dict[str, Any]]) -> str:
    folders = {str(description.get("songs", "")) for description in described}
    return folders.pop() if len(folders) == 1 else ""
