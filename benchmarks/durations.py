"""How far `songbloom.lyrics.durations` is from the truth, and where its constants come from.

    pip install music21==10.5.1
    python benchmarks/durations.py

Three truths. Recordings: `recordings.csv`, 14 English songs of JamendoLyrics (Stoller et al.; line
times set by hand, Creative Commons), stretches of lines without a break of 5 s as counts and
seconds, without their words. Synthesised songs: exact. Scores of music21's corpus that carry words
and a tempo; a tempo of 120 is mostly the notation program's default and no one's wish, and early
music is listed apart. Each recording is estimated by constants measured on the others (leave one
file out); no constant was measured on the test songs or on scores.

Prints one JSON object. Errors are relative to the truth: |estimate / truth - 1|.
"""

import csv
import json
import re
import statistics
import sys
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from songbloom.lyrics.durations import LINE_PAUSE, SECONDS_PER_SYLLABLE
from songbloom.lyrics.syllables import count
from songbloom.synth.score import compose

RECORDINGS = Path(__file__).parent / "recordings.csv"
SONGS = 300
BREAK = 5.0  # seconds without words that are no pause between two lines
MELODIES = (
    "bach/bwv113.8.mxl",
    "beach/prayer_of_a_tired_child.musicxml",
    "handel/rinaldo/Lascia_chio_pianga.mxl",
    "johnson_j_r/lift_every_voice.mxl",
    "liliuokalani/aloha_oe.mxl",
    "schumann_robert/dichterliebe_no2.xml",
    "verdi/laDonnaEMobile.mxl",
)
EARLY = ("luca/gloria.xml", "lusitano/*.mxl", "monteverdi/madrigal.[35].*.mxl", "trecento/*.xml")


@dataclass(frozen=True)
class Part:
    """A section or stretch: its lines and syllables, seconds inside the lines and in all."""

    lines: int
    syllables: int
    line_seconds: float
    seconds: float


Constants = tuple[float, float]  # seconds a syllable, seconds of pause a line


def recordings() -> dict[str, list[Part]]:
    songs = defaultdict(list)
    with open(RECORDINGS, encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            numbers = int(row["lines"]), int(row["syllables"])
            seconds = float(row["line_seconds"]), float(row["seconds"])
            songs[row["song"]].append(Part(*numbers, *seconds))
    return dict(songs)


def synthesised(seed: int, split: str) -> dict[str, list[Part]]:
    """The vocal sections of songs, from the border before to the border after."""
    songs = {}
    for index in range(SONGS):
        score = compose(seed, index, split=split)
        parts = []
        for number, section in enumerate(score.sections):
            lines = [line for line in score.lines if line.section == number]
            if lines:
                syllables = sum(count(line.text) for line in lines)
                inside = sum(line.end - line.start for line in lines)
                parts.append(Part(len(lines), syllables, inside, section.end - section.start))
        songs[str(index)] = parts
    return songs


def scores(names: Sequence[str]) -> dict[str, list[Part]]:
    """Each score's most worded part, as one section; scores without a tempo are left out."""
    import music21

    corpus = Path(music21.__file__).parent / "corpus"
    paths = sorted({path for name in names for path in corpus.glob(name)})
    found = {str(path.relative_to(corpus)): read_score(path) for path in paths}
    return {name: [part] for name, part in found.items() if part}


def read_score(path: Path) -> Part | None:
    """Repeats are not played; breaks longer than `BREAK` do not count."""
    from music21 import converter, tempo

    score = converter.parse(path)
    marks = score.recurse().getElementsByClass(tempo.MetronomeMark)
    tempos = [mark.numberSounding or mark.number for mark in marks]
    part = max(score.parts, key=lambda part: sum(bool(n.lyrics) for n in part.recurse().notes))
    notes = [note for note in part.flatten().stripTies().notes if not note.duration.isGrace]
    worded = [number for number, note in enumerate(notes) if note.lyrics]
    if not any(tempos) or len(worded) < 30:
        return None
    lines = [line for line in re.split(r"[.,;:!?]+(?:\s|$)", words(notes)) if count(line)]
    beat = 60 / next(filter(None, tempos))
    sung = [n for n in notes[worded[0] :] if n.offset <= notes[worded[-1]].offset]
    seconds = sung_beats(sung, BREAK / beat) * beat
    return Part(len(lines), sum(map(count, lines)), seconds, seconds)


def words(notes: Sequence[Any]) -> str:
    """The first verse, syllables joined to words."""
    text = ""
    for lyric in (note.lyrics[0] for note in notes if note.lyrics):
        text += lyric.text or ""
        text += "" if lyric.syllabic in ("begin", "middle") else " "
    return text


def sung_beats(notes: Sequence[Any], longest: float) -> float:
    beats = 0.0
    for note, following in zip(notes, [*notes[1:], None], strict=True):
        length = float(note.quarterLength)
        step = float(following.offset - note.offset) if following else length
        beats += length if step - length >= longest else step
    return beats


def constants(songs: dict[str, list[Part]]) -> Constants:
    """Medians over songs."""
    totals = [total(parts) for parts in songs.values()]
    return (
        statistics.median(t.line_seconds / t.syllables for t in totals),
        statistics.median((t.seconds - t.line_seconds) / t.lines for t in totals),
    )


def total(parts: Sequence[Part]) -> Part:
    lines, syllables = sum(p.lines for p in parts), sum(p.syllables for p in parts)
    return Part(lines, syllables, sum(p.line_seconds for p in parts), sum(p.seconds for p in parts))


def error(part: Part, known: Constants) -> float:
    """Estimate / truth - 1."""
    return (part.syllables * known[0] + part.lines * known[1]) / part.seconds - 1


def summary(errors: Sequence[float]) -> dict[str, float]:
    sizes = [abs(e) for e in errors]
    ninth = statistics.quantiles(sizes, n=10, method="inclusive")[8] if len(sizes) > 1 else sizes[0]
    return {
        "count": len(sizes),
        "median_error": round(statistics.median(sizes), 3),
        "90th_percentile": round(ninth, 3),
        "median_signed_error": round(statistics.median(errors), 3),
    }


def judged(songs: dict[str, list[Part]], known: Constants) -> dict[str, dict[str, float]]:
    return {
        "songs": summary([error(total(parts), known) for parts in songs.values()]),
        "sections": summary([error(part, known) for parts in songs.values() for part in parts]),
    }


def left_out(songs: dict[str, list[Part]]) -> dict[str, dict[str, float]]:
    """Every song by the constants of the others."""
    whole, parted = [], []
    for name, parts in songs.items():
        known = constants({other: songs[other] for other in songs if other != name})
        whole.append(error(total(parts), known))
        parted += [error(part, known) for part in parts]
    return {"songs": summary(whole), "sections": summary(parted)}


def rates(songs: dict[str, list[Part]]) -> dict[str, float]:
    totals = [total(parts) for parts in songs.values()]
    syllable, pause = constants(songs)
    return {
        "seconds_per_syllable": round(syllable, 3),
        "line_pause_seconds": round(pause, 3),
        "syllables_a_second": round(statistics.median(t.syllables / t.seconds for t in totals), 2),
    }


def main() -> None:
    warnings.filterwarnings("ignore")  # music21's, about the encodings of old files
    known = (SECONDS_PER_SYLLABLE, LINE_PAUSE)
    heard, test = recordings(), synthesised(2, "test")
    result: dict[str, Any] = {
        "constants": {"seconds_per_syllable": known[0], "line_pause_seconds": known[1]},
        "measured": {"recordings": rates(heard), "synthesised": rates(synthesised(1, "train"))},
        "errors": {"recordings": left_out(heard), "synthesised": judged(test, known)},
    }
    try:
        for name, files in (("songs in scores", MELODIES), ("early music in scores", EARLY)):
            result["errors"][name] = judged(scores(files), known)["songs"]
    except ImportError:
        print("no music21: scores are left out (pip install music21==10.5.1)", file=sys.stderr)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
