"""Bytes to text: what is told, what is guessed, what is refused."""

import random

import pytest

from songbloom.errors import SongBloomError
from songbloom.lyrics import decode, parse, parse_bytes
from songbloom.lyrics.decoding import clean, guess_encoding

SONGS = {
    "gb18030": "[主歌]\n风轻轻吹过古道\n岁月在你的眼里\n我想起那年的夏天\nLove you",
    "big5": "[主歌]\n風輕輕吹過古道\n歲月在你的眼裡\n我想起那年的夏天\nLove you",
    "shift_jis": "[Verse]\n夜空に光る星を見ていた\nあなたのことを思い出して",
    "cp949": "[Verse]\n너를 사랑해 오늘도 내일도\n밤하늘의 별을 보며 노래해",
    "cp1252": "[Couplet]\nLà où l’été s'en va déjà\nje rêve d'un café à deux",
    "latin-1": "[Strophe]\nÜber den Dächern der Stadt\nträume ich und größer wird die Nacht",
}


@pytest.mark.parametrize("encoding", SONGS)
def test_old_encodings_are_guessed_with_a_finding(encoding):
    song = SONGS[encoding]
    lyrics = parse_bytes(song.encode(encoding), "song.txt", frontend="v1")
    assert lyrics.line == parse(song, frontend="v1").line
    (finding,) = [found for found in lyrics.findings if found.rule == "guessed-encoding"]
    assert finding.severity == "warning" and "not UTF-8" in lyrics.warnings[0]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_marks_tell_the_encoding(encoding):
    lyrics = parse_bytes("[verse]\r\n你好 la".encode(encoding))
    assert (lyrics.line, lyrics.findings) == ("[verse] 你好 la", ())


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_guessed(encoding):
    lyrics = parse_bytes("[verse]\nCity lights, café\n".encode(encoding))
    assert lyrics.line == "[verse] City lights, café"
    assert [found.rule for found in lyrics.findings] == ["guessed-encoding"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"ok\nbad \xff", r"^a:2: not UTF-8 text \(byte 0xff\)"),
        ("你好".encode() + "我的爱".encode("gb18030"), "^a:1: not UTF-8"),
        (b"love " + "你".encode("gb18030"), "^a:1: not UTF-8"),
        (b"\xff\xfeh\0i", "^a:1: not UTF-16"),
        (b"a\0b", "^a: not a text file"),
        (b"\0" * 100, "^a: not a text file"),
        (b"a" * ((16 << 20) + 1), "^a: larger than 16 MiB"),
    ],
    ids=["byte", "two in a row", "one letter", "odd utf-16", "nul", "nuls", "large"],
)
def test_what_is_not_certain_is_refused(data, message):
    with pytest.raises(SongBloomError, match=message) as caught:
        decode(data, "a")
    assert caught.value.hint


def test_a_file_of_two_encodings_is_read_row_by_row():
    """As when text in an old encoding is put behind UTF-8; rows of both are refused."""
    data = "[verse]\n风轻轻吹\n".encode() + "岁月在你的眼里\n".encode("gb18030")
    lyrics = parse_bytes(data, "a")
    assert lyrics.line == "[verse] 风轻轻吹.岁月在你的眼里"
    assert lyrics.warnings == ("a:3:1: not UTF-8; read as GB18030",)


def test_noise_is_no_encoding():
    """Of a thousand random strings none is taken for text; with few letters some would be."""
    rng = random.Random(0)
    for _ in range(1000):
        data = bytes(rng.choice(range(128, 256)) for _ in range(rng.randrange(4, 60)))
        assert guess_encoding(data) is None, data


def test_what_is_no_character_is_left_out():
    """Control codes, halves of surrogates, noncharacters: counted, with the row of the first."""
    text, (finding,) = clean("a\nb\x1b[31m\ud800\ufffe\x07")
    assert text == "a\nb[31m"
    assert (finding.rule, finding.place.row) == ("broken-character", 2)
    assert clean("a\tb\r\n你\u200b😀") == ("a\tb\r\n你\u200b😀", [])
