"""What of lyrics and of transcripts is compared: a text normaliser with a name.

`songbloom-1`, rule by rule:

1. Lyrics: the words of their sections, as `songbloom.lyrics` reads them. Tags, titles, chords and
   times are no words; what stands in parentheses is sung, and counts. Nothing is left out because
   it is sung twice.
2. Transcripts of recognisers: annotations are removed, which nobody sings: [Music], (upbeat
   music), *applause*, ♪.
3. Both: Unicode NFKC, plain apostrophes, lower case, a blank for a hyphen between letters. Inline
   phonemes `{P IY1 S}` stay as they are.
4. Words, for the word error rate alone: what stands between blanks, of Chinese characters each,
   without anything but letters, digits and apostrophes inside. Numbers stay as written.

Contractions, spellings and numbers are not unified: phones are compared, and "colour", "color" and
"3", "three" sound alike, while "gonna" and "going to" do not.
"""

import re
import unicodedata

NAME = "songbloom-1"
_ANNOTATION = re.compile(r"\[[^\[\]\n]*\]|\([^()\n]*\)|\*[^*\n]*\*|[♩♪♫♬]")
_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ＇´`′", "'"))
_HYPHEN = re.compile(r"(?<=[^\W\d_])[-‐‑](?=[^\W\d_])")
_INLINE = re.compile(r"(\{[^{}]*\})")
_OUTSIDE = re.compile(r"[^\w']+|_")


def without_annotations(text: str) -> str:
    """A recogniser's text without what it says about the sound (rule 2)."""
    return " ".join(_ANNOTATION.sub(" ", text).split())


def normalised(text: str) -> str:
    """Text in the form in which both sides are compared (rule 3)."""
    parts = _INLINE.split(text)
    parts[::2] = [_plain(part) for part in parts[::2]]
    return "".join(parts)


def spelling(word: str) -> str:
    """A normalised word as the word error rate compares it (rule 4); may be empty."""
    return _OUTSIDE.sub("", word).strip("'")


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).lower()
    return _HYPHEN.sub(" ", text)
