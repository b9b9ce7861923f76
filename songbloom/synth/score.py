"""A song as exact symbols: words, phones, notes, chords, beats and sections with their times.

`compose` is pure and takes milliseconds, so scores also serve alone, without sound. All times are
seconds from the song's start.
"""

import dataclasses
import json
import random
from dataclasses import dataclass
from typing import Any

from songbloom.errors import UsageError
from songbloom.lyrics.lexicon import lookup
from songbloom.synth import harmony, mandarin, mandarin_lyrics, melody
from songbloom.synth.lyrics import UNSEEN_SHARE, write_line
from songbloom.synth.syllables import CONSONANT_SECONDS, Syllable, base, is_vowel, syllables
from songbloom.synth.voices import BY_LANGUAGE, BY_NAME, DEFAULT_ENGINES, Voice, singers
from songbloom.units import Seconds

FORMAT = 1  # of truth.json
SPLITS = ("train", "test")
MAX_LINES = 8
LONGEST: Seconds = 32.0  # of the sung part, unless lines are asked for
COMP, BASS, PAD = (0, 1, 4, 5, 16, 24, 25, 27), (32, 33, 35, 38), (48, 50, 89)
CONSONANT_SHARE = 0.5  # of the time between two vowel onsets, at most


@dataclass(frozen=True)
class Phone:
    """A sung phone: ARPAbet with stress, the MIDI note it is sung on, its word's index.

    Mandarin has the nearest ARPAbet phones, as `synth.mandarin` says.
    """

    symbol: str
    start: Seconds
    end: Seconds
    midi: int
    word: int


@dataclass(frozen=True)
class Word:
    """A sung word as written, with its line's index; in Mandarin a character."""

    text: str
    start: Seconds
    end: Seconds
    line: int


@dataclass(frozen=True)
class Line:
    """A sung line, with its section's index."""

    text: str
    start: Seconds
    end: Seconds
    section: int


@dataclass(frozen=True)
class Section:
    """`tag` is intro, verse, chorus or outro; sections tile the song."""

    tag: str
    start: Seconds
    end: Seconds


@dataclass(frozen=True)
class Note:
    """A note of the melody, from its vowel's onset (which is on the beat) to the next one."""

    start: Seconds
    end: Seconds
    midi: int
    word: int


@dataclass(frozen=True)
class Chord:
    """A triad: `root` 0-11 with C = 0, `quality` "maj" or "min"."""

    start: Seconds
    end: Seconds
    root: int
    quality: str


@dataclass(frozen=True)
class Beat:
    """`position` is 1 on a downbeat."""

    time: Seconds
    position: int


@dataclass(frozen=True)
class Score:
    """Everything that is known about a synthetic song."""

    seed: int
    index: int
    split: str
    language: str
    duration: Seconds
    tempo: float  # beats a minute
    meter: int  # beats a bar
    key: int  # 0-11
    mode: str  # "major" | "minor"
    voice: str
    style: int  # seeds the accompaniment's choices
    programs: dict[str, int]  # General MIDI program of comp, bass, pad, drums; absent = silent
    sections: tuple[Section, ...]
    lines: tuple[Line, ...]
    words: tuple[Word, ...]
    phones: tuple[Phone, ...]
    notes: tuple[Note, ...]
    chords: tuple[Chord, ...]
    beats: tuple[Beat, ...]

    @property
    def lyrics(self) -> str:
        """The lyrics as plain text: a [tag] line, then the section's lines."""
        blocks = []
        for number, section in enumerate(self.sections):
            lines = [line.text for line in self.lines if line.section == number]
            blocks.append("\n".join([f"[{section.tag}]", *lines]))
        return "\n\n".join(blocks) + "\n"

    def to_json(self) -> str:
        """JSON that `from_json` reads back equal."""
        return json.dumps({"format": FORMAT} | dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Score":
        """Read `to_json`'s text. Keys that a score does not have are passed over."""
        data = json.loads(text)
        parts: dict[str, Any] = {
            name: tuple(kind(**item) for item in data[name]) for name, kind in _PARTS.items()
        }
        names = [field.name for field in dataclasses.fields(cls) if field.name not in parts]
        return cls(**{name: data[name] for name in names}, **parts)


_PARTS = {
    "sections": Section, "lines": Line, "words": Word, "phones": Phone, "notes": Note,
    "chords": Chord, "beats": Beat,
}  # fmt: skip


@dataclass(frozen=True)
class _SungLine:
    """A line before it has a place: words, syllables by word, lengths in beats, bars it fills."""

    words: tuple[str, ...]
    syllables: tuple[tuple[Syllable, ...], ...]
    offset: float  # beats from its first bar to its first vowel
    lengths: tuple[float, ...]
    num_bars: int


def compose(
    seed: int,
    index: int,
    *,
    split: str = "train",
    num_lines: int | None = None,
    voice: str | None = None,
    unseen_share: float | None = None,
    language: str = "en",
    engines: tuple[str, ...] = DEFAULT_ENGINES,
    like: Score | None = None,
    pauses: float = 0.0,
    echoes: float = 0.0,
) -> Score:
    """Song number `index` of the endless list that `seed` and `language` ("en" or "zh") name.

    `split` "test" sings partly unseen words in a voice that training never has; `num_lines` (1-8)
    and `voice` (one of the language's in `voices`) override the draw, `unseen_share` (0-1) the
    share of held-out content words. `engines` (of `voices.ENGINES`) are those whose voices are
    drawn, installed here or not. Other words to another melody in the style of `like` have its
    voice, language, key, tempo, meter and band. After a share `pauses` (0-1) of the lines the voice
    rests for one or two bars more; a share `echoes` (0-1) begin or end as an earlier line does.
    `UsageError` for anything else.
    """
    if like is not None:
        voice, language = like.voice, like.language
    _check(split, num_lines, voice, language)
    for name, part in (("pauses", pauses), ("echoes", echoes)):
        if not 0 <= part <= 1:
            raise UsageError(f"{name}: {part} is not between 0 and 1")
    list_name = "songbloom" if language == "en" else f"songbloom {language}"
    rng = random.Random(f"{list_name} {split} {seed} {index}")
    share = unseen_share if unseen_share is not None else UNSEEN_SHARE * (split == "test")
    drawn = rng.choice(singers(language, split, engines))
    song = _Composer(rng, BY_NAME[voice] if voice else drawn, language, like, pauses, echoes)
    song.lines(num_lines, share)
    return song.score(seed, index, split)


def _check(split: str, num_lines: int | None, voice: str | None, language: str) -> None:
    if split not in SPLITS:
        raise UsageError(f"split: '{split}' is not one of {', '.join(SPLITS)}")
    if language not in BY_LANGUAGE:
        raise UsageError(f"language: '{language}' is not one of {', '.join(BY_LANGUAGE)}")
    if num_lines is not None and not 1 <= num_lines <= MAX_LINES:
        raise UsageError(f"num_lines: {num_lines} is not between 1 and {MAX_LINES}")
    names = [known.name for voices in BY_LANGUAGE[language].values() for known in voices]
    if voice is not None and voice not in names:
        raise UsageError(f"voice: '{voice}' is not one of {', '.join(names)}")


class _Composer:
    """The song's state while it is written, first in beats, then in seconds."""

    def __init__(
        self,
        rng: random.Random,
        voice: Voice,
        language: str,
        like: Score | None,
        pauses: float,
        echoes: float,
    ) -> None:
        self.rng = rng
        self.voice = voice
        self.language = language
        self.tempo = float(rng.randint(80, 132))
        self.meter = 3 if rng.random() < 0.12 else 4
        self.key = rng.randrange(12)
        self.mode = "major" if rng.random() < 0.62 else "minor"
        self.pace = rng.uniform(0.85, 1.15)  # how long this singer's consonants are
        self.pauses, self.echoes = pauses, echoes
        self.like = like
        if like is not None:
            self.tempo, self.meter = like.tempo, like.meter
            self.key, self.mode = like.key, like.mode
        self.beat = 60.0 / self.tempo
        self.bar = self.meter * self.beat
        self.sung: list[_SungLine] = []
        self.sections: list[Section] = []
        self.placed: list[Line] = []
        self.words: list[Word] = []
        self.phones: list[Phone] = []
        self.notes: list[Note] = []
        self.chords: list[Chord] = []

    def lines(self, num_lines: int | None, unseen_share: float) -> None:
        """Write the words and their rhythm: `num_lines`, or as many as a drawn duration holds."""
        wanted = self.rng.uniform(9.0, 27.0)
        while len(self.sung) < (num_lines or MAX_LINES):
            self.sung.append(self._line(unseen_share))
            filled = sum(line.num_bars for line in self.sung) * self.bar
            if num_lines is None and len(self.sung) >= 2 and filled > wanted:
                if filled > LONGEST and len(self.sung) > 2:
                    self.sung.pop()
                break

    def score(self, seed: int, index: int, split: str) -> Score:
        """Lay the lines out into sections and give everything its time."""
        bar = 0
        for tag, lines, num_bars in self._form():
            bar = self._section(tag, lines, bar, num_bars)
        duration = bar * self.bar
        beats = [Beat(n * self.beat, n % self.meter + 1) for n in range(bar * self.meter)]
        style, band = self.rng.randrange(1 << 31), draw_programs(self.rng)
        return Score(
            seed, index, split, self.language, duration, self.tempo, self.meter, self.key,
            self.mode, self.voice.name, style, self.like.programs if self.like else band,
            tuple(self.sections), tuple(self.placed), tuple(self.words),
            tuple(self.phones), tuple(self.notes), tuple(self.chords), tuple(beats),
        )  # fmt: skip

    def _line(self, unseen_share: float) -> _SungLine:
        words, split = self._words(unseen_share)
        lengths = melody.rhythm(self.rng, sum(map(len, split)), self.tempo, self.meter)
        offset = self.rng.choice((0.5, 0.5, 1.0, 1.0, 1.5))
        rest = 0.5 if self.beat > 0.55 else 1.0  # room for breath and the next line's consonants
        num_bars = -int(-(offset + sum(lengths) + rest - 0.5) // self.meter)
        if self.pauses and self.rng.random() < self.pauses:
            num_bars += self.rng.choice((1, 1, 2))
        return _SungLine(words, split, offset, tuple(lengths), num_bars)

    def _words(
        self, unseen_share: float
    ) -> tuple[tuple[str, ...], tuple[tuple[Syllable, ...], ...]]:
        """The words of a new line and each one's syllables."""
        if self.language == "zh":
            line = mandarin_lyrics.write_line(self.rng, unseen_share=unseen_share)
            text = "".join(self._echoed(tuple("".join(line))))
            return tuple(text), tuple((syllable,) for syllable in mandarin.syllables(text))
        words = self._echoed(write_line(self.rng, unseen_share=unseen_share))
        return words, tuple(tuple(syllables(lookup(word) or ())) for word in words)

    def _echoed(self, line: tuple[str, ...]) -> tuple[str, ...]:
        """A line's words, or now and then the first or the last of them exchanged for an earlier
        line's."""
        if not self.echoes or not self.sung or self.rng.random() >= self.echoes:
            return line
        earlier = self.rng.choice(self.sung).words
        cut = self.rng.randint(1, min(len(line), len(earlier)))
        first, second = (earlier, line) if self.rng.random() < 0.5 else (line, earlier)
        return first[:cut] + second[cut:]

    def _form(self) -> list[tuple[str, list[_SungLine], int]]:
        """Sections as (tag, lines, bars)."""
        rng, lines = self.rng, self.sung
        cut = len(lines) if len(lines) < 3 else len(lines) // 2
        parts = [lines[:cut], lines[cut:]] if cut < len(lines) else [lines]
        if len(lines) >= 6 and rng.random() < 0.5:
            third = len(lines) // 3
            parts = [lines[:third], lines[third : 2 * third], lines[2 * third :]]
        first = rng.choice(("verse", "verse", "verse", "chorus"))
        tags = [first, "chorus" if first == "verse" else "verse", first]
        form: list[tuple[str, list[_SungLine], int]] = []
        if rng.random() < 0.8:
            form.append(("intro", [], rng.choice((1, 1, 2))))
        for tag, part in zip(tags, parts, strict=False):
            form.append((tag, part, sum(line.num_bars for line in part)))
        if rng.random() < 0.85:
            form.append(("outro", [], rng.choice((1, 1, 2))))
        return form

    def _section(self, tag: str, lines: list[_SungLine], bar: int, num_bars: int) -> int:
        """Place a section at bar number `bar`; the bar after it."""
        loop = harmony.chord_loop(self.rng, self.key, self.mode)
        for number in range(num_bars):
            root, quality = loop[number % len(loop)]
            begin = (bar + number) * self.bar
            self.chords.append(Chord(begin, begin + self.bar, root, quality))
        shapes = [melody.contour(self.rng) for _ in range(2)]
        at = bar
        for number, line in enumerate(lines):
            self._place(line, at, len(self.sections), shapes[number % 2])
            at += line.num_bars
        self.sections.append(Section(tag, bar * self.bar, (bar + num_bars) * self.bar))
        return bar + num_bars

    def _place(self, line: _SungLine, bar: int, section: int, shape: list[float]) -> None:
        """Give a line's syllables their notes, then its phones their times."""
        starts = [bar * self.meter + line.offset]
        for length in line.lengths:
            starts.append(starts[-1] + length)
        midi = self._melody(starts[:-1], shape)
        onsets = [start * self.beat for start in starts]
        onsets[-1] -= 0.1 * self.beat  # a breath's worth less, so that lines part
        first_word, begin = len(self.words), len(self.phones)
        owners = [i for i, part in enumerate(line.syllables) for _ in part]
        flat = [syllable for part in line.syllables for syllable in part]
        numbers = [first_word + owner for owner in owners]
        self.phones += sung_phones(flat, numbers, onsets, midi, self.pace)
        for i in range(len(flat)):
            self._note(i, onsets, midi, numbers)
        for i, text in enumerate(line.words):
            own = [phone for phone in self.phones[begin:] if phone.word == first_word + i]
            self.words.append(Word(text, own[0].start, own[-1].end, len(self.placed)))
        start, end = self.phones[begin].start, self.phones[-1].end
        text = ("" if self.language == "zh" else " ").join(line.words)
        self.placed.append(Line(text, start, end, section))

    def _melody(self, starts: list[float], shape: list[float]) -> list[int]:
        under = [self.chords[int(start / self.meter)] for start in starts]
        triads = [(chord.root, chord.quality) for chord in under]
        return melody.melody(
            self.rng, starts, triads, key=self.key, mode=self.mode, low=self.voice.low,
            high=self.voice.high, contour=shape,
        )  # fmt: skip

    def _note(self, i: int, onsets: list[Seconds], midi: list[int], words: list[int]) -> None:
        """The syllable's note; a long one sometimes starts a scale step above (a melisma)."""
        start, end = onsets[i], onsets[i + 1]
        upper = midi[i] + 2
        in_key = (upper - self.key) % 12 in harmony.scale(self.mode)
        if end - start > 0.5 and in_key and self.rng.random() < melody.MELISMA_SHARE:
            middle = start + 0.35 * (end - start)
            self.notes.append(Note(start, middle, upper, words[i]))
            start = middle
        self.notes.append(Note(start, end, midi[i], words[i]))


def draw_programs(rng: random.Random) -> dict[str, int]:
    """The band of a song, as `Score.programs`."""
    programs = {"comp": rng.choice(COMP), "bass": rng.choice(BASS)}
    if rng.random() < 0.5:
        programs["pad"] = rng.choice(PAD)
    if rng.random() < 0.85:
        programs["drums"] = 0
    return programs


def sung_phones(
    sung: list[Syllable],
    words: list[int],
    onsets: list[Seconds],
    midi: list[int],
    pace: float,
) -> list[Phone]:
    """A line's phones with their times: `words` and `midi` a syllable, `onsets` one more.

    Vowels start on their onsets; consonants, `pace` times as long as usual, take their time from
    the vowel before.
    """
    phones: list[Phone] = []

    def add(symbol: str, start: Seconds, end: Seconds, i: int) -> Seconds:
        phones.append(Phone(symbol, start, end, midi[i], words[i]))
        return end

    lead = consonant_lengths(sung[0][0], pace, limit=onsets[0])
    at = onsets[0] - sum(lead)
    for length, phone in zip(lead, sung[0][0], strict=True):
        at = add(phone, at, at + length, 0)
    for i, (_, vowel, coda) in enumerate(sung):
        following = sung[i + 1][0] if i + 1 < len(sung) else ()
        end = onsets[i + 1]
        limit = CONSONANT_SHARE * (end - onsets[i])
        lengths = consonant_lengths(coda + following, pace, limit=limit)
        at = add(vowel, onsets[i], end - sum(lengths), i)
        for j, phone in enumerate(coda + following):
            at = add(phone, at, at + lengths[j], i if j < len(coda) else i + 1)
    return phones


def consonant_lengths(phones: tuple[str, ...], pace: float, *, limit: Seconds) -> list[Seconds]:
    """How long consonants in a row last, together at most `limit`."""
    lengths = [CONSONANT_SECONDS[base(phone)] * pace for phone in phones]
    total = sum(lengths)
    return [length * min(1.0, limit / total) for length in lengths]


def vowels(score: Score) -> list[Phone]:
    """The phones that carry the melody."""
    return [phone for phone in score.phones if is_vowel(phone.symbol)]
