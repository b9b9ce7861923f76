"""Korean: Hangul to symbols by the rules of the standard pronunciation.

The rules run from syllable to syllable within a word: liaison, palatalisation, aspiration,
tensing, nasals and liquids (National Institute of Korean Language, Standard Pronunciation, chapters
4 to 6). What only a dictionary knows is left out: the n that some compounds add (꽃잎), the tensing
inside others (밤길), long vowels. Where 의 ends a word it is the particle, sung as 에.
"""

from dataclasses import dataclass

_FIRST, _LAST = 0xAC00, 0xD7A3
_ONSETS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
_VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
_CODAS = " ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"

_PAIRS = {
    "ㄳ": "ㄱㅅ", "ㄵ": "ㄴㅈ", "ㄶ": "ㄴㅎ", "ㄺ": "ㄹㄱ", "ㄻ": "ㄹㅁ", "ㄼ": "ㄹㅂ",
    "ㄽ": "ㄹㅅ", "ㄾ": "ㄹㅌ", "ㄿ": "ㄹㅍ", "ㅀ": "ㄹㅎ", "ㅄ": "ㅂㅅ",
}  # fmt: skip
_CLOSED = {  # a coda before a consonant or at a word's end
    **dict.fromkeys("ㄱㄲㅋㄳㄺ", "ㄱ"),
    **dict.fromkeys("ㄷㅅㅆㅈㅊㅌㅎ", "ㄷ"),
    **dict.fromkeys("ㅂㅍㄿㅄ", "ㅂ"),
    **dict.fromkeys("ㄴㄵㄶ", "ㄴ"),
    **dict.fromkeys("ㄹㄼㄽㄾㅀ", "ㄹ"),
    **dict.fromkeys("ㅁㄻ", "ㅁ"),
    "ㅇ": "ㅇ",
}
_ASPIRATED = {"ㄱ": "ㅋ", "ㄷ": "ㅌ", "ㅂ": "ㅍ", "ㅈ": "ㅊ"}
_TENSE = {"ㄱ": "ㄲ", "ㄷ": "ㄸ", "ㅂ": "ㅃ", "ㅅ": "ㅆ", "ㅈ": "ㅉ"}
_NASAL = {"ㄱ": "ㅇ", "ㄷ": "ㄴ", "ㅂ": "ㅁ"}

_ONSET_SYMBOLS = {
    "ㄱ": "g", "ㄲ": "/kk/", "ㅋ": "k", "ㄷ": "d", "ㄸ": "/tt/", "ㅌ": "t", "ㅂ": "b", "ㅃ": "/pp/",
    "ㅍ": "p", "ㅈ": "j", "ㅉ": "/jj/", "ㅊ": "ch", "ㅅ": "s", "ㅆ": "/ss/", "ㅎ": "h",
    "ㄴ": "n", "ㅁ": "m", "ㄹ": "r",
}  # fmt: skip
_VOWEL_SYMBOLS = {
    "ㅏ": "/a/", "ㅓ": "/ʌ/", "ㅗ": "/o/", "ㅜ": "/u/", "ㅡ": "/ɯ/", "ㅣ": "/i/",
    "ㅐ": "/ɛ/", "ㅔ": "/e/",
    "ㅑ": "y /a/", "ㅕ": "y /ʌ/", "ㅛ": "y /o/", "ㅠ": "y /u/", "ㅒ": "y /ɛ/", "ㅖ": "y /e/",
    "ㅘ": "w /a/", "ㅝ": "w /ʌ/", "ㅙ": "w /ɛ/", "ㅚ": "w /e/", "ㅞ": "w /e/", "ㅟ": "w /i/",
    "ㅢ": "/ɯ/ /i/",
}  # fmt: skip
_CODA_SYMBOLS = {
    "ㄱ": "/-k/", "ㄷ": "/-t/", "ㅂ": "/-p/", "ㄴ": "n", "ㅁ": "m", "ㅇ": "NG", "ㄹ": "l",
}  # fmt: skip


@dataclass
class _Syllable:
    """Three letters; an onset of ㅇ is none, a coda of "" too."""

    onset: str
    vowel: str
    coda: str


def pronounce(text: str) -> list[str]:
    """Symbols of Hangul syllables, blanks between words."""
    return [symbol for word in text.split() for symbol in _word(word)]


def _word(word: str) -> list[str]:
    syllables = [_syllable(letter) for letter in word if _FIRST <= ord(letter) <= _LAST]
    _simplify_vowels(syllables)
    for left, right in zip(syllables, syllables[1:], strict=False):
        _link(left, right)
    symbols: list[str] = []
    previous = ""
    for syllable in syllables:
        coda = _CLOSED.get(syllable.coda, "")
        if syllable.onset != "ㅇ":
            after_l = syllable.onset == "ㄹ" and previous == "ㄹ"
            symbols.append("l" if after_l else _ONSET_SYMBOLS[syllable.onset])
        symbols += _VOWEL_SYMBOLS[syllable.vowel].split(" ")
        symbols += [_CODA_SYMBOLS[coda]] if coda else []
        previous = coda
    return symbols


def _syllable(letter: str) -> _Syllable:
    number = ord(letter) - _FIRST
    coda = _CODAS[number % 28].strip()
    return _Syllable(_ONSETS[number // 588], _VOWELS[number // 28 % 21], coda)


def _simplify_vowels(syllables: list[_Syllable]) -> None:
    for place, syllable in enumerate(syllables):
        alone = syllable.onset == "ㅇ"
        if syllable.vowel == "ㅢ" and not alone:
            syllable.vowel = "ㅣ"
        elif syllable.vowel == "ㅢ" and place:
            particle = place == len(syllables) - 1 and not syllable.coda
            syllable.vowel = "ㅔ" if particle else "ㅣ"
        elif syllable.vowel == "ㅖ" and syllable.onset not in "ㅇㄹ":
            syllable.vowel = "ㅔ"
        elif syllable.vowel == "ㅕ" and syllable.onset in "ㅈㅉㅊ":
            syllable.vowel = "ㅓ"


def _link(left: _Syllable, right: _Syllable) -> None:
    """What the border between two syllables does to both."""
    if not left.coda:
        return
    if right.onset == "ㅇ":
        _carry_over(left, right)
    elif right.onset == "ㅎ" and _closing(left) in ("ㄱ", "ㄷ", "ㅂ", "ㅈ"):
        _aspirate(left, right)
    elif left.coda in ("ㅎ", "ㄶ", "ㅀ"):
        _lose_h(left, right)
    else:
        _assimilate(left, right)


def _closing(syllable: _Syllable) -> str:
    """The plain consonant that a coda ends in before ㅎ: ㄺ is ㄱ, ㅅ is ㄷ, ㅈ stays."""
    last = _PAIRS.get(syllable.coda, syllable.coda)[-1]
    return last if last == "ㅈ" else _CLOSED[last]


def _carry_over(left: _Syllable, right: _Syllable) -> None:
    """A coda before a vowel becomes its onset: 없어 [업써], 같이 [가치]."""
    pair = _PAIRS.get(left.coda, left.coda)
    last = pair[-1]
    if last == "ㅇ":
        return
    left.coda = pair[:-1]
    if last == "ㅎ":
        if left.coda:
            left.coda, right.onset = "", left.coda
        return
    if right.vowel == "ㅣ" and last in "ㄷㅌ":
        last = "ㅈ" if last == "ㄷ" else "ㅊ"
    right.onset = "ㅆ" if last == "ㅅ" and left.coda else last


def _aspirate(left: _Syllable, right: _Syllable) -> None:
    """A stop and ㅎ are one sound: 축하 [추카], 못해 [모태], 닫혀 [다쳐]."""
    plain = _closing(left)
    if left.coda == "ㄷ" and right.vowel in "ㅣㅕ":
        plain = "ㅈ"
    right.onset = _ASPIRATED[plain]
    left.coda = _PAIRS.get(left.coda, left.coda)[:-1]
    if right.onset == "ㅊ" and right.vowel == "ㅕ":
        right.vowel = "ㅓ"


def _lose_h(left: _Syllable, right: _Syllable) -> None:
    """ㅎ before a consonant: 좋다 [조타], 좋네 [존네], 싫소 [실쏘]."""
    rest = _PAIRS.get(left.coda, left.coda)[:-1]
    if right.onset in _ASPIRATED:
        left.coda, right.onset = rest, _ASPIRATED[right.onset]
    elif right.onset == "ㅅ":
        left.coda, right.onset = rest, "ㅆ"
    else:
        left.coda = rest or "ㄷ"
        _assimilate(left, right)


def _assimilate(left: _Syllable, right: _Syllable) -> None:
    """Consonant to consonant: 학교 [학꾜], 국물 [궁물], 독립 [동닙], 신라 [실라]."""
    tensing = left.coda in ("ㄵ", "ㄼ", "ㄾ")  # verb stems: 앉고 [안꼬]
    coda = _CLOSED[left.coda]
    if coda in _NASAL:
        if right.onset in "ㄴㅁㄹ":
            coda, right.onset = _NASAL[coda], "ㄴ" if right.onset == "ㄹ" else right.onset
        else:
            right.onset = _TENSE.get(right.onset, right.onset)
    elif tensing:
        right.onset = _TENSE.get(right.onset, right.onset)
    elif coda in "ㅁㅇ" and right.onset == "ㄹ":
        right.onset = "ㄴ"
    elif {coda, right.onset} == {"ㄴ", "ㄹ"} or coda + right.onset == "ㄹㄹ":
        coda = right.onset = "ㄹ"
    left.coda = coda
