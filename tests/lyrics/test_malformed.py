"""Files that are not as they should be: findings or one clear error, and in bounded time."""

import sys
import time

import pytest
from lyrics.malformed import malformed

from songbloom.errors import SongBloomError
from songbloom.lyrics import FORMATS, RULES, Lyrics, parse, parse_bytes, write
from songbloom.lyrics.tags import TAGS

ONE_ROW = (
    "word ", "x", " ", "[", "]", "[verse]", "[verse] ", "[x]", "# ", "(a ", ". ",
    "one: ", "<", "<00:01.00>", "<00:01.00>a ", "[00:01.00]", "[00:01.00]a", "00:", "-->", "{", "&",
    '{"text": ', '"', "😀", "한", "\u200b", "\u202e", "é", "e\u0301", "<i>", "\\", "`", "x9", "、",
    ",",
)  # fmt: skip


def check(lyrics: Lyrics, num_rows: int) -> None:
    """What holds of whatever was read."""
    assert lyrics.sections and {section.tag for section in lyrics.sections} <= set(TAGS)
    assert len(lyrics.line.splitlines()) == 1
    assert {finding.rule for finding in lyrics.findings} <= RULES.keys()
    assert all(0 <= finding.place.row <= num_rows for finding in lyrics.findings)
    for warning in lyrics.warnings:
        assert warning.isprintable()
    for format in FORMATS:
        try:
            write(lyrics, format).encode()
        except SongBloomError as error:
            assert "no line has a time" in error.message


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_300_malformed_files_give_findings_or_one_error(first: int) -> None:
    """Never another exception; messages are rows of printable text with a hint."""
    for seed in range(first, first + 50):
        data, name = malformed(seed)
        try:
            lyrics = parse_bytes(data, name)
        except SongBloomError as error:
            assert error.hint and error.message.startswith(name)
            assert error.message.isprintable(), seed
        else:
            check(lyrics, len(data) + 1)


def test_some_malformed_files_are_read() -> None:
    """The generator is not so bad that everything is refused, nor so good that nothing is found."""
    read = findings = 0
    for seed in range(100):
        try:
            lyrics = parse_bytes(*malformed(seed))
        except SongBloomError:
            continue
        read += 1
        findings += bool(lyrics.findings)
    assert read > 30 and findings > 25


TIMED_HEADS = ("[00:01.00]hi ", "WEBVTT\n\n00:01.000 --> 00:02.000\nhi ")
TIMED_PIECES = ("[", "<", "<00:01.00>a ", "[00:01.00]a", "&", "<i>", "한", "x")


@pytest.mark.parametrize(
    ("head", "piece"),
    [("hi ", piece) for piece in ONE_ROW]
    + [(head, piece) for head in TIMED_HEADS for piece in TIMED_PIECES],
    ids=ascii,
)
def test_long_rows_do_not_hang(head: str, piece: str) -> None:
    """No pattern goes back and forth, in plain text, behind a stamp and in a cue."""
    assert_is_read_in_time(head + piece * (250_000 // len(piece.encode())))


@pytest.mark.parametrize("piece", ["la ", "[verse] ", "啊"])
def test_a_megabyte_in_one_row_does_not_hang(piece: str) -> None:
    assert_is_read_in_time(piece * (1_000_000 // len(piece.encode())))


def assert_is_read_in_time(text: str, seconds: float = 20) -> None:
    start = time.process_time()
    try:
        parse(text)
    except SongBloomError as error:
        assert len(error.message) < 1000
    assert time.process_time() - start < seconds


@pytest.mark.parametrize(
    "rows",
    [
        "[Verse {n}]\nla {n}\n",
        "la [Verse {n}] ",
        "[zz{n}]\nla\n",
        "[chroos{n}]\nla\n",
        "[intro]\n",
        "[{n:05d}:00.00][intro]\n",
        "[00:00.{n:04d}]la <00:00.{n:04d}>la\n",
        "{n}\n00:00:00,000 --> 00:00:01,000\n[verse]\nla\n\n",
        '{{"tag": "verse", "text": "la", "section": {n}}}\n',
    ],
)
def test_thousands_of_tags_are_read(rows: str) -> None:
    many = 10_000 if rows.startswith("[Verse") else 3_000
    text = "".join(rows.format(n=n) for n in range(many)) + rows.format(n=1) * 2
    start = time.process_time()
    try:
        lyrics = parse(text)
    except SongBloomError as error:
        assert "no words" in error.message or "day" in error.message
    else:
        assert len(lyrics.warnings) < 200
    assert time.process_time() - start < 60


def test_deep_json_is_refused() -> None:
    """Nesting beyond the interpreter's depth is no crash."""
    depth = sys.getrecursionlimit() * 50
    with pytest.raises(SongBloomError):
        parse('{"text": ' + "[" * depth + "]" * depth + "}", "a.jsonl")
