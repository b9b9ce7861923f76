"""SER: the share of a song in which another section is heard than was asked for.

The paper: "detected structure against the target, aligned by DTW, proportion of error duration". It
says no more, so this is the whole definition.

1. Asked: the lyrics' sections in order, each as long as its words take to sing
   (`songbloom.lyrics.durations`) or as its tag says, all stretched by one factor to the song's
   length. Lyrics that name nothing but verses ask for no structure: nothing is counted.
2. Heard: the sections that a backend finds in the sound, never told the lyrics. They tile the song.
3. Both are sampled every 0.1 s at the middle, as mir_eval does (in songs above five minutes 3000
   times), and aligned by classic DTW: steps (1, 1), (1, 0), (0, 1) of equal weight, both ends
   fixed, a cell costs 1 where the labels differ.
4. Errors are the cells of the cheapest path where the labels differ, each one sample long; of
   equally cheap paths the one that goes diagonally latest. SER = errors / song, from 0 to 1; of a
   set of songs, all errors over all songs.

So the right sections in the right order score 0 however long each is; a section left out or put in
costs its duration; two neighbours of equal length that change places cost their duration, of
unequal length twice the shorter one's (less where that puts them beside their like, since
neighbours of one label are one section).

Backends: `similarity` (embedded, repetitions and separated vocals), `all-in-one` (the paper's),
`oracle` (`NAME.oracle.json` beside the sound, whose "sections" have tag, start and end: for songs
made by `songbloom synth`, whose truth.json is one, and for scoring this scorer).
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from songbloom import lyrics as lyric_text
from songbloom.errors import SongBloomError, UsageError
from songbloom.evaluation import vocals
from songbloom.evaluation.items import Item
from songbloom.evaluation.metric import Measured, ratio
from songbloom.generation.device import choose_device
from songbloom.lyrics.document import Lyrics
from songbloom.lyrics.durations import section_seconds
from songbloom.lyrics.tags import TAGS
from songbloom.manifest import Track
from songbloom.stages import sound, structure
from songbloom.stages import stage as stages
from songbloom.stages.structure_sections import cover, sounding
from songbloom.tables import PrepareConfig
from songbloom.units import Seconds

VERSION = 1  # raise it when the same sections would score otherwise
FRAME: Seconds = 0.1
MAX_FRAMES = 3000  # of a song; the alignment's memory is their square
BACKENDS = ("similarity", "all-in-one", "oracle")
_SETTINGS = ("backend", "model", "separate_model")
# what a backend cannot tell apart is not held against a song
_HEARD_AS: Mapping[str, Mapping[str, str]] = {"similarity": {"bridge": "verse"}}


class Span(NamedTuple):
    """A section: its tag and its length in seconds."""

    tag: str
    seconds: Seconds


@dataclass(frozen=True)
class Errors:
    """Seconds wrong in all, and of those the seconds that fall to each section asked and heard."""

    seconds: Seconds
    asked: tuple[Seconds, ...]
    heard: tuple[Seconds, ...]


def align(asked: Sequence[Span], heard: Sequence[Span]) -> Errors:
    """The errors of sections that were heard against those that were asked for.

    What was asked is stretched to the length of what was heard. `ValueError` where either is empty.
    """
    duration = sum(span.seconds for span in heard)
    if not duration or not any(span.seconds for span in asked):
        raise ValueError("align: expected sections that last on both sides")
    step = max(FRAME, duration / MAX_FRAMES)
    count = max(1, round(duration / step))
    rows, columns = _sampled(asked, count), _sampled(heard, count)
    numbers = {tag: n for n, tag in enumerate(sorted({span.tag for span in (*asked, *heard)}))}
    wrong = _wrong_cells(
        np.array([numbers[span.tag] for span in asked])[rows],
        np.array([numbers[span.tag] for span in heard])[columns],
    )
    step = duration / count
    return Errors(
        len(wrong) * step,
        tuple((np.bincount(rows[wrong[:, 0]], minlength=len(asked)) * step).tolist()),
        tuple((np.bincount(columns[wrong[:, 1]], minlength=len(heard)) * step).tolist()),
    )


def _sampled(spans: Sequence[Span], count: int) -> np.ndarray:
    """The number of the section at the middle of each of `count` equal parts, `[count]`."""
    ends = np.cumsum([span.seconds for span in spans])
    middles = (np.arange(count) + 0.5) / count * ends[-1]
    return np.minimum(np.searchsorted(ends, middles, side="right"), len(spans) - 1)


def _wrong_cells(asked: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """Cells of the cheapest path where labels `[n]` and `[m]` differ, `[cells, 2]`."""
    cost = _costs(asked, heard)
    i, j, cells = len(asked), len(heard), []
    while i and j:
        if asked[i - 1] != heard[j - 1]:
            cells.append((i - 1, j - 1))
        before = ((i - 1, j - 1), (i - 1, j), (i, j - 1))
        i, j = min(before, key=lambda cell: cost[cell])  # the first of equals: diagonally
    return np.array(cells[::-1], dtype=np.int64).reshape(-1, 2)


def _costs(asked: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """Cost of the cheapest path to each cell, `[n + 1, m + 1]` with a border outside."""
    far = 2 * (len(asked) + len(heard))
    cost = np.full((len(asked) + 1, len(heard) + 1), far, dtype=np.int32)
    cost[0, 0] = 0
    for i, label in enumerate(asked, start=1):
        wrong = (heard != label).astype(np.int32)
        along = np.cumsum(wrong)
        before = np.minimum(cost[i - 1, 1:], cost[i - 1, :-1])
        # row[j] = min(before[j], row[j - 1]) + wrong[j], which is a running minimum less `along`
        cost[i, 1:] = np.minimum.accumulate(before - along + wrong) + along
    return cost


def asked_of(lyrics: Lyrics) -> list[Span]:
    """The sections of lyrics, as long as they should be; none where they name no structure."""
    spans = [Span(section.tag, section_seconds(section)) for section in lyrics.sections]
    return spans if {span.tag for span in spans} - {"verse"} else []


Listen = Callable[[Item], Sequence[Mapping[str, Any]]]


@dataclass
class SER:
    """The metric; see the module."""

    backend: str
    settings: PrepareConfig
    work: Path
    name: str = "ser"
    unit: str = "%"
    better: Literal["lower", "higher"] | None = "lower"
    needs: frozenset[str] = field(default=frozenset({"lyrics"}))
    corpus: bool = False

    def identity(self) -> dict[str, Any]:
        """Backend with its models, the alignment's version and frame, labels that are folded."""
        described: dict[str, Any] = {"backend": self.backend, "version": VERSION, "frame": FRAME}
        if self.backend != "oracle":
            described["structure"] = dict(structure.backend(self.settings).identity)
        if self.backend == "similarity":
            described["vocals"] = vocals.identity(self.settings.separate_model or "seedling")
            described["labels"] = dict(_HEARD_AS["similarity"])
        return described

    def measure(self, item: Item) -> Measured:
        """Seconds wrong of the song's seconds; the sections asked and heard with their errors."""
        if item.lyrics is None:
            raise SongBloomError(f"{item.name}: no lyrics", "Put them beside it as NAME.txt.")
        asked = asked_of(lyric_text.parse(item.lyrics, item.name, frontend="v1"))
        if not asked:
            return Measured(0.0, 0.0, {"asked": [], "heard": []})
        sections = self._listen(item)
        heard = [Span(s["tag"], s["end"] - s["start"]) for s in sections]
        fold = _HEARD_AS.get(self.backend, {})
        errors = align(
            *([s._replace(tag=fold.get(s.tag, s.tag)) for s in x] for x in (asked, heard))
        )
        duration = sum(span.seconds for span in heard)
        return Measured(errors.seconds, duration, _details(asked, sections, errors))

    def combine(self, songs: Sequence[Measured]) -> float:
        """Per cent of the songs' time."""
        return 100 * ratio(songs)

    def parts(self, songs: Sequence[Measured]) -> dict[str, Any]:
        """Seconds wrong, of how many, and wrong by the tag that was asked for."""
        tags = dict.fromkeys(TAGS, 0.0)
        for song in songs:
            for section in song.details["asked"]:
                tags[section["tag"]] += section["wrong"]
        return {
            "wrong_seconds": round(sum(song.amount for song in songs), 3),
            "seconds": round(sum(song.weight for song in songs), 3),
            "wrong_by_asked_tag": {tag: round(s, 3) for tag, s in tags.items() if s},
        }

    @functools.cached_property
    def _listen(self) -> Listen:
        if self.backend == "oracle":
            return _read_oracle
        return self._similarity if self.backend == "similarity" else self._all_in_one()

    def _similarity(self, item: Item) -> Sequence[Mapping[str, Any]]:
        from songbloom.stages import structure_similarity as similarity  # librosa takes its time

        mono = sound.read(item.audio, similarity.SAMPLE_RATE).mean(axis=0)
        duration = len(mono) / similarity.SAMPLE_RATE
        begin, end = sounding(mono, similarity.SAMPLE_RATE)
        model = self.settings.separate_model or "seedling"
        phrases = similarity.find_phrases(vocals.separated(item.audio, self.work, model))
        marks = similarity.segment(similarity.listen(mono), phrases, duration)
        return cover(marks, begin, end, duration)

    def _all_in_one(self) -> Listen:
        process = structure.load(self.settings, str(choose_device("auto")))

        def listen(item: Item) -> Sequence[Mapping[str, Any]]:
            song = stages.Item(Track(item.name, item.audio.name), item.audio)
            sections: Sequence[Mapping[str, Any]] = process(song, self.work)["sections"]
            return sections

        return listen


def load(settings: Mapping[str, Any], work: Path) -> SER:
    """The metric that a protocol's [ser] describes: backend, model, separate_model."""
    for key, value in settings.items():
        if key not in _SETTINGS:
            raise UsageError(f"[ser] {key}: unknown; expected {', '.join(_SETTINGS)}")
        if not isinstance(value, str):
            raise UsageError(f"[ser] {key} is {value!r}; expected text")
    backend = settings.get("backend", "similarity")
    if backend not in BACKENDS:
        raise UsageError(f"[ser] backend is '{backend}'; expected {', '.join(BACKENDS)}")
    if "model" in settings and backend != "all-in-one":
        raise UsageError(f"[ser] model: the backend {backend} has none", "Leave it out.")
    wanted = PrepareConfig(
        structure_backend=backend if backend != "oracle" else "similarity",
        structure_model=settings.get("model"),
        separate_model=settings.get("separate_model"),
    )
    return SER(backend, wanted, work)


def _read_oracle(item: Item) -> Sequence[Mapping[str, Any]]:
    """The sections in NAME.oracle.json; they must tile the song."""
    path = item.audio.with_suffix(".oracle.json")
    try:
        sections: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["sections"]
        ends = [0.0, *(float(s["end"]) for s in sections)]
        tiles = all(
            float(s["start"]) == end < s["end"] and s["tag"] in TAGS
            for s, end in zip(sections, ends, strict=False)
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SongBloomError(
            f"{path}: cannot be read as sections ({error})",
            'Write {"sections": [{"tag": "verse", "start": 0.0, "end": 12.5}, ...]}.',
        ) from error
    if not sections or not tiles:
        raise SongBloomError(
            f"{path}: its sections do not tile the song from 0 on",
            f"Let each start where the one before ends; tags are {', '.join(TAGS)}.",
        )
    return sections


def _details(
    asked: Sequence[Span], sections: Sequence[Mapping[str, Any]], errors: Errors
) -> dict[str, Any]:
    return {
        "asked": [
            {"tag": span.tag, "seconds": round(span.seconds, 3), "wrong": round(wrong, 3)}
            for span, wrong in zip(asked, errors.asked, strict=True)
        ],
        "heard": [
            {
                "tag": s["tag"],
                "start": round(s["start"], 3),
                "end": round(s["end"], 3),
                "wrong": round(wrong, 3),
            }
            for s, wrong in zip(sections, errors.heard, strict=True)
        ],
    }
