"""Lines that read like lyrics: templates over word classes, filled from wide word lists."""

import random

from songbloom.synth.words import pool

UNSEEN_SHARE = 0.4  # of the content words of a test line

_SUBJECTS = ("I", "you", "we", "they")
_POSSESSIVES = ("my", "your", "our", "their", "his", "her")
_DETERMINERS = ("the", "this", "that", "every", "my", "your", "one", "no", "another")
_PLURAL_DETERMINERS = ("the", "these", "those", "all", "my", "our", "some", "many", "two", "ten")
_PREPOSITIONS = (
    "in", "on", "under", "over", "by", "through", "behind", "beyond", "across", "from", "like",
    "near", "before", "after", "into", "without", "against", "above", "along", "around", "inside",
    "between", "until", "beneath", "past",
)  # fmt: skip
_MODALS = (
    "will", "can", "could", "would", "should", "must", "might", "never", "don't", "can't", "won't",
    "may", "always", "wouldn't", "couldn't",
)  # fmt: skip
_OBJECTS = ("me", "you", "us", "them", "him", "her", "it")
_CALLS = (
    "oh",
    "baby",
    "hey",
    "yeah",
    "darling",
    "honey",
    "and",
    "but",
    "so",
    "now",
    "well",
    "then",
)
_BEINGS = ("I'm", "you're", "we're", "they're", "I was", "you were", "we were", "it was")
_WHENS = ("when", "if", "because", "while", "since", "where", "though", "until", "before")
_NUMBERS = (
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "twenty", "thirty", "forty", "fifty", "hundred", "thousand", "million",
)  # fmt: skip
_ASKS = ("why", "how", "where", "when", "who", "what")

_SLOTS = {
    "S": _SUBJECTS, "J": _POSSESSIVES, "T": _DETERMINERS, "TT": _PLURAL_DETERMINERS,
    "I": _PREPOSITIONS, "O": _MODALS, "B": _OBJECTS, "C": _CALLS, "W": _BEINGS, "H": _WHENS,
    "U": _NUMBERS, "Q": _ASKS,
}  # fmt: skip

# Upper-case items are slots: the classes of `words.classes`, or the closed lists above.
_TEMPLATES = tuple(
    line.split()
    for line in """
S O V the A N
S O V J A N I the N
T A N Z I T N
TT P V I the A N
W G I the A N
W G R I J N
C S O V J N
C S D the N I J N
S D T A N R
S V B I the N
S O V B R
let me V J A N
let us V I the N
H the N Z S V
H S V B S O V
I the N I the N
I J A N S V B R
T N of N and N
A N and A N
N and N and A P
P and P I the N
W A and W A R
W so A I the N
the N is A the N is A
there is T N I J N
there were U P I the N
Q S D J A N
Q do you V the N
give me T A N
take me I the A N
tell me Q the P V
V the N and V the N
V B R V B R
R S V and R S D
M D the N I L
M and M V I L
I L the P are G
S O V to L with M
C M don't V J N
all of the P G R
only T A N O V B
nothing but P and N
no more P no more N
U A P G I the N
U P I the A N
like T N I T N
like A P I L
T A N D B R
the N D and the N D
every N Z J N
S D and S D
the G N and the A N
if S O V J N R
and S V that N
not T N not T N
V V V I the N
A A N A A P
J N is A J N is A
far I the N of L
G G G R
the P are A and the N is A
the A the A the N
R the A N D
U N and U N
oh the P oh the A P
maybe S O V T A N
""".strip().splitlines()
)
_OPEN = set("NPVZDGARML")
_FIXED = {word for line in _TEMPLATES for word in line if word not in _SLOTS and word not in _OPEN}


def write_line(rng: random.Random, *, unseen_share: float = 0.0) -> tuple[str, ...]:
    """One line as 4-8 words. `unseen_share` of its content words come from the held-out list."""
    while True:
        words = [_fill(rng, item, unseen_share) for item in rng.choice(_TEMPLATES)]
        words = " ".join(words).split()
        if 4 <= len(words) <= 8:
            return tuple(_capital(words))


def closed_words() -> set[str]:
    """Every word a line may hold that is not of an open class: seen in both splits."""
    lists = " ".join(" ".join(words) for words in _SLOTS.values())
    return set(lists.split()) | _FIXED


def _fill(rng: random.Random, item: str, unseen_share: float) -> str:
    if item in _OPEN:
        word = rng.choice(pool(item, rng.random() < unseen_share))
        return word.capitalize() if item in "ML" else word
    return rng.choice(_SLOTS[item]) if item in _SLOTS else item


def _capital(words: list[str]) -> list[str]:
    return [words[0][0].upper() + words[0][1:], *words[1:]]
