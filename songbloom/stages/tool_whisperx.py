"""WhisperX, where it is installed: transcription, and forced alignment of transcript or lyrics.

Served by `tool_worker.py` in the tools environment, so that it imports nothing of songbloom.
Commands: `transcribe` (samples at 16 kHz, language or None) -> language and segments, and `align`
(samples, language, segments) -> the words of each segment. Nothing is downloaded.
"""

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_BATCH = 8  # windows of 30 s at a time; no result depends on it


class MissingModelError(Exception):
    """A model that would have to be downloaded."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.hint = "Name a folder with a CTC model of that language as align_ctc_model."


@dataclass
class Model:
    """The transcriber, and alignment models by language as they are needed."""

    asr: Any
    ctc_model: str | None
    device: str
    aligners: dict[str, tuple[Any, dict[str, Any]]] = field(default_factory=dict)


def load(options: dict[str, Any]) -> Model:
    """`model` is a folder of faster-whisper, `ctc_model` one of transformers or None, `device`."""
    import torch
    import whisperx  # type: ignore[import-not-found, unused-ignore]
    import whisperx.alignment  # type: ignore[import-not-found, unused-ignore]
    from nltk.tokenize.punkt import (  # type: ignore[import-not-found, unused-ignore]
        PunktSentenceTokenizer,
    )

    torch.hub.download_url_to_file = _refuse
    whisperx.alignment.nltk_load = lambda *path: PunktSentenceTokenizer()
    device, _, number = options["device"].partition(":")
    asr = whisperx.load_model(
        options["model"],
        device,
        device_index=int(number or 0),
        compute_type="int8" if device == "cpu" else "float16",
        vad_method="pyannote",
        threads=1,
        local_files_only=True,
    )
    return Model(asr, options["ctc_model"], options["device"])


def call(model: Model, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Do a command; the same sound and words give the same answer."""
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    if command == "transcribe":
        return _transcribe(model, **arguments)
    return {"segments": _align(model, **arguments)}


def _transcribe(model: Model, samples: np.ndarray, language: str | None) -> dict[str, Any]:
    if not model.asr.model.model.is_multilingual:
        language = "en"
    result = model.asr.transcribe(samples, batch_size=_BATCH, language=language)
    segments = [{key: s[key] for key in ("start", "end", "text")} for s in result["segments"]]
    return {"language": result["language"], "segments": segments}


def _align(
    model: Model, samples: np.ndarray, language: str, segments: list[dict[str, Any]]
) -> list[list[dict[str, Any]]]:
    """For each segment its words, those without times left out."""
    import whisperx

    found = []
    aligner, metadata = _aligner(model, language)
    for segment in segments:  # one at a time: what fails keeps no other from being heard
        result = whisperx.align([segment], aligner, metadata, samples, model.device)
        words = [word for part in result["segments"] for word in part["words"]]
        timed = [word for word in words if "start" in word and "end" in word]
        keys = {"word": "text", "start": "start", "end": "end", "score": "confidence"}
        found.append([{new: word[old] for old, new in keys.items()} for word in timed])
    return found


def _aligner(model: Model, language: str) -> tuple[Any, dict[str, Any]]:
    import whisperx

    if language not in model.aligners:
        model.aligners[language] = whisperx.load_align_model(
            language, model.device, model_name=model.ctc_model, model_cache_only=True
        )
    return model.aligners[language]


def _refuse(url: str, *args: Any, **options: Any) -> None:
    raise MissingModelError(f"the alignment model {url} is not on this machine")
