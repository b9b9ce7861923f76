"""A song as it leaves the project: mastered, tagged, and saying where it comes from.

Done in this order: watermark (if asked for), gain and limiter, the format's own coding, tags and
lyrics, C2PA manifest (if asked for). Lossy coding moves peaks, so the written file is decoded and
measured, and mastered again a little lower where it goes beyond the ceiling. The same song and
options give the same bytes, save for the C2PA manifest, whose identifier is drawn afresh.
"""

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

import songbloom
from songbloom import audio, loudness
from songbloom.errors import SongBloomError, UsageError
from songbloom.export import limiter, provenance, tags, watermark
from songbloom.files import atomic_path, sha256, write_text
from songbloom.generation import bundle as bundles
from songbloom.loudness import LUFS, Decibels
from songbloom.manifest import Track
from songbloom.stages import separate, sound
from songbloom.stages.stage import Item
from songbloom.tables import PrepareConfig
from songbloom.units import SAMPLE_RATE, Hz, Seconds

FORMATS = ("flac", "wav", "mp3", "ogg", "opus")
MARKED = "SONGBLOOM_WATERMARK"  # the tag that declares a watermark
_TOLERANCE: Decibels = 0.02  # of the true peak in the file
# About 200 to 250 kbit/s of stereo music.
_COMPRESSION = {"mp3": 0.0, "ogg": 0.1, "opus": 0.6}
_RATES = {
    "mp3": (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    "opus": (8_000, 12_000, 16_000, 24_000, 48_000),
}
_ROUNDS = 4
_LOUDEST, _SOFTEST = -5.0, -40.0  # LUFS that can be asked for
_LOWEST_CEILING = -20.0  # dBTP


@dataclass(frozen=True)
class ExportOptions:
    """What a song is made into. `UsageError` for what cannot be meant."""

    format: str | None = None  # None: of the output's suffix, else flac
    loudness: LUFS = -14.0
    true_peak: Decibels = -1.0
    title: str = ""  # "" is the song's name
    artist: str = ""
    stems: bool = False
    watermark: bool = False
    c2pa: tuple[Path, Path] | None = None  # certificate and key
    separation: PrepareConfig = PrepareConfig()

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise UsageError(
                f"--format {self.format}: cannot be written",
                f"Choose one of {', '.join(FORMATS)}.",
            )
        if not _SOFTEST <= self.loudness <= _LOUDEST:
            raise UsageError(
                f"--loudness {self.loudness:g}: expected {_SOFTEST:g} to {_LOUDEST:g} LUFS",
                "Streaming services play songs at about -14.",
            )
        if not _LOWEST_CEILING <= self.true_peak <= 0:
            raise UsageError(
                f"--true-peak {self.true_peak:g}: expected {_LOWEST_CEILING:g} to 0 dBTP",
                "-1 is usual.",
            )


@dataclass(frozen=True)
class _Song:
    """A song to be exported, with its sound `[channels, n]`; `bundle` is None for a bare file."""

    name: str
    audio: Path
    bundle: bundles.Bundle | None
    samples: np.ndarray
    sample_rate: Hz


def export_song(
    source: Path,
    output: Path | None,
    options: ExportOptions,
    on_step: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:
    """Write `source` (NAME.song, or a sound file) as a finished song.

    `output` is a file or a folder; None writes NAME.master.FORMAT beside the song. Returns JSON:
    the file, its sha256, loudness, what was done, its stems, and warnings. A song with a bundle has
    the export noted in its song.toml. `SongBloomError` where it cannot be exported as asked.
    """
    tags.require()
    found, path = _locate(Path(source))
    target = _target(path, output, options)
    kind = target.suffix.lstrip(".").lower()
    signer = _credentials(options, kind, found)
    if options.stems:
        separate.backend(options.separation)  # says at once what is missing
    on_step("reading")
    song = _read(path, found, kind)
    programme = song.samples
    if options.watermark:
        programme = watermark.embed(programme, song.sample_rate)
    on_step("mastering")
    mastering, rows = _write(song, programme, target, options, signer)
    report = {"file": str(target), "sha256": sha256(target), "format": kind, **rows}
    if options.stems:
        on_step("separating")
        report["stems"] = _stems(song, mastering, target, options)
    if found is not None:
        _note(found, target, report)
    report["warnings"] = _warnings(options, report)
    return report


def _locate(source: Path) -> tuple[bundles.Bundle | None, Path]:
    """The bundle, if there is one, and the sound file, which must be the one it speaks of."""
    if source.suffix == bundles.SUFFIX or source.is_dir():
        found = bundles.read_bundle(source if source.name else source.resolve())
    elif bundles.bundle_path(source).is_dir():
        found = bundles.read_bundle(bundles.bundle_path(source))
        if found.audio_path.name != source.name:
            return None, source
    else:
        return None, source
    try:
        path, _ = found.audio_path, _origin(found)
    except KeyError as error:
        raise SongBloomError(
            f"{found.folder / 'song.toml'}: has no {error}", "Generate the song again."
        ) from error
    if not path.is_file() or sha256(path) != found.song["audio"]["sha256"]:
        what = "is not the file that it made" if path.is_file() else "is not there"
        raise SongBloomError(
            f"{found.folder}: its sound {path.name} {what}",
            f"Type: songbloom rerender {found.folder}",
        )
    return found, path


def _target(path: Path, output: Path | None, options: ExportOptions) -> Path:
    """The file to write. `UsageError` for one of another format, and for the sound of a bundle."""
    kind = options.format or "flac"
    if output is None:
        target = path.with_name(f"{path.stem}.master.{kind}")
    elif output.is_dir():
        target = output / f"{path.stem}.{kind}"
    else:
        target = output
    suffix = target.suffix.lstrip(".").lower()
    if suffix not in FORMATS or (options.format and suffix != options.format):
        wanted = options.format or f"one of {', '.join(FORMATS)}"
        raise UsageError(
            f"-o {target}: its suffix is not {wanted}", f"For example: -o {path.stem}.{kind}"
        )
    if target.resolve() == path.resolve() or bundles.bundle_path(target).is_dir():
        raise UsageError(
            f"-o {target}: is the song itself, or another one that generate made",
            "Choose another name; songs stay as they are.",
        )
    return target


def _credentials(
    options: ExportOptions, kind: str, found: bundles.Bundle | None
) -> provenance.Credentials | None:
    """Whoever signs, read before any work. Only songs of songbloom are said to be its songs."""
    if found is None and (options.watermark or options.c2pa):
        raise UsageError(
            f"{'--watermark' if options.watermark else '--c2pa'}: a file without a NAME.song "
            "beside it is not known to be songbloom's",
            "Name the NAME.song folder that songbloom generate wrote.",
        )
    if options.c2pa is None:
        return None
    provenance.check_format(kind)
    return provenance.credentials(*options.c2pa)


def _read(path: Path, found: bundles.Bundle | None, kind: str) -> _Song:
    with sound.stream(path) as header:
        rate = header.sample_rate
    if rate not in _RATES.get(kind, (rate,)):
        rate = SAMPLE_RATE  # the format knows no other
    samples = sound.read(path, rate)
    if samples.shape[0] > 2:
        samples = sound.to_stereo(samples)
    return _Song(path.stem, path, found, samples, rate)


def _write(
    song: _Song,
    programme: np.ndarray,
    target: Path,
    options: ExportOptions,
    signer: provenance.Credentials | None,
) -> tuple[limiter.Mastering, dict[str, Any]]:
    """Master, encode, tag and sign; the file's own loudness and peak are measured."""
    with atomic_path(target) as temporary:
        mastering, heard, peak = _encode(song, programme, temporary, options)
        rate = song.sample_rate
        rows: dict[str, Any] = {
            "sample_rate": rate,
            "channels": heard.shape[0],
            "seconds": round(heard.shape[1] / rate, 3),
            "lufs": _rounded(loudness.integrated(heard, rate)),
            "true_peak_dbtp": _rounded(peak),
            "source_lufs": _rounded(loudness.integrated(song.samples, rate)),
            "gain_db": _rounded(mastering.gain_db),
            "limited_db": _rounded(mastering.limited_db),
            "watermark": _watermark(song, programme, heard) if options.watermark else None,
            "c2pa": signer is not None,
        }
        tags.write(temporary, _tags(song, options))
        if signer is not None:
            _sign(song, temporary, options, signer)
    return mastering, rows


def _encode(
    song: _Song, programme: np.ndarray, path: Path, options: ExportOptions
) -> tuple[limiter.Mastering, np.ndarray, Decibels]:
    """Write the master; returns how it was made, the sound in the file, and its true peak."""
    rate, ceiling = song.sample_rate, options.true_peak
    for _ in range(_ROUNDS):
        try:
            mastering = limiter.master(programme, rate, target=options.loudness, ceiling=ceiling)
        except SongBloomError as error:
            raise SongBloomError(f"{song.audio}: {error.message}", error.hint) from error
        save(path, mastering.apply(programme), rate)
        heard = sound.read(path, rate)
        peak = loudness.true_peak(heard, rate)
        if peak <= options.true_peak + _TOLERANCE:
            break
        ceiling -= peak - options.true_peak + _TOLERANCE
    return mastering, heard, peak


def save(path: Path, samples: np.ndarray, sample_rate: Hz) -> None:
    """Write `[channels, n]` as the suffix says, in the quality of a finished song."""
    kind = path.suffix[1:].lower()
    audio.save(path, samples, sample_rate, compression=_COMPRESSION.get(kind))


def _watermark(song: _Song, programme: np.ndarray, heard: np.ndarray) -> dict[str, Any]:
    """What the watermark is, how loud, how far below the song, and how well the file shows it."""
    power = float(np.mean(np.square(song.samples, dtype=np.float64)))
    residual = float(np.mean(np.square(programme - song.samples, dtype=np.float64)))
    found = watermark.detect(heard, song.sample_rate)
    return {
        "name": watermark.NAME,
        "sdr_db": _rounded(10 * math.log10(power / max(residual, 1e-30))),
        "score": _rounded(found.score),
        "threshold": _rounded(watermark.THRESHOLD),
        "found": found.present,
    }


def _about(song: _Song, options: ExportOptions) -> dict[str, str]:
    """What made the song, for tags and manifest; nothing of a bare file."""
    about = {} if song.bundle is None else _origin(song.bundle)
    return {**about, "watermark": watermark.NAME} if options.watermark else about


def _origin(found: bundles.Bundle) -> dict[str, str]:
    """What a bundle says of its song's origin."""
    told = found.song
    origin = {
        "songbloom": told["made_with"]["songbloom"],
        "model": told["model"]["name"],
        "model_sha256": told["model"]["sha256"],
        "model_licence": told["model"]["licence"],
        "seed": told["seed"],
        "fingerprint": told["fingerprint"],
        "source_sha256": told["audio"]["sha256"],
    }
    return {name: str(value) for name, value in origin.items()}


def _tags(song: _Song, options: ExportOptions, part: str = "") -> tags.Tags:
    version = f"songbloom {songbloom.__version__}"
    title = (options.title or song.name) + (f" ({part})" if part else "")
    if song.bundle is None:
        return tags.Tags(title, options.artist, software=version)
    about = {f"SONGBLOOM_{k.upper()}": v for k, v in _about(song, options).items()}
    about["SONGBLOOM_VERSION"] = about.pop("SONGBLOOM_SONGBLOOM")
    comment = f"Made by a machine: {version}, model {song.bundle.song['model']['name']}."
    if options.watermark:
        comment += f" It carries an inaudible watermark ({watermark.NAME})."
    lines = tuple(_lines(song.bundle.timeline))
    return tags.Tags(
        title=title,
        artist=options.artist,
        comment=comment,
        software=version,
        lyrics=_words(song.bundle.timeline),
        lrc=bundles.lrc(song.bundle.folder) if lines else "",
        lines=lines,
        about=about,
    )


def _lines(timeline: Mapping[str, Any]) -> list[tuple[Seconds, str]]:
    """(start, text) of the lines that were sung."""
    lines = [line for section in timeline["sections"] for line in section["lines"]]
    return [(line["start"], line["text"]) for line in lines if line["start"] is not None]


def _words(timeline: Mapping[str, Any]) -> str:
    """The lyrics, a line a row, with an empty row between sections."""
    sections = [[line["text"] for line in s["lines"]] for s in timeline["sections"]]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def _sign(song: _Song, path: Path, options: ExportOptions, signer: provenance.Credentials) -> None:
    signed = path.with_suffix(f".signed{path.suffix}")
    try:
        title = options.title or song.name
        provenance.sign(path, signed, title, _about(song, options), signer)
        os.replace(signed, path)
    finally:
        signed.unlink(missing_ok=True)


def _stems(
    song: _Song, mastering: limiter.Mastering, target: Path, options: ExportOptions
) -> dict[str, Any]:
    """Write the stems: what is done to the song is done to each, so they add up to the master.

    Where one would clip, all are made softer by the same factor.
    """
    rate, done = song.sample_rate, {}
    for name, stem in separated(song.audio, rate, song.samples.shape[1], options.separation):
        done[name] = mastering.apply(watermark.embed(stem, rate) if options.watermark else stem)
    peak = max(float(np.abs(stem).max(initial=0.0)) for stem in done.values())
    softer = min(1.0, (1 - 2.0**-22) / max(peak, 1e-12))
    files = []
    for name, stem in done.items():
        path = target.with_name(f"{target.stem}.{name}{target.suffix}")
        with atomic_path(path) as temporary:
            save(temporary, np.float32(softer) * stem, rate)
            tags.write(temporary, _tags(song, options, name))
        files.append(str(path))
    return {"files": files, "gain_db": _rounded(20 * math.log10(softer))}


def separated(
    path: Path, sample_rate: Hz, length: int, settings: PrepareConfig
) -> Iterator[tuple[str, np.ndarray]]:
    """(name, `[2, length]`) of a song's vocals and accompaniment, which add up to the song."""
    process = separate.load(settings, settings.device.split(",")[0])
    with tempfile.TemporaryDirectory() as folder:
        told = process(Item(Track(path.stem, path.name), path), Path(folder))
        louder = np.float32(10 ** (-told["gain_db"] / 20))  # by which both were made softer
        for name in separate.STEMS:
            stem = louder * sound.read(Path(folder) / f"{name}.flac", sample_rate)[:, :length]
            yield name, np.pad(stem, ((0, 0), (0, length - stem.shape[1])))


def _note(found: bundles.Bundle, target: Path, report: Mapping[str, Any]) -> None:
    """Say in the bundle's song.toml what was exported; an older export of that name is replaced."""
    row = {key: report[key] for key in ("sha256", "lufs", "true_peak_dbtp", "c2pa")}
    if report["watermark"]:
        row["watermark"] = report["watermark"]["name"]
    exports = {**found.song.get("exports", {}), target.name: row}
    song = {**found.song, "exports": dict(sorted(exports.items()))}
    write_text(found.folder / "song.toml", tomli_w.dumps(song))


def _warnings(options: ExportOptions, report: Mapping[str, Any]) -> list[str]:
    """What is not as it was asked for."""
    warnings = []
    if report["lufs"] is None or report["lufs"] < options.loudness - 0.5:
        warnings.append(
            f"{report['lufs']} LUFS in place of {options.loudness:g}: no peak is lowered by more "
            f"than {limiter.MOST_LIMITED:g} dB"
        )
    if report["true_peak_dbtp"] is not None:
        over = report["true_peak_dbtp"] - options.true_peak
        if over > 2 * _TOLERANCE:
            warnings.append(f"the coding puts true peaks {over:.2f} dB above the ceiling")
    if report["watermark"] and not report["watermark"]["found"]:
        warnings.append("the watermark cannot be found in the file: too short, or too little sound")
    return warnings


def _rounded(value: float) -> float | None:
    """To two digits; None for the loudness of silence."""
    return round(value, 2) + 0.0 if math.isfinite(value) else None
