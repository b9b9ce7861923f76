"""Lyrics and a reference clip to finished files, one song at a time or in batches.

For every item: conditions -> patches (engine) -> audio as it comes (decode) -> sound file and
bundle, both renamed into place when whole. An item whose files are there and were made from the
same inputs is skipped, so a killed batch goes on where it stopped.
"""

import dataclasses
import hashlib
import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import songbloom
from songbloom import audio
from songbloom.errors import PartialError, SongBloomError
from songbloom.files import atomic_path, sha256
from songbloom.generation.bundle import bundle_path, read_bundle, write_bundle
from songbloom.generation.decode import StreamingDecoder
from songbloom.generation.device import choose_device, choose_dtype
from songbloom.generation.draws import CounterDraws, Draws, ReleaseDraws
from songbloom.generation.engine import generate_patches, max_patches
from songbloom.generation.options import GenerateOptions
from songbloom.generation.timeline import timeline
from songbloom.hub import lyric_limits
from songbloom.lyrics import frontends, lint
from songbloom.model.checkpoint import Model, load_model, read_info, weights_hash
from songbloom.model.conditioning import Conditions, LyricIds
from songbloom.model.config import ModelConfig, SamplingConfig
from songbloom.requests import Request
from songbloom.units import FRAME_RATE, SAMPLE_RATE, Seconds, frames_to_seconds

Event = dict[str, Any]
_SILENT_DBFS = -60.0
_SHORTEST_REFERENCE = 2048  # samples; a shorter clip has no latent frame


@dataclass(frozen=True)
class Item:
    """One sound file to make."""

    request: Request
    sample: int
    path: Path


def generate(
    requests: Sequence[Request],
    model_path: Path,
    output: Path,
    options: GenerateOptions,
    on_event: Callable[[Event], None] = lambda event: None,
) -> list[dict[str, Any]]:
    """Make every song; a row for each (file, sha256, seconds, skipped ...).

    `output` is a file for one song and a folder for more. A failed item does not stop the others:
    `PartialError` at the end names how many failed; a lone one's own error is raised.
    """
    maker = _Maker(Path(model_path), options, on_event)
    items = list_items(requests, Path(output), options)
    rows: dict[Path, dict[str, Any]] = {}
    failures: list[SongBloomError] = []
    # A batch that lacks a song is made whole again: its last bits depend on its size.
    for begin in range(0, len(items), options.batch_size):
        batch = items[begin : begin + options.batch_size]
        done = [maker.finished(item) for item in batch]
        if all(done):
            for item, row in zip(batch, done, strict=True):
                rows[item.path] = dict(row or {})
                on_event({"event": "skip", "idx": item.request.idx, "file": str(item.path)})
            continue
        for item, result in maker.make(batch):
            if isinstance(result, SongBloomError):
                failures.append(result)
                on_event({"event": "error", "idx": item.request.idx, "message": result.message})
            else:
                rows[item.path] = result
    if len(failures) == 1 and len(items) == 1:
        raise failures[0]
    if failures:
        raise PartialError(
            f"{len(failures)} of {len(items)} songs failed; the first: {failures[0].message}",
            "Mend those inputs and run the same command again: finished songs are skipped.",
        )
    return [rows[item.path] for item in items]


def list_items(requests: Sequence[Request], output: Path, options: GenerateOptions) -> list[Item]:
    """Every file that will be made, in order."""
    single = len(requests) == 1
    items = []
    for request in requests:
        is_file = single and output.suffix.lstrip(".").lower() in audio.FORMATS
        base = output if is_file else output / f"{request.idx}.{options.format}"
        for k in range(options.n_samples):
            numbered = not single or options.n_samples > 1
            name = f"{base.stem}_s{k}{base.suffix}" if numbered else base.name
            items.append(Item(request, k, base.with_name(name)))
    return items


def plan(
    requests: Sequence[Request], model_path: Path, output: Path, options: GenerateOptions
) -> dict[str, Any]:
    """What `generate` would do, for --dry-run: files, durations, memory, disk. Loads no weights."""
    maker = _Maker(Path(model_path), options, lambda event: None)
    info, config, sampling = maker.info, maker.config, maker.sampling
    items = list_items(requests, Path(output), options)
    patches = max_patches(sampling, config.patch_size)
    positions = config.sequence_length(patches)
    rows = min(len(items), options.batch_size) * _ar_rows(config, sampling)
    width = 4 if options.dtype == "float32" else 2
    cache = 2 * rows * config.ar_layers * positions * config.dim * width
    seconds = frames_to_seconds(patches * config.patch_size)
    return {
        "model": info["name"],
        "files": [str(item.path) for item in items],
        "max_seconds_each": seconds,
        "sampling": dataclasses.asdict(sampling),
        "flops_each": _flops(config, sampling, patches),
        "estimated_seconds_each": _flops(config, sampling, patches) / _measured_flops(),
        "weights_bytes": info["parameters"] * width,
        "kv_cache_bytes": cache,
        "disk_bytes_each": int(seconds * (SAMPLE_RATE * 2 * 2 + FRAME_RATE * (64 * 4 + 8))),
        "warnings": [*maker.warnings, *(x for r in requests for x in maker.findings(r))],
    }


def _flops(config: ModelConfig, sampling: SamplingConfig, patches: int) -> float:
    """Multiply-adds of the linear layers, twice: what a song of full length costs."""
    layer = 4 * config.dim**2 + 3 * config.dim * config.ffn_dim
    head = config.dim * (config.dim + config.sketch_vocab_size)
    ar = config.sequence_length(patches) * config.ar_layers * layer
    ar += patches * config.sketch_size * head
    copies = 2 if sampling.latent_cfg_scale != 1 else 1
    dit = copies * patches * sampling.num_steps * config.dit_length * config.dit_layers * layer
    return 2.0 * (_ar_rows(config, sampling) * ar + dit)


def _ar_rows(config: ModelConfig, sampling: SamplingConfig) -> int:
    """Rows of the AR transformer a song: a second one for the null condition of sketch guidance."""
    return 2 if sampling.sketch_cfg_scale != 1 and config.sketch_size else 1


def _measured_flops() -> float:
    """FLOP a second that this machine reaches on a product of the DiT's shape, roughly."""
    a, b = torch.ones(100, 512), torch.ones(512, 1536)
    started_at, products = time.perf_counter(), 0
    while time.perf_counter() - started_at < 0.1:
        a @ b
        products += 1
    return products * 2.0 * 100 * 512 * 1536 / (time.perf_counter() - started_at)


class _Maker:
    """The model, loaded when the first item really needs it."""

    def __init__(
        self, model_path: Path, options: GenerateOptions, on_event: Callable[[Event], None]
    ) -> None:
        self.info = read_info(model_path)
        self.config = ModelConfig.from_dict(self.info["config"], str(model_path / "model.json"))
        self.model_path, self.options, self.on_event = model_path, options, on_event
        self.sampling, self.warnings = options.sampling(self.config)
        table = frontends.vocabulary(self.config.frontend)
        self._lexicon = frontends.load_lexicon(options.lexicon, table) if options.lexicon else None
        self._say("")  # a language that the front end lacks is told before the model is loaded
        self._model: Model | None = None
        self._hashes: dict[Path, str] = {}

    @property
    def model(self) -> Model:
        if self._model is None:
            device, dtype = choose_device(self.options.device), choose_dtype(self.options.dtype)
            self._model = load_model(self.model_path, device=device, dtype=dtype)
            for warning in self.warnings:
                self._warn(None, warning)
        return self._model

    def finished(self, item: Item) -> dict[str, Any] | None:
        """The row of an item whose files are whole and came from these very inputs, else None."""
        folder = bundle_path(item.path)
        if not (item.path.is_file() and (folder / "song.toml").is_file()):
            return None
        try:
            song = read_bundle(folder).song
            same = song["fingerprint"] == self._fingerprint(item)
            if not same or song["audio"]["sha256"] != sha256(item.path):
                return None
        except (SongBloomError, KeyError):
            return None
        return self._row(item, song, skipped=True)

    def make(self, items: Sequence[Item]) -> Iterator[tuple[Item, dict[str, Any] | SongBloomError]]:
        """Generate a batch; items whose inputs are bad drop out of it with their error."""
        ready: list[tuple[Item, Conditions, Draws]] = []
        for item in items:
            try:
                draws = self._draws(item)
                ready.append((item, self._conditions(item, draws), draws))
            except SongBloomError as error:
                yield item, error
        if not ready:
            return
        songs = [_Song(item, self.model, len(ready)) for item, _, _ in ready]
        for song in songs:
            self.on_event({"event": "start", "idx": song.item.request.idx})
        self._sing(songs, [c for _, c, _ in ready], [d for _, _, d in ready])
        for song in songs:
            try:
                yield song.item, self._finish(song)
            except SongBloomError as error:
                yield song.item, error

    def _sing(
        self, songs: Sequence["_Song"], conditions: Sequence[Conditions], draws: Sequence[Draws]
    ) -> None:
        for patches in generate_patches(self.model.songbloom, conditions, self.sampling, draws):
            for patch in patches:
                song = songs[patch.song]
                song.add(patch.sketch, patch.latents)
                self.on_event(
                    {
                        "event": "patch",
                        "idx": song.item.request.idx,
                        "patch": patch.index,
                        "seconds": song.seconds,
                        "rtf": song.elapsed / song.seconds,
                        "of_seconds": self.sampling.max_duration,
                    }
                )

    def _finish(self, song: "_Song") -> dict[str, Any]:
        """Write the sound file and its bundle."""
        item, seconds = song.item, song.seconds
        if not seconds:
            self._warn(item, "the model ended the song in its first patch: nothing is sung")
        samples, sketch = song.finish(), torch.cat(song.sketch)
        times = timeline(
            item.request.lyrics,
            sketch.numpy(),
            sketch_kind=self.info.get("sketch_kind"),
            duration=seconds,
            say=self._say,
        )
        with atomic_path(item.path) as temporary:
            audio.save(temporary, samples, SAMPLE_RATE)
            described = self._describe(item, song, sha256(temporary))
            write_bundle(
                bundle_path(item.path),
                song=described,
                lyrics=item.request.lyrics.line + "\n",
                sketch=sketch,
                latents=torch.cat(song.latents),
                timeline=times,
                speed=self._speed(song),
            )
        row = self._row(item, described, skipped=False)
        self.on_event({"event": "done", "idx": item.request.idx, **row})
        return row

    def _describe(self, item: Item, song: "_Song", digest: str) -> dict[str, Any]:
        """song.toml. Nothing in it depends on when or how fast the song was made."""
        hashes = self.info["sha256"]
        return {
            "fingerprint": self._fingerprint(item),
            "idx": item.request.idx,
            "sample": item.sample,
            "seed": self.options.seed + item.sample,
            "rng": self.options.rng,
            "audio": {
                "file": item.path.name,
                "sha256": digest,
                "sample_rate": SAMPLE_RATE,
                "seconds": song.seconds,
            },
            "lyrics": {"sha256": _text_hash(item.request.lyrics.line), **self._pronunciation()},
            "reference": {
                "file": item.request.reference.name,
                "sha256": self._file_hash(item.request.reference),
                "start": self.options.prompt_start,
            },
            "sampling": dataclasses.asdict(self.sampling),
            "model": {
                "name": self.info["name"],
                "sha256": weights_hash(self.info),
                "vae_sha256": hashes["vae.safetensors"],
                "codebook_sha256": str(self.info.get("codebook_hash", "unknown")),
                "frontend": self.config.frontend,
                "licence": str(self.info.get("licence", "unknown")),
            },
            "made_with": {
                "songbloom": songbloom.__version__,
                "torch": torch.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
                "device": self.model.songbloom.sketch_lm.bos.device.type,
                "dtype": self.options.dtype,
                "threads": torch.get_num_threads(),
            },
        }

    def _speed(self, song: "_Song") -> dict[str, Any]:
        """speed.json: seconds of work from inputs that are ready to the last sample."""
        return {
            "song_seconds": song.seconds,
            "work_seconds": round(song.work, 3),
            "first_audio_seconds": round(song.first_audio or song.work, 3),
            "songs_together": song.together,
            "device": self.model.songbloom.sketch_lm.bos.device.type,
            "dtype": self.options.dtype,
            "threads": torch.get_num_threads(),
        }

    def _row(self, item: Item, song: dict[str, Any], *, skipped: bool) -> dict[str, Any]:
        return {
            "idx": item.request.idx,
            "sample": item.sample,
            "file": str(item.path),
            "bundle": str(bundle_path(item.path)),
            "seconds": song["audio"]["seconds"],
            "sha256": song["audio"]["sha256"],
            "seed": song["seed"],
            "skipped": skipped,
        }

    def _fingerprint(self, item: Item) -> str:
        """Hash of everything that decides the song's bytes."""
        inputs = {
            "lyrics": item.request.lyrics.line,
            "reference": self._file_hash(item.request.reference),
            "start": self.options.prompt_start,
            "seed": self.options.seed + item.sample,
            "rng": self.options.rng,
            "dtype": self.options.dtype,
            "batch_size": self.options.batch_size,
            "sampling": dataclasses.asdict(self.sampling),
            "model": self.info["sha256"],
            **self._pronunciation(),
        }
        return _text_hash(json.dumps(inputs, sort_keys=True))

    def _file_hash(self, path: Path) -> str:
        if path not in self._hashes:
            self._hashes[path] = sha256(path)
        return self._hashes[path]

    def _draws(self, item: Item) -> Draws:
        kind = ReleaseDraws if self.options.rng == "release" else CounterDraws
        return kind(self.options.seed + item.sample)

    def findings(self, request: Request) -> tuple[str, ...]:
        """What is wrong with the lyrics for this model at this length."""
        limits = dataclasses.replace(
            lyric_limits(self.config),
            max_duration=self.sampling.max_duration,
            language=self.options.language,
            lexicon=self._lexicon,
        )
        lyrics = request.lyrics
        return dataclasses.replace(lyrics, findings=tuple(lint.check(lyrics, limits))).warnings

    def _conditions(self, item: Item, draws: Draws) -> Conditions:
        for finding in self.findings(item.request) if item.sample == 0 else ():
            self._warn(item, finding)
        said = self._say(item.request.lyrics.line)
        if lacking := self.model.vocabulary.lacking(said):
            self._warn(item, f"the model has no symbol for {' '.join(lacking)}; left out")
        tokens = self.model.vocabulary.encode(said)
        ids = LyricIds.from_tokens(
            tokens, self.model.vocabulary, max_sentences=self.config.max_sentences
        )
        return Conditions(ids, self._reference(item, draws))

    def _say(self, line: str) -> str:
        """The phonemes of lyrics as the model was taught them."""
        return frontends.phonemes(
            line, self.config.frontend, lexicon=self._lexicon, language=self.options.language
        )

    def _pronunciation(self) -> dict[str, str]:
        """What the user says about how the lyrics are said."""
        given = {}
        if self.options.lexicon:
            given["lexicon_sha256"] = self._file_hash(self.options.lexicon)
        if self.options.language:
            given["language"] = self.options.language
        return given

    @torch.inference_mode()
    def _reference(self, item: Item, draws: Draws) -> Tensor:
        """The reference clip's latents `[T, C]`: mono, cut to the model's reference length."""
        length: Seconds = frames_to_seconds(self.config.reference_frames)
        path = item.request.reference
        clip = audio.to_mono(
            audio.load(path, SAMPLE_RATE, start=self.options.prompt_start, duration=length)
        )
        loudness = 10 * np.log10(np.mean(np.square(clip)) + 1e-20)
        if loudness < _SILENT_DBFS:
            self._warn(item, f"{path}: the reference clip is silent ({loudness:.0f} dBFS)")
        if clip.shape[1] < _SHORTEST_REFERENCE:
            self._warn(item, f"{path}: shorter than 43 ms, so it gives no style at all")
            return torch.zeros(0, self.config.latent_dim)
        stereo = torch.from_numpy(audio.to_stereo(clip)).to(
            self.model.songbloom.sketch_lm.bos.device
        )
        # Two rows: the released sampler also encodes a null clip, whose draws stand in the stream.
        return self.model.vae.encode(stereo.expand(2, -1, -1), generator=draws.reference())[0]

    def _warn(self, item: Item | None, message: str) -> None:
        idx = item.request.idx if item else None
        self.on_event({"event": "warning", "idx": idx, "message": message})


class _Song:
    """One song as it grows, made together with others."""

    def __init__(self, item: Item, model: Model, together: int) -> None:
        self.item, self.together = item, together
        self.nothing = torch.zeros(model.config.patch_size, model.config.latent_dim)
        self.decoder = StreamingDecoder(model.vae)
        self.sketch: list[Tensor] = []
        self.latents: list[Tensor] = []
        self.chunks: list[Tensor] = []
        self.started_at = time.monotonic()
        self.first_audio: Seconds | None = None
        self.work: Seconds = 0.0

    def add(self, sketch: Tensor, latents: Tensor) -> None:
        self.sketch.append(sketch)
        self.latents.append(latents)
        self.chunks += self.decoder.push(latents)
        if self.chunks and self.first_audio is None:
            self.first_audio = self.elapsed

    def finish(self) -> np.ndarray:
        """The whole song, `[2, n]`; one that ended at once is a patch of zeros, as released."""
        if not self.latents:
            self.add(torch.empty(0, dtype=torch.int64), self.nothing)
        self.chunks += self.decoder.flush()
        self.work = self.elapsed
        return torch.cat(self.chunks, dim=1).numpy()

    @property
    def seconds(self) -> Seconds:
        return frames_to_seconds(sum(len(x) for x in self.latents))

    @property
    def elapsed(self) -> Seconds:
        return time.monotonic() - self.started_at


def _text_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
