"""What lint finds and fix mends: every rule, columns, limits of a model, idempotence."""

import shutil
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lyrics.malformed import malformed

from songbloom.errors import SongBloomError, UsageError
from songbloom.lyrics import decode, parse
from songbloom.lyrics.fix import fix
from songbloom.lyrics.frontends import Lexicon
from songbloom.lyrics.lint import MOST_SYLLABLES, RULES, Limits, check, cuts, is_serious
from songbloom.lyrics.syllables import count

SEEDLING = Limits(max_duration=40.0, lyric_length=256)
LONG_LINE = "we walk along the river " * 8
UNTAGGED = "we walk\nin the rain\n\ncarry me\nto sea\n\nI hear\nyour name\n\ncarry me\nto sea\n"


def rules(text, **options):
    return [found.rule for found in check(text, **options)]


@pytest.mark.parametrize(
    ("text", "rule", "row", "column", "mended"),
    [
        ("[chrous]\nhi", "misspelt-tag", 1, 1, "[chorus]\nhi\n"),
        ("[verse]\nhi\n[Zzz]\nyo", "unknown-tag", 3, 1, "[verse]\nhi\n\n[verse]\nyo\n"),
        ("[verse]\nhi\n\n[outro]\nbye", "words-in-instrumental", 4, 1, None),
        ("[verse]\n[chorus]\nla", "empty-section", 1, 1, "[chorus]\nla\n"),
        ("[verse]\nyou & I", "unsayable-character", 2, 5, "[verse]\nyou and I\n"),
        ("[verse]\njoy 😀 oh", "unsayable-character", 2, 5, "[verse]\njoy oh\n"),
        ('[verse]\n"Hi," he said', "forbidden-punctuation", 2, 4, '[verse]\n"Hi" he said\n'),
        ("[verse]\none, two", "forbidden-punctuation", 2, 4, "[verse]\none two\n"),
        ("[verse]\nat 3.5 a.m. now", "forbidden-punctuation", 2, 5, None),
        ("[verse]\nhi 【ha】 yo", "forbidden-punctuation", 2, 4, "[verse]\nhi ha yo\n"),
        ("[verse]\nfor $5 or 50%", "forbidden-punctuation", 2, 5, None),
        ("[verse]\n1,000 nights", "forbidden-punctuation", 2, 2, "[verse]\n1000 nights\n"),
        (f"[verse]\n{LONG_LINE}", "overlong-line", 2, 1, None),
        ("[verse]\n" + "la\n" * 60, "overlong-section", 1, 1, None),
        ("[intro x90]\n[verse]\nla", "long-instrumental", 1, 1, None),
        (UNTAGGED, "missing-tags", 4, 1, None),
    ],
)
def test_a_rule_finds_its_place_and_is_mended(text, rule, row, column, mended):
    """Each rule names row and column, says what to do, and --fix leaves nothing to say."""
    found = next(found for found in check(text) if found.rule == rule)
    assert (found.place.row, found.place.column) == (row, column)
    assert found.fix and found.severity == "warning"
    result = fix(text)
    assert mended is None or result == mended
    assert not any(map(is_serious, check(result)))
    assert fix(result) == result


def test_every_rule_is_explained():
    """RULES has a sentence for each rule that the cases above and the limits below find."""
    texts = ["[chrous]\nhi", "[verse]  a , [chorus] b", UNTAGGED, "", "[verse]\n" + LONG_LINE * 20]
    for text in texts:
        assert set(rules(text, limits=SEEDLING)) <= RULES.keys()


def test_clean_lyrics_come_back_byte_for_byte():
    """fix touches nothing that is clean, line ends and blank lines too."""
    text = "\n\n[Verse 1]\r\n  City lights flicker.\r\n\r\nDreams pass fast!\r\n"
    assert check(text) == [] and fix(text) == text


def test_what_cannot_be_read_is_one_error_with_its_row():
    for text, row in (("", 0), ("[intro]\n[outro]", 1), ("a\0b", 0)):
        (found,) = check(text, source="song.txt")
        assert (found.rule, found.severity, found.place.row) == ("unreadable", "error", row)
        assert "song.txt" not in found.message and found.fix
        assert fix(text) == text


def test_only_the_writer_can_put_a_language_into_another():
    """Letters that the front end lacks are reported and never taken out."""
    text = "[verse]\nhello 사랑\n"
    assert rules(text) == ["unsayable-character"]
    assert fix(text) == text
    assert check(text, Limits(frontend="v1")) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[verse]\nel corazón de la noche\nno puedo vivir sin ti\n", "this is Spanish"),
        ("[verse]\n佢哋唔知我喺邊\n", "this is Cantonese"),
        ("[verse]\nc'est la vie\nthe night is young and you are here with me\n", ""),
        ("[verse]\n我的爱在风中\nby the sea\n", ""),
    ],
)
def test_a_language_that_is_read_as_another_is_told_once(text, told):
    """The released front end takes every Latin letter for English and every Chinese one for
    Mandarin; the v1 one does not, and says other languages with the program espeak-ng."""
    found = check(text)
    assert [f.rule for f in found] == ["other-language"] * bool(told)
    assert not found or told in found[0].message
    unsaid = bool(told) and shutil.which("espeak-ng") is None
    assert {f.rule for f in check(text, Limits(frontend="v1"))} == (
        {"not-said"} if unsaid else set()
    )


def test_braces_are_words_to_a_released_model():
    """Told once it is known that such a model is to sing them."""
    found = check("[verse]\nmy {P IY1 S}\n", SEEDLING)
    assert [(f.rule, f.place.row, f.place.column) for f in found] == [("braces", 2, 4)]
    assert check("[verse]\nmy {P IY1 S}\n", replace(SEEDLING, frontend="v1")) == []


def test_the_one_line_format_is_mended_as_one_line():
    line = "[Verse 1] City, lights.Dreams pass ,[chrous] la la ,  [outro] [outro]\n"
    mended = "[verse] City lights.Dreams pass , [chorus] la la , [outro] [outro]\n"
    assert fix(line) == mended
    assert check(mended) == []


def test_double_spaces_of_the_one_line_are_told():
    """The released example holds them, so they are no fault."""
    (found,) = check("[verse] la ,  [outro]")
    assert (found.rule, found.severity, found.place.column) == ("double-space", "info", 13)


def test_lrc_keeps_the_times_that_rise():
    """Of times that fall the fewest are dropped; no line moves and none is lost."""
    text = "[00:05.00]one, two\n[00:50.00]three\n[00:10.00]four\n[00:15.00]five\n"
    assert "decreasing-time" in rules(text)
    result = fix(text)
    lines = parse(result).sections[0].lines
    assert [(line.text, line.start) for line in lines] == [
        ("one two", 5.0), ("three", None), ("four", 10.0), ("five", 15.0),
    ]  # fmt: skip
    assert not any(map(is_serious, check(result)))


def test_inline_phonemes_are_no_punctuation():
    text = "[verse]\n{P IY1 S}, my love\n"
    assert fix(text) == "[verse]\n{P IY1 S} my love\n"
    assert check("[verse]\nmy {P IY1 S}\n") == []


# ---------------------------------------------------------------- what a front end refuses


def test_lines_that_the_front_end_refuses_are_told_one_by_one():
    """Every such line is an error with its message and hint; the others are counted as ever."""
    text = "[verse]\nmy {P IY1 Q} love\nlove\n{} love\n"
    limits = Limits(frontend="v1", lyric_length=256)
    found = check(text, limits)
    assert [(f.rule, f.severity, f.place.row) for f in found] == [
        ("not-said", "error", 2), ("not-said", "error", 4),
    ]  # fmt: skip
    assert found[0].message == "{P IY1 Q}: no symbol is called 'Q'" and "P IY1 S" in found[0].fix
    assert fix(text, limits) == text


def test_a_missing_program_is_told_at_each_line_of_its_language(monkeypatch):
    """A line without a sign of its own is in the song's language; no limit is checked in vain."""
    monkeypatch.setenv("PATH", "")
    text = "[verse]\nel corazón de la muerte\nla luna\n{L AH1 V}\n"
    found = check(text, Limits(frontend="v1", lyric_length=2, max_duration=0.5))
    assert [f.place.row for f in found if f.rule == "not-said"] == [2, 3]
    assert "espeak-ng" in found[1].message and "apt install" in found[1].fix
    assert "too-many-symbols" not in [f.rule for f in found]


def test_language_and_lexicon_decide_what_is_counted(monkeypatch):
    """They say the words otherwise, and so another number of symbols; no language is guessed."""
    monkeypatch.setenv("PATH", "")
    text = "[verse]\nel amor de la noche\n"
    limits = Limits(frontend="v1", lyric_length=6)
    assert rules(text, limits=limits) == ["not-said"]
    assert rules(text, limits=replace(limits, language="en")) == ["too-many-symbols"]
    words = dict.fromkeys(text.split()[1:], ("L",))
    assert rules(text, limits=replace(limits, lexicon=Lexicon(words))) == []
    with pytest.raises(UsageError, match="reads English and Mandarin only"):
        check(text, Limits(language="es"))


# ---------------------------------------------------------------- choruses


def test_blocks_that_return_are_choruses():
    sections = parse(fix(UNTAGGED)).sections
    assert [section.tag for section in sections] == ["verse", "chorus", "verse", "chorus"]


def test_lines_that_return_inside_one_block_are_a_chorus():
    text = "a one\nb two\nc three\nsing it\nloud\nd four\ne five\nsing it\nloud\nf six\n"
    sections = parse(fix(text)).sections
    assert [s.tag for s in sections] == ["verse", "chorus", "verse", "chorus", "verse"]
    assert sections[1].texts == ("sing it", "loud")


@pytest.mark.parametrize(
    "text", ["la la\n\nla la\n", "[verse]\nhi\n[chorus]\nyo\n[verse]\nhi\n", "la\nla\nla\nla\n"]
)
def test_no_chorus_is_made_up(text):
    """Where all is the same, or tags are there, nothing is proposed."""
    assert "missing-tags" not in rules(text)


# ---------------------------------------------------------------- does it fit the model


def song(verses):
    return "".join(f"[verse]\nwe walk along the river number {n}\nin the rain\n" for n in verses)


def test_lyrics_that_fit_have_no_findings():
    assert rules(song(range(3)), limits=SEEDLING) == []


def test_too_long_says_where_to_cut_and_the_parts_fit():
    """Cut at the rows that are named, every part fits the model."""
    text = song(range(40))
    found = {f.rule: f for f in check(text, SEEDLING)}
    assert found["too-long"].severity == found["too-many-symbols"].severity == "error"
    rows = text.splitlines()
    starts = [0, *(place.row - 1 for place in cuts(parse(text), SEEDLING)), len(rows)]
    assert f"make {len(starts) - 1} songs: cut before row {starts[1] + 1}" in found["too-long"].fix
    for first, last in zip(starts, starts[1:], strict=False):
        assert rows[first] == "[verse]"
        part = "\n".join(rows[first:last])
        assert rules(part, limits=SEEDLING) == []


def test_a_section_that_is_too_long_alone_is_cut_between_lines():
    text = "[verse]\n" + "we walk along the river in the rain\n" * 40
    places = cuts(parse(text), SEEDLING)
    assert places and all(place.row > 2 for place in places)


def test_the_estimate_may_be_wrong_by_a_third():
    """A little too long is a warning; what nine of ten singers would not finish is an error."""
    text = song(range(8))
    long = Limits(max_duration=1e9)
    assert rules(text, limits=long) == []
    seconds = sum(0.445 * count(line) + 0.75 for s in parse(text).sections for line in s.texts)
    (near,) = check(text, Limits(max_duration=seconds / 1.2))
    (far,) = check(text, Limits(max_duration=seconds / 1.5))
    assert (near.rule, near.severity) == ("too-long", "warning")
    assert (far.rule, far.severity) == ("too-long", "error")


def test_what_is_longer_than_any_song_is_not_pronounced():
    """It would take a minute and say no more."""
    started = time.process_time()
    found = check("[verse]\n" + "我的爱在风中" * 20_000, SEEDLING)
    assert [f.rule for f in found] == ["too-long", "overlong-line"]
    assert time.process_time() - started < 30


def test_the_last_line_heard_is_named():
    text = "[verse]\nla la la\nla la la\nla la la\n"
    (found,) = check(text, Limits(lyric_length=10))
    assert found.rule == "too-many-symbols" and found.place.row == 3
    assert "hears 10" in found.message


def test_cutting_the_one_line_names_columns():
    """All of it is row 1, so the places are row:column; a part without words is never cut."""
    line = "[inst] " * 50 + ", [verse] " + "la la la.ho ho ho" * 20 + " , [chorus] la"
    found = {f.rule: f for f in check(line, SEEDLING)}
    assert "cut before row 1:353, " in found["too-long"].fix
    assert line[352:].startswith("[verse]")


def test_the_240_s_convention_makes_wordless_parts_longer():
    line = "[intro] [intro] [intro] , [verse] la"
    assert rules(line, limits=Limits(max_duration=10.0)) == []
    assert rules(line, limits=Limits(max_duration=10.0, convention="240s")) == ["too-long"]


# ---------------------------------------------------------------- whatever is pasted

ROWS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "",
                "[verse]",
                "[Chrous]",
                "[Intro",
                "(hook)",
                "Bridge:",
                "[zzz] hi",
                "[00:10.00]la",
                "[00:05.0]<00:05.1>a, <00:04.00>b",
                "[99:99]",
                "1\n00:01,0 --> 00:02,0\nhey",
                "WEBVTT",
                '{"text": "a, b"}',
                "[verse] a.b , [chorus] c",
                "Title: x",
                LONG_LINE,
            ]
        ),  # fmt: skip
        st.text(st.sampled_from("ab 你한😀&,.;:[]{}()<>$1\u200b\u202e\t-'\""), max_size=30),
    ),
    max_size=12,
)


@settings(max_examples=200)
@given(ROWS)
def test_fix_is_idempotent_and_never_makes_worse(rows):
    """Whatever is pasted: findings, no traceback; mended once is mended; never more to say."""
    text = "\n".join(rows)
    before, result = check(text), fix(text)
    after = check(result)
    assert fix(result) == result
    assert sum(map(is_serious, after)) <= sum(map(is_serious, before))
    assert all(found.rule in RULES for found in before + after)


@settings(max_examples=100)
@given(ROWS)
def test_fixed_plain_text_is_clean(rows):
    """In plain text all can be mended but letters of a language the front end lacks."""
    text = "[verse]\nla\n" + "\n".join(r for r in rows if "-->" not in r and "[0" not in r)
    left = {found.rule for found in check(fix(text)) if is_serious(found)}
    assert left <= {"unsayable-character", "unreadable"}


@pytest.mark.parametrize("first", range(0, 300, 100))
def test_malformed_files_are_mended(first):
    """What can be read of 300 malformed files checks clean when mended, and mended once is done."""
    for seed in range(first, first + 100):
        data, name = malformed(seed)
        try:
            text = decode(data, name)
        except SongBloomError:
            continue
        if len(text) > 20_000:  # these have a test of their own
            continue
        result = fix(text, source=name)
        left = {found.rule for found in check(result, source=name) if is_serious(found)}
        assert left <= {"unsayable-character", "other-language", "unreadable"}, seed
        assert fix(result, source=name) == result, seed


def test_lines_split_in_two_are_short_enough():
    text = "[verse]\n" + "la " * 500 + "\n" + "啊" * 100
    lines = [line for s in parse(fix(text)).sections for line in s.texts]
    assert all(count(line) <= MOST_SYLLABLES for line in lines)
    assert "".join("".join(lines).split()) == "la" * 500 + "啊" * 100


@pytest.mark.parametrize("text", ["la " * 60_000, "[intro]\n" * 10_000 + "la", "a\n\n" * 10_000])
def test_large_files_take_seconds(text):
    """Check and fix are nearly linear in the size."""
    start = time.process_time()
    assert not any(map(is_serious, check(fix(text))))
    assert time.process_time() - start < 200  # a quadratic pass takes longer
