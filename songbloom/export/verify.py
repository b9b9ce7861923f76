"""What a sound file says of itself, and what can be found in it: `songbloom verify`."""

import math
from pathlib import Path
from typing import Any

from songbloom import loudness
from songbloom.errors import MissingAssetError
from songbloom.export import provenance, tags, watermark
from songbloom.export.song import MARKED
from songbloom.files import sha256
from songbloom.stages import sound

_OURS = "SONGBLOOM_"


def verify(path: Path) -> dict[str, Any]:
    """JSON: the file, its loudness, watermark, C2PA manifest, tags, and `problems`.

    A problem is a contradiction: a watermark that is declared and not found or found and not
    declared, a manifest that does not fit the file. `SongBloomError` for what is no sound,
    `MissingAssetError` without mutagen.
    """
    tags.require()
    path = Path(path)
    with sound.stream(path) as header:
        rate = header.sample_rate
    samples = sound.read(path, rate)
    stereo = samples if samples.shape[0] <= 2 else sound.to_stereo(samples)
    found = watermark.detect(stereo, rate)
    told = tags.read(path)
    declared = told.get(MARKED, "")
    manifest, lacking = _manifest(path)
    lyrics = told.get("UNSYNCEDLYRICS") or told.get("LYRICS", "")
    return {
        "file": str(path),
        "sha256": sha256(path),
        "sample_rate": rate,
        "channels": samples.shape[0],
        "seconds": round(samples.shape[1] / rate, 3),
        "lufs": _finite(loudness.integrated(stereo, rate)),
        "true_peak_dbtp": _finite(loudness.true_peak(stereo, rate)),
        "watermark": {
            "found": found.present,
            "declared": declared or None,
            "score": round(found.score, 2),
            "threshold": round(watermark.THRESHOLD, 2),
            "false_alarms": watermark.FALSE_ALARMS,
            "tried": samples.shape[1] >= watermark.SHORTEST * rate,
        },
        "c2pa": lacking or _row(manifest),
        "lyrics_lines": sum(1 for line in lyrics.splitlines() if line.strip()),
        "made_by": {k[len(_OURS) :].lower(): v for k, v in told.items() if k.startswith(_OURS)},
        "problems": _problems(found.present, declared, manifest),
    }


def _manifest(path: Path) -> tuple[provenance.Manifest | None, str]:
    """The manifest, and why it could not be looked for."""
    try:
        return provenance.read(path), ""
    except MissingAssetError as error:
        return None, f"not looked for: {error.message} ({error.hint})"


def _row(manifest: provenance.Manifest | None) -> dict[str, Any] | None:
    if manifest is None:
        return None
    return {
        "state": manifest.state,
        "signer": manifest.signer,
        "generator": manifest.generator,
        "song": dict(manifest.song),
    }


def _problems(marked: bool, declared: str, manifest: provenance.Manifest | None) -> list[str]:
    problems = []
    signed = "" if manifest is None else str(manifest.song.get("watermark", ""))
    if (declared or signed) and not marked:
        problems.append(f"the watermark {declared or signed} is declared, and is not found")
    if marked and not (declared or signed):
        problems.append(f"the watermark {watermark.NAME} is found, and is not declared")
    if manifest is not None and manifest.state == "Invalid":
        problems.append(f"the C2PA manifest does not hold: {', '.join(manifest.problems)}")
    return problems


def _finite(value: float) -> float | None:
    return round(value, 2) + 0.0 if math.isfinite(value) else None
