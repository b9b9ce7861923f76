"""Laws of the accompaniment through FluidSynth: the notes asked for, at their times, same bytes."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from songbloom.errors import MissingAssetError, UsageError
from songbloom.synth import backing, corpus, soundfont
from songbloom.synth.arrangement import Event
from songbloom.synth.score import compose
from songbloom.units import SAMPLE_RATE

PERIOD, ROOT = 100, 69  # a sine of 480 Hz, said to be A4 (440 Hz)


def chunk(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def named(name: bytes) -> bytes:
    return name.ljust(20, b"\0")


@pytest.fixture
def font(tmp_path: Path) -> Path:
    """A whole soundfont with one looped sine, as a melodic program and as a drum kit."""
    wave = 0.5 * 32767 * np.sin(2 * np.pi * np.arange(100 * PERIOD) / PERIOD)
    samples = wave.astype("<i2").tobytes() + b"\0" * 2 * 46
    presets = [(b"sine", 0, 0, 0), (b"kit", 0, 128, 1), (b"EOP", 0, 0, 2)]
    span = (0, 100 * PERIOD, PERIOD, 99 * PERIOD, SAMPLE_RATE)
    tables = chunk(
        b"LIST",
        b"pdta",
        chunk(b"phdr", *(named(n) + struct.pack("<HHH", *p) + bytes(12) for n, *p in presets)),
        chunk(b"pbag", struct.pack("<6H", 0, 0, 1, 0, 2, 0)),
        chunk(b"pmod", bytes(10)),
        chunk(b"pgen", struct.pack("<HHHHHH", 41, 0, 41, 0, 0, 0)),  # instrument 0, twice
        chunk(b"inst", named(b"sine") + struct.pack("<H", 0), named(b"EOI") + struct.pack("<H", 1)),
        chunk(b"ibag", struct.pack("<4H", 0, 0, 2, 0)),
        chunk(b"imod", bytes(10)),
        chunk(b"igen", struct.pack("<6H", 54, 1, 53, 0, 0, 0)),  # looped; sample 0
        chunk(
            b"shdr",
            named(b"sine") + struct.pack("<5IBbHH", *span, ROOT, 0, 0, 1),
            named(b"EOS") + bytes(26),
        ),
    )  # fmt: skip
    about = chunk(
        b"LIST", b"INFO", chunk(b"ifil", struct.pack("<HH", 2, 1)),
        chunk(b"isng", b"EMU8000\0"), chunk(b"INAM", b"sine\0\0"),
    )  # fmt: skip
    sound = chunk(b"LIST", b"sdta", chunk(b"smpl", samples))
    path = tmp_path / "sine.sf2"
    path.write_bytes(chunk(b"RIFF", b"sfbk", about, sound, tables))
    return path


@pytest.fixture
def fluidsynth() -> None:
    try:
        soundfont.check_installed()
    except MissingAssetError:
        pytest.skip("FluidSynth is not installed")


@pytest.mark.usefixtures("fluidsynth")
def test_a_note_sounds_at_its_time_and_height(font: Path) -> None:
    events = [Event("comp", 0.5, 1.0, ROOT + 12, 100)]
    sound = soundfont.play(events, {"comp": 0}, 1.5, font, side=1.0)
    assert sound.shape == (2, 1.5 * SAMPLE_RATE) and sound.dtype == np.float32
    assert abs(sound[:, : SAMPLE_RATE // 2 - 64]).max() < 1e-3 < 0.02 < abs(sound).max() <= 1
    spectrum = abs(np.fft.rfft(sound[0, SAMPLE_RATE // 2 : SAMPLE_RATE]))
    assert abs(2 * spectrum.argmax() - 960) <= 4  # bins of 2 Hz; an octave over the sample


@pytest.mark.usefixtures("fluidsynth")
def test_the_side_turns_the_picture_round(font: Path) -> None:
    events = [Event("comp", 0.0, 0.5, ROOT, 100)]
    left, right = (soundfont.play(events, {"comp": 0}, 0.5, font, side=s) for s in (-1.0, 1.0))
    energy = [np.square(sound).sum(axis=1) for sound in (left, right)]
    assert energy[0][0] > 1.5 * energy[0][1] and energy[1][1] > 1.5 * energy[1][0]


@pytest.mark.usefixtures("fluidsynth")
def test_a_score_is_the_same_bytes_twice_and_full_of_sound(font: Path) -> None:
    score = compose(98, 0)
    once, twice = (backing.play(score, font) for _ in range(2))
    assert once.tobytes() == twice.tobytes() and once.shape == backing.play(score).shape
    assert np.sqrt(np.mean(once**2)) > 0.01


@pytest.mark.usefixtures("fluidsynth")
def test_what_is_no_soundfont_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.sf2"
    path.write_text("no soundfont")
    with pytest.raises(UsageError, match=r"x\.sf2: is no soundfont"):
        soundfont.play([], {}, 1.0, path, side=1.0)
    with pytest.raises(UsageError, match=r"gone\.sf2: cannot be read"):
        corpus.make_corpus(tmp_path / "out", seed=1, songs=1, fonts=[tmp_path / "gone.sf2"])


def test_without_fluidsynth_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, font: Path, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "fluidsynth", None)
    with pytest.raises(MissingAssetError, match="FluidSynth") as caught:
        corpus.make_corpus(tmp_path / "out", seed=1, songs=1, fonts=[font])
    assert "songbloom[soundfont]" in caught.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("fluidsynth")
def test_fonts_take_turns_and_belong_to_the_corpus(font: Path, tmp_path: Path) -> None:
    """Each song says who played it; a folder made with fonts is not gone on with without them."""
    scores = [compose(0, index) for index in range(20)]
    players = [backing.instruments_of(score, [font]) for score in scores]
    assert {None, font} == set(players)
    corpus.write_song(tmp_path / "song_00001", scores[players.index(font)], font)
    written = (tmp_path / "song_00001" / "truth.json").read_text("utf-8")
    assert soundfont.identity(font) in written
    with pytest.raises(UsageError, match="instruments sine.sf2; not of .* instruments songbloom"):
        corpus.make_corpus(tmp_path, seed=0, songs=1)
