"""Speech by festival's HTS voice: a program of its own, one process a song.

Its words are invented, one for each word of the lines, and put into its lexicon with the phones
wanted, so that it says those and no others, and tells when.
"""

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import soundfile

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.synth.score import Phone
from songbloom.synth.spoken import Spoken, spoken_words
from songbloom.synth.syllables import base, syllables
from songbloom.synth.voices import Voice

SPEED = 0.75  # of the voice's own: slow speech has long, clear vowels
_SILENCES = ("pau", "h#", "brth")
_SETUP = f"""
(voice_%s)
(set! postlex_rules_hooks nil)
(set! hts_engine_params (cons '("-r" {SPEED}) hts_engine_params))
(define (say text file)
  (let ((utt (utt.synth (eval (list 'Utterance 'Text text)))))
    (format t "line\\n")
    (mapcar (lambda (s) (format t "%%s %%f\\n" (item.name s) (item.feat s "end")))
            (utt.relation.items utt 'Segment))
    (utt.save.wave utt file 'riff)))
"""


@functools.cache
def check_installed() -> None:
    """`MissingAssetError` unless festival and its voice are there."""
    hint = "Install them, on Debian: apt install festival festvox-us-slt-hts"
    if not shutil.which("festival"):
        raise MissingAssetError("the program festival is not installed; its voices need it", hint)
    if "cmu_us_slt_arctic_hts" not in _run("(print (voice.list))"):
        raise MissingAssetError("festival has no voice cmu_us_slt_arctic_hts", hint)


def say(voice: Voice, lines: list[tuple[Phone, ...]]) -> list[Spoken]:
    """Speak each line's phones.

    `MissingAssetError` as `check_installed`, `SongBloomError` when festival fails.
    """
    check_installed()
    with tempfile.TemporaryDirectory() as name:
        told = _run(_script(voice, lines, Path(name))).split("line\n")[1:]
        waves = [soundfile.read(Path(name) / f"{number}.wav") for number in range(len(told))]
    return [
        Spoken(samples, rate, _spans(phones, text))
        for phones, text, (samples, rate) in zip(lines, told, waves, strict=True)
    ]


def _script(voice: Voice, lines: list[tuple[Phone, ...]], folder: Path) -> str:
    """Scheme that says every line into `folder/NUMBER.wav` and prints its segments."""
    commands = [_SETUP % voice.source]
    count = 0
    for number, phones in enumerate(lines):
        names = []
        for word in spoken_words(phones):
            names.append(_name(count))
            commands.append(f'(lex.add.entry \'("{names[-1]}" nil ({_entry(word)})))')
            count += 1
        commands.append(f'(say "{" ".join(names)}" "{folder / str(number)}.wav")')
    return "\n".join(commands)


def _name(number: int) -> str:
    """A word that no lexicon has: qaab, qaac, ..."""
    letters = ""
    for _ in range(3):
        number, letter = divmod(number, 26)
        letters = chr(ord("a") + letter) + letters
    return "q" + letters


def _entry(word: tuple[str, ...]) -> str:
    """A word's syllables as festival writes them: ((r ih) 1) ((v er) 0)."""
    parts = []
    for onset, vowel, coda in syllables(word):
        phones = " ".join(map(_festival, (*onset, vowel, *coda)))
        parts.append(f"(({phones}) {int(vowel[-1] != '0')})")
    return " ".join(parts)


def _festival(symbol: str) -> str:
    return "ax" if symbol == "AH0" else base(symbol).lower()


def _spans(phones: tuple[Phone, ...], told: str) -> tuple[tuple[float, float], ...]:
    """Each phone's span, from lines of "NAME END"."""
    begin, names, spans = 0.0, [], []
    for name, end in (line.split() for line in told.splitlines()):
        if name not in _SILENCES:
            names.append(name)
            spans.append((begin, float(end)))
        begin = float(end)
    if names != [_festival(phone.symbol) for phone in phones]:
        raise SongBloomError(f"festival said other phones than asked for: {' '.join(names)}")
    return tuple(spans)


def _run(script: str) -> str:
    """What festival prints. Without its user's own settings, which could change the voice."""
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "script.scm"
        path.write_text(script, encoding="ascii")
        ran = subprocess.run(
            ["festival", "--batch", str(path)],
            env=os.environ | {"HOME": home},
            capture_output=True,
            text=True,
            errors="replace",
        )
    if ran.returncode:
        raise SongBloomError(
            f"festival failed: {(ran.stderr or ran.stdout).strip()[-200:]}",
            "Try again, or reinstall it.",
        )
    return ran.stdout
