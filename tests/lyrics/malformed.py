"""Malformed lyric files, made from a seed: what editors, exports and pasting do to them."""

import random

ROWS = (
    "[Verse 1]",
    "[chorus]",
    "(Chorus x2)",
    "[[Bridge]]",
    "[Verse [1]]",
    "[Outro",
    "Intro]",
    "[Chrous]",
    "[" * 40,
    "]" * 40,
    "{P IY1 S} of mind",
    "{",
    "City lights, flicker",
    "Dreams pass fast.",
    "风轻轻吹过古道",
    "愛してる",
    "사랑해",
    "Привет",
    "😀👩‍👩‍👧🏽🇩🇪",
    "z\u200be\u200dr\u2060o\ufeff width",
    "\u202eright to left\u202c \u2066mixed\u2069",
    "e\u0301\u0301\u0301\u0301 zalgo",
    "tab\tand\x0bvertical\x0cform",
    "\x1b[31mred\x1b[0m \x07",
    "\u2028separator\u2029",
    "\x85next",
    "half \ud83d",
    "\udc00",
    "\ufffe\uffff\ufdd0",
    "[00:12.00]Lights",
    "[00:10.00][00:05.00]Twice",
    "[00:01.00]<00:00.50>back <00:00.10>wards",
    "[99999999999999:00.00]huge",
    "[00:99.99]over",
    "[-00:01.00]negative",
    "[00:00:00:00:00]many",
    "[00:1" + "0" * 300 + "]long",
    "[offset:-999999999]",
    "[offset:99999999]",
    "[offset:x]",
    "[ti:]",
    "[ti:a][ar:b]",
    "[re:chorus]",
    "<00:01.00>" * 20,
    "<99:99:99:99>x",
    "WEBVTT",
    "WEBVTT - notes",
    "NOTE",
    "STYLE",
    "1",
    "00:00:01,000 --> 00:00:02,000",
    "00:00:09,000 --> 00:00:02,000",
    "-00:00:01,000 --> 00:00:02,000",
    "00:00 --> 1",
    "99999999:00:00,000 --> 00:00:00,000",
    "00:01.000 --> 00:02.000 align:start position:0%",
    "a --> b",
    "<i>open",
    "</b></b>close",
    "<<<>>>",
    "&amp;&lt;&#0;&#xD800;&bogus;",
    "{\\an8}{\\",
    '{"text": "hi", "start": 1e400}',
    '{"text": "\\ud800\\u0000", "start": NaN, "end": -1}',
    '{"text": 5}',
    '{"tag": ["verse"]}',
    '{"format": "songbloom-lyrics", "version": 99}',
    '{"format": "songbloom-lyrics", "version": 1, "metadata": [], "line": 3}',
    '{"section": "x", "repeats": -1, "words": {"a": 1}}',
    '{"repeats": 1e9, "tag": "intro"}',
    '{"words": [["a"], ["b", "c"], [null, 1], 7], "text": "b"}',
    '{"idx": "a", "lyrics": "b"}',
    '{"text": ' * 50,
    "[" * 200 + "1",
    "[intro] [intro] , [verse] a.b , [chorus] c",
    "[verse]" * 30,
    "[intro x9999]",
    "[intro x99999999999999999999]",
    "Title: x",
    "Title:",
    "# heading",
    "**bold**: words",
    "```",
    "---",
    "",
    "   ",
    "\u3000",
)
ENDINGS = ("\n", "\r\n", "\r", "\n\r", "\n\n")
ENCODINGS = (
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "gb18030",
    "big5",
    "shift_jis",
    "cp949",
    "latin-1",
    "cp1252",
    "utf-7",
)
SUFFIXES = (".txt", ".lrc", ".srt", ".vtt", ".jsonl", "")


def malformed(seed: int) -> tuple[bytes, str]:
    """The bytes of a file and its name."""
    rng = random.Random(seed)
    rows = [_row(rng) for _ in range(rng.choice((1, 3, 10, 40)))]
    if rng.random() < 0.05:
        rows = [row for row in rows for _ in range(10_000 // len(rows))]
    text = "".join(row + rng.choice(ENDINGS[:3]) for row in rows)
    if rng.random() < 0.3:
        text = text.replace("\n", rng.choice(ENDINGS))
    encoding = rng.choice(("utf-8", "utf-8", rng.choice(ENCODINGS)))
    errors = "surrogatepass" if encoding.startswith("utf-") and encoding != "utf-7" else "ignore"
    data = text.encode(encoding, errors)
    return _spoilt(data, rng), f"song{rng.choice(SUFFIXES)}"


def _row(rng: random.Random) -> str:
    row = rng.choice(ROWS)
    if rng.random() < 0.2:
        row += " " * rng.randrange(3) + rng.choice(ROWS)
    if rng.random() < 0.1:
        at = rng.randrange(len(row) + 1)
        row = row[:at] + chr(rng.choice((0x200B, 0x202E, 0xFEFF, 0x301, 0x1F600, 0xAD))) + row[at:]
    return row


def _spoilt(data: bytes, rng: random.Random) -> bytes:
    """Bytes lost, changed, put in, or another encoding behind them."""
    kind = rng.randrange(12)
    at = rng.randrange(len(data) + 1)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + bytes(rng.randrange(256) for _ in range(3)) + data[at:]
    if kind == 2:
        return data + "你好，世界".encode("gb18030")
    if kind == 3:
        return b"\xef\xbb\xbf\xff\xfe"[: rng.randrange(6)] + data
    if kind == 4:
        return data[:at] + b"\0" + data[at:]
    return data
