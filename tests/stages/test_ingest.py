"""Laws of the first stage: its numbers, tags, lyrics and fingerprints, and its flat memory."""

import io
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from mutagen.id3 import TCOP, TDRC, TIT2, TLAN, TPE1

from songbloom.errors import SongBloomError
from songbloom.files import sha256
from songbloom.manifest import Track
from songbloom.stages import fingerprint, ingest, sound
from songbloom.stages.stage import Item
from songbloom.tables import PrepareConfig

RATE = 16_000


def _item(audio: Path, lyrics: Path | None = None, text: str | None = None) -> Item:
    return Item(Track("a", audio.name, lyrics_text=text), audio, lyrics)


def _write(path: Path, samples: np.ndarray, rate: int = RATE, **options: str) -> Path:
    soundfile.write(str(path), samples.T, rate, **options)
    return path


def _melody(seed: int, seconds: float = 24.0, rate: int = RATE) -> np.ndarray:
    """Notes with overtones over a quiet noise, `[2, n]`."""
    rng = np.random.default_rng(seed)
    length = rng.uniform(0.2, 0.45)
    time = np.arange(round(length * rate)) / rate
    notes = []
    for _ in range(round(seconds / length)):
        pitches = 110 * 2 ** (rng.integers(0, 36, 2) / 12)
        waves = sum(np.sin(2 * np.pi * k * p * time) / k for p in pitches for k in (1, 2, 3))
        notes.append(waves * np.exp(-3 * time))
    mono = 0.1 * np.resize(np.concatenate(notes), round(seconds * rate))
    mono += rng.normal(0, 1e-3, len(mono))
    return np.stack([mono, 0.8 * mono]).astype(np.float32)


def test_the_fields_are_those_of_the_song(tmp_path: Path) -> None:
    """Hashes, rate, length, level: as numpy has them over the whole."""
    samples = _melody(0, 5.0)
    audio = _write(tmp_path / "a.flac", samples, subtype="PCM_24")
    lyrics = tmp_path / "a.txt"
    lyrics.write_text("[verse]\nI walk the line\nand you are mine\n[chorus]\nLa la la\n")
    fields = ingest.load(PrepareConfig(), "cpu")(_item(audio, lyrics), tmp_path)
    assert json.loads(json.dumps(fields, allow_nan=False)) == fields
    assert (fields["audio_sha256"], fields["lyrics_sha256"]) == (sha256(audio), sha256(lyrics))
    assert (fields["sample_rate"], fields["channels"], fields["duration"]) == (RATE, 2, 5.0)
    assert fields["bytes"] == audio.stat().st_size
    assert fields["peak"] == pytest.approx(np.abs(samples).max(), abs=1e-4)
    assert fields["rms_dbfs"] == pytest.approx(10 * np.log10(np.mean(samples**2)), abs=0.01)
    assert (fields["lyrics_words"], fields["lyrics_lines"]) == (11, 3)
    assert fields["lyrics_languages"] == ["en"]
    assert fields["silence"] == fields["clipped"] == 0 and fields["findings"] == []


@settings(max_examples=40)
@given(
    cuts=st.lists(st.integers(0, 2000), max_size=6),
    flags=st.lists(st.sampled_from([0, 1, 3, 7]), min_size=1, max_size=40),
)
def test_how_a_song_is_cut_does_not_change_the_numbers(cuts: list[int], flags: list[int]) -> None:
    """Runs at full scale and blocks of silence are counted across the blocks of the decoder."""
    samples = np.zeros((2, 2000), dtype=np.float32)
    for place, run in enumerate(flags):
        samples[place % 2, place * 50 : place * 50 + run] = -1.0
    borders = [0, *sorted(cuts), 2000]
    meter = ingest._Meter(1000, 2)
    for start, end in itertools.pairwise(borders):
        meter.add(samples[:, start:end])
    fields = meter.fields()
    assert fields["clipped"] == round(sum(run for run in flags if run >= 3) / 4000, 6)
    loud = [np.abs(samples[:, i : i + 100]).any() for i in range(0, 2000, 100)]
    assert fields["silence"] == round(1 - sum(loud) / 20, 4)


def test_silence_has_numbers_and_no_fingerprint(tmp_path: Path) -> None:
    """No logarithm of nothing; two silent files are no near-duplicates of each other."""
    fields = ingest.ingest(_item(_write(tmp_path / "a.wav", np.zeros((1, RATE)))))
    assert (fields["rms_dbfs"], fields["silence"], fields["peak"]) == (-120.0, 1.0, 0.0)
    assert fields["fingerprint"] == ""
    assert fingerprint.similarity("", "") == 0.0


def test_tags_of_three_families_are_read(tmp_path: Path) -> None:
    """Vorbis comments and ID3 (in MP3, WAV): title, artist, year, language, licence."""
    samples = _melody(1, 1.0)
    flac = mutagen.File(_write(tmp_path / "a.flac", samples))
    flac.update({"title": "Té\n", "artist": "Ann", "date": "1999-05-04", "language": "English"})
    flac["license"] = "CC0"
    flac.save()
    frames = [TIT2(text="Té"), TPE1(text="Ann"), TDRC(text="1999"), TLAN(text="eng")]
    for name in ("a.mp3", "a.wav"):
        file = mutagen.File(_write(tmp_path / name, samples))
        file.add_tags()
        for frame in [*frames, TCOP(text="CC0")]:
            file.tags.add(frame)
        file.save()
    wanted = {"title": "Té", "artist": "Ann", "year": 1999, "language": "en", "licence": "CC0"}
    for name in ("a.flac", "a.mp3", "a.wav"):
        assert ingest.read_tags(tmp_path / name) == (wanted, [])


def test_broken_tags_are_a_finding(tmp_path: Path) -> None:
    """The sound decides whether a song is one."""
    path = tmp_path / "a.mp3"
    path.write_bytes(b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(100))
    tags, findings = ingest.read_tags(path)
    assert tags["title"] == "" and tags["year"] is None
    assert len(findings) <= 1


@pytest.mark.parametrize(
    ("content", "languages", "words"),
    [
        ("我爱你 在每一个夜晚\n星星都在看着我们\n".encode(), ["zh"], ""),
        ("Je suis toujours avec toi\nles nuits sont à nous\n".encode(), ["fr"], ""),
        ("Caf\xe9 lights are low tonight\nand the world is mine\n".encode("cp1252"), ["en"], ""),
        (b"\x00\x01\x02\xff" * 50, [], "not a text file"),
        (b"", [], "empty"),
        ("Привет мир\nкак дела\n".encode(), [], "no words"),
    ],
    ids=["zh", "fr", "cp1252", "binary", "empty", "cyrillic"],
)
def test_lyrics_are_read_or_told(
    tmp_path: Path, content: bytes, languages: list[str], words: str
) -> None:
    """Lyrics that cannot be read do not fail the song: it is for the filters to decide."""
    audio, lyrics = _write(tmp_path / "a.wav", _melody(2, 1.0)), tmp_path / "a.txt"
    lyrics.write_bytes(content)
    fields = ingest.ingest(_item(audio, lyrics))
    assert fields["lyrics_languages"] == languages
    assert words in fields["lyrics_error"] and bool(words) == bool(fields["lyrics_error"])
    assert str(tmp_path) not in json.dumps(fields)


def test_lyrics_inside_a_manifest_count_like_those_of_a_file(tmp_path: Path) -> None:
    """The same words, the same hash."""
    audio, lyrics = _write(tmp_path / "a.wav", _melody(3, 1.0)), tmp_path / "a.txt"
    lyrics.write_text("hello my friend\n")
    inline = ingest.ingest(_item(audio, text="hello my friend\n"))
    assert inline == ingest.ingest(_item(audio, lyrics))


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    """Tried without root's rights."""
    audio = _write(tmp_path / "a.wav", _melody(4, 1.0))
    audio.chmod(0)
    code = (
        "import os; from pathlib import Path; from songbloom.manifest import Track\n"
        "from songbloom.stages import ingest; from songbloom.stages.stage import Item\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "ingest.ingest(Item(Track('a', 'a.wav'), Path('a.wav')))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "SongBloomError: a.wav: cannot be read (Permission denied)" in ran.stderr


def test_paths_of_any_kind_are_read(tmp_path: Path) -> None:
    """Spaces, emoji, newlines, and bytes that are no UTF-8."""
    samples = _melody(5, 1.0)
    for name in (b"a b.wav", "💚.flac".encode(), b"a\nb.wav", b"\xff.flac"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        plain = _write(tmp_path / f"plain{path.suffix}", samples)
        plain.rename(path)
        assert ingest.ingest(_item(path))["duration"] == 1.0


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """A manifest may name anything."""
    with pytest.raises(SongBloomError, match="cannot be read"):
        ingest.ingest(_item(tmp_path / "gone.flac"))


@pytest.mark.parametrize("long", [20, pytest.param(180, marks=pytest.mark.slow)])
def test_a_long_file_takes_no_more_memory_than_a_short_one(tmp_path: Path, long: int) -> None:
    """Three hours: the peak of the process grows by less than 16 MB."""
    code = (
        "import resource, sys; from pathlib import Path; from songbloom.stages import ingest\n"
        "fields, _ = ingest.measure(Path(sys.argv[1]))\n"
        "print(fields['duration'], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    peaks = []
    for minutes in (1, long):
        path = tmp_path / f"{minutes}.flac"
        noise = np.random.default_rng(0).integers(-3, 4, 8000 * 60).astype(np.int16)
        with soundfile.SoundFile(str(path), "w", 8000, 1) as sink:
            for _ in range(minutes):
                sink.write(noise)
        ran = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
        duration, peak = ran.stdout.split()
        assert float(duration) == minutes * 60
        peaks.append(int(peak))
    assert peaks[1] - peaks[0] < 16_000


def _print(samples: np.ndarray, rate: int = RATE) -> str:
    heard = fingerprint.Fingerprint(rate)
    for start in range(0, samples.shape[1], 50_000):
        heard.add(samples[:, start : start + 50_000])
    heard.add(samples[:, :0], last=True)
    return heard.text()


def _mp3(samples: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, samples.T, RATE, format="MP3")
    file.seek(0)
    return np.asarray(soundfile.read(file, dtype="float32")[0].T)


_VARIANTS: dict[str, Any] = {
    "mp3": lambda x: (_mp3(x), RATE),
    "quieter": lambda x: (0.3 * x, RATE),
    "trimmed": lambda x: (x[:, RATE // 2 :], RATE),
    "trimmed mp3": lambda x: (_mp3(x[:, RATE // 2 :]), RATE),
    "resampled": lambda x: (soxr.resample(x.T, RATE, 11_025).T.copy(), 11_025),
    "mono": lambda x: (x.mean(axis=0, keepdims=True), RATE),
}


@pytest.mark.parametrize("variant", _VARIANTS)
def test_a_near_duplicate_has_a_near_fingerprint(variant: str) -> None:
    """Above 0.3, where splits take 0.2 for the same song."""
    samples = _melody(6)
    changed, rate = _VARIANTS[variant](samples)
    assert fingerprint.similarity(_print(samples), _print(changed, rate)) > 0.3


def test_other_songs_have_other_fingerprints() -> None:
    """Below 0.15 for any two of eight songs of the same instrument and scale."""
    prints = [_print(_melody(seed)) for seed in range(8)]
    assert len(prints[0]) == 172
    pairs = itertools.combinations(prints, 2)
    assert max(fingerprint.similarity(*pair) for pair in pairs) < 0.15


def test_blocks_do_not_change_the_fingerprint(tmp_path: Path) -> None:
    """However the decoder cuts the song."""
    samples = _melody(7)
    path = _write(tmp_path / "a.wav", samples, subtype="FLOAT")
    with sound.stream(path) as song:
        whole = np.concatenate(list(song.blocks), axis=1)
    assert ingest.measure(path)[0]["fingerprint"] == _print(whole)
