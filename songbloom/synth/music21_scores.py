"""Songs from public-domain scores with English words: two of music21's corpus may be used so.

Its files are read as the MusicXML that they are. A song is a few lines of a verse, in a voice's
range and with a band of ours; its chords are what the score sounds in each bar.
"""

import functools
import importlib.util
import math
import random
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from songbloom.errors import MissingAssetError, SongBloomError, UsageError
from songbloom.lyrics import release
from songbloom.lyrics.lexicon import lookup
from songbloom.synth import harmony
from songbloom.synth.score import (
    Beat,
    Chord,
    Line,
    Note,
    Phone,
    Score,
    Section,
    Word,
    consonant_lengths,
    draw_programs,
    sung_phones,
)
from songbloom.synth.syllables import Syllable, syllables
from songbloom.synth.voices import DEFAULT_ENGINES, Voice, singers
from songbloom.units import Seconds

# What the files say of themselves. Composers and poets of those that may be used died before 1955.
ALLOWED = {
    "johnson_j_r/lift_every_voice": "J. R. and J. W. Johnson, 1900; encoding CC0",
    "leadSheet/fosterBrownHair": "S. Foster, 1854; marked Public Domain",
}
REFUSED = {
    "leadSheet/berlinAlexandersRagtime": "its file says All Rights Reserved",
    "beach/prayer_of_a_tired_child": "its engraving is CC BY-SA, which songs of it would be too",
    "liliuokalani/aloha_oe": "its words are Hawaiian, which the lexicon cannot say",
}
LINES = 4  # of a song, at most
MIN_WORDS = 4  # of a line, before a capital may end it
MAX_WORDS = 7  # of a line that has no comma to part it at
TEMPI = (100, 126)  # quarters a minute
BREATH: Seconds = 0.15  # between lines, at least
INTRO = OUTRO = 1  # bars
_PITCHES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_CAPITALS = ("God", "Thee", "Thy")  # written so within a line
_SPELT = {
    "ev'ry": "every", "list'ning": "listening", "chast'ning": "chastening", "o'er": "over",
    "thro'": "through",
}  # fmt: skip


@dataclass(frozen=True)
class _Tone:
    """A note of the melody in quarters from the verse's start; `text` of the syllable it begins."""

    start: float
    end: float
    midi: int
    text: str
    ends_word: bool


@dataclass(frozen=True)
class _SungWord:
    """A word, the tones of each of its syllables, and its last letter or the mark after it."""

    text: str
    tones: tuple[tuple[_Tone, ...], ...]
    mark: str


@dataclass(frozen=True)
class _Passage:
    """What a song is made of. `chords` is a triad a bar from `first_bar` on."""

    name: str
    lines: tuple[tuple[_SungWord, ...], ...]
    meter: int  # quarters a bar
    tonic: harmony.Triad
    first_bar: int
    chords: tuple[harmony.Triad, ...]


def check_installed() -> None:
    """`MissingAssetError` unless music21's corpus is there."""
    if importlib.util.find_spec("music21") is None:
        raise MissingAssetError(
            "songs from scores need the package music21, for its corpus",
            "Install it: pip install 'songbloom[scores]'",
        )


def compose(seed: int, index: int, *, engines: tuple[str, ...] = DEFAULT_ENGINES) -> Score:
    """Song number `index` of `seed`'s list: some lines of a score, in a voice, a key and a tempo.

    `MissingAssetError` without music21.
    """
    rng = random.Random(f"songbloom scores {seed} {index}")
    passage = rng.choice(passages())
    voice = rng.choice(singers("en", "train", engines))
    return _Setting(passage, voice, rng).score(seed, index)


@functools.cache
def passages() -> tuple[_Passage, ...]:
    """Every few lines of the scores that may be used. `MissingAssetError` without music21."""
    return tuple(passage for name in ALLOWED for passage in read(name))


def read(name: str) -> list[_Passage]:
    """The passages of a score of music21's corpus, like "leadSheet/fosterBrownHair".

    `UsageError` for one that may not be used or is not known here, `MissingAssetError` without
    music21, `SongBloomError` for a corpus that lacks it.
    """
    if name not in ALLOWED:
        reason = REFUSED.get(name, f"only these were checked: {', '.join(ALLOWED)}")
        raise UsageError(f"{name}: may not be made into songs: {reason}")
    parts = _load(name).findall("part")
    lines = _lines(_words(list(_tones(parts[0]))))
    weights = _weights(parts)
    groups = [tuple(lines[at : at + LINES]) for at in range(0, len(lines), LINES)]
    meter = _meter(parts[0])
    return [_passage(name, group, meter, weights) for group in groups if len(group) > 1]


def _load(name: str) -> Element:
    check_installed()
    spec = importlib.util.find_spec("music21")
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin).parent / "corpus" / f"{name}.mxl"
    try:
        with zipfile.ZipFile(path) as archive:
            inside = [entry for entry in archive.namelist() if not entry.startswith("META-INF")]
            xml = next(entry for entry in inside if entry.endswith("xml"))
            return ElementTree.fromstring(archive.read(xml))
    except (OSError, StopIteration, zipfile.BadZipFile, ElementTree.ParseError) as error:
        raise SongBloomError(
            f"{path}: cannot be read as a score ({error})",
            "Install music21 again: pip install --force-reinstall music21",
        ) from error


def _played(part: Element) -> Iterator[tuple[int, Element]]:
    """Verse number and measure, as they are sung.

    Verses after the first start at the repeat, where there is one, and have their own endings.
    """
    forward = "barline/repeat[@direction='forward']"
    measures = part.findall("measure")
    repeat = next((n for n, bar in enumerate(measures) if bar.find(forward) is not None), 0)
    for verse in range(1, 1 + max(int(lyric.get("number", "1")) for lyric in part.iter("lyric"))):
        ending = None
        for measure in measures[repeat if verse > 1 else 0 :]:
            started = measure.find("barline/ending[@type='start']")
            ending = started.get("number") if started is not None else ending
            if ending in (None, str(verse)):
                yield verse, measure
            if measure.find("barline/ending[@type='stop']") is not None:
                ending = None


def _tones(part: Element) -> Iterator[_Tone]:
    """The melody: the part's notes, tied ones as one, bars laid end to end."""
    held: _Tone | None = None
    for number, (verse, measure) in enumerate(_played(part)):
        begin = number * _meter(part) + _upbeat(measure, part)
        for note, start, end in _notes(measure, _divisions(part), begin):
            if note.find("rest") is not None:
                continue
            if held and note.find("tie[@type='stop']") is not None:
                held = replace(held, end=end)
                continue
            if held:
                yield held
            held = _Tone(start, end, _midi(note), *_syllable(note, verse))
    if held:
        yield held


def _upbeat(measure: Element, part: Element) -> float:
    """How much later than its bar a measure starts: bar 0 has only what leads to the next."""
    if measure.get("number") != "0":
        return 0.0
    length = max(end for _, _, end in _notes(measure, _divisions(part), 0.0))
    return _meter(part) - length


def _notes(
    measure: Element, divisions: int, begin: float
) -> Iterator[tuple[Element, float, float]]:
    """Every note and rest with its start and end in quarters, whatever its voice."""
    at = start = 0
    for item in measure:
        duration = int(item.findtext("duration", "0"))
        if item.tag == "note":
            if item.find("chord") is None:
                start, at = at, at + duration
            yield item, begin + start / divisions, begin + (start + duration) / divisions
        elif item.tag in ("backup", "forward"):
            at += duration if item.tag == "forward" else -duration


def _syllable(note: Element, verse: int) -> tuple[str, bool]:
    """A note's syllable in a verse, and whether it ends its word. The only one is every verse's."""
    lyrics = note.findall("lyric")
    own = [lyric for lyric in lyrics if lyric.get("number") == str(verse)]
    for lyric in own or lyrics[: len(lyrics) == 1]:
        text = lyric.findtext("text", "").strip()
        if text:
            return text, lyric.findtext("syllabic", "single") in ("single", "end")
    return "", False


def _words(tones: list[_Tone]) -> list[_SungWord]:
    """Words from syllables; a tone without text goes on with the syllable before."""
    sung: list[list[_Tone]] = []
    for tone in tones:
        if tone.text:
            sung.append([tone])
        elif sung:
            sung[-1].append(tone)
    words, groups = [], []
    for syllable in sung:
        groups.append(tuple(syllable))
        if syllable[0].ends_word:
            raw = "".join(group[0].text for group in groups)
            words.append(_SungWord(_spelt(raw), tuple(groups), raw[-1]))
            groups = []
    return words


def _spelt(raw: str) -> str:
    """As the lexicon spells it: no commas, no letters left out."""
    text = "".join(letter for letter in raw if letter.isalpha() or letter == "'")
    full = _SPELT.get(text.lower(), text)
    return full.capitalize() if text[0].isupper() and full != text else full


def _lines(words: list[_SungWord]) -> list[tuple[_SungWord, ...]]:
    """Lines of a verse: each begins with a capital or after a full stop; long ones are parted."""
    lines: list[list[_SungWord]] = [[]]
    for word in words:
        line = lines[-1]
        capital = word.text[0].isupper() and word.text not in _CAPITALS
        if line and (line[-1].mark in ".;:!?" or (capital and len(line) >= MIN_WORDS)):
            lines.append([])
        lines[-1].append(word)
    return [part for line in lines for part in _parted(tuple(line))]


def _parted(line: tuple[_SungWord, ...]) -> list[tuple[_SungWord, ...]]:
    """A line of more than `MAX_WORDS` in two, at the comma nearest to its middle."""
    places = [n for n, word in enumerate(line, 1) if word.mark == "," and 3 <= n <= len(line) - 3]
    if len(line) <= MAX_WORDS or not places:
        return [line]
    at = min(places, key=lambda n: abs(2 * n - len(line)))
    return [line[:at], line[at:]]


def _weights(parts: list[Element]) -> list[list[float]]:
    """How long each pitch class sounds in each bar; a chord symbol's count for all of it."""
    meter = _meter(parts[0])
    weights: list[list[float]] = []
    for part in parts:
        for number, (_, measure) in enumerate(_played(part)):
            while len(weights) <= number:
                weights.append([0.0] * 12)
            for note, start, end in _notes(measure, _divisions(part), 0.0):
                if note.find("rest") is None:
                    weights[number][_midi(note) % 12] += end - start
            for symbol in measure.findall("harmony"):
                for pitch in _symbol(symbol):
                    weights[number][pitch] += 2.0 * meter / len(measure.findall("harmony"))
    return weights


def _symbol(symbol: Element) -> tuple[int, int, int]:
    """A chord symbol's triad."""
    root = _PITCHES[symbol.findtext("root/root-step", "C")]
    root += int(symbol.findtext("root/root-alter", "0"))
    minor = symbol.findtext("kind", "").startswith(("minor", "dim", "half"))
    return harmony.tones((root % 12, "min" if minor else "maj"))


def _triad(weights: list[float]) -> harmony.Triad:
    """The triad whose tones sound longest."""
    triads = [(root, quality) for quality in ("maj", "min") for root in range(12)]
    return max(triads, key=lambda triad: sum(weights[pitch] for pitch in harmony.tones(triad)))


def _passage(
    name: str, lines: tuple[tuple[_SungWord, ...], ...], meter: int, weights: list[list[float]]
) -> _Passage:
    """Its key is that of the score's last bar: one file has no signature for its F major."""
    first = int(lines[0][0].tones[0][0].start // meter)
    after = math.ceil(lines[-1][-1].tones[-1][-1].end / meter)
    chords = tuple(_triad(bar) for bar in weights[first:after])
    return _Passage(name, lines, meter, _triad(weights[-1]), first, chords)


def _divisions(part: Element) -> int:
    return int(part.findtext(".//divisions", "1"))


def _meter(part: Element) -> int:
    """Quarters a bar: 6/8 is counted as three, which has the same eighths."""
    beats, unit = (int(part.findtext(f".//time/{name}", "4")) for name in ("beats", "beat-type"))
    return beats * 4 // unit


def _midi(note: Element) -> int:
    step = _PITCHES[note.findtext("pitch/step", "C")]
    octave = int(note.findtext("pitch/octave", "4"))
    return 12 * (octave + 1) + step + int(note.findtext("pitch/alter", "0"))


def _fit(word: _SungWord) -> list[tuple[Syllable, list[_Tone]]]:
    """The word's syllables as they are said, each with its tones.

    Where the score has more, the last one takes the rest; where it has fewer, its last is shared.
    """
    said = syllables(lookup(word.text) or tuple(release.phonemes(word.text).split()))
    groups = [list(group) for group in word.tones]
    last = len(said) - 1
    if len(groups) > last:
        groups[last:] = [sum(groups[last:], [])]
    else:
        groups[-1:] = _shared(groups[-1], len(said) - len(groups) + 1)
    return list(zip(said, groups, strict=True))


def _shared(tones: list[_Tone], count: int) -> list[list[_Tone]]:
    """A syllable's tones cut into `count` equal times, each on the pitch it starts with."""
    start, end = tones[0].start, tones[-1].end
    edges = [start + (end - start) * n / count for n in range(count + 1)]
    pitches = [max((t for t in tones if t.start <= edge), key=lambda t: t.start) for edge in edges]
    return [[_Tone(edges[n], edges[n + 1], pitches[n].midi, "", False)] for n in range(count)]


class _Setting:
    """A passage as a song: in a voice's range, with times in seconds."""

    def __init__(self, passage: _Passage, voice: Voice, rng: random.Random) -> None:
        self.passage, self.voice, self.rng = passage, voice, rng
        self.tempo = float(rng.randint(*TEMPI))
        self.pace = rng.uniform(0.85, 1.15)
        self.bar = passage.meter * 60.0 / self.tempo
        self.shift = self._transposition()
        self.words: list[Word] = []
        self.phones: list[Phone] = []
        self.notes: list[Note] = []

    def score(self, seed: int, index: int) -> Score:
        """Everything in its place."""
        passage, beat = self.passage, 60.0 / self.tempo
        fitted = [[_fit(word) for word in line] for line in passage.lines]
        starts = [self._at(line[0][0][1][0].start) for line in fitted]
        placed = tuple(
            self._line(number, fitted[number], following)
            for number, following in enumerate([*starts[1:], math.inf])
        )
        key, quality = passage.tonic
        triads = [passage.tonic] * INTRO + list(passage.chords) + [passage.tonic] * OUTRO
        chords = [
            Chord(n * self.bar, (n + 1) * self.bar, (root + self.shift) % 12, kind)
            for n, (root, kind) in enumerate(triads)
        ]
        beats = [Beat(n * beat, n % passage.meter + 1) for n in range(len(triads) * passage.meter)]
        return Score(
            seed, index, "scores", "en", len(triads) * self.bar, self.tempo, passage.meter,
            (key + self.shift) % 12, "major" if quality == "maj" else "minor", self.voice.name,
            self.rng.randrange(1 << 31), draw_programs(self.rng), self._sections(len(triads)),
            placed, tuple(self.words), tuple(self.phones), tuple(self.notes), tuple(chords),
            tuple(beats),
        )  # fmt: skip

    def _transposition(self) -> int:
        """Semitones into the voice's range, drawn among those that fit, or the nearest."""
        tones = [t for line in self.passage.lines for word in line for g in word.tones for t in g]
        low, high = min(tone.midi for tone in tones), max(tone.midi for tone in tones)
        fitting = list(range(self.voice.low - low, self.voice.high - high + 1))
        return self.rng.choice(fitting or [(self.voice.low + self.voice.high - low - high) // 2])

    def _at(self, quarters: float) -> Seconds:
        """Seconds in the song of a time in the score."""
        bars = INTRO - self.passage.first_bar
        return bars * self.bar + quarters * 60.0 / self.tempo

    def _sections(self, bars: int) -> tuple[Section, ...]:
        edges = (0, INTRO, bars - OUTRO, bars)
        spans = zip(("intro", "verse", "outro"), edges, edges[1:], strict=False)
        return tuple(Section(tag, a * self.bar, b * self.bar) for tag, a, b in spans)

    def _line(
        self, number: int, words: list[list[tuple[Syllable, list[_Tone]]]], following: Seconds
    ) -> Line:
        """Sing a line; it ends in time for the one that begins at `following`."""
        owners = [len(self.words) + n for n, word in enumerate(words) for _ in word]
        sung = [syllable for word in words for syllable, _ in word]
        groups = [tones for word in words for _, tones in word]
        last = groups[-1][-1]
        onsets = [self._at(tones[0].start) for tones in groups]
        onsets.append(self._end(last, following, number))
        midi = [tones[0].midi + self.shift for tones in groups]
        phones = sung_phones(sung, owners, onsets, midi, self.pace)
        for tones, owner, end in zip(groups, owners, onsets[1:], strict=True):
            edges = [self._at(tone.start) for tone in tones] + [end]
            for tone, start, stop in zip(tones, edges, edges[1:], strict=False):
                self.notes.append(Note(start, stop, tone.midi + self.shift, owner))
        for n, word in enumerate(self.passage.lines[number], len(self.words)):
            own = [phone for phone in phones if phone.word == n]
            self.words.append(Word(word.text, own[0].start, own[-1].end, number))
        self.phones += phones
        text = " ".join(word.text for word in self.passage.lines[number])
        return Line(text, phones[0].start, phones[-1].end, 1)

    def _end(self, last: _Tone, following: Seconds, number: int) -> Seconds:
        """The end of a line's last tone: before a breath and the next line's consonants."""
        start, end = self._at(last.start), self._at(last.end)
        lead = 0.0
        if number + 1 < len(self.passage.lines):
            (onset, _, _), _ = _fit(self.passage.lines[number + 1][0])[0]
            lead = sum(consonant_lengths(onset, self.pace, limit=following))
        return max(start + 0.5 * (end - start), min(end - 0.05, following - lead - BREATH))
