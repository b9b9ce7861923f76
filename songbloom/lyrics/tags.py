"""Section tags: the seven of the released models, and what people write instead of them."""

import functools
import re
import unicodedata
from typing import NamedTuple

VOCAL_TAGS = ("verse", "chorus", "bridge")
NON_VOCAL_TAGS = ("intro", "outro", "inst", "silence")
TAGS = VOCAL_TAGS + NON_VOCAL_TAGS

_NAMES = {
    "verse": "verse,vers,strophe,stanza,pre chorus,prechorus,pre hook,rap,spoken,spoken word,"
    "couplet,estrofa,verso,主歌,导歌,導歌,aメロ,bメロ,절",
    "chorus": "chorus,refrain,hook,post chorus,postchorus,chorus repeat,coro,estribillo,副歌,サビ,"
    "후렴",
    "bridge": "bridge,middle eight,middle 8,pont,puente,ponte,brücke,桥段,橋段,过渡,過渡,ブリッジ,"
    "브릿지",
    "intro": "intro,introduction,opening,prelude,前奏,序曲,イントロ,인트로",
    "outro": "outro,ending,end,coda,fade out,fade,尾奏,结尾,結尾,アウトロ,아웃트로",
    "inst": "inst,instrumental,instrumental break,interlude,solo,break,breakdown,drop,build,"
    "build up,buildup,instrumental solo,music,间奏,間奏,独奏,獨奏,간주",
    "silence": "silence,pause,静音,靜音",
}
TAG_OF_NAME = {name: tag for tag, names in _NAMES.items() for name in names.split(",")}
# Names that are a tag even without brackets or a colon when they fill a line.
_UNMISTAKABLE = ("verse", "chorus", "pre chorus", "intro", "outro", "主歌", "副歌", "前奏", "尾奏")

_OPEN, _CLOSE = "[［【{｛(（<", "]］】}｝)）>"
_BRACKETED = re.compile(
    rf"([{re.escape(_OPEN)}]{{1,3}})([^{re.escape(_OPEN + _CLOSE)}]*)[{re.escape(_CLOSE)}]{{1,3}}"
)
_SURE_BRACKETS = "[［【"
_BETWEEN_TAGS = " ,\t:："
_LABEL = re.compile(r"([^\W\d_][^:：]{0,31})[:：]")
_INSIDE = re.compile(r"\[([^\[\]]{1,40})\]")
_MARKUP = "#*_ \t"
_MARKED = ("##", "**", "__")  # a heading of Markdown; one # is the title
_NUMBERING = re.compile(r"\b(?:\d+|[ivx]+|one|two|three|x\s?\d+|\d+\s?x)\b|[xX×]\s?\d+|\d+")
_COUNT = re.compile(r" x([1-9][0-9]{0,3})$")
_EXTRAS = re.compile(r"[:：|,，(（/–—]| - ")
_LONGEST_NAME = 80  # letters; what is longer is a remark, and is not compared with the names


class TagLine(NamedTuple):
    """A line that names sections: tags in order, names nobody knows, the words behind them.

    Without any tag the unknown names open a verse. `names` are the tags as written, `closed` is
    false where a bracket is missing.
    """

    tags: tuple[str, ...]
    unknown: tuple[str, ...]
    rest: str
    names: tuple[str, ...] = ()
    closed: bool = True


def tag_of(name: str) -> str | None:
    """The tag that `name` means, brackets off ("Verse 1", "Guitar Solo", "HOOK x2"), or None."""
    plain = _plain(name[:_LONGEST_NAME])
    words = plain.split(" ")
    return TAG_OF_NAME.get(plain) or TAG_OF_NAME.get(words[-1]) or TAG_OF_NAME.get(words[0])


@functools.lru_cache(maxsize=1 << 10)
def nearest_tag(name: str) -> str | None:
    """The tag that a misspelt name means; None where it is like no known name."""
    import difflib  # a tenth of the time that this package takes to import, and seldom needed

    if len(name) > _LONGEST_NAME:
        return None
    close = difflib.get_close_matches(_plain(name), TAG_OF_NAME, n=1, cutoff=0.7)
    return TAG_OF_NAME[close[0]] if close else None


def read_tag_line(line: str) -> TagLine | None:
    """What the line names, or None for a line of words.

    Square brackets always hold a tag; other ones only where the name is known, because
    "(ooh ooh)" is sung and "{P IY1 S}" is a word in phonemes. "Chorus:", "## Bridge" and an
    unmistakable bare "Verse 2" count too.
    """
    text = visible(line).strip().strip(_MARKUP)
    if found := _read_brackets(text) or _read_half_bracket(text):
        return found
    if label := _LABEL.match(text):
        tag = TAG_OF_NAME.get(_plain(label[1]))
        return (
            TagLine((tag,), (), text[label.end() :].strip(), (label[1].strip(),)) if tag else None
        )
    names = TAG_OF_NAME if visible(line).lstrip().startswith(_MARKED) else _UNMISTAKABLE
    if len(text) <= 30 and _plain(text) in names:
        return TagLine((TAG_OF_NAME[_plain(text)],), (), "", (text,))
    return None


def counted_name(name: str) -> tuple[str, int]:
    """The name of a part without words and how often its tag counts: "Solo x8"; 0: not said."""
    if match := _COUNT.search(name):
        return name[: match.start()], int(match[1])
    return name, 0


def tags_inside(line: str) -> list[int]:
    """Where known tags in square brackets stand behind words, and so begin a section."""
    found, end = [], 0
    for match in _INSIDE.finditer(line):
        if _plain(match[1]) in TAG_OF_NAME:
            if line[end : match.start()].strip(_MARKUP + _BETWEEN_TAGS + _OPEN + _CLOSE):
                found.append(match.start())
            end = match.end()
    return found


def visible(text: str) -> str:
    """The text without zero-width and bidirectional marks."""
    if text.isascii():
        return text
    return text.translate({ord(c): None for c in set(text) if unicodedata.category(c) == "Cf"})


def _read_brackets(text: str) -> TagLine | None:
    """Tags at the head of the line, commas and spaces between them.

    A name that nobody knows is a verse, or nothing beside one that is known: [Verse][Female].
    """
    tags: list[str] = []
    names: list[str] = []
    unknown: list[str] = []
    place = 0
    while match := _BRACKETED.match(text, place):
        name, sure = match[2].strip(), match[1][0] in _SURE_BRACKETS
        tag = tag_of(name) if sure or _is_short(name) else None
        if tag:
            tags.append(tag)
            names.append(name)
        elif sure and name:
            unknown.append(name)
        else:
            break
        place = match.end()
        while place < len(text) and text[place] in _BETWEEN_TAGS:
            place += 1
    if not tags and not unknown:
        return None
    return TagLine(tuple(tags), tuple(unknown), text[place:].strip(), tuple(names))


def _read_half_bracket(text: str) -> TagLine | None:
    """A known name that fills the line with one of its brackets missing: "[Verse 1"."""
    name = text.strip(_OPEN + _CLOSE + " ")
    if len(name) > 30 or text[:1] not in _SURE_BRACKETS and text[-1:] not in "]］】}｝":
        return None
    tag = TAG_OF_NAME.get(_plain(name))
    return TagLine((tag,), (), "", (name,), closed=False) if tag else None


def _is_short(name: str) -> bool:
    """A name of two words at most: "(guitar solo)" is one, "(I need a break)" is sung."""
    if len(name) > _LONGEST_NAME:
        return False
    return len(_plain(name).split(" ")) <= 2


@functools.lru_cache(maxsize=1 << 10)
def _plain(name: str) -> str:
    """Lower case, without numbers, performers' names and punctuation: "Pre-Chorus 2: Ann"."""
    head = _EXTRAS.split(name.strip().lower(), maxsplit=1)[0]
    head = _NUMBERING.sub(" ", head.replace("-", " ")) if head not in TAG_OF_NAME else head
    return " ".join(head.replace("_", " ").split())
