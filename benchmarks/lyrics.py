"""Agreement of the lyric front end with the released one, and its speed.

    python benchmarks/lyrics.py [REFERENCE.json] [--strings N]

REFERENCE.json is a list of {"in": lyric string, "out": phoneme string}; the tests' own by default.
Prints one JSON object; the strings that differ go to standard error. Start-up is timed in fresh
processes, all else in this one; seconds are CPU seconds, so that a busy machine does not matter.
"""

import argparse
import difflib
import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path

REFERENCE = Path(__file__).parent.parent / "tests" / "lyrics" / "data" / "g2p_reference.json"
CHINESE = re.compile("[\u4e00-\u9fa5]")
ENGLISH = re.compile(r"[A-Za-z]{2,}")
WORDS = {
    "english": "the night is falling on rivers of silver dreaming hearts wander homeward singing",
    "mandarin": "风轻轻吹过古道 岁月在墙上刻下记号 我们一起走过长长的夜 不要忘记 一个人的歌声",
}


def language(text: str) -> str:
    """English, mandarin or mixed, by the letters outside section tags."""
    text = re.sub(r"\[\w+\]", "", text)
    chinese, english = bool(CHINESE.search(text)), bool(ENGLISH.search(text))
    if chinese and english:
        return "mixed"
    return "mandarin" if chinese else "english"


def agreement(pairs: list[dict[str, str]]) -> dict[str, dict[str, float]]:
    """Per language: strings, equal strings, symbols, equal symbols; differences to stderr."""
    from songbloom.lyrics.release import phonemes

    counts: dict[str, list[int]] = {}
    for pair in pairs:
        ours, theirs = phonemes(pair["in"]).split(" "), pair["out"].split(" ")
        matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
        same = sum(block.size for block in matcher.get_matching_blocks())
        if ours != theirs:
            show(pair["in"], ours, theirs, matcher)
        for name in ("all", language(pair["in"])):
            row = counts.setdefault(name, [0, 0, 0, 0])
            added = (1, int(ours == theirs), max(len(ours), len(theirs)), same)
            counts[name] = [a + b for a, b in zip(row, added, strict=True)]
    return {name: summary(row) for name, row in sorted(counts.items())}


def summary(row: list[int]) -> dict[str, float]:
    strings, equal, symbols, same = row
    return {
        "strings": strings,
        "equal_strings": equal,
        "equal_strings_percent": round(100 * equal / strings, 2),
        "equal_symbols_percent": round(100 * same / symbols, 3),
    }


def show(text: str, ours: list[str], theirs: list[str], matcher: difflib.SequenceMatcher) -> None:
    print(text, file=sys.stderr)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind != "equal":
            print(f"    ours {ours[a:b]} reference {theirs[c:d]}", file=sys.stderr)


def strings_a_minute(count: int) -> dict[str, int]:
    """Lines never seen before, so that nothing but words can come from a cache."""
    from songbloom.lyrics.lexicon import words
    from songbloom.lyrics.release import phonemes

    dice = random.Random(0)
    lexicon = words()
    chinese = "".join(WORDS["mandarin"].split())
    lines = {
        "lyrics": [lyric_line(dice) for _ in range(count)],
        "random English words": [" ".join(dice.choices(lexicon, k=8)) for _ in range(count)],
        "random Chinese characters": ["".join(dice.choices(chinese, k=10)) for _ in range(count)],
    }
    rates = {}
    for name, texts in lines.items():
        start = time.process_time()
        for text in texts:
            phonemes(text)
        rates[name] = round(60 * count / (time.process_time() - start))
    return rates


def lyric_line(dice: random.Random) -> str:
    english, chinese = WORDS["english"].split(), WORDS["mandarin"].split()
    parts = [" ".join(dice.choices(english, k=6)), ".".join(dice.choices(chinese, k=2))]
    return f"[verse] {parts[0]} , [chorus] {parts[1]}"


def start_up() -> dict[str, float]:
    """CPU seconds of import and of the first string in a fresh process, best of three."""
    code = (
        "import time; a = time.process_time(); from songbloom.lyrics.release import phonemes;"
        "b = time.process_time(); phonemes({text!r}); c = time.process_time(); print(b - a, c - b)"
    )
    found: dict[str, float] = {}
    for name, text in (("English", "Hello world"), ("Mandarin", "你好"), ("guess", "songblooming")):
        for _ in range(3):
            run = [sys.executable, "-c", code.format(text=text)]
            seconds = subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()
            for key, value in zip(("import", f"first {name} string"), seconds, strict=True):
                found[key] = min(found.get(key, 1e9), round(float(value), 3))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("reference", nargs="?", type=Path, default=REFERENCE)
    parser.add_argument("--strings", type=int, default=2000, help="lines in the speed test")
    options = parser.parse_args()
    pairs = json.loads(options.reference.read_text(encoding="utf-8"))
    result = {
        "agreement": agreement(pairs),
        "cpu_seconds": start_up(),
        "strings_a_minute": strings_a_minute(options.strings),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
