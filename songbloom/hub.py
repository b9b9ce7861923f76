"""Models by name: the embedded ones, the installed ones, and fetching the released ones.

A model is a folder with a `model.json`. Embedded models lie in the package, installed ones in the
user's data folder (or wherever `[models] folder` says). Torch-free at import.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.lyrics.lint import ANY_MODEL, Limits
from songbloom.model.config import ModelConfig
from songbloom.units import Seconds

EMBEDDED_FOLDER = Path(__file__).parent / "assets"
RELEASES = ("songbloom_full_150s", "songbloom_full_150s_dpo", "songbloom_full_240s")
SHARED_FILES = ("stable_audio_1920_vae.json", "autoencoder_music_dsp1920.ckpt", "vocab_g2p.yaml")
LICENCE_SUMMARY = (
    "the released SongBloom weights are for academic use only: no commercial use, no production"
)
_LONG_SONG: Seconds = 200.0


@dataclass(frozen=True)
class InstalledModel:
    """A model on this machine. `parameters` is a count, `size_bytes` that of its files."""

    name: str
    path: Path
    kind: str
    parameters: int
    size_bytes: int
    licence: str
    embedded: bool


def models_folder(config_folder: str | None) -> Path:
    """Where models are installed: the configured folder, else the user's data folder."""
    if config_folder:
        return Path(config_folder).expanduser()
    import platformdirs  # not needed by most commands

    return platformdirs.user_data_path("songbloom", appauthor=False) / "models"


def installed(folder: Path) -> list[InstalledModel]:
    """The embedded models and those in `folder`, by name; an unreadable one has kind "broken"."""
    found = [_describe(path) for path in _model_folders(folder)]
    return sorted(found, key=lambda model: (not model.embedded, model.name))


def resolve(name_or_path: str, folder: Path) -> Path:
    """The folder of a model: a path to one, or the name of an embedded or installed one.

    `MissingAssetError` names what is installed and how to get more.
    """
    path = Path(name_or_path).expanduser()
    is_name = path.name == name_or_path
    for candidate in [parent / name_or_path for parent in (EMBEDDED_FOLDER, folder) if is_name]:
        if (candidate / "model.json").is_file():
            return candidate
    if (path / "model.json").is_file():
        return path
    names = ", ".join(model.name for model in installed(folder)) or "none"
    if name_or_path in RELEASES:
        hint = f"Fetch it: songbloom pull {name_or_path}"
    else:
        hint = f"Installed: {names}. Or name a folder with --model, or type: songbloom pull NAME"
    what = "no such model" if is_name else "no model folder (it has no model.json)"
    raise MissingAssetError(f"{name_or_path}: {what}", hint)


def limits_of(path: Path) -> Limits:
    """What a model folder takes of lyrics; what every model takes where its `model.json` is odd.

    Torch-free, so that lyrics are read before a model is loaded, which tells what is wrong with it.
    """
    try:
        info = json.loads((path / "model.json").read_text("utf-8"))
        return lyric_limits(ModelConfig.from_dict(info["config"]))
    except (OSError, ValueError, KeyError, TypeError, SongBloomError):
        return ANY_MODEL


def pull(
    name: str,
    *,
    repos: Mapping[str, str],
    accept_licence: bool,
    folder: Path,
    revision: str | None = None,
    on_progress: Callable[[dict[str, Any]], None] = lambda event: None,
) -> Path:
    """Fetch a released model, import it, and return its folder; one that is there stays as it is.

    `repos` maps release names, and `vae` for the files they share, to hub repositories. Events are
    `{"event": "fetch", "file", "repo", "number", "files"}`. An interrupted fetch goes on where it
    stopped. `MissingAssetError` for an unknown name, a licence that was not accepted, or a file or
    repository that is not there.
    """
    if name not in RELEASES:
        raise MissingAssetError(
            f"{name}: no such release", f"Known releases: {', '.join(RELEASES)}."
        )
    target = folder / name
    if (target / "model.json").is_file():
        return target
    if not accept_licence:
        raise MissingAssetError(
            f"{name}: its licence is not accepted yet: {LICENCE_SUMMARY}",
            f"If you agree, type: songbloom pull {name} --accept-licence",
        )
    download = folder / f".fetch-{name}"
    wanted = list(_files(name, repos, revision))
    for number, (repo, file, at) in enumerate(wanted, start=1):
        on_progress(
            {"event": "fetch", "file": file, "repo": repo, "number": number, "files": len(wanted)}
        )
        _fetch(repo, file, at, download)
    from songbloom.model.release import import_release  # imports torch

    import_release(download, target, name=name, force=True)
    shutil.rmtree(download)
    return target


def _files(
    name: str, repos: Mapping[str, str], revision: str | None
) -> Iterator[tuple[str, str, str | None]]:
    """(repository, file, revision) of all that a release is made of.

    `revision` is one of the release's own repository and means nothing in another.
    """
    own, shared = repos[name], repos["vae"]
    for file in (f"{name}.yaml", f"{name}.pt"):
        yield own, file, revision
    for file in SHARED_FILES:
        yield shared, file, revision if shared == own else None


def _fetch(repo: str, file: str, revision: str | None, folder: Path) -> None:
    """Download one file of a hub repository into `folder`, going on with a part that is there."""
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise MissingAssetError(
            "Fetching models needs huggingface_hub, which is not installed",
            "Type: pip install 'songbloom[hub]'",
        ) from error
    at = f" at {revision}" if revision else ""
    try:
        huggingface_hub.hf_hub_download(repo, file, revision=revision, local_dir=folder)
    except (errors.RepositoryNotFoundError, errors.GatedRepoError, errors.HFValidationError) as e:
        raise MissingAssetError(
            f"{repo}: no such repository, or not one that you may read",
            "Name another under [hub] in songbloom.toml, or log in: hf auth login",
        ) from e
    except errors.RevisionNotFoundError as e:
        raise MissingAssetError(
            f"{repo}: no revision '{revision}'", "Give another --revision."
        ) from e
    except errors.LocalEntryNotFoundError as e:
        raise SongBloomError(
            f"{repo}: the hub cannot be reached", "Check the network, then type the same again."
        ) from e
    except errors.EntryNotFoundError as e:
        raise MissingAssetError(
            f"{repo}{at}: has no {file}",
            "Name a repository that has it under [hub] in songbloom.toml.",
        ) from e
    except OSError as e:
        reason = (str(e) or type(e).__name__).splitlines()[0]
        raise SongBloomError(
            f"{file} of {repo}: cannot be fetched ({reason})",
            "Type the same again to go on where it stopped.",
        ) from e


def _model_folders(folder: Path) -> Iterator[Path]:
    for parent in (EMBEDDED_FOLDER, folder):
        if parent.is_dir():
            yield from (p.parent for p in sorted(parent.glob("*/model.json")))


def _describe(path: Path) -> InstalledModel:
    size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
    embedded = path.parent == EMBEDDED_FOLDER
    try:
        info = json.loads((path / "model.json").read_text("utf-8"))
        kind, count, licence = info["kind"], int(info["parameters"]), info["licence"]
    except (OSError, ValueError, KeyError, TypeError):
        return InstalledModel(path.name, path, "broken", 0, size, "unknown", embedded)
    return InstalledModel(path.name, path, str(kind), count, size, str(licence), embedded)


def lyric_limits(config: ModelConfig) -> Limits:
    """What a model can take of lyrics; one that sings beyond 200 s counts tags in fives of seconds,
    as the released 240 s model does."""
    longest = config.sampling.max_duration
    return Limits(
        max_duration=longest,
        lyric_length=config.lyric_length,
        max_sentences=config.max_sentences,
        frontend=config.frontend,
        convention="240s" if longest > _LONG_SONG else "150s",
    )
