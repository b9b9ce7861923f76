"""The front end of our own models: the `release` one with its quirks mended, in eight languages.

Words that are symbols of other languages (a, I, my, by) are said, capitalised tags are tags, blanks
carry nothing, digits and signs are read in the language around them, apostrophes and hyphens
belong to their word. `{P IY1 S}` stands for itself. What cannot be said is told, by `unsayable` or
by an error, and never just gone.
"""

import functools
import re
import unicodedata
from collections.abc import Iterator, Sequence

from songbloom.errors import SongBloomError
from songbloom.lyrics import english, espeak, japanese, korean, languages, lexicon, mandarin, signs
from songbloom.lyrics.languages import SAID, Run, Voices
from songbloom.lyrics.tags import tag_of
from songbloom.lyrics.user_lexicon import Lexicon, Symbols, checked
from songbloom.lyrics.vocabulary import V1_VOCABULARY

_TAG = "\ue001"  # stands for a section tag, as SAID does for symbols
_SET_ASIDE = re.compile(r"\[([^\[\]]*)\]|\{([^{}]*)\}")
_QUOTES = str.maketrans(dict.fromkeys("’‘ʼ＇´`′", "'"))
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("–—―", " - "),
        **dict.fromkeys("‐‑", "-"),
        **dict.fromkeys("。\n", "."),
        **dict.fromkeys("、;", ","),
        **dict.fromkeys("~〜", "…"),
        **dict.fromkeys("·・⁄", " "),
    }
)
_ABBREVIATION = re.compile(r"(?<![\w.])(?:[A-Za-z]\.){2,}(?![A-Za-z])")
_MARK = re.compile(
    rf"({_TAG}|\.{{2,}}|[!?…]|(?<!\d)[.,:/]|[.,:/](?!\d)|(?<!\S)-+|-+(?!\S)|-{{2,}})"
)
_SYMBOL_OF_MARK = {":": ",", "/": ","}
_HELD = re.compile(r"([a-z])(?:\1{2,}|\1$)", re.IGNORECASE)
_HUMMED = ("mm", "hmm", "shh")
_ENGLISH_WORD = re.compile(r"[A-Za-z']+(?:-[A-Za-z']+)*")


def phonemes(line: str, *, user_lexicon: Lexicon | None = None, language: str | None = None) -> str:
    """The phoneme string of a one-line lyric, symbols of `V1_VOCABULARY` set apart by blanks.

    `language` overrides what `languages` guesses. `SongBloomError` for symbols in braces that are
    none and for words that nobody can read, `MissingAssetError` where a language needs a program or
    an extra that is not installed.
    """
    languages.check_language(language)
    text, said = _set_aside(line, user_lexicon)
    return " ".join(_say(text, said, languages.of_song(text, language), language))


def refusals(
    lines: Sequence[str], *, user_lexicon: Lexicon | None = None, language: str | None = None
) -> list[SongBloomError | None]:
    """For each line of a song what `phonemes` raises because of it; None where it is said."""
    languages.check_language(language)
    song = languages.of_song(_plain(_SET_ASIDE.sub(" ", "\n".join(lines))), language)
    return [_refusal(line, user_lexicon, song, language) for line in lines]


def _refusal(
    line: str, user_lexicon: Lexicon | None, song: Voices, language: str | None
) -> SongBloomError | None:
    try:
        _say(*_set_aside(line, user_lexicon), song, language)
    except SongBloomError as error:
        return error
    return None


def _say(text: str, said: Iterator[Symbols], song: Voices, language: str | None) -> list[str]:
    """The symbols of text in which `said` are set aside."""
    symbols: list[str] = []
    for sentence, mark in _sentences(text):
        voices = languages.of_sentence(sentence, song, language)
        for run in languages.runs(sentence, voices):
            symbols += _pronounce(run) if run.language else next(said)
        if mark == _TAG:
            symbols += next(said)
        elif mark and symbols[-1:] != [mark]:
            symbols.append(mark)
    return symbols


def unsayable(line: str) -> str:
    """The characters of `line` that are not said, each once: letters of other scripts, emoji."""
    letters = dict.fromkeys(_SET_ASIDE.sub("", line).translate(_QUOTES).translate(_PLAIN))
    return "".join(letter for letter in letters if _vanishes(letter))


def _vanishes(letter: str) -> bool:
    if letter.isascii() or unicodedata.category(letter)[0] not in "LNS":
        return False
    plain = unicodedata.normalize("NFKC", letter)
    return all(languages.script(x) == "blank" for x in plain)


def _set_aside(line: str, words: Lexicon | None) -> tuple[str, Iterator[Symbols]]:
    """Plain text in which tags, inline phonemes and the lexicon's words are one character each,
    and what those say, in order."""
    texts: list[str] = []
    said: list[Symbols] = []
    place = 0
    for match in _SET_ASIDE.finditer(line):
        _add_text(line[place : match.start()], words, texts, said)
        place = match.end()
        if match[2] is not None:
            texts.append(SAID)
            said.append(checked(match[2].split(), V1_VOCABULARY, f"lyrics: {match[0]}"))
        elif tag := tag_of(match[1]):
            texts.append(_TAG)
            said.append((f"[{tag}]",))
    _add_text(line[place:], words, texts, said)
    return "".join(texts), iter(said)


def _add_text(text: str, words: Lexicon | None, texts: list[str], said: list[Symbols]) -> None:
    """Add plain text, the user's words in it set aside."""
    plain = _plain(text)
    for piece in words.split(plain) if words else [plain]:
        if isinstance(piece, str):
            texts.append(piece)
        else:
            texts.append(SAID)
            said.append(piece)


def _plain(text: str) -> str:
    """Letters composed and of ordinary width, plain punctuation, nothing invisible."""
    if text.isascii():
        plain = text.translate(_PLAIN)
    else:
        plain = unicodedata.normalize("NFKC", text.translate(_QUOTES)).translate(_PLAIN)
        plain = "".join(x for x in plain if unicodedata.category(x) not in ("Cf", "Co", "Mn"))
    return _ABBREVIATION.sub(lambda m: "-".join(m[0].replace(".", "").upper()), plain)


def _sentences(text: str) -> Iterator[tuple[str, str]]:
    """What stands between punctuation and tags, each with the mark behind it ("" at the end)."""
    pieces = [*_MARK.split(text), ""]
    for sentence, mark in zip(pieces[::2], pieces[1::2], strict=True):
        if len(mark) > 1:
            mark = "…" if mark[0] == "." else mark[0]
        yield sentence, _SYMBOL_OF_MARK.get(mark, mark)


@functools.lru_cache(maxsize=1 << 16)
def _pronounce(run: Run) -> tuple[str, ...]:
    text = signs.spell(run.text, run.language)
    if run.language == "en":
        return tuple(_english(text))
    if run.language == "zh":
        return _mandarin("".join(x for x in text if languages.script(x) == "han"))
    if run.language == "ja":
        return tuple(japanese.pronounce(text))
    if run.language == "ko":
        return tuple(korean.pronounce(text))
    return tuple(espeak.pronounce(text, run.language))


def _mandarin(text: str) -> tuple[str, ...]:
    symbols = mandarin.pronounce(text)
    if len(symbols) < 2 * len(text):  # an initial and a final a character
        unread = "".join(letter for letter in text if not mandarin.pronounce(letter))
        raise SongBloomError(
            f"lyrics: no Mandarin reading of {unread}",
            "Write another character, or add the word to a file for --lexicon.",
        )
    return tuple(symbols)


def _english(text: str) -> list[str]:
    text = unicodedata.normalize("NFD", text.translate(languages.SPELLED_LETTERS))
    words = _ENGLISH_WORD.findall(text.encode("ascii", "ignore").decode())
    return [
        symbol
        for word, after in zip(words, [*words[1:], ""], strict=False)
        # The article stands before a word; the letter is said as it is called.
        for symbol in (_word("a") if word == "A" and len(after) > 1 else _word(word))
    ]


@functools.lru_cache(maxsize=1 << 16)
def _word(word: str) -> tuple[str, ...]:
    """Phones of an English word with its apostrophes and hyphens."""
    bare = word.strip("'")
    if not bare:
        return ()
    if "-" in bare:
        return tuple(phone for part in bare.split("-") for phone in _word(part))
    if word[0] == "'" and (known := lexicon.lookup(f"'{bare}")):
        return known  # 'cause, 'til
    if word[-1] == "'" and not lexicon.lookup(bare) and (known := lexicon.lookup(f"{bare}'")):
        return known  # ol'
    if word.lower().endswith("in'") and (known := lexicon.lookup(f"{bare}g")):
        return (*known[:-1], "N")  # runnin'
    phones = english.pronounce(_unheld(bare))
    return tuple(phone for phone in phones if phone in V1_VOCABULARY and phone != "-")


def _unheld(word: str) -> str:
    """A word that nobody knows without the letters that are held: "loooove" is love, "sooo" so."""
    if lexicon.lookup(word):
        return word
    once, twice = _HELD.sub(r"\1", word), _HELD.sub(r"\1\1", word)
    for shorter in (once, twice) if word.lower().endswith("oo") else (twice, once):
        # Only hums lack a vowel: "br" is in the lexicon, but as an abbreviation.
        sung = shorter.lower() in _HUMMED or set("aeiouy") & set(shorter.lower())
        if sung and len(shorter) > 1 and lexicon.lookup(shorter):
            return shorter
    return word
