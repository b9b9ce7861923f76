"""How well the structure stage finds the sections of songs, scored by mir_eval.

    pip install 'songbloom[prepare,synth]' mir_eval
    python benchmarks/structure.py [--songs N] [--cache DIR] [--stages] [--json]

Two sets of synthesised songs whose sections are known. `short`: as `songbloom synth` makes them,
20-30 s, in which no section comes twice. `long`: one to two minutes in the form intro, verse,
chorus, verse, chorus, inst, chorus, outro, where the chorus has the same notes and words each time
and the second verse has the first one's chords under other words and another melody. `tags` is
given the true times of the lines; `similarity` the mix, and the true vocals or none. With
`--stages`, what the embedded separator and aligner find takes the truth's place.

Boundary F at 0.5 s and 3 s (without the song's two ends), pairwise F of labels, and the share of
the time under the right label. The constants of the stage were set on other songs (seed 21).
"""

import argparse
import importlib
import json
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

import mir_eval
import numpy as np

from songbloom import audio
from songbloom.manifest import Track
from songbloom.stages import structure
from songbloom.stages.stage import Item
from songbloom.synth.render import render
from songbloom.synth.score import Beat, Chord, Score, Section, compose
from songbloom.tables import PrepareConfig
from songbloom.units import SAMPLE_RATE

SEED = 31
SCORES = ("boundary_f_0.5s", "boundary_f_3s", "pairwise_f", "label_accuracy")
FORM = ("intro", "verse", "chorus", "second verse", "chorus", "inst", "chorus", "outro")
BARS = {"intro": 2, "inst": 4, "outro": 2}


@dataclass
class Arrangement:
    """A song while it is put together out of the sections of another."""

    score: Score
    bar: float
    at: float = 0.0
    parts: dict[str, list[Any]] = field(
        default_factory=lambda: {
            name: [] for name in ("sections", "lines", "words", "phones", "notes", "chords")
        }
    )

    def sung(self, tag: str, source: int, loop: Sequence[Chord]) -> None:
        """Append the sung section number `source`, over the chords of `loop`."""
        section = self.score.sections[source]
        shift = self.at - section.start
        moved: dict[int, int] = {}
        for number, line in enumerate(self.score.lines):
            if line.section == source:
                moved[number] = len(self.parts["lines"])
                self._add("lines", line, shift, section=len(self.parts["sections"]))
        words: dict[int, int] = {}
        for number, word in enumerate(self.score.words):
            if word.line in moved:
                words[number] = len(self.parts["words"])
                self._add("words", word, shift, line=moved[word.line])
        for name, items in (("phones", self.score.phones), ("notes", self.score.notes)):
            for item in items:
                if item.word in words:
                    self._add(name, item, shift, word=words[item.word])
        self.played(tag, round((section.end - section.start) / self.bar), loop)

    def played(self, tag: str, bars: int, loop: Sequence[Chord]) -> None:
        """Append a section's chords: `bars` of `loop`."""
        begin = self.at
        for number in range(bars):
            chord = loop[number % len(loop)]
            self.parts["chords"].append(replace(chord, start=self.at, end=self.at + self.bar))
            self.at += self.bar
        self.parts["sections"].append(Section(tag, begin, self.at))

    def _add(self, name: str, item: Any, shift: float, **index: int) -> None:
        moved = replace(item, start=item.start + shift, end=item.end + shift, **index)
        self.parts[name].append(moved)

    def done(self) -> Score:
        beat = self.bar / self.score.meter
        count = round(self.at / beat)
        beats = tuple(Beat(n * beat, n % self.score.meter + 1) for n in range(count))
        parts = {name: tuple(items) for name, items in self.parts.items()}
        return replace(self.score, duration=self.at, beats=beats, **parts)


def pop_song(score: Score) -> Score | None:
    """The score's verse, chorus and second verse in `FORM`; None where it has no second verse."""
    sung = sorted({line.section for line in score.lines})
    if len(sung) < 3:
        return None
    number = dict(zip(("verse", "chorus", "second verse"), sung, strict=True))
    own = {
        name: [c for c in score.chords if section.start - 1e-6 <= c.start < section.end - 1e-6]
        for name, section in ((name, score.sections[n]) for name, n in number.items())
    }
    song = Arrangement(score, score.meter * 60.0 / score.tempo)
    for name in FORM:
        if name in BARS:
            song.played(name, BARS[name], own["verse"])
        else:
            loop = own["chorus" if name == "chorus" else "verse"]
            song.sung("chorus" if name == "chorus" else "verse", number[name], loop)
    return song.done()


def songs(kind: str, count: int) -> Iterator[Score]:
    """Scores of a set, in order."""
    index = 0
    while count:
        score = compose(SEED, index, num_lines=8) if kind == "long" else compose(SEED, index)
        song = pop_song(score) if kind == "long" else score
        if song is not None:
            yield song
            count -= 1
        index += 1


def item(score: Score, folder: Path) -> Item:
    """The song on disk, rendered if it is not there, with true stems and true times of lines."""
    stems = folder / "separate"
    stems.mkdir(parents=True, exist_ok=True)
    if not (folder / "audio.flac").is_file():
        sung = render(score)
        audio.save(stems / "vocals.flac", sung.vocals, SAMPLE_RATE)
        audio.save(folder / "audio.flac", sung.mix, SAMPLE_RATE)
    track = Track(folder.name, "audio.flac", lyrics_text=score.lyrics, language="en")
    results = {"align": aligned(score)}
    return Item(track, folder / "audio.flac", results=results, folders={"separate": stems})


def aligned(score: Score) -> dict[str, Any]:
    """What a perfect aligner would say."""
    lines = [
        {"section": n.section, "text": n.text, "start": n.start, "end": n.end, "confidence": 1.0}
        for n in score.lines
    ]
    sections = []
    for number, section in enumerate(score.sections):
        own = [line for line in score.lines if line.section == number]
        start, end = (own[0].start, own[-1].end) if own else (None, None)
        sections.append({"tag": section.tag, "start": start, "end": end})
    return {"lines": lines, "sections": sections}


def scored(score: Score, sections: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The four scores of one song."""
    truth = [(s.start, s.end, s.tag) for s in score.sections]
    found = [(s["start"], s["end"], s["tag"]) for s in sections]
    found[-1] = (found[-1][0], score.duration, found[-1][2])  # to the last sample, as the truth
    spans = [np.array([row[:2] for row in rows]) for rows in (truth, found)]
    tags = [[row[2] for row in rows] for rows in (truth, found)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of songs in which no boundary is found
        near, far = (
            mir_eval.segment.detection(*spans, window=width, trim=True)[2] for width in (0.5, 3.0)
        )
    pairwise = mir_eval.segment.pairwise(spans[0], tags[0], spans[1], tags[1])[2]
    moments = np.arange(0.05, score.duration, 0.1)
    heard = [
        np.array(names)[np.minimum(np.searchsorted(span[:, 1], moments), len(names) - 1)]
        for span, names in zip(spans, tags, strict=True)
    ]
    accuracy = float(np.mean(heard[0] == heard[1]))
    return dict(zip(SCORES, (near, far, pairwise, accuracy), strict=True))


def through_stages(song: Item, folder: Path) -> Item:
    """The song as the embedded separator and aligner see it."""
    results, folders = {}, {}
    for stage in ("separate", "align"):
        module = importlib.import_module(f"songbloom.stages.{stage}")
        place = folder / f"{stage}-stage"
        place.mkdir(exist_ok=True)
        process = module.load(PrepareConfig(), "cpu")
        seen = replace(song, results=dict(results), folders=dict(folders))
        results[stage], folders[stage] = process(seen, place), place
    return replace(song, results=results, folders=folders)


def measured(kind: str, count: int, folder: Path, stages: bool) -> Iterator[dict[str, Any]]:
    """A row for each way of knowing where somebody sings."""
    known = [
        (score, item(score, folder / f"{kind}_{number:03d}"))
        for number, score in enumerate(songs(kind, count))
    ]
    ways = {
        "tags, true times": ("tags", known),
        "similarity, true vocals": ("similarity", known),
        "similarity, vocals unknown": (
            "similarity",
            [(score, replace(song, folders={})) for score, song in known],
        ),
    }
    if stages:
        seen = [(score, through_stages(song, song.audio.parent)) for score, song in known]
        ways["tags, aligned"] = ("tags", seen)
        ways["similarity, separated vocals"] = ("similarity", seen)
    for name, (method, pairs) in ways.items():
        begin = time.perf_counter()
        found = [structure.find_sections(song, method)["sections"] for _, song in pairs]
        seconds = time.perf_counter() - begin
        rows = [scored(score, f) for (score, _), f in zip(pairs, found, strict=True)]
        yield {
            "songs": kind,
            "backend": name,
            "count": count,
            **{key: round(mean(row[key] for row in rows), 3) for key in SCORES},
            "real_time_factor": round(seconds / sum(score.duration for score, _ in pairs), 4),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--songs", type=int, default=12, help="songs in each set")
    parser.add_argument("--cache", type=Path, help="keep the rendered songs here")
    parser.add_argument("--stages", action="store_true", help="also after separate and align")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.cache or Path(temporary)
        rows = [
            row
            for kind in ("short", "long")
            for row in measured(kind, chosen.songs, folder, chosen.stages)
        ]
    if chosen.json:
        print(json.dumps({"seed": SEED, "rows": rows}, indent=2))
        return
    print(f"{'songs':6} {'backend':30}" + "".join(f"{name:>17}" for name in SCORES) + "      RTF")
    for row in rows:
        values = "".join(f"{row[name]:17.3f}" for name in SCORES)
        print(f"{row['songs']:6} {row['backend']:30}{values} {row['real_time_factor']:8.4f}")


if __name__ == "__main__":
    main()
