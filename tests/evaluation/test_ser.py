"""SER: nothing for the structure asked for, the duration of what is not, whoever counts it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from songbloom import audio
from songbloom.errors import MissingAssetError, SongBloomError, UsageError
from songbloom.evaluation import ser
from songbloom.evaluation.items import Item
from songbloom.evaluation.ser import Span, align, asked_of
from songbloom.files import sha256
from songbloom.lyrics import parse
from songbloom.lyrics.tags import TAGS
from songbloom.synth.render import render
from songbloom.synth.score import compose
from songbloom.units import SAMPLE_RATE

POP = [Span("intro", 8), Span("verse", 20), Span("chorus", 16), Span("outro", 6)]
SPANS = st.lists(
    st.builds(Span, st.sampled_from(TAGS[:4]), st.floats(0.5, 30)), min_size=1, max_size=6
)
LYRICS = """[intro x8]

[verse]
Down by the river where the willows grow
I left my heart a long time ago

[chorus]
Sing it to me one more time
Every word and every rhyme

[bridge]
Rain on the window all night long
Nothing is right and nothing is wrong

[outro x6]
"""


def swapped(spans: list[Span], one: int, other: int) -> list[Span]:
    """The same sections with two in each other's places."""
    spans = list(spans)
    spans[one], spans[other] = spans[other], spans[one]
    return spans


@given(SPANS, st.data())
@settings(max_examples=50)
def test_right_order_scores_nothing_however_long(spans: list[Span], data: st.DataObject) -> None:
    """The sections asked for, each of any length: no error."""
    lengths = data.draw(st.lists(st.floats(3, 30), min_size=len(spans), max_size=len(spans)))
    other = [span._replace(seconds=s) for span, s in zip(spans, lengths, strict=True)]
    assert align([s._replace(seconds=max(s.seconds, 3)) for s in spans], other).seconds == 0


@pytest.mark.parametrize("seconds", [4.0, 12.0, 30.0])
def test_swap_costs_the_duration_of_both(seconds: float) -> None:
    """Two neighbours of one length that change places cost what they last together."""
    asked = [POP[0], *(s._replace(seconds=seconds) for s in POP[1:3]), POP[3]]
    assert align(asked, swapped(asked, 1, 2)).seconds == pytest.approx(2 * seconds, abs=0.2)


def test_swap_of_unequal_sections_costs_twice_the_shorter() -> None:
    """As the same two timelines laid on each other without any alignment."""
    assert align(POP, swapped(POP, 1, 2)).seconds == pytest.approx(2 * 16, abs=0.2)


def test_a_section_left_out_or_put_in_costs_its_duration() -> None:
    """Of the song as long as it is: what was asked is stretched to it."""
    rest = [*POP[:2], POP[3]]
    missing = align(POP, rest)
    length = sum(span.seconds for span in rest)
    assert missing.seconds == pytest.approx(16 / 50 * length, abs=0.2)
    assert missing.asked[2] == pytest.approx(missing.seconds)
    more = align(rest, POP)
    assert more.seconds == pytest.approx(16, abs=0.2)
    assert more.heard[2] == pytest.approx(16, abs=0.2)


@given(SPANS, SPANS)
@settings(max_examples=60)
def test_errors_are_a_share_of_the_song(asked: list[Span], heard: list[Span]) -> None:
    """0 to the whole song, whatever is compared; both ways of telling where add up to it."""
    errors = align(asked, heard)
    assert 0 <= errors.seconds <= sum(span.seconds for span in heard) + 1e-6
    assert sum(errors.asked) == pytest.approx(errors.seconds)
    assert sum(errors.heard) == pytest.approx(errors.seconds)


def test_alignment_is_that_of_librosa() -> None:
    """An independent DTW finds paths of the same cost."""
    librosa = pytest.importorskip("librosa")
    rng = np.random.default_rng(7)
    for _ in range(20):
        asked, heard = (np.repeat(rng.integers(0, 4, 5), rng.integers(1, 9, 5)) for _ in "ab")
        cost = (asked[:, None] != heard).astype(float)
        theirs = librosa.sequence.dtw(C=cost, backtrack=False)
        assert len(ser._wrong_cells(asked, heard)) == theirs[-1, -1]


def test_long_songs_take_bounded_memory() -> None:
    """An hour is aligned as coarsely as it must be, and still exactly where the borders allow."""
    spans = [span._replace(seconds=span.seconds * 72) for span in POP]
    assert align(spans, spans).seconds == 0
    assert align(spans, swapped(spans, 1, 2)).seconds == pytest.approx(2 * 16 * 72, rel=0.01)


def item(folder: Path, sections: list[Span], lyrics: str | None = LYRICS) -> Item:
    """A song whose sections are told beside it."""
    at, rows = 0.0, []
    for tag, seconds in sections:
        rows.append({"tag": tag, "start": at, "end": at + seconds})
        at += seconds
    folder.mkdir(exist_ok=True)
    (folder / "song.oracle.json").write_text(json.dumps({"sections": rows}))
    return Item("song", folder / "song.flac", lyrics)


def test_metric_over_songs_with_known_sections(tmp_path: Path) -> None:
    """What the lyrics ask for scores 0; two sections swapped raise it by their duration."""
    metric = ser.load({"backend": "oracle"}, tmp_path)
    asked = asked_of(parse(LYRICS))
    assert [span.tag for span in asked] == ["intro", "verse", "chorus", "bridge", "outro"]
    right = metric.measure(item(tmp_path / "right", asked))
    assert metric.combine([right]) == 0
    wrong = metric.measure(item(tmp_path / "wrong", swapped(asked, 2, 3)))
    length = sum(span.seconds for span in asked)
    shorter = min(asked[2].seconds, asked[3].seconds)
    assert metric.combine([wrong]) == pytest.approx(100 * 2 * shorter / length, abs=1)
    assert metric.combine([right, wrong]) == pytest.approx(metric.combine([wrong]) / 2)
    parts = metric.parts([right, wrong])
    assert parts["wrong_seconds"] == pytest.approx(wrong.amount, abs=0.01)
    assert set(parts["wrong_by_asked_tag"]) <= {"chorus", "bridge"}


def test_lyrics_without_sections_ask_for_nothing(tmp_path: Path) -> None:
    """Nothing is counted, so such songs neither help nor harm."""
    metric = ser.load({"backend": "oracle"}, tmp_path)
    plain = metric.measure(item(tmp_path, POP, "Only some words\nwithout any tags\n"))
    assert (plain.amount, plain.weight) == (0, 0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "cannot be read"),
        ('{"sections": 3}', "cannot be read"),
        ('{"sections": []}', "do not tile"),
        ('{"sections": [{"tag": "verse", "start": 1, "end": 2}]}', "do not tile"),
        ('{"sections": [{"tag": "solo", "start": 0, "end": 2}]}', "do not tile"),
    ],
)
def test_bad_oracles_are_refused(tmp_path: Path, text: str, why: str) -> None:
    """One line that names the file."""
    song = item(tmp_path, POP)
    (tmp_path / "song.oracle.json").write_text(text)
    with pytest.raises(SongBloomError, match=why):
        ser.load({"backend": "oracle"}, tmp_path).measure(song)


@pytest.mark.parametrize(
    "wrong", [{"backend": "ears"}, {"models": "x"}, {"backend": 3}, {"model": "x"}]
)
def test_bad_settings_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    """A protocol's table with a key or value that is none."""
    with pytest.raises(UsageError, match=r"\[ser\]"):
        ser.load(wrong, tmp_path)


def test_songs_without_lyrics_cannot_be_measured(tmp_path: Path) -> None:
    """They are failed songs, not songs without errors."""
    with pytest.raises(SongBloomError, match="no lyrics"):
        ser.load({"backend": "oracle"}, tmp_path).measure(replace(item(tmp_path, POP), lyrics=None))


def test_sections_are_heard_in_the_sound(tmp_path: Path) -> None:
    """The embedded backend tiles the song with sections, and its identity says by what; a bridge,
    which it cannot tell from a verse, is no error."""
    score = compose(8, 3, num_lines=2)
    audio.save(tmp_path / "song.flac", render(score).mix, SAMPLE_RATE)
    metric = ser.load({"separate_model": "none"}, tmp_path)
    bridged = score.lyrics.replace("[verse]", "[bridge]")
    found = metric.measure(Item("song", tmp_path / "song.flac", bridged))
    ends = [0.0, *(s["end"] for s in found.details["heard"])]
    assert all(s["start"] == end for s, end in zip(found.details["heard"], ends, strict=False))
    assert ends[-1] == pytest.approx(score.duration, abs=0.01)
    assert found.weight == pytest.approx(score.duration, abs=0.01)
    plain = metric.measure(Item("song", tmp_path / "song.flac", score.lyrics))
    assert plain.amount == found.amount
    identity = metric.identity()
    assert identity["backend"] == "similarity" and identity["structure"]["librosa"]
    assert str(tmp_path) not in json.dumps(identity)


@pytest.mark.slow
def test_all_in_one_is_asked_for_by_its_files(tmp_path: Path) -> None:
    """The full backend with small random weights in its own format: sections of the whole song, an
    identity of hashes without paths."""
    pytest.importorskip("demucs", reason="needs the extra songbloom[prepare]")
    pytest.importorskip("omegaconf", reason="needs the extra songbloom[structure]")
    from stages.test_structure_allinone import checkpoint, separator, song

    model, demucs = checkpoint(tmp_path / "tiny.pth", 3), separator(tmp_path / "demucs")
    settings = {"backend": "all-in-one", "model": str(model), "separate_model": str(demucs)}
    metric = ser.load(settings, tmp_path)
    audio_file = song(tmp_path, 6.0).audio
    found = metric.measure(Item("song", audio_file, LYRICS))
    assert found.details["heard"][-1]["end"] == pytest.approx(6.0, abs=0.05)
    assert 0 <= found.amount <= found.weight
    assert metric.measure(Item("song", audio_file, LYRICS)) == found
    assert sha256(model) in json.dumps(metric.identity())
    assert str(tmp_path) not in json.dumps(metric.identity())
    with pytest.raises(MissingAssetError, match="No All-In-One model is named"):
        ser.load({"backend": "all-in-one", "separate_model": str(demucs)}, tmp_path).identity()
