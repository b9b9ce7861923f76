"""A model in the released layout: NAME.yaml, NAME.pt, the VAE and the vocabulary.

Nothing is taken for granted: what was written is imported again, with the code that imports the
released models, and must have the same configuration, the same tensors to the bit, and sing the
same first tokens.
"""

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from songbloom.errors import SongBloomError, UsageError
from songbloom.export import trial
from songbloom.export.card import write_card
from songbloom.export.trial import build, conditions, sing
from songbloom.files import sha256, write_text
from songbloom.lyrics import frontends
from songbloom.lyrics.vocabulary import Vocabulary
from songbloom.model.checkpoint import Contents, build_vae, read_contents, read_info
from songbloom.model.config import ModelConfig
from songbloom.model.release import (
    import_release,
    released_tensors,
    released_vae,
    released_vae_config,
)
from songbloom.model.release_config import (
    VAE_CONFIG,
    VAE_WEIGHTS,
    VOCABULARY,
    ReleaseYaml,
    model_config,
    release_tree,
)
from songbloom.training.job import Job
from songbloom.units import Seconds

_LEAVE = "Leave --to out: a model folder can hold it."
_PATCHES = 2  # that are sung before and after
_SAID_ELSEWHERE = ("sampling", "objective")  # what a release may say otherwise, with a warning


def estimate(config: ModelConfig) -> Seconds:
    """About how long the singing takes that `write_release` compares."""
    return trial.estimate(config, songs=2, patches=2 * _PATCHES)


def check_releasable(source: Path | Job) -> None:
    """`UsageError` for what no release can be, before any weights are read."""
    folder = source if isinstance(source, Path) else source.codecs
    info = read_info(folder)
    if info["vae"]["kind"] != "oobleck":
        raise UsageError(
            f"--to release: a release has an oobleck VAE; this model's is {info['vae']['kind']}",
            _LEAVE,
        )
    if isinstance(source, Path) and "quantisation" in info:
        raise UsageError(
            "--to release: the weights are quantised", "Name the model that it was made of."
        )
    config = ModelConfig.from_dict(info["config"]) if isinstance(source, Path) else source.model
    if not config.sketch_vocab_size:
        raise UsageError("--to release: a release has a sketch, and this model none", _LEAVE)
    with tempfile.TemporaryDirectory() as temporary:
        symbols = frontends.vocabulary(config.frontend)
        _write_config(config, symbols, "model", Path(temporary))


def write_release(contents: Contents, output: Path) -> dict[str, Any]:
    """Write the released files into a folder, import them back, and compare.

    Returns what was written, with `warnings` for what a release cannot say. `SongBloomError`, and
    nothing is written, where what came back is another model.
    """
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    name = str(contents.info["name"])
    if Path(name).name != name:
        raise UsageError(f"--to release: '{name}' cannot name files", "Give another --name.")
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as temporary:
        folder, back = Path(temporary, "release"), Path(temporary, "imported")
        warnings = _write_files(contents, name, folder)
        import_release(folder, back, name=name)
        _compare(contents, read_contents(back))
        files = sorted(path.name for path in folder.iterdir())
        info = {
            **contents.info,
            "parameters": sum(tensor.numel() for tensor in contents.songbloom.values()),
            "config": contents.config.to_dict(),
            "vae": dict(contents.vae_info),
            "sha256": {file: sha256(folder / file) for file in files},
        }
        write_card(folder, info, release=True)
        output.mkdir(exist_ok=True)
        for file in (*files, "README.md"):
            os.replace(folder / file, output / file)
    return {
        "name": name,
        "path": str(output),
        "kind": "release",
        "parameters": info["parameters"],
        "licence": info.get("licence", "unknown"),
        "sha256": info["sha256"],
        "warnings": warnings,
    }


def _write_files(contents: Contents, name: str, folder: Path) -> list[str]:
    """All files but the card; the warnings."""
    warnings = _write_config(contents.config, contents.vocabulary, name, folder)
    vae = build_vae(contents.vae_info)
    described = released_vae_config(vae.config)
    write_text(folder / VAE_CONFIG, json.dumps(described, indent=4) + "\n")
    whole_vae = {key: tensor.float() for key, tensor in contents.vae.items()}
    _save(folder / VAE_WEIGHTS, {"state_dict": released_vae(whole_vae)})
    _save(folder / f"{name}.pt", released_tensors(contents.config, contents.songbloom, whole_vae))
    if contents.notice:
        write_text(folder / "NOTICE.txt", contents.notice)
    if contents.codec is not None and (contents.codec / "sketch.json").exists():
        warnings.append("the sketch codec stays behind: the released layout has no place for one")
    return warnings


def _write_config(
    config: ModelConfig, vocabulary: Vocabulary, name: str, folder: Path
) -> list[str]:
    """The yaml and the vocabulary it names; warnings of what it says otherwise, read back."""
    symbols = yaml.safe_dump(list(vocabulary.symbols), allow_unicode=True)
    write_text(folder / VOCABULARY, symbols)
    path = folder / f"{name}.yaml"
    write_text(path, yaml.safe_dump(release_tree(config, name), sort_keys=False))
    return _same_kind(model_config(ReleaseYaml(path)), config)


def _save(path: Path, content: Mapping[str, Any]) -> None:
    """A .pt of tensors and dicts alone. A stream, since a path's name would go into the bytes."""
    with open(path, "wb") as stream:
        torch.save(dict(content), stream)


def _same_kind(found: ModelConfig, wanted: ModelConfig) -> list[str]:
    """Warnings where a yaml says otherwise; `UsageError` where that would be another model."""
    said, meant = found.to_dict(), wanted.to_dict()
    other = [key for key in meant if said[key] != meant[key] and key not in _SAID_ELSEWHERE]
    if other:
        key = other[0]
        raise UsageError(
            f"--to release: {key} is {meant[key]!r}, and a release can only have {said[key]!r}",
            _LEAVE,
        )
    return [
        f"{table}.{key} is {meant[table][key]!r}; the released layout says {said[table][key]!r}"
        for table in _SAID_ELSEWHERE
        for key in meant[table]
        if said[table][key] != meant[table][key]
    ]


def _compare(before: Contents, after: Contents) -> None:
    """`SongBloomError` unless all tensors are the same to the bit, and the first tokens too."""
    if before.vocabulary != after.vocabulary:
        raise SongBloomError("--to release: the vocabulary came back otherwise")
    for what, ours, theirs in (
        ("", before.songbloom, after.songbloom),
        ("VAE ", before.vae, after.vae),
    ):
        for key, tensor in ours.items():
            if not _same(tensor.float() if what else tensor, theirs[key]):
                raise SongBloomError(f"--to release: {what}{key} came back otherwise")
    songs = []
    for contents in (before, dataclasses.replace(after, config=before.config)):
        model = build(contents, torch.float32)
        songs.append(sing(model, conditions(contents), _PATCHES))
        del model
    if not (_same(songs[0].sketch, songs[1].sketch) and _same(songs[0].latents, songs[1].latents)):
        raise SongBloomError("--to release: what was imported back sings otherwise")


def _same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)
