"""Which language a run of characters is in.

The script tells most: kana is Japanese, Hangul Korean. Chinese characters are Mandarin, Japanese in
a song with enough kana, Cantonese where characters stand that only Cantonese writes. Latin letters
are English unless a line has at least two signs of Spanish, French or German and more of them than
of English; a line without any sign is in the language of the song. The signs are function words and
letters: one in 4,000 English sentences (of 47,100 in the documentation of Python packages) is taken
for another language, a line of few small words is missed, Portuguese looks Spanish. `language=`
overrides it.
"""

import functools
import itertools
import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from songbloom.errors import UsageError
from songbloom.lyrics.signs import SIGNS

LANGUAGES = {
    "en": "English",
    "zh": "Mandarin",
    "yue": "Cantonese",
    "ja": "Japanese",
    "ko": "Korean",
    "es": "Spanish",
    "fr": "French",
    "de": "German",
}
_LATIN_LANGUAGES = ("en", "es", "fr", "de")
_HAN_LANGUAGES = ("zh", "yue", "ja")
_LEAST_SIGNS = 2
_LEAST_SIGN_SHARE = 1 / 6  # of a song's words
_LEAST_KANA_SHARE = 1 / 4  # of a song's kana and Chinese characters
_LEAST_CANTONESE_SHARE = 1 / 30  # of a song's Chinese characters

# A word of two languages counts for both, so that it does not decide between them.
_WORDS = {
    "en": "the and you i i'm me my to of in is it it's that on for with be your are we this all a "
    "not so but don't was have at she they what when can just like will from up out know never "
    "if there by he her his our as do how no now where who would or am an die man hat war son",
    "es": "el los las una un de del que y con por para pero muy mi mis tu tus su yo eres está "
    "estoy quiero como cuando porque sin hasta siempre te se lo le más es en nunca nada todo hay "
    "soy al ser corazón vida noche amor contigo no me a he son",
    "fr": "le les un une de du est et je tu il elle nous vous dans avec pas ne mon ma ta tes ses "
    "ce cette qui que où mais quand toi moi j' t' l' d' c' n' s' m' qu' au aux des suis rien tout "
    "toujours jamais encore y es me on a son or",
    "de": "der das und ich du ist nicht ein eine einen mit von wir ihr sie auf für dich mich mir "
    "dir wie wenn nur noch auch bist sind hab habe kein mein meine dein deine sein zu im den dem "
    "doch immer nie es alles in so an am die was will man hat war",
}
_SIGN_WORDS = {language: frozenset(words.split()) for language, words in _WORDS.items()}
_SIGN_LETTERS = {"es": "ñ¿¡áíóú", "fr": "çœèêàùîû", "de": "äöüß"}
_CANTONESE = frozenset("嘅咗唔喺冇佢啲嚟哋乜嘢睇冧啱嗰咁嘥瞓攞諗氹")
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
_ELISION = re.compile(r"(?:[jtldcnsm]|qu)'")

# Latin letters that are no letter with an accent, as English spells them.
SPELLED_LETTERS = str.maketrans(
    {
        **{"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "th", "þ": "th"},
        **{"ẞ": "SS", "Æ": "Ae", "Œ": "Oe", "Ø": "O", "Ł": "L", "Đ": "D", "Ð": "Th", "Þ": "Th"},
        **{"ı": "i", "ŋ": "ng"},
    }
)

SAID = "\ue000"  # stands for what is said already: inline phonemes, words of the user's lexicon


class Run(NamedTuple):
    """Text in one language; `SAID` characters are runs of their own, without a language."""

    language: str
    text: str


class Voices(NamedTuple):
    """The languages of a stretch of text: of Latin letters, of Chinese characters, of digits."""

    latin: str
    han: str
    digits: str


def check_language(language: str | None) -> None:
    """`UsageError` for a code that is none of `LANGUAGES`."""
    if language is not None and language not in LANGUAGES:
        known = ", ".join(f"{code} ({name})" for code, name in LANGUAGES.items())
        raise UsageError(f"language '{language}' is unknown", f"Languages: {known}.")


def of_song(text: str, language: str | None = None) -> Voices:
    """The languages of a whole song; `language` overrides those whose script it is written in."""
    latin, han = _latin(text, least_share=_LEAST_SIGN_SHARE) or "en", _han(text)
    latin = language if language in _LATIN_LANGUAGES else latin
    han = language if language in _HAN_LANGUAGES else han
    return Voices(latin, han, _most(text, latin, han) or language or latin)


def of_sentence(text: str, song: Voices, language: str | None = None) -> Voices:
    """The languages of a sentence of `song`."""
    latin, han = song.latin, song.han
    if language not in _LATIN_LANGUAGES:
        latin = _latin(text, song.latin) or latin
    if language not in _HAN_LANGUAGES and any(script(letter) == "kana" for letter in text):
        han = "ja"
    return Voices(latin, han, song.digits)


def runs(sentence: str, voices: Voices) -> list[Run]:
    """Cut a sentence without punctuation into runs; what no language writes is left out.

    Digits and signs belong to the letters that they touch, else to those before or after them.
    """
    pieces = [(kind, "".join(letters)) for kind, letters in itertools.groupby(sentence, script)]
    language_of = {"latin": voices.latin, "han": voices.han, "kana": "ja", "hangul": "ko"}
    languages = _with_digits([language_of.get(kind, kind) for kind, _ in pieces], voices.digits)
    found: list[tuple[str, list[str]]] = []
    blank = ""
    for language, (kind, text) in zip(languages, pieces, strict=True):
        if kind == "blank":
            blank = "-" if text == "-" else " "
            continue
        if kind == "said":
            found += [("", [letter]) for letter in text]
        elif found and found[-1][0] == language:
            found[-1][1].extend((blank, text))
        else:
            found.append((language, [text]))
        blank = ""
    return [Run(language, "".join(texts)) for language, texts in found]


def _with_digits(kinds: list[str], default: str) -> list[str]:
    """The kinds of pieces with a language in the place of "digit"."""
    before, after = _last_languages(kinds), _last_languages(kinds[::-1])[::-1]
    languages = list(kinds)
    for place, kind in enumerate(kinds):
        if kind == "digit":
            touching = (kinds[max(0, place - 1)], *kinds[place + 1 : place + 2])
            near = (*touching, before[place], after[place])
            languages[place] = next((x for x in near if x in LANGUAGES), default)
    return languages


def _last_languages(kinds: list[str]) -> list[str]:
    """For each place the last language at or before it, "" where there is none."""
    return list(
        itertools.accumulate(kinds, lambda last, x: x if x in LANGUAGES else last, initial="")
    )[1:]


@functools.lru_cache(maxsize=1 << 14)
def script(letter: str) -> str:
    """ "latin", "han", "kana", "hangul", "digit", "blank" (also a hyphen), "said", or "" """
    if letter in "'\u0300\u0301" or (letter.isascii() and letter.isalpha()):
        return "latin"
    if "0" <= letter <= "9" or letter in SIGNS + ".,:":
        return "digit"
    if letter == SAID:
        return "said"
    return next((name for name, test in _SCRIPTS.items() if test(letter)), "blank")


_SCRIPTS: dict[str, Callable[[str], bool]] = {
    "han": lambda x: "\u4e00" <= x <= "\u9fff" or "\u3400" <= x <= "\u4dbf" or x in "々〇"
    or "\U00020000" <= x <= "\U0003134f",
    "kana": lambda x: "\u3041" <= x <= "\u3096" or "\u30a1" <= x <= "\u30fa" or x == "ー",
    "hangul": lambda x: "\uac00" <= x <= "\ud7a3",
    "latin": lambda x: ord(x) in SPELLED_LETTERS or _is_accented(x),
}  # fmt: skip


def _is_accented(letter: str) -> bool:
    base = unicodedata.normalize("NFD", letter)[0]
    return base.isascii() and base.isalpha()


def _latin(text: str, favourite: str = "en", least_share: float = 0.0) -> str | None:
    """The language of Latin letters, `favourite` among equals; None where nothing tells."""
    words = _WORD.findall(text.lower())
    counts = {language: _count_signs(words, language) for language in _LATIN_LANGUAGES}
    best = max(counts, key=lambda language: (counts[language], language == favourite))
    if not counts[best]:
        return None
    if best in ("en", favourite) or counts[best] >= max(_LEAST_SIGNS, least_share * len(words)):
        return best
    return "en" if counts["en"] else None


def _count_signs(words: list[str], language: str) -> int:
    known, letters = _SIGN_WORDS[language], _SIGN_LETTERS.get(language, "")
    return sum(_is_sign(word, known) + any(x in letters for x in word) for word in words)


def _is_sign(word: str, known: frozenset[str]) -> bool:
    elided = _ELISION.match(word)
    return word in known or (elided is not None and elided[0] in known)


def _han(text: str) -> str:
    han = sum(script(letter) == "han" for letter in text)
    kana = sum(script(letter) == "kana" for letter in text)
    if kana and kana >= _LEAST_KANA_SHARE * (kana + han):
        return "ja"
    cantonese = sum(letter in _CANTONESE for letter in text)
    return "yue" if cantonese and cantonese >= _LEAST_CANTONESE_SHARE * han else "zh"


def _most(text: str, latin: str, han: str) -> str | None:
    """The language that most of the song is in: words count in Latin letters, letters elsewhere."""
    kinds = [script(letter) for letter in text]
    counts = {
        latin: len([word for word in _WORD.findall(text) if script(word[0]) == "latin"]),
        han: kinds.count("han") + (kinds.count("kana") if han == "ja" else 0),
        "ko": kinds.count("hangul"),
    }
    most = max(counts, key=lambda language: counts[language])
    return most if counts[most] else None
