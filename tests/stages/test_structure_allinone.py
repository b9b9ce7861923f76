"""All-In-One at its real interface, with tiny random weights in its own file format."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from songbloom import audio
from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.lyrics.tags import TAGS
from songbloom.manifest import Track
from songbloom.stages import structure, structure_allinone
from songbloom.stages.stage import Item
from songbloom.tables import PrepareConfig
from songbloom.units import SAMPLE_RATE

pytest.importorskip("demucs", reason="needs the extra songbloom[prepare]")
pytest.importorskip("omegaconf", reason="needs the extra songbloom[structure]")

FOUR = ("drums", "bass", "other", "vocals")


def checkpoint(path: Path, seed: int) -> Path:
    """A small All-In-One, saved as its authors save theirs; sure enough to part sections."""
    from omegaconf import OmegaConf

    with structure_allinone._importing():
        from allin1_infer.config import Config, HarmonixConfig
        from allin1_infer.models import AllInOne
    config = Config(
        data=HarmonixConfig(), depth=3, best_threshold_beat=0.2, best_threshold_downbeat=0.2
    )
    plain: Any = OmegaConf.to_container(OmegaConf.structured(config))
    torch.manual_seed(seed)
    model = AllInOne(OmegaConf.create(plain))
    for head in (model.section_classifier, model.beat_classifier, model.downbeat_classifier):
        torch.nn.init.normal_(head.classifier.weight, std=1.0)
    torch.save({"config": plain, "state_dict": model.state_dict()}, path)
    return path


def separator(folder: Path, sources: tuple[str, ...] = FOUR) -> Path:
    """A small Demucs model, saved by Demucs."""
    from demucs.htdemucs import HTDemucs
    from demucs.states import save_with_checksum, serialize_model
    from omegaconf import OmegaConf

    torch.manual_seed(1)
    model = HTDemucs(
        sources=list(sources), channels=8, growth=2, depth=4, t_layers=1, t_heads=2, segment=2.0,
        nfft=1024,
    )  # fmt: skip
    folder.mkdir()
    save_with_checksum(serialize_model(model, OmegaConf.create({})), folder / "abcd1234.th")
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> PrepareConfig:
    folder = tmp_path_factory.mktemp("models")
    return PrepareConfig(
        structure_model=str(checkpoint(folder / "tiny.pth", 3)),
        separate_model=str(separator(folder / "demucs")),
    )


def song(folder: Path, seconds: float, level: float = 0.2) -> Item:
    """Clicks twice a second over noise."""
    rng = np.random.default_rng(0)
    samples = level * 0.2 * rng.standard_normal((1, round(seconds * SAMPLE_RATE)))
    samples[:, :: SAMPLE_RATE // 2] += level
    audio.save(folder / "song.flac", samples.astype(np.float32), SAMPLE_RATE)
    return Item(Track("song", "song.flac"), folder / "song.flac")


def with_model(settings: PrepareConfig, model: Path | str | None) -> PrepareConfig:
    return dataclasses.replace(settings, structure_model=None if model is None else str(model))


def test_sections_and_beats_are_what_the_library_says(
    settings: PrepareConfig, tmp_path: Path
) -> None:
    """The library's own reading of the same spectrograms, under our tags."""
    with structure_allinone._importing():
        from allin1_infer.helpers import run_inference
    model = structure_allinone._model([Path(str(settings.structure_model))], "cpu")
    rng = np.random.default_rng(0)
    loud = np.repeat([0.2, 2.0], 400)[None, :, None]
    beats = 1.0 * (np.arange(800) % 50 < 3)[None, :, None]
    spectrogram = (loud * rng.random((4, 800, 81)) + beats).astype(np.float32)
    np.save(tmp_path / "s.npy", spectrogram)
    marks, found = structure_allinone._analyse(model, spectrogram, "cpu")
    with torch.inference_mode():
        told = run_inference(tmp_path, tmp_path / "s.npy", model, "cpu", True, False)
    expected = [
        (structure_allinone.TAGS[s.label], s.start)
        for s in told.segments
        if s.label not in ("start", "end") or s.end - s.start >= 2
    ]
    assert len(expected) > 1 and len(told.beats) > 5
    assert [mark[:2] for mark in marks] == expected
    assert found["beats"] == [pytest.approx(beat, abs=1e-3) for beat in told.beats]
    assert found["tempo"] == told.bpm
    shares = told.activations["label"].max(axis=0)
    assert all(shares.min() / 2 < mark.confidence <= shares.max() for mark in marks)


def test_a_song_is_separated_and_analysed_the_same_way_every_time(
    settings: PrepareConfig, tmp_path: Path
) -> None:
    """Demucs' own random shift of the song is off."""
    item = song(tmp_path, 3)
    assert structure.backend(settings).name == "all-in-one"
    process = structure.load(settings, "cpu")
    found = process(item, tmp_path)
    assert found == process(item, tmp_path) and found["method"] == "all-in-one"


def test_several_files_are_an_ensemble(settings: PrepareConfig, tmp_path: Path) -> None:
    """The library's own, which means their outputs: of one model twice, that model's."""
    weights = Path(str(settings.structure_model))
    for name in ("a", "b"):
        (tmp_path / f"{name}.pth").write_bytes(weights.read_bytes())
    item = song(tmp_path, 2)
    both = structure.load(with_model(settings, tmp_path), "cpu")(item, tmp_path)
    alone = structure.load(settings, "cpu")(item, tmp_path)
    assert both["beats"] == alone["beats"]
    assert [s["tag"] for s in both["sections"]] == [s["tag"] for s in alone["sections"]]


@pytest.mark.parametrize(("seconds", "level"), [(0.05, 0.2), (3, 0.2), (3, 0.0)])
def test_any_song_is_tiled(
    settings: PrepareConfig, tmp_path: Path, seconds: float, level: float
) -> None:
    """A blink, three seconds, silence."""
    found = structure.load(settings, "cpu")(song(tmp_path, seconds, level), tmp_path)
    sections = found["sections"]
    assert sections[0]["start"] == 0 and sections[-1]["end"] == pytest.approx(seconds, abs=1e-3)
    assert all(a["end"] == b["start"] for a, b in zip(sections, sections[1:], strict=False))
    assert level or [s["tag"] for s in sections] == ["silence"]


def test_every_label_has_a_tag() -> None:
    with structure_allinone._importing():
        from allin1_infer.config import HARMONIX_LABELS
    assert set(HARMONIX_LABELS) == set(structure_allinone.TAGS)
    assert set(structure_allinone.TAGS.values()) <= set(TAGS)


def test_importing_it_leaves_demucs_and_torchaudio_alone() -> None:
    """Its own separator takes Demucs' name, and torchaudio is stood in for: only while it loads."""
    code = (
        "import sys; from songbloom.stages.structure_allinone import _importing\n"
        "with _importing():\n    import allin1_infer\n"
        "import demucs.apply, importlib.util\n"
        "assert demucs.apply.__name__ == 'demucs.apply', demucs.apply\n"
        "stub = sys.modules.get('torchaudio')\n"
        "assert stub is None or stub.__spec__ is not None"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_what_is_missing_is_named_with_the_command_that_gets_it(
    settings: PrepareConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, names, a separator of four sources."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingAssetError, match="not on this machine") as error:
        structure.backend(with_model(settings, "harmonix-fold0"))
    assert "hf download taejunkim/allinone harmonix-fold0-0vra4ys2.pth" in error.value.hint
    with pytest.raises(MissingAssetError, match="no model that All-In-One knows") as error:
        structure.backend(with_model(settings, "harmonics"))
    assert "harmonix-all" in error.value.hint
    with pytest.raises(MissingAssetError, match="holds no .pth"):
        structure.backend(with_model(settings, tmp_path))
    asked = dataclasses.replace(with_model(settings, None), structure_backend="all-in-one")
    with pytest.raises(MissingAssetError, match="No All-In-One model") as error:
        structure.backend(asked)
    alone = dataclasses.replace(settings, separate_model=None)
    with pytest.raises(MissingAssetError, match="vocals and accompaniment only") as error:
        structure.backend(alone)
    assert "--separate-model htdemucs" in error.value.hint
    two = separator(tmp_path / "two", ("vocals", "accompaniment"))
    with pytest.raises(SongBloomError, match="needs bass, drums, other too"):
        structure.load(dataclasses.replace(settings, separate_model=str(two)), "cpu")


class _Code:
    def __reduce__(self) -> Any:
        return print, ("code ran",)


def test_files_that_are_no_model_are_refused(
    settings: PrepareConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code in a file is never run; tensors that do not fit and text are told apart from weights."""
    good = torch.load(str(settings.structure_model), weights_only=True)
    path = tmp_path / "bad.pth"
    for content in (
        {**good, "extra": _Code()},
        {"config": good["config"], "state_dict": {}},
        {"state_dict": good["state_dict"]},
    ):
        torch.save(content, path)
        with pytest.raises(SongBloomError, match="bad.pth: not a model of All-In-One"):
            structure.load(with_model(settings, path), "cpu")
    path.write_text("no model")
    with pytest.raises(SongBloomError, match="bad.pth: not a model of All-In-One"):
        structure.load(with_model(settings, path), "cpu")
    assert capsys.readouterr().out == ""
