"""Sections, beats and tempo by All-In-One (Kim and Nam 2023), through the package all-in-one-infer.

The model hears bass, drums, other and vocals, so a Demucs model with these four sources is needed
too; the embedded separator has two. Everything between the sound and the sections is the package's:
its spectrograms, its network, its reading of the network's output. Only files are read otherwise:
from this machine alone, and as weights, not as programs.
"""

import contextlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import soxr

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.files import sha256
from songbloom.stages import demucs_models, sound
from songbloom.stages.stage import Backend, Item, Process
from songbloom.stages.structure_sections import MIN_SILENCE, Mark, cover, sounding
from songbloom.tables import PrepareConfig
from songbloom.units import Hz

if TYPE_CHECKING:
    from torch import nn

RATE: Hz = 44_100  # of the stems that the spectrograms are made of
OVERLAP = 0.25  # of neighbouring segments when separating: Demucs' own default
STEMS = ("bass", "drums", "other", "vocals")
REPOSITORY = "taejunkim/allinone"
LICENCE = "MIT (All-In-One's released weights, trained on the Harmonix set)"
# All-In-One's labels -> ours. `start` and `end` are what lies before and after the music, often a
# blink, often silence, which is heard without a model.
TAGS = {
    "start": "intro", "intro": "intro", "verse": "verse", "chorus": "chorus", "bridge": "bridge",
    "inst": "inst", "solo": "inst", "break": "inst", "outro": "outro", "end": "outro",
}  # fmt: skip


def backend(settings: PrepareConfig, why: str) -> Backend:
    """All-In-One with the weights and the Demucs model that the settings name."""
    if importlib.util.find_spec("allin1_infer") is None:
        raise MissingAssetError(
            "All-In-One needs all-in-one-infer, which is not installed",
            "Type: pip install 'songbloom[structure]'",
        )
    demucs_models.require()
    identity = {
        "all-in-one-infer": importlib.metadata.version("all-in-one-infer"),
        "madmom-infer": importlib.metadata.version("madmom-infer"),
        "model": [sha256(path) for path in _weights(settings)],
        "demucs": demucs_models.version(),
        "separator": _separator(settings).hashes,
    }
    return Backend("all-in-one", why, identity, LICENCE)


def load(settings: PrepareConfig, device: str) -> Process:
    """The separator and the model in memory."""
    separator: Any = demucs_models.load(_separator(settings)).to(device)
    missing = [name for name in STEMS if name not in separator.sources]
    if missing:
        raise SongBloomError(
            f"The Demucs model separates {', '.join(separator.sources)}; "
            f"All-In-One needs {', '.join(missing)} too",
            "Name a Demucs model of four sources: --separate-model htdemucs",
        )
    model = _model(_weights(settings), device)

    def process(item: Item, folder: Path) -> Mapping[str, Any]:
        song = sound.to_stereo(sound.read(item.audio, int(separator.samplerate)))
        begin, end = sounding(song.mean(axis=0), int(separator.samplerate))
        found: dict[str, Any] = {"tempo": None, "beats": []}
        marks: Sequence[Mark] = ()
        if end > begin:
            marks, found = _analyse(model, _spectrogram(separator, song, device), device)
        duration = song.shape[1] / int(separator.samplerate)
        return {"method": "all-in-one", "sections": cover(marks, begin, end, duration), **found}

    return process


def _separator(settings: PrepareConfig) -> demucs_models.ModelFiles:
    named = settings.separate_model
    if named is None and settings.separate_backend == "demucs":
        named = "htdemucs"  # as the separate stage does
    if named is None:
        raise MissingAssetError(
            "All-In-One hears bass, drums, other and vocals apart, and the embedded separator "
            "gives vocals and accompaniment only",
            "Name a Demucs model of four sources: --separate-model htdemucs",
        )
    return demucs_models.find(named)


def _weights(settings: PrepareConfig) -> list[Path]:
    """Files of a model, several for an ensemble: a file, a folder of them, or a released name."""
    name = settings.structure_model
    if not name:
        raise MissingAssetError(
            "No All-In-One model is named",
            "Name a folder with its .pth files, or harmonix-all: --structure-model harmonix-all",
        )
    path = Path(name).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(path.glob("*.pth"))
        if not found:
            raise MissingAssetError(
                f"{path}: holds no .pth file of All-In-One",
                f"Fetch the weights: hf download {REPOSITORY} --local-dir {path}",
            )
        return found
    return _released(name)


def _released(name: str) -> list[Path]:
    """The files of a released model in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    with _importing():
        from allin1_infer.models.loaders import ENSEMBLE_MODELS, NAME_TO_FILE
    if name not in NAME_TO_FILE and name not in ENSEMBLE_MODELS:
        raise MissingAssetError(
            f"{name}: no file or folder, and no model that All-In-One knows",
            f"All-In-One knows: {', '.join([*ENSEMBLE_MODELS, *NAME_TO_FILE])}.",
        )
    files = [NAME_TO_FILE[fold] for fold in ENSEMBLE_MODELS.get(name, [name])]
    cached = [try_to_load_from_cache(REPOSITORY, file) for file in files]
    if not all(isinstance(path, str) for path in cached):
        raise MissingAssetError(
            f"{name}: not on this machine yet; nothing is fetched unasked",
            f"Fetch it: hf download {REPOSITORY} {' '.join(files)}",
        )
    return [Path(str(path)) for path in cached]


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """Lets all-in-one-infer be imported without harm to the rest.

    It imports torchaudio without declaring it, and needs it for reading MP3 files alone, which it
    is never asked to do here. And its own separator puts itself under Demucs' name, where whatever
    imports Demucs later would find it.
    """
    kept = {name: module for name, module in sys.modules.items() if _is_demucs(name)}
    lacking = not _has_torchaudio()
    if lacking:
        sys.modules["torchaudio"] = ModuleType("torchaudio")
    try:
        yield
    finally:
        if lacking:
            del sys.modules["torchaudio"]
        for name in [name for name in sys.modules if _is_demucs(name)]:
            del sys.modules[name]
        sys.modules.update(kept)


def _is_demucs(name: str) -> bool:
    return name == "demucs" or name.startswith("demucs.")


def _has_torchaudio() -> bool:
    try:
        import torchaudio  # noqa: F401
    except (ImportError, OSError):  # OSError: a CUDA build beside a CPU torch
        return False
    return True


def _model(files: Sequence[Path], device: str) -> Any:
    """The model, or the ensemble of several."""
    with _importing():
        from allin1_infer.models.ensemble import Ensemble
    models = [_load_file(path).to(device).eval() for path in files]
    return models[0] if len(models) == 1 else Ensemble(models).eval()


def _load_file(path: Path) -> "nn.Module":
    """One checkpoint of All-In-One: `config` and `state_dict`."""
    import pickle

    import torch
    from omegaconf import OmegaConf

    with _importing():
        from allin1_infer.models import AllInOne
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        model: nn.Module = AllInOne(OmegaConf.create(checkpoint["config"]))
        model.load_state_dict(checkpoint["state_dict"])
    except pickle.UnpicklingError as error:
        raise _unusable(path, "it holds code, not only weights") from error
    except Exception as error:  # whatever the model's class says of such a config or weights
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise _unusable(path, reason) from error
    return model.requires_grad_(False)


def _unusable(path: Path, why: str) -> SongBloomError:
    return SongBloomError(
        f"{path}: not a model of All-In-One ({why})",
        f"Fetch the weights again: hf download {REPOSITORY}",
    )


def _spectrogram(separator: Any, song: np.ndarray, device: str) -> np.ndarray:
    """Spectrograms of the stems of a song `[2, n]` at the separator's rate: `[4, T, 81]`."""
    import torch
    from demucs.apply import apply_model

    with _importing():
        from allin1_infer.spectrogram import compute_spectrogram_from_stem_arrays
        from allin1_infer.stems import quantize_stem_to_madmom_mono_int16
    # shifts=0: All-In-One's own default shifts the song by a random time first
    mixture = torch.from_numpy(song)[None]
    found = apply_model(separator, mixture, shifts=0, overlap=OVERLAP, device=device)
    stems = {}
    for name in STEMS:
        stem = found[0, list(separator.sources).index(name)].cpu().numpy()
        if separator.samplerate != RATE:
            stem = soxr.resample(stem.T, separator.samplerate, RATE, quality="VHQ").T
        stems[name] = quantize_stem_to_madmom_mono_int16(torch.from_numpy(stem.copy()))
    spectrogram: np.ndarray = compute_spectrogram_from_stem_arrays(stems, RATE)
    return spectrogram


def _analyse(
    model: Any, spectrogram: np.ndarray, device: str
) -> tuple[Sequence[Mark], dict[str, Any]]:
    """Marks, and `{"tempo", "beats"}`, of spectrograms `[4, T, 81]`."""
    import torch

    with _importing():
        from allin1_infer.postprocessing import (
            estimate_tempo_from_beats,
            postprocess_functional_structure,
            postprocess_metrical_structure,
        )
    with torch.inference_mode():
        output = model(torch.from_numpy(spectrogram)[None].to(device))
        beats = postprocess_metrical_structure(output, model.cfg)["beats"]
        segments = postprocess_functional_structure(output, model.cfg)
    tempo = estimate_tempo_from_beats(beats)
    return [*_marks(segments, output, model.cfg)], {
        "tempo": None if tempo is None else float(tempo),
        "beats": [round(float(beat), 3) for beat in beats],
    }


def _marks(segments: Sequence[Any], output: Any, config: Any) -> Iterator[Mark]:
    """Segments with our tags; how sure the model is of a label on average is its confidence."""
    with _importing():
        from allin1_infer.config import HARMONIX_LABELS
    shares = output.logits_function[0].softmax(dim=0).cpu().numpy()
    for part in segments:
        start, end = float(part.start), float(part.end)
        if part.label in ("start", "end") and end - start < MIN_SILENCE and len(segments) > 1:
            continue
        first, last = round(start * config.fps), max(round(end * config.fps), 1)
        share = float(shares[HARMONIX_LABELS.index(part.label), first:last].mean())
        yield Mark(TAGS[part.label], start, share)
