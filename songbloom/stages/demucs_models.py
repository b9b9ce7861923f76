"""Demucs' models: found without fetching, and read without running code that a file may hold.

A model is a `.th` package or a `.safetensors` file as Demucs keeps them on the hub; a bag of models
is a `.yaml` that names some. Demucs' own loaders build them; what they would unpickle goes through
torch's restricted unpickler first. Torch-free at import.
"""

import importlib.metadata
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.files import sha256

if TYPE_CHECKING:
    from demucs.apply import BagOfModels, Model

CLASSES = ("demucs.demucs.Demucs", "demucs.hdemucs.HDemucs", "demucs.htdemucs.HTDemucs")
_HUB_AUTHOR = "adefossez"  # whose repositories on the hub Demucs takes its models from
_SUFFIXES = (".th", ".safetensors")
_RATES = range(8_000, 192_001)


@dataclass(frozen=True)
class ModelFiles:
    """A model on disk: its weights, and the `.yaml` of a bag where it is one."""

    weights: tuple[Path, ...]
    bag: Path | None = None

    @property
    def hashes(self) -> list[str]:
        """Hex SHA-256 of every file, the bag's first."""
        return [sha256(path) for path in ((self.bag,) if self.bag else ()) + self.weights]


def require() -> None:
    """`MissingAssetError` where Demucs is not installed."""
    if importlib.util.find_spec("demucs") is None:
        raise MissingAssetError(
            "Separating songs needs Demucs, which is not installed",
            "Type: pip install 'songbloom[prepare]'",
        )


def version() -> str:
    """Of the Demucs that is installed."""
    return importlib.metadata.version("demucs")


def find(name_or_path: str) -> ModelFiles:
    """A model by path (a folder, a `.yaml`, `.th` or `.safetensors`) or by a name Demucs knows.

    Names are looked up in the caches of the hub and of torch; nothing is fetched.
    `MissingAssetError` says how to fetch it.
    """
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return _in_folder(path)
    if path.is_file():
        return _bag(path, path.parent) if path.suffix == ".yaml" else ModelFiles((path,))
    if path.name != name_or_path:
        raise MissingAssetError(
            f"{name_or_path}: no such file or folder", "Check the path of --separate-model."
        )
    return _by_name(name_or_path)


def _in_folder(folder: Path) -> ModelFiles:
    """The one bag in a folder, or the one file of weights."""
    bags, weights = sorted(folder.glob("*.yaml")), _weights_in(folder)
    if len(bags) == 1:
        return _bag(bags[0], folder)
    if not bags and len(weights) == 1:
        return ModelFiles((weights[0],))
    found = [path.name for path in bags or weights]
    if found:
        raise SongBloomError(
            f"{folder}: holds {len(found)} models ({', '.join(found[:8])}); expected one",
            f"Name the one that is meant: {folder / found[0]}",
        )
    raise MissingAssetError(
        f"{folder}: holds no Demucs model; expected a .th, .safetensors or .yaml file",
        "Give a folder that Demucs would take as --repo, or a name that Demucs knows: htdemucs",
    )


def _weights_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)


def _bag(path: Path, folder: Path) -> ModelFiles:
    """A bag whose models lie in `folder`."""
    files = {_signature(file): file for file in _weights_in(folder)}
    signatures = _signatures(path)
    for signature in signatures:
        if signature not in files:
            raise MissingAssetError(
                f"{path}: names the model '{signature}', which {folder} lacks",
                f"Put {signature}.th beside it.",
            )
    return ModelFiles(tuple(files[signature] for signature in signatures), path)


def _signature(path: Path) -> str:
    """What a bag calls a file: its name without suffix and, as of packages, without checksum."""
    return path.stem.rsplit("-", 1)[0] if path.suffix == ".th" else path.stem


def _signatures(path: Path) -> list[str]:
    return [str(name) for name in read_bag(path)["models"]]


def read_bag(path: Path) -> dict[str, Any]:
    """`{"models": [...], "weights": [[...]]?, "segment": seconds?}` of a bag's `.yaml`."""
    try:
        bag = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SongBloomError(f"{path}: cannot be read as YAML ({_first_line(error)})") from error
    if not (isinstance(bag, dict) and isinstance(bag.get("models"), list) and bag["models"]):
        raise SongBloomError(
            f"{path}: is no bag of models", "Expected a line like: models: ['955717e8']"
        )
    return bag


def _by_name(name: str) -> ModelFiles:
    """A model that Demucs knows, from the hub's cache or torch's."""
    require()
    remote = Path(str(importlib.util.find_spec("demucs").origin)).parent / "remote"  # type: ignore[union-attr]
    bag = remote / f"{name}.yaml"
    if not bag.is_file():
        known = ", ".join(sorted(path.stem for path in remote.glob("*.yaml")))
        raise MissingAssetError(
            f"{name}: no folder, and no model that Demucs knows", f"Demucs knows: {known}."
        )
    files = [_cached(signature, remote) for signature in _signatures(bag)]
    if None in files:
        raise MissingAssetError(
            f"{name}: not on this machine yet; nothing is fetched unasked",
            f"Fetch it: python -c \"import demucs.pretrained as d; d.get_model('{name}')\"",
        )
    return ModelFiles(tuple(path for path in files if path), bag)


def _cached(signature: str, remote: Path) -> Path | None:
    """Where the hub's client or torch keeps a model that Demucs has fetched."""
    from huggingface_hub import constants

    snapshots = f"models--{_HUB_AUTHOR}--*/snapshots/*/{signature}.safetensors"
    kept = sorted(Path(constants.HF_HUB_CACHE).glob(snapshots))
    if kept:
        return kept[-1]
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = Path(os.environ.get("TORCH_HOME") or Path(cache, "torch")).expanduser()
    for line in (remote / "files.txt").read_text("utf-8").split():
        path = home / "hub" / "checkpoints" / line
        if line.endswith(".th") and _signature(path) == signature and path.is_file():
            return path
    return None


def load(files: ModelFiles) -> "Model | BagOfModels":
    """The model, or a bag of them, ready to separate stereo."""
    require()
    models = [load_file(path) for path in files.weights]
    if files.bag is None:
        return models[0]
    from demucs.apply import BagOfModels

    bag = read_bag(files.bag)
    try:
        return BagOfModels(models, bag.get("weights"), bag.get("segment")).eval()
    except (AssertionError, TypeError) as error:
        raise SongBloomError(
            f"{files.bag}: its models do not go together, or its weights do not fit them",
            "Every model needs the same sources and rate, and a row of weights for each source.",
        ) from error


def load_file(path: Path) -> "Model":
    """One model, by Demucs' loader; `SongBloomError` for a file that is none or holds code."""
    require()
    _check_sum(path)
    try:
        model = _from_tensors(path) if path.suffix == ".safetensors" else _from_package(path)
    except SongBloomError:
        raise
    except Exception as error:  # whatever the model's class says of such arguments or tensors
        raise _unusable(path, f"Demucs cannot build it ({_first_line(error)})") from error
    if model.audio_channels != 2 or "vocals" not in model.sources:
        told = f"{model.audio_channels} channels, sources {', '.join(model.sources)}"
        raise _unusable(path, f"{told}; expected a stereo model with the source vocals")
    if model.samplerate not in _RATES:
        raise _unusable(path, f"works at {model.samplerate} Hz")
    return model.eval().requires_grad_(False)


def _check_sum(path: Path) -> None:
    """Demucs' names end in the beginning of the file's SHA-256."""
    name, dash, expected = path.stem.rpartition("-")
    if dash and name and path.suffix == ".th" and not sha256(path).startswith(expected):
        raise _unusable(path, "its checksum is not the one in its name")


def _from_tensors(path: Path) -> "Model":
    """A file of Demucs' on the hub; it names the class that Demucs builds, which may be any."""
    import demucs.hf
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _unusable(path, f"cannot be read ({_first_line(error)})") from error
    if metadata.get("klass") not in CLASSES:
        raise _unusable(path, "no model of Demucs, Hybrid Demucs or Hybrid Transformer Demucs")
    if "structure" in metadata:
        raise _unusable(path, "quantized, which takes classes of DiffQ; take an unquantized model")
    return demucs.hf.load_safetensors_model(path)


def _from_package(path: Path) -> "Model":
    """A `.th` package: read as weights only, with Demucs' classes as its only classes."""
    from fractions import Fraction
    from pickle import UnpicklingError

    import torch
    from demucs.demucs import Demucs
    from demucs.hdemucs import HDemucs
    from demucs.htdemucs import HTDemucs
    from demucs.states import load_model

    classes = (Demucs, HDemucs, HTDemucs)
    try:
        with torch.serialization.safe_globals([*classes, Fraction]):
            package = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise _unusable(path, f"refused: {_refusal(str(error))}") from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise _unusable(path, f"cannot be read ({_first_line(error)})") from error
    if not (isinstance(package, dict) and package.get("klass") in classes):
        raise _unusable(path, "no package of a Demucs model")
    return load_model(package)


def _refusal(text: str) -> str:
    """What torch's restricted unpickler found, from its long message."""
    _, found, rest = text.partition("GLOBAL ")
    return f"it holds code ({rest.split()[0]}), not only weights" if found else "no weights"


def _unusable(path: Path, why: str) -> SongBloomError:
    return SongBloomError(
        f"{path}: {why}", "Give another model with --separate-model, or leave the option out."
    )


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
