"""ARPAbet: syllables, and how long consonants last when sung."""

_ONSETS = {
    (), ("P", "L"), ("P", "R"), ("B", "L"), ("B", "R"), ("T", "R"), ("T", "W"), ("D", "R"),
    ("D", "W"), ("K", "L"), ("K", "R"), ("K", "W"), ("G", "L"), ("G", "R"), ("G", "W"), ("F", "L"),
    ("F", "R"), ("TH", "R"), ("TH", "W"), ("SH", "R"), ("S", "P"), ("S", "T"), ("S", "K"),
    ("S", "M"), ("S", "N"), ("S", "F"), ("S", "L"), ("S", "W"), ("S", "P", "L"), ("S", "P", "R"),
    ("S", "T", "R"), ("S", "K", "R"), ("S", "K", "W"), ("P", "Y"), ("B", "Y"), ("K", "Y"),
    ("F", "Y"), ("V", "Y"), ("M", "Y"), ("HH", "Y"), ("HH", "W"),
}  # fmt: skip
VOWELS = frozenset(
    ["AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"]
)
UNVOICED = frozenset(["P", "T", "K", "CH", "F", "TH", "S", "SH", "HH"])
BURSTS = frozenset(["P", "T", "K", "B", "D", "G", "CH", "JH"])
CONSONANT_SECONDS = {
    "P": 0.075, "T": 0.075, "K": 0.08, "B": 0.06, "D": 0.055, "G": 0.06, "CH": 0.11, "JH": 0.09,
    "F": 0.09, "TH": 0.085, "S": 0.11, "SH": 0.115, "HH": 0.065, "V": 0.065, "DH": 0.05,
    "Z": 0.085, "ZH": 0.085, "M": 0.075, "N": 0.07, "NG": 0.075, "L": 0.07, "R": 0.07, "W": 0.065,
    "Y": 0.06,
}  # fmt: skip

Syllable = tuple[tuple[str, ...], str, tuple[str, ...]]  # onset, vowel with stress, coda


def base(phone: str) -> str:
    """The phone without its stress digit."""
    return phone.rstrip("012")


def is_vowel(phone: str) -> bool:
    """Whether a phone carries a note."""
    return base(phone) in VOWELS


def syllables(phones: tuple[str, ...]) -> list[Syllable]:
    """Split a word's phones by the largest onset that may begin an English word.

    A word without a vowel gives no syllable.
    """
    nuclei = [i for i, phone in enumerate(phones) if is_vowel(phone)]
    if not nuclei:
        return []
    borders = [0]
    for left, right in zip(nuclei, nuclei[1:], strict=False):
        borders.append(_border(phones, left + 1, right))
    borders.append(len(phones))
    return [
        (phones[begin:nucleus], phones[nucleus], phones[nucleus + 1 : end])
        for begin, nucleus, end in zip(borders, nuclei, borders[1:], strict=False)
    ]


def _border(phones: tuple[str, ...], begin: int, end: int) -> int:
    """Where the next syllable starts among the consonants `phones[begin:end]`."""
    for start in range(begin, end):
        cluster = phones[start:end]
        if cluster in _ONSETS or (len(cluster) == 1 and cluster[0] != "NG"):
            return start
    return end
