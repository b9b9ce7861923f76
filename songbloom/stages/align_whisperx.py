"""The full aligner: WhisperX transcribes the vocals, and aligns the lyrics where they are heard.

Lyrics that are like the transcript (a ratio of `LIKE` at least, over words) are kept and aligned
line by line near the words that were heard of them; words that they lack are `recovered`. Other
lyrics, and none, give way to the transcript, whose lines belong to no section (-1).
"""

import difflib
import re
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soxr

from songbloom.files import sha256
from songbloom.lyrics.languages import LANGUAGES
from songbloom.stages import align, codecs, tools
from songbloom.stages.align_words import Heard, SungLine, SungWord, sung_lines
from songbloom.stages.stage import Backend, Item, Process
from songbloom.tables import PrepareConfig
from songbloom.units import SAMPLE_RATE, Seconds

RATE = 16_000
LIKE = 0.25
_MARGIN: Seconds = 0.5
_VERSION = 1
_LONGEST_SONG: Seconds = 600.0
_NOT_SAID = re.compile(r"[^\w']+")


@dataclass(frozen=True)
class Said:
    """A word of the transcript."""

    text: str
    heard: Heard


def backend(settings: PrepareConfig, why: str) -> Backend:
    """WhisperX with the models that the settings name; `MissingAssetError` where they are not."""
    if not tools.imports_here("whisperx"):
        tools.python("whisperx")
    options = _options(settings, "cpu")
    model = Path(options["model"])
    identity = {"version": _VERSION, "model": sha256(model / "model.bin")}
    if options["ctc_model"]:
        folder = Path(options["ctc_model"])
        weights = sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".bin"))
        identity |= {"ctc_model": [sha256(path) for path in weights]}
    return Backend("whisperx", why, identity, "MIT (Whisper's weights); ask for the CTC model's")


def load(settings: PrepareConfig, device: str) -> Process:
    """WhisperX in memory: in the tools environment, or here where it is installed."""
    backend(settings, "")
    timeout = 60 + settings.item_timeout * _LONGEST_SONG
    tool = tools.Tool("whisperx", _options(settings, device), timeout=timeout)

    def process(item: Item, folder: Path) -> Mapping[str, Any]:
        return _align_song(tool, item)

    weakref.finalize(process, tool.close)
    return process


def _options(settings: PrepareConfig, device: str) -> dict[str, Any]:
    """What `tool_whisperx.load` takes; names of Whisper's sizes are those of Systran's models."""
    name = settings.align_model or "large-v3"
    known = Path(name).expanduser().is_dir() or "/" in name
    model = codecs.local_folder(name if known else f"Systran/faster-whisper-{name}", "a Whisper")
    ctc = settings.align_ctc_model
    folder = codecs.local_folder(ctc, "a CTC model").resolve() if ctc else None
    ctc_model = str(folder) if folder else None
    return {"model": str(model.resolve()), "ctc_model": ctc_model, "device": device}


def _align_song(tool: tools.Tool, item: Item) -> dict[str, Any]:
    stereo = align.vocals(item)
    samples = soxr.resample(stereo.mean(0), SAMPLE_RATE, RATE, quality="VHQ")
    lyrics = align.readable_lyrics(item)
    lines = sung_lines(lyrics, item.track.language) if lyrics else []
    wanted = align.main_language(lines) or item.track.language
    language = wanted if wanted in LANGUAGES else None
    told = tool.call("transcribe", {"samples": samples, "language": language})
    said = _segments(tool, samples, told["language"], told["segments"])
    words = [word for segment in said for word in segment]
    found, recovered = compare(lines, words)
    if found is None:
        texts = [segment["text"].strip() for segment in told["segments"]]
        result = align.Alignment(*_as_lines(texts, said, told["language"]))
        share = 0.0 if lines else None
    else:
        windows = list(_windows(lines, found, len(samples) / RATE))
        result = align.Alignment(
            lines, _lines_heard(tool, samples, told["language"], lines, windows)
        )
        share = sum(word is not None for word in found) / len(found)
    fields = align.fields(lyrics, result, stereo.shape[1] / SAMPLE_RATE)
    return {
        **fields,
        "matched": None if share is None else round(share, 4),
        "language": told["language"],
        "recovered": [align.word_row(word.text, word.heard) for word in recovered],
        "transcript": "\n".join(segment["text"].strip() for segment in told["segments"]),
    }


def compare(
    lines: Sequence[SungLine], words: Sequence[Said]
) -> tuple[list[Heard | None] | None, list[Said]]:
    """For each word of the lyrics the one of the transcript that is it, and those that they lack.

    None where lyrics and transcript are of different songs; then all words are lacking.
    """
    mine = [_plain(word.text) for line in lines for word in line.words]
    theirs = [_plain(word.text) for word in words]
    matcher = difflib.SequenceMatcher(None, mine, theirs, autojunk=False)
    if not mine or matcher.ratio() < LIKE:
        return None, list(words)
    found: list[Heard | None] = [None] * len(mine)
    lacking: list[Said] = []
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            found[a:b] = [word.heard for word in words[c:d]]
        elif kind == "insert":
            lacking += words[c:d]
    return found, lacking


def _plain(word: str) -> str:
    return _NOT_SAID.sub("", word.casefold())


def _segments(
    tool: tools.Tool, samples: Any, language: str, segments: Sequence[Mapping[str, Any]]
) -> list[list[Said]]:
    """The words of each segment, aligned."""
    if not segments:
        return []
    asked = {"samples": samples, "language": language, "segments": list(segments)}
    return [
        [Said(w["text"], Heard(w["start"], w["end"], max(0.0, w["confidence"]))) for w in words]
        for words in tool.call("align", asked)["segments"]
    ]


def _as_lines(
    texts: Sequence[str], said: Sequence[Sequence[Said]], language: str
) -> tuple[list[SungLine], list[Heard | None]]:
    """The transcript in the place of lyrics."""
    lines, heard = [], []
    for text, words in zip(texts, said, strict=True):
        if words:
            sung = tuple(SungWord(word.text, (), language) for word in words)
            lines.append(SungLine(-1, text, sung))
            heard += [word.heard for word in words]
    return lines, list(heard)


def _windows(
    lines: Sequence[SungLine], found: Sequence[Heard | None], duration: Seconds
) -> Iterator[tuple[Seconds, Seconds] | None]:
    """Where to look for each line: around its words in the transcript, not beyond its neighbours'.

    None for a line of which none was heard.
    """
    at = 0
    for line in lines:
        before = [word.end for word in found[:at] if word]
        mine = [word for word in found[at : at + len(line.words)] if word]
        at += len(line.words)
        after = [word.start for word in found[at:] if word]
        if not mine:
            yield None
            continue
        whole = len(mine) == len(line.words)
        # Words that were not heard are beside those that were: at half a second each, at most.
        reach = _MARGIN * (1 if whole else 1 + len(line.words) - len(mine))
        start = max(mine[0].start - reach, before[-1] if before else 0.0, 0.0)
        end = min(mine[-1].end + reach, after[0] if after else duration, duration)
        yield (min(start, mine[0].start), max(end, mine[-1].end))


def _lines_heard(
    tool: tools.Tool,
    samples: Any,
    language: str,
    lines: Sequence[SungLine],
    windows: Sequence[tuple[Seconds, Seconds] | None],
) -> list[Heard | None]:
    """The words of the lyrics, aligned each line in its window."""
    asked = [
        {"start": window[0], "end": window[1], "text": line.text}
        for line, window in zip(lines, windows, strict=True)
        if window
    ]
    said = iter(_segments(tool, samples, language, asked))
    heard: list[Heard | None] = []
    for line, window in zip(lines, windows, strict=True):
        words = next(said) if window else []
        found, _ = compare([line], words)
        heard += found or [None] * len(line.words)
    return heard
