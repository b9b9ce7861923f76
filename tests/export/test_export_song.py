"""Exported songs: as loud as asked for, the same bytes, tagged, signed; and what `verify` says."""

import math
import sys
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
from export.songs import LINES, make_certificate, make_song, sung

from songbloom import audio, loudness
from songbloom.errors import MissingAssetError, SongBloomError, UsageError
from songbloom.export.song import FORMATS, ExportOptions, export_song
from songbloom.export.verify import verify
from songbloom.files import sha256
from songbloom.generation.bundle import read_bundle
from songbloom.stages import sound
from songbloom.units import SAMPLE_RATE


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of 2.5 seconds; tests that write beside it take a copy."""
    return make_song(tmp_path_factory.mktemp("song"), sung(2.5))


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format(song: Path, tmp_path: Path, kind: str) -> None:
    """The file is as loud as asked for, no decoded peak is above the ceiling, lyrics and origin
    are inside, and the same again is the same bytes."""
    wish = ExportOptions(loudness=-12.0, true_peak=-1.5, artist="Ä", title="Morning")
    made = export_song(song, tmp_path / f"a.{kind}", wish)
    heard = sound.read(tmp_path / f"a.{kind}", SAMPLE_RATE)
    assert loudness.integrated(heard, SAMPLE_RATE) == pytest.approx(-12.0, abs=0.25)
    assert loudness.true_peak(heard, SAMPLE_RATE) <= -1.5 + 0.05
    assert made["lufs"] == pytest.approx(-12.0, abs=0.25) and not made["warnings"]
    seen = verify(tmp_path / f"a.{kind}")
    assert (seen["lufs"], seen["true_peak_dbtp"]) == (made["lufs"], made["true_peak_dbtp"])
    assert seen["sha256"] == made["sha256"] and seen["problems"] == []
    assert seen["made_by"]["model"] == "seedling" and seen["made_by"]["seed"] == "7"
    assert seen["lyrics_lines"] >= 2 and not seen["watermark"]["found"]
    export_song(song, tmp_path / f"b.{kind}", wish)
    assert sha256(tmp_path / f"b.{kind}") == made["sha256"]


def test_lyrics_are_synced(song: Path, tmp_path: Path) -> None:
    """FLAC has LRC, MP3 has SYLT with each sung line's time, and both have the words alone."""
    for kind in ("flac", "mp3"):
        export_song(song, tmp_path / f"a.{kind}", ExportOptions())
    flac, mp3 = (mutagen.File(tmp_path / f"a.{kind}").tags for kind in ("flac", "mp3"))
    sung_lines = [(text, round(1000 * start)) for start, text in LINES if start is not None]
    assert mp3.getall("SYLT")[0].text == sung_lines
    assert "[00:02.25]Où es-tu, 你好?" in flac["LYRICS"][0]
    assert mp3.getall("TXXX:LYRICS")[0].text == flac["LYRICS"]
    words = "Light in the morning\nOù es-tu, 你好?\n\nNever sung"
    assert flac["UNSYNCEDLYRICS"][0] == words == mp3.getall("USLT")[0].text
    assert flac["TITLE"] == ["song"] and "Made by a machine" in flac["COMMENT"][0]


def test_mono_at_another_rate_from_a_bare_file(tmp_path: Path) -> None:
    """A sound file without a bundle is mastered at its own rate and channels, and says little."""
    time = np.arange(2 * 44_100) / 44_100
    audio.save(tmp_path / "x.wav", 0.1 * np.sin(2 * np.pi * 440 * time)[None], 44_100)
    made = export_song(tmp_path / "x.wav", None, ExportOptions(format="flac"))
    assert made["file"] == str(tmp_path / "x.master.flac")
    assert (made["sample_rate"], made["channels"]) == (44_100, 1)
    seen = verify(tmp_path / "x.master.flac")
    assert seen["made_by"] == {} and seen["lyrics_lines"] == 0 and seen["lufs"] == -14.0
    opus = export_song(tmp_path / "x.wav", tmp_path / "x.opus", ExportOptions())
    assert opus["sample_rate"] == 48_000


def test_watermark_is_declared(tmp_path: Path) -> None:
    """The watermark is off unless asked for, then in the file, its tags and song.toml; a file that
    declares it without having it, or has it without declaring it, is a problem."""
    song = make_song(tmp_path, sung(7))
    plain = export_song(song, tmp_path / "plain.flac", ExportOptions())
    assert (
        plain["watermark"] is None
        and "watermark" not in str(verify(tmp_path / "plain.flac"))[-200:]
    )
    wish = ExportOptions(watermark=True, c2pa=make_certificate(tmp_path))
    made = export_song(song, tmp_path / "marked.mp3", wish)
    assert made["watermark"]["found"] and 25 < made["watermark"]["sdr_db"] < 40
    seen = verify(tmp_path / "marked.mp3")
    assert seen["watermark"]["found"] and seen["problems"] == []
    assert seen["watermark"]["declared"] == made["watermark"]["name"]
    assert seen["c2pa"]["song"]["watermark"] == made["watermark"]["name"]
    noted = read_bundle(song).song["exports"]
    assert noted["marked.mp3"]["watermark"] == made["watermark"]["name"]
    assert noted["marked.mp3"]["sha256"] == made["sha256"]
    assert "watermark" not in noted["plain.flac"]
    samples = sound.read(tmp_path / "marked.mp3", SAMPLE_RATE)
    audio.save(tmp_path / "stripped.flac", samples, SAMPLE_RATE)
    assert "is not declared" in verify(tmp_path / "stripped.flac")["problems"][0]
    tags = mutagen.File(tmp_path / "plain.flac")
    tags["SONGBLOOM_WATERMARK"] = made["watermark"]["name"]
    tags.save()
    assert "is not found" in verify(tmp_path / "plain.flac")["problems"][0]


@pytest.mark.parametrize("kind", ["flac", "wav", "mp3"])
def test_c2pa(song: Path, tmp_path: Path, kind: str) -> None:
    """The manifest says what made the song, the library's reader finds it valid and the sound is
    untouched by it; one changed byte and it does not hold."""
    wish = ExportOptions(c2pa=make_certificate(tmp_path))
    made = export_song(song, tmp_path / f"a.{kind}", wish)
    export_song(song, tmp_path / f"b.{kind}", ExportOptions())
    seen = verify(tmp_path / f"a.{kind}")
    assert made["c2pa"] and seen["c2pa"]["state"] == "Valid" and seen["problems"] == []
    assert seen["c2pa"]["signer"] == "A test" and seen["c2pa"]["song"]["model"] == "seedling"
    assert seen["made_by"]["model"] == "seedling" and seen["lyrics_lines"] >= 2
    signed, plain = (sound.read(tmp_path / f"{x}.{kind}", SAMPLE_RATE) for x in "ab")
    assert np.array_equal(signed, plain)
    data = (tmp_path / f"a.{kind}").read_bytes()
    at = data.index(b"SONGBLOOM_SEED") + len("SONGBLOOM_SEED.")
    (tmp_path / f"c.{kind}").write_bytes(data[:at] + b"8" + data[at + 1 :])
    changed = verify(tmp_path / f"c.{kind}")
    assert changed["c2pa"]["state"] == "Invalid" and "does not hold" in changed["problems"][0]


def test_bad_credentials(song: Path, tmp_path: Path) -> None:
    """A key that is not the certificate's, what is no PEM, a certificate that may not sign, and a
    format that holds no manifest are refused before or instead of a file."""
    certificate, key = make_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    _, other = make_certificate(tmp_path / "other")
    (tmp_path / "may_not").mkdir()
    may_not = make_certificate(tmp_path / "may_not", digital_signature=False, key_agreement=True)
    cases: list[tuple[tuple[Path, Path], str]] = [
        ((certificate, other), "is not the key of"),
        ((key, key), "is no certificate"),
        ((certificate, certificate), "is no private key"),
        ((tmp_path / "nowhere", key), "cannot be read"),
        (may_not, "could not be signed"),
    ]
    for pair, said in cases:
        with pytest.raises(SongBloomError, match=said):
            export_song(song, tmp_path / "x.flac", ExportOptions(c2pa=pair))
        assert not list(tmp_path.glob("*x*.flac"))
    with pytest.raises(UsageError, match="cannot put a manifest"):
        export_song(song, tmp_path / "x.ogg", ExportOptions(c2pa=(certificate, key)))


def test_stems_add_up(song: Path, tmp_path: Path) -> None:
    """Vocals and accompaniment, mastered and marked like the song, add up to the master."""
    pytest.importorskip("demucs")
    wish = ExportOptions(stems=True, watermark=True, loudness=-12.0)
    made = export_song(song, tmp_path / "a.wav", wish)
    names = [Path(file).name for file in made["stems"]["files"]]
    assert names == ["a.vocals.wav", "a.accompaniment.wav"]
    master, *stems = (sound.read(tmp_path / x, SAMPLE_RATE) for x in ("a.wav", *names))
    softer = 10 ** (made["stems"]["gain_db"] / 20)
    assert np.abs(sum(stems) - softer * master).max() < 2e-3
    assert all(np.abs(stem).max() > 0.01 for stem in stems)


def test_the_song_is_left_alone(song: Path, tmp_path: Path) -> None:
    """The sound is never written over, and one that its bundle does not know is refused."""
    copy = make_song(tmp_path, sound.read(song.with_suffix(".flac"), SAMPLE_RATE))
    before = sha256(tmp_path / "song.flac")
    with pytest.raises(UsageError, match="is the song itself"):
        export_song(copy, tmp_path / "song.flac", ExportOptions())
    make_song(tmp_path, np.ones((2, 9), np.float32), "other")
    with pytest.raises(UsageError, match="another one that generate made"):
        export_song(copy, tmp_path / "other.mp3", ExportOptions())
    export_song(tmp_path / "song.flac", tmp_path / "a.flac", ExportOptions())
    assert sha256(tmp_path / "song.flac") == before
    assert read_bundle(copy).song["fingerprint"] == "f" * 64
    audio.save(tmp_path / "song.flac", np.zeros((2, 48_000), np.float32), SAMPLE_RATE)
    with pytest.raises(SongBloomError, match="not the file that it made"):
        export_song(copy, tmp_path / "b.flac", ExportOptions())
    (tmp_path / "song.flac").unlink()
    with pytest.raises(SongBloomError, match="is not there"):
        export_song(copy, tmp_path / "b.flac", ExportOptions())
    (copy / "song.toml").write_text('[audio]\nfile = "song.flac"\n')
    with pytest.raises(SongBloomError, match="song.toml: has no 'made_with'"):
        export_song(copy, tmp_path / "b.flac", ExportOptions())


def test_a_song_too_peaky_for_its_loudness(tmp_path: Path) -> None:
    """What is not reached is warned of, and the ceiling is kept."""
    clicks = 0.001 * np.random.default_rng(0).standard_normal((2, 96_000))
    clicks[:, ::9600] = 0.9
    audio.save(tmp_path / "x.wav", clicks.astype(np.float32), SAMPLE_RATE)
    made = export_song(tmp_path / "x.wav", tmp_path / "y.wav", ExportOptions(loudness=-8.0))
    assert "no peak is lowered by more" in made["warnings"][0] and made["lufs"] < -9
    assert made["true_peak_dbtp"] <= -0.98


def test_without_the_extra(song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without c2pa-python songs are exported and verified, and no manifest is looked for; without
    mutagen both name the extra."""
    monkeypatch.setitem(sys.modules, "c2pa", None)
    export_song(song, tmp_path / "a.flac", ExportOptions())
    seen = verify(tmp_path / "a.flac")
    assert seen["c2pa"].startswith("not looked for") and seen["problems"] == []
    wish = ExportOptions(c2pa=(tmp_path / "cert.pem", tmp_path / "key.pem"))
    with pytest.raises(MissingAssetError, match="c2pa-python") as refused:
        export_song(song, tmp_path / "b.flac", wish)
    assert "songbloom[export]" in refused.value.hint
    monkeypatch.setitem(sys.modules, "mutagen", None)
    for run in (lambda: verify(tmp_path / "a.flac"), lambda: export_song(song, None, wish)):
        with pytest.raises(MissingAssetError, match="mutagen"):
            run()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "exe"}, "--format exe"),
        ({"loudness": 3.0}, "--loudness 3"),
        ({"loudness": math.nan}, "--loudness nan"),
        ({"true_peak": 1.0}, "--true-peak 1"),
    ],
)
def test_options_that_cannot_be_meant(options: dict[str, Any], said: str) -> None:
    """A format that is none, and levels that nobody means, are usage errors."""
    with pytest.raises(UsageError, match=said):
        ExportOptions(**options)
