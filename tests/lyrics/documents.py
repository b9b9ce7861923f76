"""Hypothesis strategies: documents that a format can hold."""

import re
from dataclasses import replace

from hypothesis import strategies as st

from songbloom.lyrics import Line, Section, Word
from songbloom.lyrics.plain import METADATA_KEYS
from songbloom.lyrics.sung import can_be_sung, sung_text
from songbloom.lyrics.tags import NON_VOCAL_TAGS, TAGS, VOCAL_TAGS, read_tag_line, tags_inside

NAMES = {
    "verse": ("Verse 1", "Verse 2: Ann", "Pre-Chorus", "主歌"),
    "chorus": ("Hook", "Chorus x2", "Post-Chorus", "副歌"),
    "bridge": ("Middle 8",),
    "intro": ("Opening",),
    "outro": ("Fade Out", "Coda"),
    "inst": ("Guitar Solo", "Instrumental Break", "间奏"),
    "silence": ("Pause",),
}
LETTERS = "abc 你好.,'!?-é한()&>2"


def texts(letters=LETTERS):
    """Words in a row that is no heading."""
    return (
        st.text(st.sampled_from(letters), min_size=1, max_size=20)
        .map(lambda text: " ".join(text.split()))
        .filter(
            lambda text: can_be_sung(text) and not read_tag_line(text) and not tags_inside(text)
        )
    )


def one_line_texts():
    """What stands between two full stops of the one line."""
    return texts("abc 你好,'!?-é").filter(
        lambda text: sung_text(text) == text and " ," not in text and text == text.strip(" ,")
    )


metadata = st.dictionaries(
    st.sampled_from(METADATA_KEYS),
    st.text(st.sampled_from("ab é你:&"), min_size=1, max_size=8)
    .map(lambda text: " ".join(text.split()))
    .filter(lambda text: text.strip(": ") == text != ""),
    max_size=3,
).map(lambda items: tuple(items.items()))


def _has_words(tags):
    return any(tag in VOCAL_TAGS for tag in tags)


@st.composite
def plain_sections(draw, text=None, most_repeats=12):
    """Tags, names, lines, lengths; no times."""
    sections = []
    for tag in draw(st.lists(st.sampled_from(TAGS), min_size=1, max_size=5).filter(_has_words)):
        name = draw(st.sampled_from(("", *NAMES[tag])))
        if tag in NON_VOCAL_TAGS:
            sections.append(Section(tag, (), draw(st.integers(1, most_repeats)), name))
        else:
            lines = draw(st.lists(texts() if text is None else text, min_size=1, max_size=3))
            sections.append(Section(tag, tuple(map(Line, lines)), name=name))
    return tuple(sections)


@st.composite
def words_of(draw, text, start, end, covered):
    """Words of a line between two milliseconds; `covered`: from the first to the last of them."""
    chunks = text.split(" ")
    cuts = 2 * len(chunks) - 2
    inner = sorted(draw(st.lists(st.integers(start, end), min_size=cuts, max_size=cuts)))
    times = [start, *inner, end]
    words = [
        Word(chunk, times[2 * at] / 1000, times[2 * at + 1] / 1000)
        for at, chunk in enumerate(chunks)
    ]
    if not covered and draw(st.booleans()):
        words[-1] = replace(words[-1], end=None)
    return tuple(words)


@st.composite
def lrc_sections(draw, words=False):
    """Lines from stamp to stamp or to a pause, headings with stamps and without."""
    step = st.integers(1, 9000)
    now = draw(st.integers(0, 4_000_000))
    sections = []
    for section in draw(plain_sections()):
        start, lines = None, []
        if draw(st.booleans()):
            start, now = now, now + draw(step)
        end = now if start is not None and not section.lines else None
        if end is not None and draw(st.booleans()):
            now += draw(step)
        for line in section.lines:
            first, now = now, now + draw(step)
            timed = Line(line.text, first / 1000, now / 1000)
            if words:
                timed = replace(timed, words=draw(words_of(line.text, first, now, False)))
            lines.append(timed)
            if draw(st.booleans()):
                now += draw(step)
        seconds = None if start is None else start / 1000, None if end is None else end / 1000
        sections.append(replace(section, lines=tuple(lines), start=seconds[0], end=seconds[1]))
    return tuple(sections)


@st.composite
def subtitle_sections(draw, letters=LETTERS, words=False):
    """Cues of one line or several; all headings with cues of their own, or none."""
    step = st.integers(1, 9000)
    now = draw(st.integers(0, 4_000_000))
    headed = draw(st.booleans())
    sections = []
    for section in draw(plain_sections(texts(letters))):
        begin, lines, rest = now, [], list(section.lines)
        if headed:
            now += draw(step)
        while rest:
            count = draw(st.integers(1, len(rest)))
            cue, rest = rest[:count], rest[count:]
            start, now = now, now + draw(step) + 10
            for at, line in enumerate(cue):
                first, last = at == 0, at == count - 1
                spoken = ()
                if words:
                    a, b = (start if first else start + 1), (now if last else now - 1)
                    spoken = draw(words_of(line.text, a, b, last))
                lines.append(
                    Line(
                        line.text,
                        start / 1000 if first else None,
                        now / 1000 if last else None,
                        spoken,
                    )
                )
            now += draw(st.integers(0, 1)) * draw(step)
        times = (begin / 1000, max(now, begin + 1) / 1000) if headed else (None, None)
        sections.append(replace(section, lines=tuple(lines), start=times[0], end=times[1]))
    return tuple(sections)


seconds = st.none() | st.floats(0, 86_000, allow_nan=False)
anything = (
    st.text(min_size=1, max_size=12)
    .filter(lambda text: text.strip() and len(text.splitlines()) == 1)
    .filter(lambda text: not re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", text))
)
any_words = st.builds(Word, anything.map(str.strip), st.floats(0, 86_000), seconds)
any_line = st.builds(Line, anything, seconds, seconds, st.lists(any_words, max_size=3).map(tuple))
any_section = st.builds(
    Section,
    st.sampled_from(TAGS),
    st.lists(any_line, max_size=4).map(tuple),
    st.integers(1, 300),
    st.just("") | anything,
    seconds,
    seconds,
)


any_sections = st.lists(any_section, max_size=4).map(
    lambda sections: (*sections, Section("verse", (Line("la"),)))
)
