"""What lyrics lose when they are written in a format that cannot hold all of them."""

from collections.abc import Iterable, Iterator, Sequence

from songbloom.errors import SongBloomError
from songbloom.lyrics.document import Line, Lyrics, Section, Word
from songbloom.lyrics.formats import Format, parse
from songbloom.lyrics.one_line import Convention
from songbloom.lyrics.sung import sung_text


def losses(
    lyrics: Lyrics, written: str, format: Format, convention: Convention = "150s"
) -> tuple[str, ...]:
    """What is in the lyrics and not in what was written of them: "times of words".

    `written` is read back, so that nothing is said of a format that is not true of this song.
    """
    try:
        held = parse(written, format=format, convention=convention, frontend="v1")
    except SongBloomError as error:
        return (f"all of it ({error.message})",)
    return tuple(_losses(lyrics, held))


def _losses(lyrics: Lyrics, held: Lyrics) -> Iterator[str]:
    if keys := [key for key, value in lyrics.metadata if (key, value) not in held.metadata]:
        yield f"metadata ({', '.join(keys)})"
    lines, held_lines = _lines(lyrics), _lines(held)
    if _letters(lines) != _letters(held_lines):
        yield "words"
    elif [line.text for line in lines] != [line.text for line in held_lines]:
        yield "punctuation"
    if [s.tag for s in lyrics.sections] != [s.tag for s in held.sections]:
        yield "sections"
    if {s.name for s in lyrics.sections} - {s.name for s in held.sections} - {""}:
        yield "names of sections"
    if _lengths(lyrics) != _lengths(held):
        yield "lengths of parts without words"
    if _times([*lyrics.sections, *lines]) - _times([*held.sections, *held_lines]):
        yield "times"
    if _times(_words(lines)) - _times(_words(held_lines)):
        yield "times of words"


def _lines(lyrics: Lyrics) -> list[Line]:
    return [line for section in lyrics.sections for line in section.lines]


def _words(lines: Iterable[Line]) -> list[Word]:
    return [word for line in lines for word in line.words]


def _letters(lines: Iterable[Line]) -> str:
    return "".join(filter(str.isalnum, "".join(sung_text(line.text) for line in lines)))


def _lengths(lyrics: Lyrics) -> list[int]:
    return [section.repeats for section in lyrics.sections if not section.lines]


def _times(parts: Sequence[Section | Line | Word]) -> set[int]:
    """Starts and ends in milliseconds."""
    times = [time for part in parts for time in (part.start, part.end)]
    return {round(time * 1000) for time in times if time is not None}
