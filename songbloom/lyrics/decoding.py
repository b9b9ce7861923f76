"""Bytes to text: UTF-8, UTF-16 and UTF-32 by their marks, and what old files are written in.

A file that is not Unicode is read in a guessed encoding only where the guess is certain: its
letters must be those that people write most in the languages of that encoding.
"""

import codecs
import re

from songbloom.errors import SongBloomError
from songbloom.lyrics.document import Finding, Place

MAX_BYTES = 16 << 20

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The commonest letters of songs in each encoding.
_COMMON = {
    "gb18030": "的一是不了在人有我他这中大来上个国到说们为子和你地出会也时要就可以对生能而那得着"
    "下自之年过后里用所然没当看起天分还进好小心爱情想让只梦风夜星雨泪等手吻哭笑走飞光海谁再太真难给把被忘记"
    "听无多开都什么样她如知道现事长从面前回家成最己眼远她花月云路声歌",
    "big5": "的一是不了在人有我他這中大來上個國到說們為子和你地出會也時要就可以對生能而那得著"
    "下自之年過後裡用所然沒當看起天分還進好小心愛情想讓只夢風夜星雨淚等手吻哭笑走飛光海誰再太真難給把被忘記"
    "聽無多開都什麼樣她如知道現事長從面前回家成最己眼遠她花月雲路聲歌",
    "shift_jis": "あいうえおかがきくけこさしすせそただちっつてでとどなにの"
    "はまみめもゃやょよらりるれろわをん",
    "cp949": "이다는을를가의에나너그사랑해고지내한하있없도로기것수아어오"
    "우리라마만은인날말눈모두대서자요게네",
    "cp1252": "éèêëàâäáåæçñíîïìóòôöøœúùûüýßÉÈÀÄÅÇÑÓÖØÚÜ’‘“”–—…¿¡«»",
}
_LEAST_COMMON = 0.25  # share of common ones among all letters outside ASCII
_NEARLY_ALL = 0.75
_LEAST_WESTERN = 0.95
_LEAST_COUNT = 4  # of common letters; fewer by chance, unless nearly all are
_BROKEN = re.compile("[\x01-\x08\x0e-\x1b\x7f\x80-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


def decode_bytes(data: bytes, source: str) -> tuple[str, list[Finding]]:
    """The text of a file without its byte order mark, and what to know of its encoding.

    `SongBloomError` says where it is no text, or in what encoding it cannot be told.
    """
    if len(data) > MAX_BYTES:
        raise SongBloomError(
            f"{source}: larger than {MAX_BYTES >> 20} MiB; expected lyrics as text",
            "Name the text file, not the recording.",
        )
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _strict(data, encoding, source), []
    if b"\0" in data:
        return _unmarked_utf16(data, source), [_guessed("UTF-16 without a byte order mark")]
    try:
        return data.decode("utf-8"), []
    except UnicodeDecodeError as error:
        rows = data.split(b"\n")
        others = [row for row in rows if not _is_utf8(row)]
        if not (guess := guess_encoding(b"\n".join(others))):
            raise _undecodable(data, error, source) from error
        first = data.count(b"\n", 0, error.start) + 1
    decoded = [row.decode("utf-8" if _is_utf8(row) else guess) for row in rows]
    return "\n".join(decoded), [_guessed(guess.upper(), first)]


def _is_utf8(row: bytes) -> bool:
    """Whether a row must be UTF-8: plain, or with characters of three bytes, rare by chance."""
    try:
        return row.isascii() or max(row.decode("utf-8")) >= "\u0800"
    except UnicodeDecodeError:
        return False


def guess_encoding(data: bytes) -> str | None:
    """The old encoding of bytes that are not UTF-8; None where it is not certain."""
    shares = {encoding: _share(data, encoding) for encoding in _COMMON}
    best = max(shares, key=lambda encoding: shares[encoding])
    return best if shares[best] >= _LEAST_COMMON else None


def clean(text: str) -> tuple[str, list[Finding]]:
    """The text without what is no character, and a finding that says so."""
    kept, count = _BROKEN.subn("", text)
    if not count:
        return text, []
    first = _BROKEN.search(text)
    at = first.start() if first else 0
    row = len(f"{text[:at]}.".splitlines())
    message = f"{count} control codes or broken characters are left out"
    fix = "delete them"
    return kept, [Finding(Place(row, 1), "broken-character", "warning", message, fix)]


def _share(data: bytes, encoding: str) -> float:
    """How common the letters are that the bytes would be; 0 where they cannot be."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return 0.0
    others = [letter for letter in text if not letter.isascii() and not letter.isspace()]
    common = set(_COMMON[encoding])
    count = sum(letter in common for letter in others)
    if encoding == "cp1252":
        return _western_share(text, count, others)
    letters = sum(letter.isalpha() for letter in others)
    share = count / max(1, letters)
    return share if count >= _LEAST_COUNT or (count > 1 and share > _NEARLY_ALL) else 0.0


def _western_share(text: str, common: int, others: list[str]) -> float:
    """Western text has few accents among many plain letters, and few side by side."""
    if common < _LEAST_WESTERN * len(others):
        return 0.0
    plain = sum(letter.isascii() and letter.isalpha() for letter in text)
    pairs = len(re.findall(r"(?=[^\W\d_a-zA-Z]{2})", text))
    return 1.0 if plain > 2 * len(others) and pairs <= len(others) // 4 else 0.0


def _unmarked_utf16(data: bytes, source: str) -> str:
    """Zero bytes at every other place only are UTF-16; elsewhere they are no text."""
    even, odd = data[::2].count(0), data[1::2].count(0)
    if len(data) % 2 == 0 and (even == 0 or odd == 0) and even + odd >= len(data) // 20:
        encoding = "utf-16-le" if odd else "utf-16-be"
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            text = "\0"
        if all(letter.isprintable() or letter.isspace() for letter in set(text)):
            return text
    raise SongBloomError(
        f"{source}: not a text file (it holds NUL bytes); expected lyrics in UTF-8",
        "Name a text file; save it as UTF-8 if it is in another encoding.",
    )


def _strict(data: bytes, encoding: str, source: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise _undecodable(data, error, source) from error


def _undecodable(data: bytes, error: UnicodeDecodeError, source: str) -> SongBloomError:
    row = data.count(b"\n", 0, error.start) + 1
    expected = "UTF-8" if error.encoding == "utf-8" else error.encoding.upper()
    return SongBloomError(
        f"{source}:{row}: not {expected} text (byte 0x{data[error.start]:02x})",
        "Save it as UTF-8, for example: iconv -f GB18030 -t UTF-8 OLD.txt > NEW.txt",
    )


def _guessed(encoding: str, row: int = 0) -> Finding:
    message = f"not UTF-8; read as {encoding}"
    return Finding(Place(row), "guessed-encoding", "warning", message, "save it as UTF-8")
