"""Separation: what the embedded model gains, Demucs' models as Demucs has them, files of others."""

import dataclasses
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
from demucs.apply import apply_model
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from demucs.pretrained import get_model
from demucs.states import save_with_checksum

from songbloom import audio
from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.manifest import Track
from songbloom.stages import demucs_models, demucs_stream, separate
from songbloom.stages.stage import Item
from songbloom.synth.render import Rendering, render
from songbloom.synth.score import compose
from songbloom.tables import PrepareConfig
from songbloom.training.separator import si_sdr
from songbloom.units import SAMPLE_RATE

SOURCES = ["drums", "bass", "other", "vocals"]
SECONDS = 4.3


@pytest.fixture(scope="module")
def sung(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rendering, Path]:
    """A song in a voice and with words that nothing was trained on."""
    sound = render(compose(41, 2, split="test", num_lines=2))
    path = tmp_path_factory.mktemp("song") / "song.flac"
    audio.save(path, sound.mix, SAMPLE_RATE)
    return sound, path


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some seconds of noise at 48 kHz, an odd number of samples."""
    rng = np.random.default_rng(5)
    path = tmp_path_factory.mktemp("noise") / "noise.flac"
    samples = rng.standard_normal((2, int(SECONDS * SAMPLE_RATE) + 1)) * 0.05
    audio.save(path, samples.astype(np.float32), SAMPLE_RATE)
    return path


def tiny(kind: str = "HTDemucs", sources: list[str] = SOURCES, seed: int = 0, **more: Any) -> Any:
    """A model of a Demucs class, of random weights that half precision holds."""
    torch.manual_seed(seed)
    build = {
        "HTDemucs": lambda: HTDemucs(
            sources,
            channels=8,
            growth=2,
            depth=4,
            t_layers=1,
            t_heads=2,
            **{"segment": Fraction(2), "samplerate": SAMPLE_RATE, **more},
        ),
        "HDemucs": lambda: HDemucs(
            sources, channels=4, segment=2, **{"samplerate": SAMPLE_RATE, **more}
        ),
        "Demucs": lambda: Demucs(
            sources, channels=4, depth=4, segment=2, **{"samplerate": SAMPLE_RATE, **more}
        ),
    }
    model = build[kind]()
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(value.half().float())
    return model.eval()


def package(model: Any) -> dict[str, Any]:
    """What Demucs saves of a model."""
    args, kwargs = model._init_args_kwargs
    state = {name: value.half() for name, value in model.state_dict().items()}
    parts = {"klass": type(model), "args": args, "kwargs": kwargs, "state": state}
    return {**parts, "training_args": {"epochs": 1}}


def save(model: Any, folder: Path, name: str) -> Path:
    """`folder/name-CHECKSUM.th`, written by Demucs."""
    folder.mkdir(exist_ok=True)
    save_with_checksum(package(model), folder / f"{name}.th")
    return next(folder.glob(f"{name}-*.th"))


def run(
    song: Path, output: Path, settings: PrepareConfig | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The stage's fields and its two files as float32 `[2, n]`."""
    output.mkdir(parents=True)
    process = separate.load(settings or PrepareConfig(), "cpu")
    fields = dict(process(Item(Track("song", song.name), song), output))
    assert sorted(path.name for path in output.iterdir()) == ["accompaniment.flac", "vocals.flac"]
    stems = {name: audio.load(output / f"{name}.flac", SAMPLE_RATE) for name in separate.STEMS}
    return fields, stems


def with_model(model: Path | str) -> PrepareConfig:
    return dataclasses.replace(PrepareConfig(), separate_model=str(model))


def test_embedded_model_improves_both_stems(sung: tuple[Rendering, Path], tmp_path: Path) -> None:
    """Of a new song in an unheard voice: both stems gain, they add up to it, silence is silent."""
    sound, path = sung
    fields, stems = run(path, tmp_path / "out")
    for stem, truth in (("vocals", sound.vocals), ("accompaniment", sound.backing)):
        gained = si_sdr(stems[stem], truth) - si_sdr(sound.mix, truth)
        assert gained > 8.0, (stem, gained)  # twelve such songs gain 10 dB and more
    assert np.abs(stems["vocals"] + stems["accompaniment"] - sound.mix).max() < 1e-6
    assert json.loads(json.dumps(fields)) == fields
    assert fields["gain_db"] == 0
    sings = np.square(sound.vocals).mean()
    assert fields["vocals_dbfs"] == pytest.approx(10 * np.log10(sings), abs=2)
    blocks = sound.vocals[:, : sound.vocals.shape[1] // 4800 * 4800].reshape(2, -1, 4800)
    assert fields["voice"] == pytest.approx(
        separate.voice(np.square(blocks).mean((0, 2))), abs=0.15
    )


def test_stems_are_48_khz_stereo_24_bit_and_as_long_as_the_song(tmp_path: Path) -> None:
    """A mono song of another rate comes out at 48 kHz, to the sample as long."""
    samples = np.random.default_rng(1).standard_normal((1, 50_001)).astype(np.float32) * 0.1
    audio.save(tmp_path / "song.wav", samples, 22_050)
    run(tmp_path / "song.wav", tmp_path / "out")
    for name in separate.STEMS:
        header = soundfile.info(str(tmp_path / "out" / f"{name}.flac"))
        assert (header.samplerate, header.channels, header.subtype) == (48_000, 2, "PCM_24")
        assert header.frames == -(-50_001 * 48_000 // 22_050)


def test_the_same_song_gives_the_same_bytes(noise: Path, tmp_path: Path) -> None:
    """Files do not depend on the songs before, nor on the process."""
    process = separate.load(PrepareConfig(), "cpu")
    short = tmp_path / "short.wav"
    audio.save(short, np.full((2, 9_000), 0.1, np.float32), SAMPLE_RATE)
    for number, song in enumerate((noise, short, noise)):
        (tmp_path / str(number)).mkdir()
        process(Item(Track("x", "x"), song), tmp_path / str(number))
    for name in ("vocals.flac", "accompaniment.flac"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


@pytest.mark.parametrize("samples", [1, 100, 5_000, 48_001])
def test_songs_shorter_than_a_spectrum_come_through(samples: int, tmp_path: Path) -> None:
    """Demucs' spectrogram models fail at these by themselves."""
    audio.save(tmp_path / "s.wav", np.full((2, samples), 0.25, np.float32), SAMPLE_RATE)
    _, stems = run(tmp_path / "s.wav", tmp_path / "out")
    assert stems["vocals"].shape == (2, samples)


@pytest.mark.parametrize("kind", ["HTDemucs", "HDemucs", "Demucs"])
def test_full_backend_gives_what_demucs_gives(kind: str, noise: Path, tmp_path: Path) -> None:
    """Saved by Demucs, loaded by Demucs, streamed: as `apply_model` on the whole song."""
    weights = save(tiny(kind), tmp_path / "repo", "abcd1234")
    _, stems = run(noise, tmp_path / "out", with_model(tmp_path / "repo"))
    theirs = get_model("abcd1234", repo=weights.parent)
    song = torch.from_numpy(audio.load(noise, SAMPLE_RATE))[None]
    expected = apply_model(theirs, song, shifts=0)[0].numpy()
    assert np.abs(expected[3]).max() > 1e-3
    assert np.abs(stems["vocals"] - expected[3]).max() < 1e-5
    assert np.abs(stems["accompaniment"] - expected[:3].sum(0)).max() < 1e-5


def test_a_model_of_44_1_khz_is_resampled_for(noise: Path, tmp_path: Path) -> None:
    """48 kHz in, 44.1 kHz through the model, 48 kHz out, in time with the song."""
    model = tiny(samplerate=44_100)
    song = audio.load(noise, SAMPLE_RATE)
    pairs = list(demucs_stream.stems(model, np.array_split(song, 7, axis=1), "cpu"))
    vocals = np.concatenate([pair[0] for pair in pairs], axis=1)
    theirs = apply_model(model, torch.from_numpy(audio.load(noise, 44_100))[None], shifts=0)
    expected = soundfile_resampled(theirs[0, 3].numpy())
    length = min(vocals.shape[1], expected.shape[1]) - 200
    assert vocals.shape == song.shape
    assert np.abs(vocals[:, 200:length] - expected[:, 200:length]).max() < 2e-3


def soundfile_resampled(samples: np.ndarray) -> np.ndarray:
    """44.1 to 48 kHz in one go."""
    import soxr

    found: np.ndarray = soxr.resample(samples.T, 44_100, SAMPLE_RATE, quality="VHQ").T
    return found


def test_a_bag_of_models_is_weighed_as_demucs_weighs_it(noise: Path, tmp_path: Path) -> None:
    """A folder with a bag: two models, a weight for each source."""
    repo = tmp_path / "repo"
    for seed, name in enumerate(("aaaa0000", "bbbb1111")):
        save(tiny(seed=seed), repo, name)
    weights = "[[1, 0, 2, 1], [1, 1, 0, 3]]"
    (repo / "bag.yaml").write_text(f"models: ['aaaa0000', 'bbbb1111']\nweights: {weights}\n")
    _, stems = run(noise, tmp_path / "out", with_model(repo))
    song = torch.from_numpy(audio.load(noise, SAMPLE_RATE))[None]
    expected = apply_model(get_model("bag", repo=repo), song, shifts=0)[0].numpy()
    assert np.abs(stems["vocals"] - expected[3]).max() < 1e-5


def test_identity_is_of_the_weights_not_of_their_place(tmp_path: Path) -> None:
    """The same file elsewhere is the same backend; another file is another."""
    first = save(tiny(), tmp_path / "a", "abcd1234")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / first.name).write_bytes(first.read_bytes())
    save(tiny(seed=1), tmp_path / "c", "abcd1234")
    hashes = [separate.backend(with_model(tmp_path / name)).hash for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]
    assert separate.backend(PrepareConfig()).hash not in hashes
    settings = dataclasses.replace(with_model(tmp_path / "a"), separate_backend="seedling")
    assert separate.backend(settings).hash == separate.backend(PrepareConfig()).hash


def test_stems_that_would_clip_are_made_softer_by_the_same_factor(tmp_path: Path) -> None:
    """Levels keep their relation: the gain is one, and said."""

    class Loud(torch.nn.Module):
        """Vocals three times the song, accompaniment half of it."""

        sources, samplerate, segment, audio_channels = ["other", "vocals"], SAMPLE_RATE, 1, 2
        anchor = torch.nn.Parameter(torch.zeros(()))

        def forward(self, mix: torch.Tensor) -> torch.Tensor:
            return torch.stack([mix * 0.5, mix * 3], dim=1)

    song = np.random.default_rng(2).uniform(-0.9, 0.9, (2, 100_000)).astype(np.float32)
    audio.save(tmp_path / "s.wav", song, SAMPLE_RATE)
    (tmp_path / "out").mkdir()
    fields = separate.separate(Loud(), tmp_path / "s.wav", tmp_path / "out", "cpu")
    stems = [audio.load(tmp_path / "out" / f"{name}.flac", SAMPLE_RATE) for name in separate.STEMS]
    factor = 10 ** (fields["gain_db"] / 20)
    assert 0.99 < np.abs(stems[0]).max() < 1
    assert np.abs(stems[0] - stems[1] * 6).max() < 1e-5
    assert np.abs(stems[1] - song * 0.5 * factor).max() < 1e-4
    assert fields["vocals_dbfs"] - fields["accompaniment_dbfs"] == pytest.approx(15.56, abs=0.02)


def test_voice_leaves_out_what_leaks() -> None:
    """Blocks of silence, of leakage 35 dB down, of a faint whisper and of voice."""
    assert separate.voice(np.array([])) == 0
    assert separate.voice(np.zeros(10)) == 0
    assert separate.voice(10.0 ** np.array([-1.0, -1.5, -3.9, -4.5])) == 0.75
    assert separate.voice(10.0 ** np.array([0.0, -2.9, -3.1, -9.0])) == 0.5


def test_a_package_that_holds_code_is_refused_and_not_run(tmp_path: Path) -> None:
    """Reading it writes nothing; the error names what it would have called."""

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"klass": HTDemucs, "state": Evil()}, tmp_path / "evil.th")
    with pytest.raises(SongBloomError, match=r"evil\.th: refused: it holds code \(posix\.mkdir"):
        separate.load(with_model(tmp_path / "evil.th"), "cpu")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("klass", ["os.system", "subprocess.Popen", "builtins.eval", ""])
def test_a_tensor_file_cannot_name_a_class_of_its_own(klass: str, tmp_path: Path) -> None:
    """Demucs would call whatever the file's metadata names."""
    path = tmp_path / "evil.safetensors"
    marker = tmp_path / "owned"
    metadata = {"klass": klass, "args": json.dumps([f"touch {marker}"]), "kwargs": "{}"}
    safetensors.torch.save_file({"x": torch.zeros(1)}, path, metadata=metadata)
    with pytest.raises(SongBloomError, match="no model of Demucs"):
        separate.load(with_model(path), "cpu")
    assert not marker.exists()


def test_files_that_are_no_model_are_told_apart(tmp_path: Path) -> None:
    """Each is refused in one line that names the file; none with a traceback of its own."""
    good = save(tiny(), tmp_path / "repo", "abcd1234")
    mono = save(tiny(audio_channels=1), tmp_path / "mono", "abcd1234")
    drums = save(tiny(sources=["drums", "bass"]), tmp_path / "drums", "abcd1234")
    files = {
        "text.th": (b"not a model", "refused|cannot be read"),
        "cut.th": (good.read_bytes()[:5000], "cannot be read"),
        "empty.th": (b"", "cannot be read"),
        "name-00000000.th": (good.read_bytes(), "checksum"),
        "text.safetensors": (b"not a model", "cannot be read"),
        "text.yaml": (b"[1, 2", "YAML"),
        "odd.yaml": (b"models: 3", "no bag"),
        "mono.th": (mono.read_bytes(), "1 channels.*expected a stereo model"),
        "drums.th": (drums.read_bytes(), "sources drums, bass; expected"),
    }
    for name, (content, told) in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(SongBloomError, match=told) as caught:
            separate.load(with_model(path), "cpu")
        assert caught.value.message.startswith(str(path)), caught.value.message
        assert "\n" not in caught.value.message
    torch.save({"klass": Fraction, "args": (1,), "kwargs": {}, "state": {}}, tmp_path / "f.th")
    with pytest.raises(SongBloomError, match="no package of a Demucs model"):
        separate.load(with_model(tmp_path / "f.th"), "cpu")
    wrong = package(tiny())
    wrong["state"].popitem()
    torch.save(wrong, tmp_path / "wrong.th")
    with pytest.raises(SongBloomError, match="Demucs cannot build it"):
        separate.load(with_model(tmp_path / "wrong.th"), "cpu")


def test_folders_without_one_model_are_told_apart(tmp_path: Path) -> None:
    """Empty, two models, a bag that names what is not there, a bag that does not fit."""
    with pytest.raises(MissingAssetError, match="holds no Demucs model"):
        separate.backend(with_model(tmp_path))
    with pytest.raises(MissingAssetError, match="no such file or folder"):
        separate.backend(with_model(tmp_path / "missing"))
    save(tiny(), tmp_path, "aaaa")
    (tmp_path / "bag.yaml").write_text("models: [bbbb]")
    with pytest.raises(MissingAssetError, match="names the model 'bbbb'"):
        separate.backend(with_model(tmp_path))
    (tmp_path / "bag.yaml").write_text("models: [aaaa]\nweights: [[1, 2]]")
    with pytest.raises(SongBloomError, match="do not go together"):
        separate.load(with_model(tmp_path), "cpu")
    (tmp_path / "bag.yaml").unlink()
    save(tiny(seed=1), tmp_path, "cccc")
    with pytest.raises(SongBloomError, match="holds 2 models"):
        separate.backend(with_model(tmp_path))


def test_names_are_looked_up_in_caches_and_never_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not there: exit 4 and the command. In torch's cache or the hub's: found by its signature."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(MissingAssetError, match="htdemucs: not on this machine yet") as caught:
        separate.backend(with_model("htdemucs"))
    assert caught.value.exit_code == 4
    assert "d.get_model('htdemucs')" in caught.value.hint
    with pytest.raises(MissingAssetError, match="no model that Demucs knows") as caught:
        separate.backend(with_model("htdemux"))
    assert "htdemucs_ft" in caught.value.hint
    checkpoint = tmp_path / "torch" / "hub" / "checkpoints" / "955717e8-8726e21a.th"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"weights")
    assert demucs_models.find("htdemucs").weights == (checkpoint,)
    kept = tmp_path / "hub" / "models--adefossez--HTDemucs" / "snapshots" / "0" / "955717e8"
    kept.parent.mkdir(parents=True)
    kept.with_suffix(".safetensors").write_bytes(b"weights")
    assert demucs_models.find("htdemucs").weights == (kept.with_suffix(".safetensors"),)
    asked = dataclasses.replace(PrepareConfig(), separate_backend="demucs")
    assert separate.backend(asked).hash == separate.backend(with_model("htdemucs")).hash


def test_choosing_a_backend_imports_no_torch() -> None:
    """`doctor` and `prepare --dry-run` ask every stage."""
    code = (
        "import sys; from songbloom.stages import separate; "
        "from songbloom.tables import PrepareConfig; "
        "separate.backend(PrepareConfig()); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_memory_does_not_grow_with_the_song() -> None:
    """Ten minutes through a model: never more than a few segments are held."""
    held: list[int] = []

    def song() -> Any:
        for _ in range(600):
            held.append(0)
            yield np.zeros((2, SAMPLE_RATE), np.float32)

    class Through(torch.nn.Module):
        sources, samplerate, segment, audio_channels = ["vocals"], SAMPLE_RATE, 8, 2
        anchor = torch.nn.Parameter(torch.zeros(()))

        def forward(self, mix: torch.Tensor) -> torch.Tensor:
            return mix[:, None]

    done, most = 0, 0
    model: Any = Through()
    for vocals, _ in demucs_stream.stems(model, song(), "cpu"):
        most = max(most, len(held) * SAMPLE_RATE - done)
        done += vocals.shape[1]
    assert done == 600 * SAMPLE_RATE
    assert most <= 3 * 8 * SAMPLE_RATE
