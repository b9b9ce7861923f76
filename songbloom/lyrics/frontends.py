"""The one door to the front ends: lyrics to phonemes, and the symbol table of each.

`release` is what the released models were trained with, quirks included; `v1` is ours. A model
names its front end (`ModelConfig.frontend`) and carries its own table.
"""

from collections.abc import Sequence

from songbloom.errors import SongBloomError, UsageError
from songbloom.lyrics import release, v1
from songbloom.lyrics.unsaid import release_drops
from songbloom.lyrics.user_lexicon import Lexicon, checked, load_lexicon
from songbloom.lyrics.vocabulary import RELEASE_VOCABULARY, V1_VOCABULARY, Vocabulary

__all__ = [
    "FRONTENDS",
    "Lexicon",
    "check_vocabulary",
    "line_phonemes",
    "load_lexicon",
    "phonemes",
    "refusals",
    "unsayable",
    "vocabulary",
]

FRONTENDS = ("release", "v1")
_VOCABULARIES = {"release": RELEASE_VOCABULARY, "v1": V1_VOCABULARY}


def phonemes(
    line: str,
    frontend: str = "release",
    *,
    lexicon: Lexicon | None = None,
    language: str | None = None,
) -> str:
    """The phoneme string of a one-line lyric, symbols set apart by single blanks.

    `lexicon` says words in the user's way; `language`, one of `languages.LANGUAGES`, overrides what
    `v1` guesses (`UsageError` with `release`, which knows no other than English and Mandarin).
    """
    if _known(frontend) == "v1":
        return v1.phonemes(line, user_lexicon=lexicon, language=language)
    if language is not None:
        raise UsageError(
            f"language '{language}': the front end 'release' reads English and Mandarin only",
            "Leave the language out, or use a model with the front end v1.",
        )
    if lexicon is None:
        return release.phonemes(line)
    return _release_with_lexicon(line, lexicon)


def line_phonemes(lines: Sequence[str], frontend: str = "release") -> list[str]:
    """The phonemes of each line of a section, as the front end says them in the whole of it.

    `release` reads `one.two` as one piece and says a word that is a symbol of its own ("a", "my")
    differently beside a full stop; lines that hold full stops themselves are said alone.
    """
    together = phonemes(".".join(lines), frontend).split(" . ") if frontend == "release" else []
    if lines and len(together) == len(lines):
        return together
    return [phonemes(line, frontend) for line in lines]


def refusals(
    lines: Sequence[str],
    frontend: str = "release",
    *,
    lexicon: Lexicon | None = None,
    language: str | None = None,
) -> list[SongBloomError | None]:
    """For each line of a song what `phonemes` raises because of it; None where it is said."""
    if _known(frontend) == "v1":
        return v1.refusals(lines, user_lexicon=lexicon, language=language)
    phonemes("", frontend, language=language)  # which it says of no line
    return [None] * len(lines)


def vocabulary(frontend: str) -> Vocabulary:
    """The symbol table of a front end."""
    return _VOCABULARIES[_known(frontend)]


def unsayable(line: str, frontend: str = "release") -> str:
    """The characters of `line` that the front end leaves out without a sound, each once."""
    if _known(frontend) == "v1":
        return v1.unsayable(line)
    return release_drops(line)


def check_vocabulary(own: Vocabulary, frontend: str, where: str) -> None:
    """`SongBloomError` unless a model's own table fits its front end here.

    A `v1` table is the beginning of ours, as it was when the model was made. The released front
    end works with any table: symbols that it lacks are dropped, as released.
    """
    ours = vocabulary(frontend).symbols
    if frontend == "v1" and own.symbols != ours[: len(own)]:
        raise SongBloomError(
            f"{where}: a v1 symbol table of {len(own)} symbols that is not the beginning of this "
            f"version's ({len(ours)})",
            "Update songbloom; the model was made with another version.",
        )


def _known(frontend: str) -> str:
    if frontend not in FRONTENDS:
        raise UsageError(
            f"front end '{frontend}' is unknown",
            f"Front ends: {', '.join(FRONTENDS)}. A newer model may need a newer songbloom.",
        )
    return frontend


def _release_with_lexicon(line: str, lexicon: Lexicon) -> str:
    """The released front end around the words that the user says otherwise."""
    parts: list[str] = []
    for piece in lexicon.split(line):
        if not isinstance(piece, str):
            parts.append(" ".join(checked(list(piece), RELEASE_VOCABULARY, "lexicon")))
        elif text := piece.strip(" "):
            parts.append(release.phonemes(text))
    return " ".join(parts)
