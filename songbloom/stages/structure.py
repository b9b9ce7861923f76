"""Sections of a song: where intro, verse, chorus, bridge, inst, outro and silence are.

* `tags`: the section tags of the lyrics, at the times that the align stage found for their lines.
* `similarity`: by listening alone, to repetitions and to where the separated vocals sing.
* `all-in-one`: the All-In-One model (Kim and Nam 2023), which tells beats and tempo as well.

Without a model, 'auto' takes `tags` for a song whose lyrics have them and `similarity` for others;
each song's `method` says which. Sections tile the song: no gaps, no overlaps.
"""

import importlib.metadata
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.stages import sound
from songbloom.stages.stage import Backend, Item, Process
from songbloom.stages.structure_sections import cover, from_tags, has_tags, sounding
from songbloom.tables import PrepareConfig

VERSION = 1  # of `tags` and `similarity`: raise it when they would find other sections


def backend(settings: PrepareConfig) -> Backend:
    """All-In-One where its model is named, else what needs none."""
    wanted = settings.structure_backend
    if wanted == "all-in-one" or (wanted == "auto" and settings.structure_model):
        from songbloom.stages import structure_allinone

        why = "asked for" if wanted == "all-in-one" else "its model is named"
        return structure_allinone.backend(settings, why)
    if wanted not in ("auto", "tags", "similarity"):
        raise MissingAssetError(
            f"structure_backend: '{wanted}' cannot be had as a package",
            "Type --structure-backend all-in-one, tags or similarity.",
        )
    if importlib.util.find_spec("librosa") is None:
        raise MissingAssetError(
            "Finding sections needs librosa, which is not installed",
            "Type: pip install 'songbloom[prepare]'",
        )
    identity = {"version": VERSION, "librosa": importlib.metadata.version("librosa")}
    if wanted != "auto":
        return Backend(wanted, "asked for", identity)
    why = "no model is named: each song's lyric tags where it has them, else by listening"
    return Backend("tags or similarity", why, identity)


def load(settings: PrepareConfig, device: str) -> Process:
    """The backend, ready for one song after another."""
    backend(settings)
    wanted = settings.structure_backend
    if wanted == "all-in-one" or (wanted == "auto" and settings.structure_model):
        from songbloom.stages import structure_allinone

        return structure_allinone.load(settings, device)

    def process(item: Item, folder: Path) -> Mapping[str, Any]:
        return find_sections(item, wanted)

    return process


def find_sections(item: Item, method: str) -> dict[str, Any]:
    """Sections by `tags`, by `similarity`, or by what suits the song ('auto')."""
    from songbloom.stages import structure_similarity as similarity  # librosa takes its time

    align = item.results.get("align", {})
    if method == "auto":
        method = "tags" if has_tags(align) else "similarity"
    elif method == "tags" and not has_tags(align):
        raise SongBloomError(
            f"{item.track.id}: its lyrics have no section tags whose lines were found",
            "Type --structure-backend auto to find such songs' sections by listening.",
        )
    mono = sound.read(item.audio, similarity.SAMPLE_RATE).mean(axis=0)
    duration = len(mono) / similarity.SAMPLE_RATE
    begin, end = sounding(mono, similarity.SAMPLE_RATE)
    phrases = None
    if "separate" in item.folders:
        vocals = sound.read(item.folders["separate"] / "vocals.flac", similarity.SAMPLE_RATE)
        phrases = similarity.find_phrases(vocals.mean(axis=0))
    if begin == end:
        marks = []
    elif method == "tags":
        marks = from_tags(align, duration, phrases)
    else:
        marks = similarity.segment(similarity.listen(mono), phrases, duration)
    sections = cover(marks, begin, end, duration)
    return {"method": method, "sections": sections, "tempo": None, "beats": []}
