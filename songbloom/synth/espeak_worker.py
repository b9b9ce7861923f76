"""Runs espeak-ng in its own process, JSON lines in and out.

Start it with `python -m songbloom.synth.espeak_worker`.

espeak-ng is GPL, so it is a separate program here, spoken to through a pipe and never loaded into
the library's process. A request is `{"voice", "text", "rate", "pitch", "range"}`; an answer is
`{"sample_rate", "samples" (base64 of int16), "phonemes": [[mnemonic, first sample], ...]}` or
`{"error"}`. Struct and constants: espeak-ng's speak_lib.h.
"""

import base64
import ctypes
import json
import sys
from typing import Any

_SYNCHRONOUS = 2
_PHONEME_EVENTS = 1
_DONT_EXIT = 0x8000
_UTF8_PHONEMES = 1 | 0x100
_EVENT_END = 0
_EVENT_PHONEME = 7
_RATE, _PITCH, _RANGE, _WORDGAP = 1, 3, 4, 7


class _Id(ctypes.Union):
    _fields_ = [
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    ]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class Speaker:
    """The library, loaded once."""

    def __init__(self, library: str, data: str) -> None:
        self._library = ctypes.CDLL(library)
        self._samples = bytearray()
        self._phonemes: list[tuple[str, int]] = []
        self._callback = _CALLBACK(self._collect)  # kept: the library holds a bare pointer
        self.sample_rate = self._library.espeak_Initialize(
            _SYNCHRONOUS, 0, data.encode(), _PHONEME_EVENTS | _DONT_EXIT
        )
        if self.sample_rate <= 0:
            raise RuntimeError(f"espeak-ng cannot start with the data in {data}")
        self._library.espeak_SetSynthCallback(self._callback)
        # The breath of some voices is random, and seeded with the clock.
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))

    def speak(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request."""
        if self._library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
            raise RuntimeError(f"espeak-ng has no voice '{request['voice']}'")
        for parameter, key in ((_RATE, "rate"), (_PITCH, "pitch"), (_RANGE, "range")):
            self._library.espeak_SetParameter(parameter, int(request[key]), 0)
        self._samples.clear()
        self._phonemes.clear()
        text = request["text"].encode() + b"\0"
        self._library.espeak_Synth(text, len(text), 0, 1, 0, _UTF8_PHONEMES, None, None)
        self._library.espeak_Synchronize()
        return {
            "sample_rate": self.sample_rate,
            "samples": base64.b64encode(bytes(self._samples)).decode(),
            "phonemes": self._phonemes,
        }

    def _collect(self, wave: Any, count: int, events: Any) -> int:
        if wave and count > 0:
            self._samples += ctypes.string_at(wave, 2 * count)
        number = 0
        while events[number].type != _EVENT_END:
            event = events[number]
            if event.type == _EVENT_PHONEME:
                self._phonemes.append((event.id.string.decode("utf-8", "replace"), event.sample))
            number += 1
        return 0


def main() -> None:
    """Serve until the pipe closes."""
    import espeakng_loader

    speaker = Speaker(str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path()))
    for line in sys.stdin:
        try:
            answer = speaker.speak(json.loads(line))
        except (RuntimeError, KeyError, ValueError) as error:
            answer = {"error": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
