"""What is wrong with lyrics, where, and what would mend it.

Reading a file already finds much (`document.RULES`); here is what the released format forbids, what
cannot be sung in one breath, and what does not fit a model. An error means that something will not
be sung at all, a warning that it will not be sung as it was meant.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from songbloom.errors import SongBloomError
from songbloom.lyrics import languages
from songbloom.lyrics.document import RULES as READING_RULES
from songbloom.lyrics.document import Finding, Line, Lyrics, Place, Section, Severity
from songbloom.lyrics.durations import UNCERTAINTY, section_seconds, song_seconds
from songbloom.lyrics.formats import parse
from songbloom.lyrics.frontends import Lexicon, phonemes, refusals, vocabulary
from songbloom.lyrics.one_line import Convention, one_line
from songbloom.lyrics.repetition import tag_choruses
from songbloom.lyrics.sung import shown, sung_text
from songbloom.lyrics.syllables import count
from songbloom.units import Seconds

RULES = READING_RULES | {
    "braces": "Symbols in braces, which the model reads as words.",
    "double-space": "Two spaces in the one line: the model hears an empty symbol.",
    "forbidden-punctuation": "A mark that separates sections or sentences stands inside a line.",
    "long-instrumental": "A part without words of more than half a minute.",
    "missing-tags": "Lines that return and are not tagged as the chorus.",
    "not-said": "A line that the front end refuses: no song is made of it.",
    "other-language": "A language that the front end reads as another one.",
    "overlong-line": "A line of more syllables than are sung in one breath.",
    "overlong-section": "More sentences in a section than the model counts.",
    "too-long": "The song is estimated longer than the model sings.",
    "too-many-symbols": "More symbols than the model hears; the last ones are not sung.",
    "unreadable": "No lyrics can be read from this.",
}

# The longest of the 516 lines behind benchmarks/recordings.csv has 18.
MOST_SYLLABLES = 30
MOST_INSTRUMENTAL = 30  # seconds
_LONGEST = 50_000  # characters of the one line, twenty times a song's; more are not pronounced

# What separates sections and sentences, or becomes such a mark in the release front end.
FORBIDDEN = re.compile(r"[,;:/·、，；：$\[\]【】]|(?<!\.)\.(?=[^\s.])")
_BRACKET = re.compile(r"[\[\]【】]")  # left out of what is sung, the words inside are not
_INLINE = re.compile(r"\{[^{}]*\}")  # phonemes in place of a word


@dataclass(frozen=True)
class Limits:
    """What a model can take; the defaults are what every model can.

    Seconds of song, symbols of its front end, sentences in a section, and how long a tag without
    words is in its one line. `language` and `lexicon` are what the user says of how words are said.
    """

    max_duration: Seconds = math.inf
    lyric_length: float = math.inf
    max_sentences: int = 50
    frontend: str = "release"
    convention: Convention = "150s"
    language: str | None = None
    lexicon: Lexicon | None = None


ANY_MODEL = Limits()


def check(
    lyrics: Lyrics | str, limits: Limits = ANY_MODEL, source: str = "lyrics"
) -> list[Finding]:
    """All findings in the order of the source, of lyrics or of a text in any format.

    Text that cannot be read at all is one finding. `limits` say which model is to sing it;
    `UsageError` for a language that its front end lacks.
    """
    if isinstance(lyrics, str):
        try:
            lyrics = parse(lyrics, source, convention=limits.convention, frontend=limits.frontend)
        except SongBloomError as error:
            return [unreadable(error, source)]
    findings = [*lyrics.findings, *_missing_tags(lyrics), *_double_spaces(lyrics)]
    if not has_times(lyrics):
        findings += _long_parts(lyrics)
    for section in lyrics.sections:
        findings += _section_findings(section, limits)
    findings += _other_language(lyrics, limits)
    findings += _fit_findings(lyrics, limits)
    return sorted(findings, key=lambda found: (found.place.row, found.place.column))


def unreadable(error: SongBloomError, source: str) -> Finding:
    """The finding that stands for a refusal to read `source`."""
    match = re.fullmatch(rf"{re.escape(source)}(?::(\d+))?: (.*)", error.message, re.DOTALL)
    row, message = (int(match[1] or 0), match[2]) if match else (0, error.message)
    return Finding(Place(row), "unreadable", "error", message, error.hint.rstrip("."))


def is_serious(finding: Finding) -> bool:
    """Whether lyrics with this finding are not clean."""
    return finding.severity != "info"


def _missing_tags(lyrics: Lyrics) -> Iterator[Finding]:
    known = {(section.tag, section.place) for section in lyrics.sections}
    for section in tag_choruses(lyrics.sections):
        if (section.tag, section.place) not in known:
            message = "these lines return: this is the chorus"
            if section.tag == "verse":
                message = "the lines that return end here: this is a verse"
            fix = f"write [{section.tag}] above"
            yield Finding(section.place, "missing-tags", "warning", message, fix)


def _double_spaces(lyrics: Lyrics) -> Iterator[Finding]:
    at = lyrics.line.find("  ")
    if at >= 0:
        place = Place(lyrics.sections[0].place.row, at + 1)
        message = "two spaces are an empty symbol, which the released models were given seldom"
        yield Finding(place, "double-space", "info", message, "write one")


def _long_parts(lyrics: Lyrics) -> Iterator[Finding]:
    for section in lyrics.sections:
        if not section.lines and section.repeats > MOST_INSTRUMENTAL:
            message = f"[{section.tag}] stands for {section.repeats} s without words"
            fix = f"make it {MOST_INSTRUMENTAL} s or less"
            yield Finding(section.place, "long-instrumental", "warning", message, fix)


def has_times(lyrics: Lyrics) -> bool:
    """Whether some line has a time; such lyrics are of a song that was sung."""
    return any(line.start is not None for s in lyrics.sections for line in s.lines)


def _section_findings(section: Section, limits: Limits) -> Iterator[Finding]:
    most = most_sentences(limits)
    if (sentences := sum(map(num_sentences, section.texts))) > most:
        message = f"[{section.tag}] has {sentences} sentences; the model counts {most}"
        fix = f"begin a new [{section.tag}] inside"
        yield Finding(section.place, "overlong-section", "warning", message, fix)
    for line in section.lines:
        yield from _line_findings(line)


def most_sentences(limits: Limits) -> int:
    """Sentences of a section that the model tells apart: it counts from 1."""
    return limits.max_sentences - 1


def num_sentences(text: str) -> int:
    """Sentences of a line in the one-line format."""
    return len([part for part in re.split("[.。]", sung_text(text)) if part.strip()])


def is_overlong(line: Line) -> bool:
    """Whether a line is more than a breath; a line with a time of its own is as it was sung."""
    return line.start is None and count(line.text) > MOST_SYLLABLES


def _line_findings(line: Line) -> Iterator[Finding]:
    text = _INLINE.sub(lambda match: "x" * len(match[0]), line.text)
    marks = FORBIDDEN.findall(sung_text(text)) or _BRACKET.findall(text)
    if marks:
        named = "".join(dict.fromkeys(marks))
        message = f'"{named}" inside a line: the format keeps it for tags, sections and sentences'
        place = line.place.moved(max(0, line.text.find(marks[0])))
        yield Finding(place, "forbidden-punctuation", "warning", message, "write a space")
    if is_overlong(line):
        message = f"{count(line.text)} syllables; more than {MOST_SYLLABLES} are no one line"
        yield Finding(line.place, "overlong-line", "warning", message, "write it as several lines")


def _other_language(lyrics: Lyrics, limits: Limits) -> Iterator[Finding]:
    """The released front end knows two languages and takes others in their letters for these."""
    if limits.frontend != "release":
        return
    text = "\n".join(text for section in lyrics.sections for text in section.texts)[:_LONGEST]
    voices = languages.of_song(text)
    for voice, read_as, letters in ((voices.latin, "en", "latin"), (voices.han, "zh", "han")):
        if voice != read_as and letters in set(map(languages.script, text)):
            name, other = languages.LANGUAGES[voice], languages.LANGUAGES[read_as]
            message = f"this is {name}; the release front end reads it as {other}"
            fix = "sing it with a model of the front end v1"
            yield Finding(lyrics.sections[0].place, "other-language", "warning", message, fix)


# ---------------------------------------------------------------- does it fit the model


def refused_lines(lyrics: Lyrics, limits: Limits) -> list[Finding]:
    """The lines that the front end refuses, as symbols in braces that are none."""
    lines = [line for section in lyrics.sections for line in section.lines]
    texts = [sung_text(line.text) for line in lines]
    told = refusals(texts, limits.frontend, lexicon=limits.lexicon, language=limits.language)
    return [_refusal(line, error) for line, error in zip(lines, told, strict=True) if error]


def _refusal(line: Line, error: SongBloomError) -> Finding:
    message, fix = error.message.removeprefix("lyrics: "), error.hint.rstrip(".")
    return Finding(line.place, "not-said", "error", message, fix)


def _fit_findings(lyrics: Lyrics, limits: Limits) -> Iterator[Finding]:
    """Lines that are not said, too many symbols, too many seconds, and where to cut then."""
    if len(lyrics.line) > _LONGEST:
        if min(limits.lyric_length, limits.max_duration) < math.inf:
            message = f"{len(lyrics.line)} characters are more than a song; its beginning is sung"
            fix = "write a file for each song"
            yield Finding(lyrics.sections[0].place, "too-long", "error", message, fix)
        return
    yield from refused_lines(lyrics, limits)
    if limits.lyric_length < math.inf:
        yield from _braces(lyrics, limits)
        symbols = num_symbols(lyrics.line, limits)
        if symbols > limits.lyric_length:
            place = _last_heard(lyrics, limits)
            message = (
                f"{symbols} symbols; the model hears {limits.lyric_length:.0f}, up to this row"
            )
            yield Finding(place, "too-many-symbols", "error", message, _cut_fix(lyrics, limits))
    seconds = song_seconds(lyrics)
    if seconds > limits.max_duration:
        sure = seconds > limits.max_duration * (1 + UNCERTAINTY)
        severity: Severity = "error" if sure else "warning"
        message = f"about {seconds:.0f} s of song; the model sings {limits.max_duration:.0f} s"
        place = lyrics.sections[0].place
        yield Finding(place, "too-long", severity, message, _cut_fix(lyrics, limits))


def _braces(lyrics: Lyrics, limits: Limits) -> Iterator[Finding]:
    for line in (line for section in lyrics.sections for line in section.lines):
        if limits.frontend == "release" and (found := _INLINE.search(line.text)):
            message = (
                f"{shown(found[0], 20)} is read as words; the release front end knows no symbols"
            )
            fix = "write it as words, or put the word in a file for --lexicon"
            yield Finding(line.place.moved(found.start()), "braces", "warning", message, fix)


def _cut_fix(lyrics: Lyrics, limits: Limits, most_shown: int = 8) -> str:
    places = cuts(lyrics, limits)
    if not places:
        return "shorten it"
    rows = [f"{p.row}:{p.column}" if p.column > 1 else str(p.row) for p in places[:most_shown]]
    rows += ["…"] if len(places) > most_shown else []
    return f"make {len(places) + 1} songs: cut before row {', '.join(rows)}"


def num_symbols(line: str, limits: Limits) -> int:
    """Symbols of the one line, as the model counts them; 0 where its front end refuses."""
    frontend = limits.frontend
    try:
        said = phonemes(line, frontend, lexicon=limits.lexicon, language=limits.language)
    except SongBloomError:
        return 0
    return len(vocabulary(frontend).encode(said))


def cuts(lyrics: Lyrics, limits: Limits) -> tuple[Place, ...]:
    """Where to cut the lyrics so that each part fits: before sections, else before lines."""
    places: list[Place] = []
    seconds, symbols, begun = 0.0, 0, False
    for part in _uncut(lyrics, limits):
        seconds, symbols = seconds + section_seconds(part), symbols + _symbols(part, limits)
        if begun and _exceeds(seconds, symbols, limits):
            places.append(part.place)
            seconds, symbols = section_seconds(part), _symbols(part, limits)
        begun = True
    return tuple(places)


def _uncut(lyrics: Lyrics, limits: Limits) -> Iterator[Section]:
    """The sections; one that fits nowhere as its lines, each a section of its own."""
    for section in lyrics.sections:
        too_much = _exceeds(section_seconds(section), _symbols(section, limits), limits)
        if section.lines and too_much:
            places = [section.place, *(line.place for line in section.lines[1:])]
            for line, place in zip(section.lines, places, strict=True):
                yield replace(section, lines=(line,), place=place)
        else:
            yield section


def _symbols(section: Section, limits: Limits) -> int:
    """Symbols of a section with the comma before the next one."""
    return num_symbols(one_line([section], limits.convention), limits) + 1


def _exceeds(seconds: Seconds, symbols: int, limits: Limits) -> bool:
    return seconds > limits.max_duration or symbols - 1 > limits.lyric_length


def _last_heard(lyrics: Lyrics, limits: Limits) -> Place:
    """The line that reaches past the model's last symbol."""
    heard, place = 0, Place()
    for section in lyrics.sections:
        heard += _symbols(replace(section, lines=()), limits)
        place = section.place
        for line in section.lines:
            heard += num_symbols(sung_text(line.text), limits) + 1
            place = line.place
            if heard > limits.lyric_length:
                return place
    return place
