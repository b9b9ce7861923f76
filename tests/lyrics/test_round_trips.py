"""Round trips: what a format can hold comes back from it unchanged."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lyrics.documents import (
    LETTERS,
    any_sections,
    anything,
    lrc_sections,
    metadata,
    one_line_texts,
    plain_sections,
    subtitle_sections,
)

from songbloom.errors import SongBloomError
from songbloom.lyrics import FORMATS, Line, Lyrics, Section, detect, parse, write
from songbloom.lyrics.losses import losses
from songbloom.lyrics.one_line import one_line

MANY = settings(max_examples=40)


def assert_comes_back(sections, format, metadata=(), **options):
    lyrics = Lyrics(sections, one_line(sections), (), metadata)
    text = write(lyrics, format, **options)
    again = parse(text, format=format, **options)
    assert again.sections == lyrics.sections
    assert again.metadata == metadata
    assert detect(text) == format
    assert write(again, format, **options) == text
    assert losses(lyrics, text, format, **options) == ()


@MANY
@given(plain_sections(), metadata)
def test_plain_text_holds_tags_names_lines_lengths_and_titles(sections, metadata):
    assert_comes_back(sections, "text", metadata)


@MANY
@given(plain_sections(one_line_texts()), st.sampled_from(["150s", "240s"]))
def test_the_one_line_holds_tags_lines_and_lengths(sections, convention):
    """In the 240 s convention in steps of five seconds."""
    step = 5 if convention == "240s" else 1
    sections = [type(s)(s.tag, s.lines, s.repeats * (1 if s.lines else step)) for s in sections]
    assert_comes_back(tuple(sections), "line", convention=convention)


@MANY
@given(st.text(st.sampled_from("ab ,.[]你\t"), max_size=20), st.sampled_from(["150s", "240s"]))
def test_one_line_lyrics_come_back_byte_for_byte(text, convention):
    line = f"[verse] hi{text} , [intro] [intro]  , [chorus] ho{text}"
    assert write(parse(line, convention=convention), "line", convention=convention) == f"{line}\n"


@MANY
@given(lrc_sections(), metadata)
def test_lrc_holds_times_of_lines_and_headings(sections, metadata):
    assert_comes_back(sections, "lrc", metadata)


@MANY
@given(lrc_sections(words=True), metadata)
def test_enhanced_lrc_holds_times_of_words(sections, metadata):
    assert_comes_back(sections, "elrc", metadata)


@MANY
@given(subtitle_sections())
def test_srt_holds_cues_of_several_lines(sections):
    assert_comes_back(sections, "srt")


@MANY
@given(subtitle_sections(LETTERS + "<;", words=True), metadata)
def test_vtt_holds_times_of_words_and_metadata(sections, metadata):
    assert_comes_back(sections, "vtt", metadata)


@MANY
@given(
    any_sections,
    st.dictionaries(anything, anything, max_size=3).map(lambda items: tuple(items.items())),
)
def test_jsonl_holds_everything(sections, metadata):
    assert_comes_back(tuple(sections), "jsonl", metadata)


@MANY
@given(st.text(st.sampled_from("ab ,.[]你"), max_size=20), st.sampled_from(["150s", "240s"]))
def test_jsonl_holds_the_one_line_byte_for_byte(text, convention):
    lyrics = parse(
        f"[verse] hi{text} , [intro] [intro]  , [chorus] ho{text}", convention=convention
    )
    again = parse(write(lyrics, "jsonl"))
    assert (again.line, again.sections) == (lyrics.line, lyrics.sections)


FULL = """[ti:Rain]
[00:00.00][intro]
[00:07.00][Verse 1]
[00:07.50]<00:07.50>la, <00:08.25>la
[00:09.00]
"""


@pytest.mark.parametrize(
    ("format", "lost"),
    [
        ("text", "times, times of words"),
        ("line", "metadata (title), names of sections, times, times of words"),
        ("lrc", "times of words"),
        ("elrc", ""),
        ("srt", "metadata (title), times of words"),
        ("vtt", ""),
        ("jsonl", ""),
    ],
)
def test_what_a_format_cannot_hold_is_named(format, lost):
    """All that is not in the written text, and nothing else."""
    lyrics = parse(FULL)
    assert ", ".join(losses(lyrics, write(lyrics, format), format)) == lost


@pytest.mark.parametrize(
    ("line", "lost"),
    [("Chorus: hi", "sections"), ("Is it. so", "punctuation"), ("[hi] ho", "words"), ("hi", "")],
)
def test_words_that_the_one_line_or_a_tag_takes_are_named(line, lost):
    sections = (Section("verse", (Line("la"), Line(line))),)
    lyrics = Lyrics(sections, one_line(sections))
    format = "line" if lost == "punctuation" else "text"
    assert lost in ", ".join(losses(lyrics, write(lyrics, format), format))


NASTY = """[00:01.00]
[00:02.50][00:09.00]
[00:03.00]<00:03.00>a <00:03.5>b <00:04>
[00:05.00][00:07.00][Hook]
[verse]
[Chorus
[Guitar Solo x3]
la, la
1
00:00:01,000 --> 00:00:02,000
00:00:05.000 --> 00:00:02.000
♪ hey ♪
WEBVTT
[ti:x]
[offset:-500]
Title: y
# z

(x2)
[Soft piano]
one [bridge] two
<i>it</i> &amp; <00:01.500>b
[99:99:99.99] x
[intro] [intro] , [verse] a.b
{"text": "x", "start": 1}
---
[[Verse]]
你好
[-00:01.00] a
NOTE x"""
ROWS = st.lists(st.sampled_from(NASTY.splitlines()), max_size=9)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=40)
@given(rows=ROWS)
def test_writing_settles(format, rows):
    """Markup that is foreign to a format may go when it is read there; the next bytes stay."""
    try:
        text = write(parse("\n".join(rows)), format)
        text = write(parse(text, format=format), format)
    except SongBloomError as error:
        assert error.message and error.hint
        return
    assert write(parse(text, format=format), format) == text
