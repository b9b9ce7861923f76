"""The sketch codec: what its tokens mean, what they depend on, how it is stored and taught."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from songbloom import audio
from songbloom.errors import MissingAssetError, SongBloomError, UsageError
from songbloom.model.sketch_codec import (
    SketchCodec,
    SketchCodecConfig,
    cqt_frequencies,
    mel_frequencies,
)
from songbloom.model.sketch_symbols import (
    HIGHEST_NOTE,
    LOWEST_NOTE,
    NUM_CODES,
    NUM_PHONES,
    NUM_PITCHES,
    NUM_REACHABLE,
    PHONES,
    chord_index,
    encode_symbols,
    note_index,
    phone_index,
    score_to_labels,
    score_to_tokens,
    split_code,
)
from songbloom.synth.score import Chord, Note, Phone, Score, compose
from songbloom.training import sketch_corpus
from songbloom.training.sketch_codec import FitOptions, evaluate, fit, score_tokens
from songbloom.units import HOP, SAMPLE_RATE

SMALL = SketchCodecConfig(
    mel_bands=24, mel_channels=16, pitch_channels=8, dim=32, kernel=3, dilations=(1, 2)
)


def small_codec(seed: int = 0) -> SketchCodec:
    codec = SketchCodec(SMALL).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in codec.parameters():
            parameter.normal_(0, 0.2, generator=generator)
    return codec


def noise(seconds: float, seed: int = 0, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(batch, 2, round(seconds * SAMPLE_RATE), generator=generator)


def tone(midi: float, seconds: float) -> np.ndarray:
    """A sawtooth-like mono tone, float32."""
    phase = 2 * np.pi * 440 * 2 ** ((midi - 69) / 12) * np.arange(round(seconds * 48000)) / 48000
    return sum(np.sin(k * phase) / k for k in range(1, 7)).astype(np.float32) * 0.2


# What the codes mean


def test_there_are_1480_codes_of_40_phones_and_37_pitches() -> None:
    """The codebook is the documented product, its phones the 39 of ARPAbet in order after none."""
    assert (NUM_PHONES, NUM_PITCHES, NUM_CODES) == (40, 37, 1480)
    assert PHONES[0] == "" and list(PHONES[1:]) == sorted(PHONES[1:]) and len(set(PHONES)) == 40
    assert NUM_REACHABLE == 25 + 39 * 37


def test_codes_and_symbols_are_inverse() -> None:
    """Every code splits into the one pair that encodes to it."""
    codes = np.arange(NUM_CODES)
    phone, pitch = split_code(codes)
    assert np.array_equal(encode_symbols(phone, pitch), codes)
    assert len(set(zip(phone.tolist(), pitch.tolist(), strict=True))) == NUM_CODES
    assert phone.max() == NUM_PHONES - 1 and pitch.max() == NUM_PITCHES - 1


def test_notes_fold_by_octaves_into_range() -> None:
    """A note in range is itself; outside, it keeps its pitch class and lands in range."""
    midi = np.arange(1, 128)
    index = note_index(midi)
    assert index.min() == 1 and index.max() == 36
    assert np.array_equal((index + LOWEST_NOTE - 1) % 12, midi % 12)
    inside = (midi >= LOWEST_NOTE) & (midi <= HIGHEST_NOTE)
    assert np.array_equal(index[inside], midi[inside] - LOWEST_NOTE + 1)
    assert note_index(np.array([0])).tolist() == [0]


def test_stress_does_not_change_a_phone_and_chords_count_from_c() -> None:
    """AH0, AH1, AH2 and AH are one phone; C is 1, C minor 2, B minor 24."""
    assert {phone_index(s) for s in ("AH", "AH0", "AH1", "AH2")} == {PHONES.index("AH")}
    assert (chord_index(0, "maj"), chord_index(0, "min"), chord_index(11, "min")) == (1, 2, 24)
    with pytest.raises(KeyError):
        phone_index("QQ")


def test_score_tokens_equal_a_loop_over_frames() -> None:
    """The vectorised labels are those of a plain search at every frame's centre."""
    for index in range(8):
        score = compose(3, index)
        assert score_to_tokens(score).tolist() == slow_tokens(score)


def slow_tokens(score: Score) -> list[int]:
    tokens = []
    for frame in range(round(score.duration * SAMPLE_RATE) // HOP):
        time = (frame + 0.5) * 0.04
        phones = [p for p in score.phones if p.start <= time < p.end]
        chord = next(c for c in score.chords if c.start <= time < c.end)
        if not phones:
            tokens.append(chord_index(chord.root, chord.quality))
            continue
        phone = phones[-1]
        vowel = phone.symbol[0] in "AEIOU"
        melody = [n.midi for n in score.notes if n.start <= time < n.end]
        midi = melody[-1] if vowel and melody else phone.midi
        pitch = int(note_index(np.array([midi]))[0])
        tokens.append(PHONES.index(phone.symbol.rstrip("012")) * 37 + pitch)
    return tokens


def test_a_vowel_on_two_notes_changes_its_token_and_silence_has_the_chord() -> None:
    """Frame by frame: chord, consonant on its syllable's note, vowel on the melody, chord."""
    score = dataclasses.replace(
        compose(0, 0),
        duration=0.24,
        phones=(Phone("B", 0.04, 0.08, 60, 0), Phone("IY1", 0.08, 0.16, 60, 0)),
        notes=(Note(0.08, 0.12, 62, 0), Note(0.12, 0.16, 60, 0)),
        chords=(Chord(0.0, 0.2, 9, "min"),),
    )
    labels = score_to_labels(score)
    assert [PHONES[i] for i in labels.phone] == ["", "B", "IY", "IY", "", ""]
    assert labels.note.tolist() == [0, 18, 20, 18, 0, 0]
    assert labels.chord.tolist() == [20, 20, 20, 20, 20, 0]
    assert [int(code % 37) for code in labels.tokens] == [20, 18, 20, 18, 20, 0]


def test_symbols_need_no_torch() -> None:
    """Symbolic labels can be made in a process that never imports torch."""
    code = "import sys, songbloom.model.sketch_symbols; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# What a token depends on


@pytest.mark.parametrize("samples", [0, 1, 1919, 1920, 1921, 3840, 19 * 1920 + 77])
def test_there_is_one_token_for_every_whole_frame(samples: int) -> None:
    """T = samples // 1920 at every length, also below one frame."""
    tokens = small_codec().encode(noise(1.0)[..., :samples])
    assert tokens.shape == (1, samples // HOP) and tokens.dtype == torch.int64


def test_chunked_tokens_are_the_whole_song_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokenizing in short chunks gives the tokens of one pass over everything."""
    codec, song = small_codec(), noise(4.0)
    whole = codec.posteriors(song).tokens
    monkeypatch.setattr("songbloom.model.sketch_codec._CHUNK_FRAMES", 7)
    assert len(whole.unique()) > 3
    assert torch.equal(codec.encode(song), whole)


def test_tokens_depend_on_halo_frames_and_no_more() -> None:
    """By gradient: nothing outside the halo reaches a frame, and something near its rim does."""
    codec = small_codec()
    song = noise(3.0).requires_grad_()
    frame = 37
    codec.posteriors(song).phone[0, frame].square().sum().backward()
    reach = song.grad.abs().sum((0, 1)).view(-1, HOP).sum(1).nonzero()[:, 0]
    assert reach.min() >= frame - codec.halo and reach.max() <= frame + codec.halo
    assert reach.min() <= frame - codec.halo + 1 and reach.max() >= frame + codec.halo - 1


def test_batched_tokens_are_the_single_ones() -> None:
    """A song's tokens do not depend on what else is in the batch."""
    codec, songs = small_codec(), noise(1.0, batch=3)
    together = codec.encode(songs)
    assert torch.equal(together, torch.cat([codec.encode(song[None]) for song in songs]))


def test_mono_and_doubled_stereo_sound_the_same() -> None:
    """The codec hears the mean of the channels; a waveform without batch is refused."""
    codec, mono = small_codec(), noise(1.0)[:, :1]
    assert torch.equal(codec.encode(mono), codec.encode(mono.repeat(1, 2, 1)))
    with pytest.raises(ValueError, match="expected"):
        codec.encode(mono[0])


@pytest.mark.parametrize("midi", [40, 48, 60, 69, 78])
def test_a_tone_peaks_in_its_own_bins(midi: int) -> None:
    """A sine is loudest in the constant-Q bin and next to the mel band of its frequency."""
    hz = 440 * 2 ** ((midi - 69) / 12)
    sine = torch.sin(2 * np.pi * hz * torch.arange(SAMPLE_RATE) / SAMPLE_RATE)
    codec = small_codec()
    features = codec.features(sine[None, None])
    assert features.cqt.shape == (1, 25, len(cqt_frequencies()))
    assert features.mel.shape == (1, 100, SMALL.mel_bands)
    peak = cqt_frequencies()[int(features.cqt[0, 12].argmax())]
    assert abs(12 * np.log2(peak / hz)) < 0.35
    assert cqt_frequencies()[37 + 3 * (69 - 36)] == pytest.approx(440)  # its semitone's middle bin
    bands = mel_frequencies(SMALL.mel_bands)
    assert abs(int(features.mel[0, 50].argmax()) - int(np.abs(bands - hz).argmin())) <= 1


# How it is stored


def test_a_saved_codec_is_the_same_codec(tmp_path: Path) -> None:
    """Tokens and hash survive the disk, and saving twice gives the same bytes."""
    codec = small_codec()
    codec.save(tmp_path / "a")
    loaded = SketchCodec.load(tmp_path / "a")
    loaded.save(tmp_path / "b")
    assert loaded.codebook_hash == codec.codebook_hash
    assert torch.equal(loaded.encode(noise(2.0)), codec.encode(noise(2.0)))
    for name in ("config.json", "weights.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_codebook_hash_tells_codecs_apart() -> None:
    """One changed weight or one changed size is another codebook."""
    codec = small_codec()
    before = codec.codebook_hash
    assert small_codec().codebook_hash == before
    with torch.no_grad():
        codec.phone_head.bias[3] += 0.5
    wider = SketchCodec(dataclasses.replace(SMALL, dilations=(2, 1)))
    assert len({before, codec.codebook_hash, wider.codebook_hash}) == 3


def test_damaged_codecs_are_refused_by_name(tmp_path: Path) -> None:
    """No file, a cut file, another config, a config that is none: an error that names the file."""
    with pytest.raises(MissingAssetError, match=r"config\.json"):
        SketchCodec.load(tmp_path)
    small_codec().save(tmp_path)
    weights, config = tmp_path / "weights.safetensors", tmp_path / "config.json"
    whole, text = weights.read_bytes(), config.read_text()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SongBloomError, match=r"weights\.safetensors"):
        SketchCodec.load(tmp_path)
    weights.write_bytes(whole)
    config.write_text(text.replace('"dim": 32', '"dim": 48'))
    with pytest.raises(SongBloomError, match="does not fit"):
        SketchCodec.load(tmp_path)
    for bad in ("{}", "[]", "not json", text.replace('"dim": 32', '"dim": 0')):
        config.write_text(bad)
        with pytest.raises(SongBloomError):
            SketchCodec.load(tmp_path)


# How it is taught


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four songs whose two 'vowels' are a bright and a dark tone, over a hum on their chord."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(4):
        write_song(folder / f"song_{number:05d}", np.random.default_rng(number))
    return folder


def write_song(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir()
    phones, notes, at = [], [], 0.4
    vocals = np.zeros(6 * SAMPLE_RATE, dtype=np.float32)
    while at < 5.0:
        vowel, midi = str(rng.choice(["AA1", "IY1"])), int(rng.choice([55, 60, 64]))
        sound = tone(midi, 0.4)
        bright = np.diff(sound, prepend=0) * 4 + 0.05 * rng.standard_normal(len(sound))
        begin = round(at * SAMPLE_RATE)
        vocals[begin : begin + len(sound)] = sound if vowel == "AA1" else bright
        phones.append(Phone(vowel, at, at + 0.4, midi, 0))
        notes.append(Note(at, at + 0.4, midi, 0))
        at += float(rng.choice([0.4, 0.6]))
    root = int(rng.choice([0, 7]))
    backing = sum(0.2 * tone(48 + root + step, 6.0) for step in (0, 4, 7))
    score = dataclasses.replace(
        compose(0, 0),
        duration=6.0,
        phones=tuple(phones),
        notes=tuple(notes),
        chords=(Chord(0.0, 6.0, root, "maj"),),
    )
    (folder / "truth.json").write_text(score.to_json())
    for name, part in (("audio", vocals + backing), ("vocals", vocals), ("backing", backing)):
        audio.save(folder / f"{name}.flac", audio.to_stereo(part[None]), SAMPLE_RATE)


QUICK = FitOptions(batch_size=4, crop_frames=50, held_out_every=4, checkpoint_every=3)


def test_fit_learns_to_hear_what_it_was_taught(corpus: Path, tmp_path: Path) -> None:
    """A minute's training on four tiny songs names the held-out song's phones, notes and chord."""
    options = dataclasses.replace(QUICK, learning_rate=5e-3)
    report = fit(corpus, tmp_path, config=SMALL, options=options, seed=0, steps=120)
    assert report["voicing_accuracy"] > 0.9
    assert report["pitch_accuracy"] > 0.9
    assert report["voiced_phone_accuracy"] > 0.8
    assert report["code_accuracy"] > 0.7
    held_out = sketch_corpus.song_folders(corpus)[-1:]
    again = evaluate(SketchCodec.load(tmp_path), held_out)
    assert again.items() <= report.items()


def test_resume_is_invisible(corpus: Path, tmp_path: Path) -> None:
    """A run killed after 4 of 8 steps and gone on with ends in the bytes of an undisturbed one."""

    class Killed(Exception):
        pass

    def kill_at_five(event: dict[str, float]) -> None:
        if event.get("step") == 5:
            raise Killed

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    fit(corpus, whole, config=SMALL, options=QUICK, seed=5, steps=8)
    with pytest.raises(Killed):
        fit(corpus, cut, config=SMALL, options=QUICK, seed=5, steps=8, on_progress=kill_at_five)
    assert not (cut / "weights.safetensors").exists()
    seen: list[float] = []
    fit(
        corpus,
        cut,
        config=SMALL,
        options=QUICK,
        seed=5,
        steps=8,
        on_progress=lambda event: seen.append(event.get("step", 0)),
    )
    assert [step for step in seen if step] == [4, 5, 6, 7, 8]  # the state of step 3 was on disk
    for name in ("weights.safetensors", "report.json", "config.json"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes()
    other = tmp_path / "other"
    fit(corpus, other, config=SMALL, options=QUICK, seed=6, steps=8)
    assert (other / "weights.safetensors").read_bytes() != (
        whole / "weights.safetensors"
    ).read_bytes()


def test_every_step_has_its_own_draw(corpus: Path, tmp_path: Path) -> None:
    """With a learning rate of 0 the losses still differ, because the crops do."""
    losses: list[float] = []
    fit(
        corpus,
        tmp_path,
        config=SMALL,
        options=dataclasses.replace(QUICK, learning_rate=0.0),
        steps=4,
        on_progress=lambda event: losses.append(event.get("loss", 0.0)),
    )
    assert len(set(losses) - {0.0}) == 4


def test_fit_refuses_what_it_cannot_mean(corpus: Path, tmp_path: Path) -> None:
    """No songs, one song, both or neither length, the state of another run, a damaged score."""
    with pytest.raises(UsageError, match="no synthetic songs"):
        fit(tmp_path, tmp_path / "out", steps=1)
    with pytest.raises(UsageError, match="not both"):
        fit(corpus, tmp_path / "out", steps=1, minutes=1.0)
    with pytest.raises(UsageError, match="not both"):
        fit(corpus, tmp_path / "out")
    write_song(tmp_path / "song_00000", np.random.default_rng(0))
    with pytest.raises(UsageError, match="at least 2"):
        fit(tmp_path, tmp_path / "out", steps=1)
    fit(corpus, tmp_path / "out", config=SMALL, options=QUICK, steps=1)
    with pytest.raises(UsageError, match="another run|other songs"):
        fit(corpus, tmp_path / "out", config=SMALL, options=QUICK, steps=2)
    (tmp_path / "song_00000" / "truth.json").write_text('{"phones": 3}')
    with pytest.raises(SongBloomError, match=r"truth\.json"):
        sketch_corpus.load_song(tmp_path / "song_00000", small_codec())


def test_crops_carry_the_labels_of_their_own_frames(corpus: Path) -> None:
    """In every drawn crop the voice sounds where the labels say so, at any remix level."""
    folder = sketch_corpus.song_folders(corpus)[0]
    song = sketch_corpus.load_song(folder, small_codec())
    silent = dataclasses.replace(song, backing=np.zeros_like(song.backing))
    rng = np.random.default_rng(0)
    batch = sketch_corpus.draw_batch([silent], rng, size=6, crop=40, mel_bands=24)
    level = batch.signal.view(6, 40, HOP // 2).square().mean(-1).sqrt()
    assert (level[batch.phone > 0] > 0.01).all() and (level[batch.phone == 0] < 0.01).all()
    assert ((batch.note > 0) == (batch.phone > 0)).all()
    long = sketch_corpus.draw_batch([silent], rng, size=1, crop=200, mel_bands=24)
    assert (long.phone[0, 150:] == sketch_corpus.IGNORED).all()


def test_scores_count_what_they_say() -> None:
    """A worked example: 8 frames, one wrong phone, one wrong note, one wrong chord."""
    true = encode_symbols(np.array([0, 0, 5, 5, 6, 6, 6, 0]), np.array([1, 1, 9, 9, 4, 4, 4, 3]))
    heard = encode_symbols(np.array([0, 0, 5, 7, 6, 6, 6, 0]), np.array([1, 2, 9, 9, 4, 4, 5, 3]))
    scores = score_tokens([heard], [true])
    assert scores["phone_accuracy"] == 7 / 8 and scores["voiced_phone_accuracy"] == 4 / 5
    assert scores["voicing_accuracy"] == 1.0 and scores["pitch_accuracy"] == 4 / 5
    assert scores["chord_accuracy"] == 2 / 3 and scores["code_accuracy"] == 5 / 8
    assert scores["phone_error_rate"] == 1 / 2  # one phone too many, of two
    assert scores["codes_true"] == 4 and scores["codes_used"] == 7 and scores["dead_codes"] == 0
    assert scores["top1_share"] == 2 / 8
    assert score_tokens([true], [true])["phone_error_rate"] == 0.0
    phones = [37 * np.array(said) for said in ([1, 2, 3, 4, 5], [1, 5], [2, 1, 2, 6, 4, 5])]
    missing = score_tokens([np.resize(phones[1], 5)[[0, 0, 0, 0, 1]]], [phones[0]])
    assert missing["phone_error_rate"] == 3 / 5
    mixed = score_tokens([phones[2]], [np.append(phones[0], 0)])
    assert mixed["phone_error_rate"] == 2 / 5  # one more at the front, one wrong
