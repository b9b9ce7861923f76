"""Reading lyrics: sections, the one line, what is warned of and what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from songbloom.errors import SongBloomError
from songbloom.lyrics import Line, Section, parse, read
from songbloom.lyrics.release import phonemes
from songbloom.lyrics.tags import TAGS, read_tag_line

MINI = (
    "[intro] [intro] , [verse] City lights flicker.Dreams pass fast , "
    "[chorus] 风轻轻吹过古道.岁月 ,  [outro]"
)


def lines(*texts):
    return tuple(map(Line, texts))


def test_one_line_lyrics_are_kept_byte_for_byte():
    """The double space before [outro] is a token; only the line end of the file goes."""
    for text in (MINI, MINI + "\n", "\ufeff" + MINI + "\r\n", "\n" + MINI + "\n\n"):
        assert parse(text).line == MINI
    assert parse("  [verse] hi  ").line == "  [verse] hi  "
    assert parse(MINI).warnings == ()


def test_one_line_lyrics_have_sections_and_repeats():
    assert parse(MINI).sections == (
        Section("intro", (), 2),
        Section("verse", lines("City lights flicker", "Dreams pass fast")),
        Section("chorus", lines("风轻轻吹过古道", "岁月")),
        Section("outro"),
    )


def test_plain_text_with_tags():
    """Tags in the forms people write; the line is the released format."""
    text = (
        "[Intro]\n\n[Verse 1: Ann]\nCity lights, flicker,\nDreams pass fast.\n\n"
        "(Chorus x2)\nHo , ho\n(ooh ooh)\n\nBridge:\n“Don’t” go\n[inst] [inst]\n[OUTRO]\n"
    )
    lyrics = parse(text)
    assert lyrics.sections == (
        Section("intro", (), 4),
        Section("verse", lines("City lights, flicker,", "Dreams pass fast."), name="Verse 1: Ann"),
        Section("chorus", lines("Ho , ho", "(ooh ooh)"), name="Chorus x2"),
        Section("bridge", lines("“Don’t” go")),
        Section("inst", (), 2),
        Section("outro", (), 4),
    )
    assert lyrics.line == (
        "[intro] [intro] [intro] [intro] , [verse] City lights, flicker.Dreams pass fast , "
        "[chorus] Ho, ho.(ooh ooh) , [bridge] Don't go , [inst] [inst] , "
        "[outro] [outro] [outro] [outro]"
    )
    assert lyrics.warnings == ()


def test_stanzas_without_tags_are_verses():
    lyrics = parse("One line\nand two\n\n\n \nThree\n")
    assert lyrics.sections == (
        Section("verse", lines("One line", "and two")),
        Section("verse", lines("Three")),
    )
    assert lyrics.line == "[verse] One line.and two , [verse] Three"


def test_blank_lines_inside_a_tagged_section_do_not_end_it():
    assert parse("[chorus]\na\n\nb").sections == (Section("chorus", lines("a", "b")),)


@pytest.mark.parametrize(
    ("row", "tags", "rest"),
    [
        ("[Verse 1]", ("verse",), ""),
        ("[verse] hello", ("verse",), "hello"),
        ("**Chorus**", ("chorus",), ""),
        ("## Verse 2", ("verse",), ""),
        ("Chorus:", ("chorus",), ""),
        ("Pre-Chorus 2:", ("verse",), ""),
        ("{Guitar Solo}", ("inst",), ""),
        ("【副歌】", ("chorus",), ""),
        ("［サビ］", ("chorus",), ""),
        ("[1절]", ("verse",), ""),
        ("[Couplet 2]", ("verse",), ""),
        ("副歌：", ("chorus",), ""),
        ("[Instrumental Break]", ("inst",), ""),
        ("[Hook]", ("chorus",), ""),
        ("VERSE II", ("verse",), ""),
        ("[intro][intro] , [intro]", ("intro",) * 3, ""),
        ("[Verse][Female]", ("verse",), ""),
        ("(Outro - fade)", ("outro",), ""),
        ("## Bridge", ("bridge",), ""),
        ("**Hook**", ("chorus",), ""),
    ],
)
def test_tags_as_people_write_them(row, tags, rest):
    found = read_tag_line(row)
    assert found is not None
    assert (found.tags, found.rest) == (tags, rest)


@pytest.mark.parametrize(
    "row",
    ["(ooh ooh)", "(I need a break)", "Silence", "Bridge over water", "I said: hello", "Solo", ""],
)
def test_words_that_are_no_tags(row):
    """What may be sung is sung: only known names count without square brackets."""
    assert read_tag_line(row) is None


def test_an_unknown_tag_is_a_verse_and_the_nearest_is_named():
    lyrics = parse("[chrous]\nhi\n[Zzz]\nyo")
    assert lyrics.sections == (
        Section("verse", lines("hi"), name="chrous"),
        Section("verse", lines("yo"), name="Zzz"),
    )
    assert "lyrics:1:1: unknown tag [chrous], did you mean [chorus]?" in lyrics.warnings[0]
    assert "lyrics:3:1: unknown tag [Zzz]" in lyrics.warnings[1]


def test_an_unknown_tag_in_one_line_lyrics_is_reported_but_kept():
    lyrics = parse("[Verse] hi , [chorus] la")
    assert lyrics.line == "[Verse] hi , [chorus] la"
    assert "did you mean [verse]?" in lyrics.warnings[0]


def test_words_under_a_tag_without_words_are_sung_as_a_verse():
    lyrics = parse("[verse]\nhi\n[outro]\nbye")
    assert lyrics.line == "[verse] hi , [verse] bye"
    assert "lyrics:3:1: [outro] cannot hold words" in lyrics.warnings[0]


@pytest.mark.parametrize("tags", ["[Bridge][Build-up]", "[Bridge]\n[Build-up]", "[bridge] (drop)"])
def test_words_under_stacked_tags_belong_to_the_one_that_holds_words(tags):
    lyrics = parse(f"[verse]\nhi\n{tags}\nla\n[chorus]\n")
    assert [(s.tag, s.texts) for s in lyrics.sections] == [("verse", ("hi",)), ("bridge", ("la",))]
    assert "sung as the [bridge] above it" in lyrics.warnings[0]
    lyrics = parse(f"{tags}\n[chorus]\nla")
    assert [s.tag for s in lyrics.sections] == ["inst", "chorus"], "nothing is under them"
    assert "[bridge] holds no words" in lyrics.warnings[0]


def test_an_outro_ends_once():
    """Unless a length is said, which makes it a part of its own."""
    lyrics = parse("[verse]\nla\n[Outro: slow]\n[Fade Out]\n\n[End]\n")
    assert [(s.tag, s.repeats) for s in lyrics.sections] == [("verse", 1), ("outro", 4)]
    lyrics = parse("[verse]\nla\n[Outro]\n[End x2]\n")
    assert [s.repeats for s in lyrics.sections] == [1, 4, 2]


def test_a_section_without_words_is_left_out_with_a_warning():
    lyrics = parse("[verse]\n[chorus]\nla")
    assert lyrics.line == "[chorus] la"
    assert lyrics.warnings == ("lyrics:1:1: [verse] holds no words and is left out",)


def rules(text):
    return [finding.rule for finding in parse(text).findings]


def test_a_remark_on_a_tag_is_left_out():
    """Before the first words only; behind them an unknown tag is a verse."""
    lyrics = parse("[Verse 1]\n[Soft piano]\nhi\n[Loud]\nyo")
    assert [(s.name, s.texts) for s in lyrics.sections] == [("Verse 1", ("hi",)), ("Loud", ("yo",))]
    assert "[Soft piano]. It is left out." in lyrics.warnings[0]
    assert rules("[verse]\n[Chrous]\nhi") == ["empty-section", "misspelt-tag"]


def test_a_tag_between_words_starts_a_section():
    lyrics = parse("[verse] one.two , [chorus] three [x2]")
    assert lyrics.line == "[verse] one.two , [chorus] three [x2]"
    lyrics = parse("Hello\n[verse] one , [Chorus] [inst] , [bridge] two [x2]")
    assert (
        lyrics.line == "[verse] Hello , [verse] one , [inst] [inst] [inst] [inst] , [bridge] two x2"
    )
    assert [(f.rule, f.place.row, f.place.column) for f in lyrics.findings] == [
        ("tag-inside-line", 2, 15),
        ("empty-section", 2, 15),
    ]


def test_a_tag_with_one_bracket_is_a_tag():
    lyrics = parse("[Verse 1\nhi\nChorus]\nla\n[[Bridge]]\nyo")
    assert [s.tag for s in lyrics.sections] == ["verse", "chorus", "bridge"]
    assert [f.rule for f in lyrics.findings] == ["unclosed-tag", "unclosed-tag"]


def test_marks_that_nobody_sees_do_not_hide_a_tag():
    lyrics = parse("\u200b[Ver\u200bse]\u202c\nz\u200bero")
    assert lyrics.line == "[verse] zero"
    assert rules("[verse]\nz\u200bero") == ["invisible-character"]
    assert lyrics.warnings == ()


def test_a_part_without_words_may_say_its_length():
    """By a count, which survives writing; two tags with one count each are two parts."""
    lyrics = parse("[Intro x7]\n[Guitar Solo x2]\n[solo]\n[verse]\nla")
    assert [(s.tag, s.name, s.repeats) for s in lyrics.sections] == [
        ("intro", "", 7),
        ("inst", "Guitar Solo", 2),
        ("inst", "solo", 4),
        ("verse", "", 1),
    ]
    assert lyrics.line.startswith("[intro] " * 7 + ", [inst] [inst] , [inst] [inst] [inst] [inst]")


def test_a_title_above_the_lyrics_is_not_sung():
    """Known keys and a markdown heading above the first section; the same below is sung."""
    lyrics = parse("# City Lights\n**Artist:** Ann\n[Style: pop]\n\n```\n[verse]\nTitle: la\n```")
    assert lyrics.metadata == (("title", "City Lights"), ("artist", "Ann"), ("style", "pop"))
    assert lyrics.line == "[verse] Title: la"
    assert rules("Title: a\nTitle: b\nla") == [
        "title-not-sung",
        "title-not-sung",
        "repeated-metadata",
    ]


def test_who_made_the_song_is_not_sung():
    """Credits as pages with lyrics write them, above the first section or among the first rows."""
    rows = (
        "《夜雨》\n词：张三\n作曲 : 李四\nStyle of Music: pop\nWritten by: Ann\n[verse]\n曲：la\n"
    )
    lyrics = parse(rows)
    assert lyrics.metadata == (
        ("title", "夜雨"), ("lyricist", "张三"), ("composer", "李四"), ("style", "pop"),
    )  # fmt: skip
    assert lyrics.line == "[verse] 曲：la"
    lyrics = parse("[00:00]晴天 - 周杰伦\n[00:01]作词 : 方文山\n[00:09]一\n[00:12]词：二\n")
    assert [text for s in lyrics.sections for text in s.texts] == ["晴天 - 周杰伦", "一", "词：二"]
    assert lyrics.metadata == (("lyricist", "方文山"),)


def test_chords_are_not_sung():
    """In brackets among words or in rows of their own; told once."""
    text = "[Verse]\n[G]Hello [D/F#]dark[Em7]ness\n | Am  G  F#m7 |\nmy friend\n"
    lyrics = parse(f"{text}[Chorus]\n[C] [G]\nla\n")
    assert lyrics.line == "[verse] Hello darkness.my friend , [chorus] la"
    (found,) = lyrics.findings
    assert (found.rule, found.severity, found.place.row) == ("chords", "info", 2)
    assert found.message == "chords in 3 rows are not sung"


@pytest.mark.parametrize("text", ["A B C D E F G\nnow I know", "[A]\nla\n[B]\nho", "A\nAm I"])
def test_letters_are_no_chords(text):
    """The alphabet, sections called A and B, an article."""
    assert "chords" not in rules(text)


def test_phonemes_in_braces_are_no_tag():
    assert parse("{P IY1 S} of mind").line == "[verse] {P IY1 S} of mind"


def test_a_day_without_words_is_refused():
    with pytest.raises(SongBloomError, match="more than a day"):
        parse("[intro x9999]\n[outro x9999]\n" * 5 + "[verse]\nla")


def test_rows_of_signs_are_no_lines():
    assert parse("[verse]\n---\nla\n...\n").sections == (Section("verse", lines("la")),)


def test_the_length_of_a_lone_wordless_tag_can_be_chosen():
    assert parse("[intro]\n[verse]\nla", repeats=2).line == "[intro] [intro] , [verse] la"
    assert parse("[intro]\n[intro]\n[intro]\n[verse]\nla", repeats=2).sections[0].repeats == 3


def test_characters_that_nobody_can_say_are_named_with_their_line():
    lyrics = parse("fine\nlove 사랑 😀 & ひ\ncafé “ok” 2×")
    assert lyrics.warnings == (
        'lyrics:2:6: the release front end cannot say "사랑😀&ひ"; left out of the singing',
        'lyrics:3:12: the release front end cannot say "×"; left out of the singing',
    )
    assert 'say "한"' in parse("[verse] la 한").warnings[0]


@pytest.mark.parametrize("text", ["", " \n\t\n", "\ufeff", "한국어\n😀", "a\0b"])
def test_lyrics_without_words_are_refused(text):
    with pytest.raises(SongBloomError) as caught:
        parse(text, "song.txt")
    assert "song.txt" in caught.value.message
    assert "[verse]" in caught.value.hint or "Latin letters" in caught.value.hint


@pytest.mark.parametrize("text", ["[verse]\n[chorus]\n", "[intro] [outro]", "[verse] , [chorus] ."])
def test_tags_alone_are_refused_with_the_line(text):
    with pytest.raises(SongBloomError, match=r"song\.txt:1: .*no words"):
        parse(text, "song.txt")


@pytest.mark.parametrize(
    "text", [r"{\rtf1\ansi Hello}", "<!DOCTYPE html>\n<p>la", "\n<html>la</html>", "%PDF-1.4\nla"]
)
def test_documents_of_other_programs_are_refused(text):
    with pytest.raises(SongBloomError, match=r"^a\.txt: a .*; expected lyrics as plain text"):
        parse(text, "a.txt")


def test_read_takes_utf8_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "song.txt"
    path.write_bytes("\ufeff[verse]\r\n你好\r\n".encode())
    assert read(path).line == "[verse] 你好"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"ok\nbad \xff", ":2: not UTF-8 text"),
        (b"RIFF\0\0", "not a text file"),
        (b"", "empty"),
    ],
)
def test_read_refuses_what_is_no_text(tmp_path, data, message):
    path = tmp_path / "song.txt"
    path.write_bytes(data)
    with pytest.raises(SongBloomError, match=message) as caught:
        read(path)
    assert caught.value.hint


def test_read_refuses_missing_files_and_folders(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(SongBloomError, match="cannot be read"):
            read(path)


def test_ten_thousand_lines_have_twenty_warnings_and_a_count():
    """All findings are kept; of one rule the first are shown, so that a terminal is not flooded."""
    many = parse("[verse]\n" + "la la love 한\n" * 10_000)
    assert len(many.sections[0].lines) == len(many.findings) == 10_000
    assert len(many.warnings) == 21
    assert many.warnings[-1] == "lyrics: 9980 more of unsayable-character"


ROWS = st.lists(
    st.one_of(
        st.sampled_from([f"[{tag}]" for tag in TAGS]),
        st.text(st.sampled_from("abc 你.,'!?-"), max_size=20),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=200)
@given(ROWS)
def test_the_line_of_plain_text_reads_back_the_same(rows):
    """The one-line form of anything is itself one-line lyrics with the same tags in order."""
    try:
        lyrics = parse("\n".join(rows))
    except SongBloomError:
        return
    again = parse(lyrics.line)
    assert again.line == lyrics.line
    assert [s.tag for s in again.sections] == [s.tag for s in lyrics.sections]
    assert [s.repeats for s in again.sections] == [s.repeats for s in lyrics.sections]


@settings(max_examples=200)
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_politely(text):
    try:
        lyrics = parse(text)
    except SongBloomError as error:
        assert error.message and error.hint
    else:
        assert "\n" not in lyrics.line
        assert lyrics.sections


def test_the_line_gives_the_mini_release_symbols():
    """Raw string in, every token out, the empty one too."""
    symbols = phonemes(parse(MINI).line)
    assert symbols.startswith("[intro] [intro] , [verse] S IH1 T IY0 L AY1 T S")
    assert symbols.endswith(" ,  [outro]")
