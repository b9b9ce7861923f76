"""What `songbloom prepare` costs: a stage at a time, around the models, with workers, per row.

    python benchmarks/prepare.py                     all of it on composed songs of three minutes
    python benchmarks/prepare.py --rows 1500000      ledger and manifest alone

Figures of speed are ratios within one run; real-time factors are seconds of one core a second of
song.
"""

import argparse
import dataclasses
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from songbloom import audio, manifest
from songbloom.manifest import Track
from songbloom.stages import prepare, sources
from songbloom.stages.chain import Chain
from songbloom.stages.crews import LocalCrew
from songbloom.stages.ledger import Result
from songbloom.stages.stage import STAGES, Backend, digest
from songbloom.stages.worker import load, without_details
from songbloom.synth.render import render
from songbloom.synth.score import compose
from songbloom.tables import FiltersConfig, PrepareConfig
from songbloom.units import SAMPLE_RATE, Seconds

LENGTH: Seconds = 180.0
SECTION = {"tag": "verse", "start": 0.0, "end": 180.0, "confidence": 1.0}


def write_songs(folder: Path, number: int, length: Seconds) -> None:
    """Songs of about `length` seconds: composed ones, one after another."""
    index = 0
    for song in range(number):
        parts, lyrics, seconds = [], [], 0.0
        while seconds < length:
            score = compose(7, index)
            parts.append(render(score).mix)
            lyrics.append(score.lyrics)
            seconds, index = seconds + score.duration, index + 1
        audio.save(folder / f"song{song}.flac", np.concatenate(parts, axis=1), SAMPLE_RATE)
        (folder / f"song{song}.txt").write_text("\n".join(lyrics), encoding="utf-8")


def bare(songs: Path, folder: Path, settings: PrepareConfig) -> dict[str, Seconds]:
    """Seconds of each stage's model, called one song after another in this process."""
    torch.set_num_threads(1)
    found = sources.find(songs)
    chain = Chain(found.root, folder / "work", settings, prepare.permissive())
    chain.take(found)
    seconds = {}
    for stage in STAGES:
        process = load(stage, settings, "cpu")
        seconds[stage] = 0.0
        for track, stamp in chain.ledger.tracks():
            settled = chain.settle(track, stamp)
            key = chain.key(stage, settled, stamp)
            target = chain.folder(stage, key)
            target.mkdir(parents=True)
            started_at = time.perf_counter()
            fields = process(chain.item(settled), target)
            seconds[stage] += time.perf_counter() - started_at
            kept = without_details(stage, fields, target)
            size = sum(file.stat().st_size for file in target.iterdir())
            chain.ledger.put(stage, key, Result(kept, bytes=size))
    chain.close()
    return seconds


def piped(songs: Path, folder: Path, settings: PrepareConfig) -> Seconds:
    """Seconds of the whole command's work, processes and models included."""
    task = prepare.Task(songs, folder, settings, FiltersConfig(min_alignment=0.0, min_voice=0.0))
    started_at = time.perf_counter()
    report = prepare.prepare(task, lambda logs: LocalCrew(settings, logs), lambda event: None)
    assert report.dataset is not None, report.reasons
    return time.perf_counter() - started_at


def speed(number: int, length: Seconds) -> dict[str, Any]:
    """Real-time factors, what the pipeline adds, what a second worker brings."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "songs").mkdir()
        write_songs(folder / "songs", number, length)
        total = sum(audio.info(path).duration for path in (folder / "songs").glob("*.flac"))
        models = bare(folder / "songs", folder / "bare", PrepareConfig(workers=1))
        one = piped(folder / "songs", folder / "one", PrepareConfig(workers=1))
        two = piped(folder / "songs", folder / "two", PrepareConfig(workers=2))
        return {
            "songs": number,
            "seconds_of_song": round(total, 1),
            "real_time_factor": {s: round(seconds / total, 4) for s, seconds in models.items()},
            "models_seconds": round(sum(models.values()), 1),
            "one_worker_seconds": round(one, 1),
            "overhead_over_models": round(one / sum(models.values()) - 1, 4),
            "two_workers_speedup": round(one / two, 3),
        }


def rows(number: int) -> dict[str, Any]:
    """Rows a second and memory of a corpus of that many songs that are through all stages."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = {stage: Backend(stage, "for this benchmark") for stage in STAGES}
        chain = Chain(folder, folder / "work", PrepareConfig(), FiltersConfig(), chosen)
        before, steps = _memory(), {}
        for step, work in (
            ("corpus", lambda: chain.ledger.replace_tracks(_tracks(number))),
            ("results", lambda: _fill(chain)),
            ("originals", lambda: chain._find_originals()),
            ("resume", lambda: sum(1 for _ in chain.songs())),
            ("manifest", lambda: manifest.write(folder / "manifest.jsonl", chain.songs())),
            ("read", lambda: sum(1 for _ in manifest.read(folder / "manifest.jsonl"))),
        ):
            started_at = time.perf_counter()
            work()
            steps[step] = round(number / (time.perf_counter() - started_at))
        return {
            "rows": number,
            "rows_per_second": steps,
            "memory_bytes": _memory(),
            "memory_before_bytes": before,
            "ledger_bytes": (folder / "work" / "ledger.sqlite").stat().st_size,
            "manifest_bytes": (folder / "manifest.jsonl").stat().st_size,
        }


def _tracks(number: int) -> Iterator[tuple[Track, str]]:
    for n in range(number):
        name = f"{n // 1000:05d}/{n:08d}"
        yield (
            Track(name, f"{name}.flac", f"{name}.txt", title=f"Song {n}", artist=f"A {n % 999}"),
            (f"{n:064x}"),
        )


def _fill(chain: Chain) -> None:
    """Every stage's result of every song."""
    common: dict[str, dict[str, Any]] = {
        "separate": {"voice": 0.7},
        "align": {"matched": 0.95, "language": "en"},
        "structure": {"sections": [SECTION] * 8},
        "tokenize": {"frames": 4500, "vocab_size": 1480, "codebook_hash": "0" * 64, "used": 900},
        "encode-latents": {"frames": 4500, "vae_hash": "0" * 64, "latent_dim": 64},
    }
    for track, stamp in chain.ledger.tracks():
        ingested = _ingested(digest(track.id))
        chain.ledger.put("ingest", chain.key("ingest", track, stamp), Result(ingested))
        results: dict[str, dict[str, Any]] = {"ingest": ingested}
        track = dataclasses.replace(track, results=results)
        for stage, fields in common.items():
            key = chain.key(stage, track, stamp)
            chain.ledger.put(stage, key, Result(fields))
            results[stage] = {"key": key}


def _ingested(sha: str) -> dict[str, Any]:
    sound = {"duration": 180.0, "rms_dbfs": -14.0, "silence": 0.01, "clipped": 0.0}
    file = {"audio_sha256": sha, "lyrics_sha256": sha, "sample_rate": 44_100, "channels": 2}
    lyrics = {
        "lyrics_words": 180,
        "lyrics_lines": 30,
        "lyrics_error": "",
        "lyrics_languages": ["en"],
    }
    return sound | file | lyrics | {"peak": 0.9, "findings": [], "fingerprint": "A" * 120}


def _memory() -> int:
    """Most memory so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--songs", type=int, default=4)
    parser.add_argument("--length", type=float, default=LENGTH, help="seconds")
    parser.add_argument("--rows", type=int, help="ledger and manifest alone, with so many rows")
    args = parser.parse_args()
    print(json.dumps(rows(args.rows) if args.rows else speed(args.songs, args.length), indent=1))


if __name__ == "__main__":
    main()
