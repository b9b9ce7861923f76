"""LRC, SRT, WebVTT and JSONL as people have them: what is read, and what is said of it."""

import pytest

from songbloom.errors import SongBloomError
from songbloom.lyrics import Line, Section, Word, detect, parse, write

LRC = """\
[ti:City Lights]
[ar: Ann ]
[by:someone]
[00:00.00][Intro]
[00:12.00]City lights
[00:15.50]flicker

[Chorus]
[00:20.00]Sing
[00:22.00]
[00:40.000]again
"""


def rules(text, **options):
    return [finding.rule for finding in parse(text, **options).findings]


def times(lyrics):
    return [(line.text, line.start, line.end) for s in lyrics.sections for line in s.lines]


def test_lrc_lines_last_until_the_next_stamp():
    """A stamp with nothing behind it ends the line; the last one ends where nobody said."""
    lyrics = parse(LRC)
    assert lyrics.metadata == (("title", "City Lights"), ("artist", "Ann"), ("by", "someone"))
    assert times(lyrics) == [
        ("City lights", 12.0, 15.5),
        ("flicker", 15.5, 20.0),
        ("Sing", 20.0, 22.0),
        ("again", 40.0, None),
    ]


def test_a_part_without_words_is_as_long_as_its_times_say():
    """Words behind it are a verse, since nobody said what they are."""
    lyrics = parse(LRC)
    assert [(s.tag, s.repeats, s.start, s.end) for s in lyrics.sections] == [
        ("intro", 12, 0.0, 12.0),
        ("verse", 1, None, None),
        ("chorus", 1, None, None),
    ]
    assert [finding.rule for finding in lyrics.findings] == ["words-in-instrumental", "long-gap"]
    assert lyrics.line.count("[intro]") == 12


def test_a_row_with_several_stamps_is_several_lines_in_the_order_of_time():
    """A heading without a stamp goes with each of them; words go with their line."""
    text = "[Chorus]\n[00:10.00][00:30.00]<00:10.00>ho <00:11.00>ho\n[Verse]\n[00:20.00]la\n"
    lyrics = parse(text)
    assert [(s.tag, s.texts) for s in lyrics.sections] == [
        ("chorus", ("ho ho",)),
        ("verse", ("la",)),
        ("chorus", ("ho ho",)),
    ]
    assert lyrics.sections[2].lines[0].words == (Word("ho", 30.0, 31.0), Word("ho", 31.0))


def test_a_positive_offset_is_sooner():
    lyrics = parse("[offset:+500]\n[00:05.00]<00:05.00>la\n[00:00.20]early\n")
    assert times(lyrics) == [("la", 4.5, None), ("early", 0.0, None)]
    assert lyrics.sections[0].lines[0].words == (Word("la", 4.5),)
    assert [(f.rule, f.place.row) for f in lyrics.findings] == [
        ("bad-time", 1),
        ("decreasing-time", 3),
    ]


def test_enhanced_lrc_words_last_until_the_next_stamp():
    """A stamp alone is an end; words need no spaces between them, nor angle brackets."""
    text = (
        "[00:01.00]<00:01.00>City <00:01.50> <00:02.00>lights<00:03.00>\n[00:04.00]你[00:04.50]好"
    )
    first, second = parse(text).sections[0].lines
    assert first.text == "City lights"
    assert first.words == (Word("City", 1.0, 1.5), Word("lights", 2.0, 3.0))
    assert second.text == "你好" and second.words == (Word("你", 4.0, 4.5), Word("好", 4.5))


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("[01:02.5]", 62.5),
        ("[01:02.55]", 62.55),
        ("[01:02.555]", 62.555),
        ("[01:02]", 62.0),
        ("[1:2]", 62.0),
        ("[01:02:50]", 62.5),
        ("[01:02,50]", 62.5),
        ("[01:01:02.50]", 3662.5),
        ("[70:00.00]", 4200.0),
    ],
)
def test_stamps_as_people_write_them(stamp, seconds):
    assert times(parse(f"{stamp}la")) == [("la", seconds, None)]


@pytest.mark.parametrize(
    "stamp", ["[9999:00.00]", "[-00:01.00]", "[0:0:0:0]", "[00:999.00]", "[00:61.00]"]
)
def test_stamps_that_are_no_times_are_found_and_dropped(stamp):
    lyrics = parse(f"[00:01.00]one\n{stamp}two")
    assert times(lyrics)[1] == ("two", None, None)
    assert [f.rule for f in lyrics.findings] == ["bad-time", "untimed-line"]
    assert lyrics.findings[0].place.row == 2


def test_a_row_has_thirty_times_at_most():
    lyrics = parse("".join(f"[00:{n:02d}.00]" for n in range(59)) + "la")
    assert len(lyrics.sections[0].lines) == 30
    assert "59 times for one row" in lyrics.warnings[0]


def test_decreasing_times_are_found_and_kept():
    """Lines stay in the order of the file; the one before has no end."""
    lyrics = parse("[00:05.00]a\n[00:03.00]b\n[00:04.00]c\n")
    assert times(lyrics) == [("a", 5.0, None), ("b", 3.0, 4.0), ("c", 4.0, None)]
    assert [(f.rule, f.place.row) for f in lyrics.findings] == [("decreasing-time", 2)]


def test_a_heading_with_a_colon_is_no_metadata():
    lyrics = parse("[Verse: Ann]\n[re:chorus]\n[00:01.00]la")
    assert lyrics.sections[0].name == "Verse: Ann"
    assert lyrics.metadata == (("re", "chorus"),)


def test_long_gaps_are_told():
    """Before the first line and after a pause, unless a tag without words stands there."""
    assert rules("[00:20.00]a\n[00:21.00]\n[00:30.00]b") == ["long-gap", "long-gap"]
    assert rules("[00:00.00][intro]\n[verse]\n[00:20.00]a\n") == []


SRT = """\
1
00:00:01,000 --> 00:00:04,500
[Verse 1]
<i>City</i> <font color="#fff">lights</font>
{\\an8}flicker

2
00:00:05,000 --> 00:00:06,000
♪ Sing ♪

3
00:00:08,000 --> 00:00:20,000
[Music]
4
00:00:20,000 --> 00:00:21,000
again
"""


def test_srt_cues():
    """The first line of a cue has its start, the last its end; a lost empty row is no harm."""
    lyrics = parse(SRT)
    assert [(s.tag, s.name, s.repeats) for s in lyrics.sections] == [
        ("verse", "Verse 1", 1),
        ("inst", "Music", 12),
        ("verse", "", 1),
    ]
    assert times(lyrics) == [
        ("City lights", 1.0, None),
        ("flicker", None, 4.5),
        ("Sing", 5.0, 6.0),
        ("again", 20.0, 21.0),
    ]
    assert lyrics.warnings == ()


def test_wrong_cues_are_found():
    text = SRT.replace("00:00:04,500", "00:00:00,500").replace("00:00:05,000", "99:00:05,000")
    lyrics = parse(text)
    assert [(f.rule, f.place.row) for f in lyrics.findings] == [("bad-time", 2), ("bad-time", 8)]
    stray = parse(SRT + "\nleft over\n")
    assert stray.sections[-1].texts == ("again", "left over")
    assert [(f.rule, f.place.row) for f in stray.findings] == [("untimed-line", 18)]


VTT = """\
WEBVTT - a song
Title: City & Lights

NOTE
not sung

STYLE
::cue { color: red }

first
00:10.000 --> 00:12.000 align:start position:0%
<v Ann>City <00:00:10.500><c>lights</c> &amp; <00:00:11.000>me&nbsp;
"""


def test_webvtt():
    """Comments, styles, names and settings go; entities are read; words have times."""
    lyrics = parse(VTT)
    assert lyrics.metadata == (("title", "City & Lights"),)
    (line,) = lyrics.sections[0].lines
    assert (line.text, line.start, line.end) == ("City lights & me", 10.0, 12.0)
    assert line.words == (
        Word("City", 10.0, 10.5),
        Word("lights &", 10.5, 11.0),
        Word("me", 11.0, 12.0),
    )


def test_jsonl_of_others():
    """No first row, no numbers, tags in other words, words as speech recognisers write them."""
    text = (
        '{"tag": "Hook", "text": "la la", "start": 1, "end": 2.5, '
        '"words": [{"word": " la", "start": 1, "end": 1.5}, ["la", 1.5]]}\r\n'
        '{"text": "ho", "start": -1}\n\n{"tag": "zzz", "text": "x"}\n{"tag": "outro"}\n'
    )
    lyrics = parse(text)
    assert lyrics.sections == (
        Section(
            "chorus",
            (
                Line("la la", 1.0, 2.5, (Word("la", 1.0, 1.5), Word("la", 1.5))),
                Line("ho"),
            ),
            name="Hook",
        ),
        Section("verse", (Line("x"),), name="zzz"),
        Section("outro", (), 4),
    )
    assert [(f.rule, f.place.row) for f in lyrics.findings] == [("bad-time", 2), ("unknown-tag", 4)]


@pytest.mark.parametrize(
    "row",
    [
        "[1]",
        "not json",
        '{"text": 5}',
        '{"tag": 5}',
        '{"start": 5}',
        '{"section": "a", "text": "b"}',
        '{"text": "a", "repeats": -1}',
        '{"text": "a", "repeats": true}',
        '{"text": "a", "words": 5}',
        '{"text": "a", "words": [5]}',
        '{"format": "songbloom-lyrics", "version": 2}',
        '{"format": "songbloom-lyrics", "version": 1, "metadata": 1}',
        '{"idx": "a", "lyrics": "[verse] la"}',
    ],
)
def test_wrong_jsonl_is_refused_with_its_row(row):
    with pytest.raises(SongBloomError, match=r"^a\.jsonl:2: ") as caught:
        parse('{"text": "la"}\n' + row, "a.jsonl")
    assert caught.value.hint


def test_a_stored_line_that_is_not_of_the_sections_is_made_anew():
    """Whoever edits the rows need not edit the one line."""
    text = write(parse("[verse] a  b , [chorus] c"), "jsonl").replace('"text": "c"', '"text": "d"')
    lyrics = parse(text)
    assert lyrics.line == "[verse] a b , [chorus] d"
    assert [finding.rule for finding in lyrics.findings] == ["stale-line"]
    lyrics = parse('{"format": "songbloom-lyrics", "version": 1, "line": "c"}\n{"text": "d"}')
    assert lyrics.line == "[verse] d", "the one line may hold no tag at all"


@pytest.mark.parametrize(
    ("text", "source", "format"),
    [
        ("la", "x", "text"),
        ("la", "x.lrc", "lrc"),
        ("[verse]\nla", "x.lrc", "lrc"),
        ("[verse] la", "x.srt", "line"),
        ("[Verse] la", "x", "text"),
        ("[00:01]la", "x.txt", "lrc"),
        ("[00:01]<00:01>la", "x.lrc", "elrc"),
        ("1\n00:00:01,000 --> 00:00:02,000\nla", "x.txt", "srt"),
        ("00:01.000 --> 00:02.000\nla", "x.vtt", "vtt"),
        ("\ufeffWEBVTT\n", "x.txt", "vtt"),
        ('{"text": "la"}', "x.txt", "jsonl"),
        ('{"text": "la"', "x.txt", "text"),
        ('{"text": "la"', "x.jsonl", "jsonl"),
        ("{Guitar Solo}\nla", "x.txt", "text"),
        ("a --> b", "x.txt", "text"),
        ("", "x.vtt", "vtt"),
    ],
)
def test_the_content_tells_the_format_and_the_suffix_breaks_ties(text, source, format):
    assert detect(text, source) == format


@pytest.mark.parametrize("format", ["lrc", "elrc", "srt", "vtt"])
def test_lyrics_without_times_are_not_written_with_times(format):
    with pytest.raises(SongBloomError, match="song: no line has a time") as caught:
        write(parse("[verse]\nla", "song"), format)
    assert "text" in caught.value.hint


def test_lrc_as_subtitles():
    """Ends are the next start, at most five seconds off; headings stand in the cue below."""
    lyrics = parse("[verse]\n[00:04.00]a\n[00:05.00]b\n[outro]\n")
    assert write(lyrics, "srt") == (
        "1\n00:00:04,000 --> 00:00:05,000\n[verse]\na\n\n"
        "2\n00:00:05,000 --> 00:00:10,000\nb\n[outro x4]\n"
    )


def test_the_240_s_convention():
    """A tag is five seconds: in what is read as one line, and in the line that is made."""
    line = "[intro] [intro] , [verse] la"
    assert parse(line, convention="240s").sections[0].repeats == 10
    assert parse(line, convention="240s").line == line
    assert write(parse(line), "line", convention="240s") == "[intro] , [verse] la\n"
    plain = parse("[intro x10]\n[verse]\nla", convention="240s")
    assert plain.line == line
    assert write(plain, "line") == f"{' '.join(['[intro]'] * 10)} , [verse] la\n"
