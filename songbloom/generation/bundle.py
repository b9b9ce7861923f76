"""What is kept beside a song so that it can be made, changed and understood again.

NAME.song/song.toml            every parameter, seed, version and hash
NAME.song/lyrics.txt           the lyrics as given
NAME.song/arrays.safetensors   sketch_tokens [T] int64, latents [T, C] float32
NAME.song/timeline.json        sections and lines with times
NAME.song/speed.json           how fast it was made: no part of the song, and never twice the same
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from safetensors.torch import save_file
from torch import Tensor

from songbloom import audio
from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.files import atomic_path, sha256
from songbloom.generation.decode import decode
from songbloom.generation.device import choose_device
from songbloom.hub import models_folder, resolve
from songbloom.model.checkpoint import load_model, load_tensors
from songbloom.toml import TOMLDecodeError, loads
from songbloom.units import SAMPLE_RATE

SUFFIX = ".song"


@dataclass(frozen=True)
class Bundle:
    """A song's folder, read."""

    folder: Path
    song: dict[str, Any]  # song.toml
    sketch: Tensor  # [T] int64
    latents: Tensor  # [T, C] float32
    timeline: dict[str, Any]

    @property
    def audio_path(self) -> Path:
        """The sound file that the bundle lies beside."""
        return self.folder.parent / str(self.song["audio"]["file"])


def bundle_path(audio_path: Path) -> Path:
    """`NAME.song` beside `NAME.flac`."""
    return audio_path.with_suffix(SUFFIX)


def write_bundle(
    folder: Path,
    *,
    song: Mapping[str, Any],
    lyrics: str,
    sketch: Tensor,
    latents: Tensor,
    timeline: Mapping[str, Any],
    speed: Mapping[str, Any],
) -> None:
    """Write a bundle beside its place and rename it there, replacing an older one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name[:80]}.", dir=folder.parent))
    try:
        temporary.chmod(0o755)
        (temporary / "song.toml").write_text(tomli_w.dumps(song), encoding="utf-8")
        (temporary / "lyrics.txt").write_bytes(lyrics.encode("utf-8"))
        arrays = {"sketch_tokens": sketch.contiguous(), "latents": latents.contiguous()}
        save_file(arrays, temporary / "arrays.safetensors")
        for name, data in (("timeline.json", timeline), ("speed.json", speed)):
            text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
            (temporary / name).write_text(text, encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle. `SongBloomError` when it is not one, or its arrays are truncated."""
    folder = Path(folder)
    if folder.suffix != SUFFIX and bundle_path(folder).is_dir():
        folder = bundle_path(folder)  # the sound file was named instead
    song_toml = folder / "song.toml"
    if not song_toml.is_file():
        raise MissingAssetError(
            f"{folder}: no song bundle (it has no song.toml)",
            "Name the NAME.song folder that songbloom generate wrote.",
        )
    try:
        song = loads(song_toml.read_text("utf-8"))
        timeline = json.loads((folder / "timeline.json").read_text("utf-8"))
    except (TOMLDecodeError, ValueError, OSError) as error:
        raise SongBloomError(
            f"{folder}: a damaged song bundle ({error})", "Generate the song again."
        ) from error
    arrays = load_tensors(folder / "arrays.safetensors")
    return Bundle(folder, song, arrays["sketch_tokens"], arrays["latents"], timeline)


def rerender(
    bundle: Path,
    output: Path | None,
    *,
    device: str = "auto",
    model_path: Path | None = None,
    models: str | None = None,
) -> dict[str, Any]:
    """Decode a bundle's latents again: the same sound file, byte for byte on the same device.

    `output` None writes where the song was; its suffix chooses the format. The model is found by
    its name unless `model_path` is given, and must be the very one: its VAE's hash is compared.
    Returns file, sha256 and whether the sha256 is the recorded one.
    """
    read = read_bundle(bundle)
    recorded = read.song["model"]
    folder = model_path or resolve(recorded["name"], models_folder(models))
    model = load_model(folder, device=choose_device(device))
    if model.info["sha256"]["vae.safetensors"] != recorded["vae_sha256"]:
        raise SongBloomError(
            f"{folder}: its VAE is not the one that made {read.folder.name}",
            f"Give the model '{recorded['name']}' that the song was made with.",
        )
    target = Path(output) if output is not None else read.audio_path
    samples = decode(model.vae, read.latents).numpy()
    with atomic_path(target) as temporary:
        audio.save(temporary, samples, SAMPLE_RATE)
    digest = sha256(target)
    return {
        "file": str(target),
        "sha256": digest,
        "identical": digest == read.song["audio"]["sha256"],
        "seconds": samples.shape[1] / SAMPLE_RATE,
    }


def lrc(bundle: Path) -> str:
    """The song's lines as LRC, from its timeline; lines that were not sung are left out."""
    read = read_bundle(bundle)
    rows = [f"[ti:{read.folder.stem}]", f"[length:{_stamp(read.timeline['duration_seconds'])}]"]
    if read.timeline["timing"] == "estimated":
        rows.append("[re:songbloom, line times are estimated]")
    for section in read.timeline["sections"]:
        for line in section["lines"]:
            if line["start"] is not None:
                rows.append(f"[{_stamp(line['start'])}]{line['text']}")
    return "\n".join(rows) + "\n"


def _stamp(seconds: float) -> str:
    """mm:ss.xx"""
    hundredths = round(seconds * 100)
    return f"{hundredths // 6000:02d}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"
