"""What model folders say of their codecs; torch-free, unlike `songbloom.model.checkpoint`."""

import json
from pathlib import Path
from typing import Any

from songbloom import hub
from songbloom.errors import MissingAssetError, SongBloomError

SEEDLING = hub.EMBEDDED_FOLDER / "seedling"


def codebook_hash(folder: Path) -> str:
    """The hash of the sketch codec that a model folder holds."""
    return str(_value(folder, "codebook_hash"))


def vae_hash(folder: Path) -> str:
    """The hash of the VAE that a model folder holds: that of its weights' file."""
    return str(_value(folder, "sha256", "vae.safetensors"))


def vae_kind(folder: Path) -> str:
    """What the VAE of a model folder is: "seedling", or "oobleck" as in stable-audio."""
    return str(_value(folder, "vae", "kind"))


def licence(folder: Path) -> str:
    """Whoever uses the model folder's codecs is bound by this."""
    return str(_value(folder, "licence"))


def local_folder(name_or_path: str, what: str) -> Path:
    """A model folder of a library: a path, or a hub name whose files the hub's cache holds.

    Nothing is fetched. `MissingAssetError` says how to.
    """
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    fetch = f"Name a folder, or fetch it: hf download {name_or_path}"
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name_or_path, local_files_only=True))
    except ImportError:
        hint = f"{fetch} (pip install 'songbloom[hub]')"
    except (OSError, ValueError):  # not in the cache; not a name the hub could know
        hint = fetch
    raise MissingAssetError(
        f"{name_or_path}: no folder with {what}, and the hub's cache lacks it", hint
    )


def _value(folder: Path, *keys: str) -> Any:
    path = folder / "model.json"
    try:
        value = json.loads(path.read_text("utf-8"))
        for key in keys:
            value = value[key]
        return value
    except OSError as error:
        raise MissingAssetError(
            f"{folder}: no model folder (it has no model.json)", "List models: songbloom models"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise SongBloomError(
            f"{path}: does not say {' '.join(keys)}", "Fetch or import the model again."
        ) from error
