"""songbloom lyrics: check, phonemes, convert and show, with right and wrong input."""

import json
from pathlib import Path

import pytest
from cli.helpers import Cli, assert_refused

BAD = "[Intro]\n\n[chrous]\nCity lights, flicker\nyou & I\n"
FIXED = "[intro]\n\n[chorus]\nCity lights flicker\nyou and I\n"
RELEASE = ("--frontend", "release")
LRC = "[ti:Rain]\n[00:01.00][verse]\n[00:01.00]la la\n[00:03.50]ho ho\n"


@pytest.fixture
def bad(home: Path) -> Path:
    """A file of which everything can be mended."""
    path = home / "bad.txt"
    path.write_text(BAD, "utf-8")
    return path


# ---------------------------------------------------------------- check


def test_check_tells_row_column_rule_and_fix(cli: Cli, bad: Path) -> None:
    """Findings are the result, one a line; warnings alone are no failure, but with --strict."""
    ran = cli("lyrics", "check", "bad.txt")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "bad.txt:3:1: warning: unknown tag [chrous], did you mean [chorus]? Its words are sung as "
        "a verse; write [chorus] [misspelt-tag]",
        'bad.txt:4:12: warning: "," inside a line: the format keeps it for tags, sections and '
        "sentences; write a space [forbidden-punctuation]",
        'bad.txt:5:5: warning: the release front end cannot say "&"; left out of the singing; '
        "write it as words [unsayable-character]",
    ]
    assert ran.err == "errors: 0, warnings: 3, files: 1\n"
    assert cli("lyrics", "check", "bad.txt", "--strict").code == 1
    assert bad.read_text("utf-8") == BAD


def test_fix_rewrites_the_file_and_leaves_nothing(cli: Cli, bad: Path) -> None:
    ran = cli("lyrics", "check", "bad.txt", "--fix")
    assert (ran.code, ran.out) == (0, "")
    assert "bad.txt: mended" in ran.err
    assert bad.read_text("utf-8") == FIXED
    again = cli("lyrics", "check", "bad.txt", "--fix")
    assert "mended" not in again.err and bad.read_text("utf-8") == FIXED


def test_fix_to_another_file_to_stdout_and_as_a_diff(cli: Cli, bad: Path, home: Path) -> None:
    """-o, - and --diff leave the file alone."""
    assert cli("lyrics", "check", "bad.txt", "--fix", "-o", "new.txt").code == 0
    assert (home / "new.txt").read_text("utf-8") == FIXED
    ran = cli("lyrics", "check", "-", "--fix", stdin=BAD.encode())
    assert (ran.code, ran.out) == (0, FIXED)
    ran = cli("lyrics", "check", "bad.txt", "--diff")
    assert ran.out.startswith("--- bad.txt\n+++ bad.txt (mended)\n")
    assert "-you & I\n" in ran.out and "+you and I\n" in ran.out
    assert bad.read_text("utf-8") == BAD


def test_fix_writes_utf8(cli: Cli, home: Path) -> None:
    """A file in an old encoding is one in UTF-8 afterwards."""
    words = "[verse]\n我的爱在风中\n你不知道我的心\n"
    (home / "old.txt").write_bytes(words.encode("gb18030"))
    assert "guessed-encoding" in cli("lyrics", "check", "old.txt").out
    assert cli("lyrics", "check", "old.txt", "--fix").out == ""
    assert (home / "old.txt").read_text("utf-8") == words


def test_exit_codes_of_many_files(cli: Cli, bad: Path, home: Path) -> None:
    """0: no errors; 1: all have some; 3: some of them do."""
    (home / "tags.txt").write_text("[intro]\n[outro]\n")
    assert cli("lyrics", "check", "bad.txt", "bad.txt").code == 0
    ran = cli("lyrics", "check", "bad.txt", "tags.txt", "missing.txt")
    assert ran.code == 3
    assert "tags.txt:1:1: error: no words that can be sung" in ran.out
    assert "missing.txt: error: cannot be read (No such file" in ran.out
    assert cli("lyrics", "check", "tags.txt", "missing.txt").code == 1


def test_check_json(cli: Cli, bad: Path) -> None:
    """One object: a file's findings with row, column, rule, severity, message and fix."""
    (file,) = json.loads(cli("lyrics", "check", "bad.txt", "--json").out)["files"]
    assert (file["file"], file["errors"], file["warnings"]) == ("bad.txt", 0, 3)
    assert set(file["findings"][0]) == {"row", "column", "rule", "severity", "message", "fix"}
    ran = cli("lyrics", "check", "bad.txt", "--json", "--fix")
    assert json.loads(ran.out)["files"][0]["findings"] == []
    assert json.loads(ran.out)["files"][0]["changed"]


def test_check_against_a_model(cli: Cli, home: Path) -> None:
    """An installed model, a preset and a release by name; what does not fit is an error."""
    (home / "long.txt").write_text("[verse]\nwe walk along the river in the rain\n" * 40)
    ran = cli("lyrics", "check", "long.txt", "--model", "seedling")
    assert ran.code == 1
    assert "the model sings 60 s; make 4 songs: cut before row 21, " in ran.out
    assert "too-many-symbols" in ran.out
    ran = cli("lyrics", "check", "long.txt", "--model", "songbloom_full_150s")
    assert "959 symbols; the model hears 600" in ran.out
    assert cli("lyrics", "check", "long.txt", "--model", "full_240s").out == ""
    assert cli("lyrics", "check", "long.txt").code == 0
    assert_refused(cli("lyrics", "check", "long.txt", "--model", "nope"), 4, "nope", "Installed:")


def test_check_with_the_users_lexicon_and_language(cli: Cli, home: Path) -> None:
    """They are given as to generate, and refused as there."""
    (home / "a.txt").write_text("[verse]\nlove\n")
    (home / "words.txt").write_text("love L UW1 V\n")
    assert cli("lyrics", "check", "a.txt", "--lexicon", "words.txt", "-m", "seedling").code == 0
    (home / "words.txt").write_text("love /aai3/\n")
    ran = cli("lyrics", "check", "a.txt", "--lexicon", "words.txt", "-m", "full_150s")
    assert_refused(ran, 1, "words.txt:1", "/aai3/")
    assert_refused(cli("lyrics", "check", "a.txt", "--language", "de"), 2, "'de'", "v1")


def test_a_model_that_says_nothing(cli: Cli, bad: Path, home: Path) -> None:
    (home / "model").mkdir()
    (home / "model" / "model.json").write_text("[]")
    ran = cli("lyrics", "check", "bad.txt", "--model", "./model")
    assert_refused(ran, 1, "model.json", "songbloom models")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), ("FILE", "--help")),
        (("bad.txt", "-o", "x.txt"), ("-o", "--fix")),
        (("bad.txt", "bad.txt", "--fix", "-o", "x.txt"), ("-o", "one at a time")),
        (("-", "-"), ("standard input", "once")),
    ],
)
def test_check_refuses_what_makes_no_sense(
    cli: Cli, bad: Path, args: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert_refused(cli("lyrics", "check", *args), 2, *words)


# ---------------------------------------------------------------- phonemes


def test_phonemes_of_a_file_and_of_rows(cli: Cli, home: Path) -> None:
    """The whole file is one line for the model; with --lines every row is."""
    (home / "a.txt").write_text("[verse]\nhello\noh my love\n")
    assert cli("lyrics", "phonemes", "a.txt").out == "[verse] HH AH0 L OW1 . OW1 M AY1 L AH1 V\n"
    assert cli("lyrics", "phonemes", "a.txt", *RELEASE).out == (
        "[verse] HH AH0 L OW1 . OW1 my L AH1 V\n"
    )
    rows = b"[verse] hello\r\n\nlove\n"
    ran = cli("lyrics", "phonemes", "-", "--lines", stdin=rows)
    assert ran.out == "[verse] HH AH0 L OW1\n\nL AH1 V\n"
    ran = cli("lyrics", "phonemes", "-", "--lines", "--json", stdin=b"love\n")
    found = json.loads(ran.out)
    assert (found["line"], found["phonemes"], len(found["ids"])) == ("love", "L AH1 V", 3)


def test_phonemes_by_the_users_lexicon_and_language(cli: Cli, home: Path) -> None:
    (home / "words.txt").write_text("love L UW1 V\n")
    (home / "a.txt").write_text("[verse]\nlove\n")
    ran = cli("lyrics", "phonemes", "a.txt", "--lexicon", "words.txt")
    assert ran.out == "[verse] L UW1 V\n"
    (home / "words.txt").write_text("love L /aai3/ V\n")
    ran = cli("lyrics", "phonemes", "a.txt", "--lexicon", "words.txt")
    assert ran.out == "[verse] L /aai3/ V\n"
    ran = cli("lyrics", "phonemes", "a.txt", "--lexicon", "words.txt", *RELEASE)
    assert_refused(ran, 1, "words.txt:1", "/aai3/")
    assert_refused(cli("lyrics", "phonemes", "a.txt", "--language", "de", *RELEASE), 2, "de", "v1")
    assert_refused(cli("lyrics", "phonemes", "a.txt", "--frontend", "v9"), 2, "v9")


def test_phonemes_names_the_row_that_is_not_said(cli: Cli, home: Path) -> None:
    """Of a file and of rows; what a front end leaves out is warned of."""
    (home / "a.txt").write_text("[verse]\nlove\n{QQ} me\n")
    ran = cli("lyrics", "phonemes", "a.txt")
    assert_refused(ran, 1, "a.txt:3:1: {QQ}: no symbol is called 'QQ'")
    ran = cli("lyrics", "phonemes", "a.txt", "--lines")
    assert (ran.code, ran.out) == (1, "[verse]\nL AH1 V\n")
    assert "error: a.txt:3: {QQ}: no symbol is called 'QQ'" in ran.err
    ran = cli("lyrics", "phonemes", "-", *RELEASE, stdin="love 사랑".encode())
    assert ran.code == 0 and 'cannot say "사랑"' in ran.err


@pytest.mark.parametrize("lines", [(), ("--lines",)])
def test_phonemes_of_what_is_no_text(cli: Cli, home: Path, lines: tuple[str, ...]) -> None:
    (home / "x.txt").write_bytes(b"ok\n\xff\x00\xfe\n")
    ran = cli("lyrics", "phonemes", "x.txt", *lines)
    assert ran.code == 1 and "error: x.txt" in ran.err
    assert_refused(cli("lyrics", "phonemes", "none.txt", *lines), 1, "none.txt", "cannot be read")


# ---------------------------------------------------------------- convert


def test_convert_by_suffix_and_by_name(cli: Cli, home: Path) -> None:
    """The suffix of OUT names the format, --to wins; stdout is the path, or the lyrics for -."""
    (home / "a.lrc").write_text(LRC)
    ran = cli("lyrics", "convert", "a.lrc", "a.txt")
    assert ran.out == "a.txt\n" and "text cannot hold, and so left out: times\n" in ran.err
    assert (home / "a.txt").read_text() == "Title: Rain\n\n[verse]\nla la\nho ho\n"
    assert cli("lyrics", "convert", "a.lrc", "-", "--to", "line").out == "[verse] la la.ho ho\n"
    assert "00:00:01,000 --> " in cli("lyrics", "convert", "a.lrc", "-", "--to", "srt").out
    ran = cli("lyrics", "convert", "-", "-", "--to", "text", stdin=LRC.encode())
    assert ran.out == (home / "a.txt").read_text()


def test_convert_by_convention(cli: Cli, home: Path) -> None:
    """The same ten seconds are ten tags for the 150 s models and two for the 240 s one."""
    (home / "a.txt").write_text("[intro x10]\n[verse]\nla\n")
    ran = cli("lyrics", "convert", "a.txt", "-", "--to", "line")
    assert ran.out == "[intro] " * 10 + ", [verse] la\n"
    ran = cli("lyrics", "convert", "a.txt", "-", "--to", "line", "--convention", "240s")
    assert ran.out == "[intro] [intro] , [verse] la\n"


def test_convert_refuses(cli: Cli, bad: Path) -> None:
    """No format, an unknown one, times that nobody has, no lyrics."""
    assert_refused(cli("lyrics", "convert", "bad.txt", "x.zzz"), 2, "x.zzz", "--to", "jsonl")
    assert_refused(cli("lyrics", "convert", "bad.txt", "-"), 2, "--to")
    assert_refused(cli("lyrics", "convert", "bad.txt", "x", "--to", "doc"), 2, "doc", "lrc")
    ran = cli("-q", "lyrics", "convert", "bad.txt", "x.srt")
    assert_refused(ran, 1, "srt", "no line has a time")
    assert not Path("x.srt").exists()
    assert_refused(cli("lyrics", "convert", "none.txt", "x.lrc"), 1, "none.txt")


# ---------------------------------------------------------------- show


def test_show(cli: Cli, home: Path) -> None:
    """Sections with their place and length, lines with their syllables; plain in a pipe."""
    (home / "a.txt").write_text("Title: Rain\n\n[intro x6]\n[Verse 1]\nCity lights flicker\n")
    ran = cli("lyrics", "show", "a.txt")
    assert ran.out == (
        "title: Rain\n"
        " 0:00  [intro]  6 s\n"
        " 0:06  [verse] Verse 1  3 s, 5 syllables\n"
        "      5  City lights flicker\n"
        " 0:09  end, 5 syllables\n"
    )
    assert ran.err == ""


def test_show_json(cli: Cli, bad: Path) -> None:
    """--json holds the same, with the findings and the one line."""
    shown = json.loads(cli("lyrics", "show", "bad.txt", "--json").out)
    assert [part["tag"] for part in shown["sections"]] == ["intro", "verse"]
    assert shown["syllables"] == sum(part["syllables"] for part in shown["sections"]) == 7
    assert shown["seconds"] == pytest.approx(sum(p["seconds"] for p in shown["sections"]), abs=0.2)
    assert shown["line"].startswith("[intro] [intro]")
    assert shown["findings"][0]["rule"] == "misspelt-tag"


def test_show_refuses(cli: Cli) -> None:
    assert_refused(cli("lyrics", "show", "-", stdin=b""), 1, "standard input", "empty")
    assert_refused(cli("lyrics", "show"), 2, "FILE")


def test_group_help(cli: Cli) -> None:
    """The group alone, and a word that is no command of it."""
    assert "convert" in cli("lyrics", "--help").out
    assert cli("lyrics", "chekc").code == 2
