"""Sections of songs: they tile every song, and come near those that are known."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from songbloom import audio
from songbloom.errors import SongBloomError
from songbloom.lyrics.tags import TAGS
from songbloom.manifest import Track
from songbloom.stages import structure
from songbloom.stages import structure_similarity as similarity
from songbloom.stages.stage import Item
from songbloom.stages.structure_sections import Mark, cover, from_tags, has_tags
from songbloom.synth.render import render
from songbloom.synth.score import Score, compose
from songbloom.tables import PrepareConfig
from songbloom.units import SAMPLE_RATE

Truth = Sequence[tuple[float, float, str]]


@dataclass(frozen=True)
class Known:
    """A song on disk whose sections are known."""

    item: Item
    truth: Truth


def aligned(score: Score) -> dict[str, Any]:
    """What a perfect aligner would say of a score."""
    lines = [
        {"section": n.section, "text": n.text, "start": n.start, "end": n.end, "confidence": 0.9}
        for n in score.lines
    ]
    return {
        "lines": lines,
        "sections": [{"tag": s.tag, "start": None, "end": None} for s in score.sections],
    }


def make(folder: Path, mix: np.ndarray, vocals: np.ndarray | None, align: Any = None) -> Item:
    """A song that the earlier stages are done with."""
    folder.mkdir(parents=True, exist_ok=True)
    audio.save(folder / "song.flac", mix.astype(np.float32), SAMPLE_RATE)
    folders = {}
    if vocals is not None:
        folders["separate"] = folder
        audio.save(folder / "vocals.flac", vocals.astype(np.float32), SAMPLE_RATE)
    results = {"align": align} if align is not None else {}
    return Item(Track("song", "song.flac"), folder / "song.flac", results=results, folders=folders)


def found(item: Item, backend: str = "auto") -> dict[str, Any]:
    """What the stage says of a song."""
    process = structure.load(PrepareConfig(structure_backend=backend), "cpu")
    return dict(process(item, item.audio.parent))


def tiles(sections: Sequence[dict[str, Any]], duration: float) -> bool:
    """Sections with our tags, longer than nothing, end to end from 0 to the song's end."""
    ends = [0.0, *(section["end"] for section in sections)]
    return (
        ends[-1] == pytest.approx(duration, abs=1e-3)
        and all(s["start"] == end < s["end"] for s, end in zip(sections, ends, strict=False))
        and all(s["tag"] in TAGS and 0 <= s["confidence"] <= 1 for s in sections)
    )


def boundary_f(truth: Truth, sections: Sequence[dict[str, Any]], width: float) -> float:
    """Of the boundaries inside the song."""
    spans = [
        np.array([row[:2] for row in truth]),
        np.array([[section["start"], section["end"]] for section in sections]),
    ]
    spans[1][-1, 1] = spans[0][-1, 1]
    return float(mir_eval.segment.detection(*spans, window=width, trim=True)[2])


def accuracy(truth: Truth, sections: Sequence[dict[str, Any]]) -> float:
    """The share of the time that has the right tag."""
    moments = np.arange(0.05, truth[-1][1] - 0.05, 0.1)
    right = [next(tag for _, end, tag in truth if t < end) for t in moments]
    heard = [next(s["tag"] for s in sections if t < s["end"] + 0.1) for t in moments]
    return float(np.mean([a == b for a, b in zip(right, heard, strict=True)]))


@pytest.fixture(scope="module")
def pop(tmp_path_factory: pytest.TempPathFactory) -> Known:
    """A rendered song of three sung sections, cut up and put together in a longer form."""
    score = compose(8, 3, num_lines=6)
    sung = [s for s in score.sections if s.tag in ("verse", "chorus")]
    assert len(sung) == 3
    sound = render(score)
    pieces, truth, at = [], [], 0.0
    for tag, source, voice in (
        ("intro", 0, 0), ("verse", 0, 1), ("chorus", 1, 1), ("verse", 2, 1), ("chorus", 1, 1),
        ("inst", 0, 0), ("chorus", 1, 1), ("outro", 0, 0),
    ):  # fmt: skip
        begin, end = (round(t * SAMPLE_RATE) for t in (sung[source].start, sung[source].end))
        pieces.append((sound.vocals[:, begin:end] * voice, sound.backing[:, begin:end]))
        truth.append((at, at + (end - begin) / SAMPLE_RATE, tag))
        at = truth[-1][1]
    vocals, backing = (np.concatenate(parts, axis=1) for parts in zip(*pieces, strict=True))
    folder = tmp_path_factory.mktemp("pop")
    return Known(make(folder, vocals + backing, vocals), truth)


MARKS = st.lists(
    st.builds(Mark, st.sampled_from(TAGS), st.floats(-5, 70), st.floats(-0.5, 1.5)), max_size=8
)


@given(MARKS, st.floats(0, 30), st.floats(0, 30), st.floats(0, 30))
def test_sections_tile_the_song(
    marks: list[Mark], before: float, sung: float, after: float
) -> None:
    """Whatever is marked and wherever it is silent: no gap, no overlap, nothing outside."""
    if sung < 0.5:
        before, sung = 0.0, 0.0
    before, after = (0.0 if silence < 2 else silence for silence in (before, after))
    marks = marks if sung == 0 else [*marks, Mark("verse", 0.0, 0.5)]
    duration = before + sung + after
    if duration > 0:
        assert tiles(cover(marks, before, before + sung, duration), duration)


LINES = st.lists(
    st.tuples(st.integers(0, 5), st.none() | st.floats(0, 60), st.floats(0, 10), st.floats(0, 1)),
    min_size=1,
    max_size=12,
)


@given(LINES, st.lists(st.sampled_from(TAGS), min_size=4, max_size=4), st.booleans())
def test_tags_tile_the_song_whatever_an_aligner_says(
    lines: list[Any], tags: list[str], heard: bool
) -> None:
    """Lines that are lost, overlap, are out of order or of no section do no harm."""
    align = {
        "sections": [{"tag": tag, "start": None, "end": None} for tag in tags],
        "lines": [
            {
                "section": section,
                "start": start,
                "end": None if start is None else start + length,
                "confidence": confidence,
            }
            for section, start, length, confidence in lines
        ],
    }
    if has_tags(align):
        marks = from_tags(align, 60.0, [(3.0, 40.0)] if heard else None)
        assert tiles(cover(marks, 0.0, 60.0, 60.0), 60.0)


def test_tags_come_near_the_sections_they_stand_for() -> None:
    """With the true times of the lines, over 30 songs (measured: 0.83 at 0.5 s, 0.97 right)."""
    near, far, right = [], [], []
    for index in range(30):
        score = compose(3, index)
        marks = from_tags(aligned(score), score.duration, None)
        sections = cover(marks, 0.0, score.duration, score.duration)
        truth = [(s.start, s.end, s.tag) for s in score.sections]
        near.append(boundary_f(truth, sections, 0.5))
        far.append(boundary_f(truth, sections, 3.0))
        right.append(accuracy(truth, sections))
    assert np.mean(near) > 0.72 and np.mean(far) > 0.99 and np.mean(right) > 0.94


def lines_at(*times: tuple[int, float, float]) -> list[dict[str, Any]]:
    return [
        {"section": section, "text": "la", "start": start, "end": end, "confidence": 0.8}
        for section, start, end in times
    ]


def told(sections: list[dict[str, Any]]) -> list[tuple[str, float]]:
    return [(section["tag"], section["start"]) for section in sections]


def by_tags(tags: str, *times: tuple[int, float, float], phrases: Any = None) -> list[Any]:
    align = {"sections": [{"tag": tag} for tag in tags.split()], "lines": lines_at(*times)}
    return cover(from_tags(align, 60.0, phrases), 0.0, 60.0, 60.0)


def test_long_pauses_are_sections_and_short_ones_are_not() -> None:
    """Before, between, inside and after what is sung; named by the lyrics or by their place."""
    sections = by_tags("verse chorus", (0, 9, 15), (0, 30, 35), (1, 36, 45))
    assert told(sections) == [
        ("intro", 0), ("verse", 8.5), ("inst", 16), ("verse", 29.5), ("chorus", 35.5),
        ("outro", 46),
    ]  # fmt: skip
    sections = by_tags("verse inst chorus", (0, 2, 15), (2, 18, 58))
    assert told(sections) == [("verse", 0), ("inst", 16), ("chorus", 17.5)]


def test_a_section_that_was_not_found_is_kept_only_where_somebody_sings() -> None:
    """It has confidence 0 then; else its place is an instrumental section, or its neighbours'."""
    times = (0, 1, 15), (2, 35, 58)
    without = by_tags("verse chorus verse", *times, phrases=[(1, 15), (35, 58)])
    assert told(without) == [("verse", 0), ("inst", 16), ("verse", 34.5)]
    sung = by_tags("verse chorus verse", *times, phrases=[(1, 58)])
    assert told(sung) == [("verse", 0), ("chorus", 16), ("verse", 34.5)]
    assert [section["confidence"] for section in sung] == [0.8, 0.0, 0.8]


def test_listening_finds_choruses_verses_and_what_is_not_sung(pop: Known) -> None:
    """A rendered song with the true vocals (a dozen others: see benchmarks/structure.py)."""
    result = found(pop.item)
    assert result["method"] == "similarity" and result["tempo"] is None and result["beats"] == []
    sections = result["sections"]
    assert tiles(sections, pop.truth[-1][1])
    assert boundary_f(pop.truth, sections, 3.0) > 0.9
    assert boundary_f(pop.truth, sections, 0.5) > 0.6
    assert accuracy(pop.truth, sections) > 0.85
    assert found(pop.item) == result


def test_without_vocals_listening_still_finds_repetitions(pop: Known) -> None:
    """Nothing is called an intro or instrumental then, and the choruses are still found."""
    sections = found(replace(pop.item, folders={}))["sections"]
    assert tiles(sections, pop.truth[-1][1])
    assert {section["tag"] for section in sections} == {"verse", "chorus"}
    assert boundary_f(pop.truth, sections, 3.0) > 0.5


def test_each_song_is_done_as_suits_it(pop: Known) -> None:
    """Tags where the lyrics have them, and listening where not: untagged lyrics are all verse."""
    tagged = {"sections": [{"tag": "verse"}, {"tag": "chorus"}], "lines": lines_at((1, 9, 20))}
    untagged = {"sections": [{"tag": "verse"}], "lines": lines_at((0, 9, 20))}
    lost = {"sections": tagged["sections"], "lines": lines_at()}
    for align, method in ((tagged, "tags"), (untagged, "similarity"), (lost, "similarity")):
        assert found(replace(pop.item, results={"align": align}))["method"] == method
    with pytest.raises(SongBloomError, match="no section tags") as error:
        found(replace(pop.item, results={"align": untagged}), "tags")
    assert "--structure-backend auto" in error.value.hint


def noise(seconds: float, channels: int = 2) -> np.ndarray:
    return 0.1 * np.random.default_rng(3).standard_normal((channels, round(seconds * SAMPLE_RATE)))


def test_silence_is_silence(tmp_path: Path) -> None:
    """All of a song, or its ends where they last two seconds and more."""
    silent = make(tmp_path / "all", np.zeros((2, 8 * SAMPLE_RATE)), None)
    assert told(found(silent)["sections"]) == [("silence", 0)]
    song = np.concatenate([np.zeros((2, 3 * SAMPLE_RATE)), noise(9), np.zeros((2, 48_000))], 1)
    ends = found(make(tmp_path / "ends", song, song * 0))["sections"]
    assert told(ends) == [("silence", 0), ("inst", 3)] and ends[-1]["end"] == 13


@pytest.mark.parametrize(("seconds", "channels"), [(0.02, 1), (0.3, 2), (3, 1), (3, 6), (9.7, 2)])
def test_short_songs_of_any_channels_have_sections(
    seconds: float, channels: int, tmp_path: Path
) -> None:
    """With and without vocals."""
    song = noise(seconds, channels)
    for vocals in (None, song[:1] * 0.5, song[:1] * 0):
        assert tiles(found(make(tmp_path, song, vocals))["sections"], seconds)


def test_long_songs_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The similarity matrix has no more rows than a song of ten minutes needs; here, of 25 s."""
    monkeypatch.setattr(similarity, "MAX_FRAMES", 100)
    frames = similarity._Frames.of(similarity.listen(noise(60, 1)[0, ::3].astype(np.float32)))
    assert 80 <= len(frames.similar) <= 100 and frames.step > 0.25


def test_asking_for_the_backend_loads_no_library() -> None:
    """`doctor` and planning a run stay quick; the reason is in words."""
    code = (
        "import sys; from songbloom.stages import structure; from songbloom.tables import *;"
        "print(structure.backend(PrepareConfig()).why);"
        "assert not {'torch', 'librosa'} & set(sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "tags" in ran.stdout and "listening" in ran.stdout
