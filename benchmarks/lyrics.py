"""Agreement of the release lyric front end with the released one, and its speed.

    python benchmarks/lyrics.py [REFERENCE.json ...] [--strings N]

A REFERENCE.json is a list of {"in": lyric string, "out": phoneme string}; without one, the 117
strings of the tests. Prints one JSON object: agreement by language and in all, with every string
that differs and where; strings a minute on one core, all different; seconds of the import and of
the first string, in fresh processes, the best of three. Speed and start are seconds of CPU, so that
a busy machine does not matter; "wall" is the clock.
"""

import argparse
import difflib
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

REFERENCE = Path(__file__).parent.parent / "tests" / "lyrics" / "data" / "g2p_reference.json"
CHINESE = re.compile("[\u4e00-\u9fa5]")
ENGLISH = re.compile(r"[A-Za-z]{2,}")
LYRICS = "风轻轻吹过古道 岁月在墙上刻下记号 我们一起走过长长的夜 不要忘记 一个人的歌声"


def language(text: str) -> str:
    """English, mandarin or mixed, by the letters outside section tags."""
    text = re.sub(r"\[\w+\]", "", text)
    chinese, english = bool(CHINESE.search(text)), bool(ENGLISH.search(text))
    if chinese and english:
        return "mixed"
    return "mandarin" if chinese else "english"


def agreement(pairs: list[dict[str, str]]) -> tuple[dict[str, dict[str, float]], list[object]]:
    """Per language: strings, equal strings, symbols, equal symbols; and the strings that differ."""
    from songbloom.lyrics.release import phonemes

    counts = {name: [0, 0, 0, 0] for name in ("english", "mandarin", "mixed", "all")}
    differences: list[object] = []
    for pair in pairs:
        ours, theirs = phonemes(pair["in"]).split(" "), pair["out"].split(" ")
        matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
        same = sum(block.size for block in matcher.get_matching_blocks())
        if ours != theirs:
            differences.append(difference(pair["in"], ours, theirs, matcher))
        for name in ("all", language(pair["in"])):
            added = (1, int(ours == theirs), max(len(ours), len(theirs)), same)
            counts[name] = [a + b for a, b in zip(counts[name], added, strict=True)]
    return {name: summary(row) for name, row in counts.items() if row[0]}, differences


def summary(row: list[int]) -> dict[str, float]:
    strings, equal, symbols, same = row
    return {
        "strings": strings,
        "equal_strings": equal,
        "equal_strings_percent": round(100 * equal / strings, 2),
        "symbols": symbols,
        "equal_symbols": same,
        "equal_symbols_percent": round(100 * same / symbols, 3),
    }


def difference(
    text: str, ours: list[str], theirs: list[str], matcher: difflib.SequenceMatcher
) -> dict[str, object]:
    """The string, and ours against the reference where they part."""
    parts = [
        {"ours": " ".join(ours[a:b]), "reference": " ".join(theirs[c:d])}
        for kind, a, b, c, d in matcher.get_opcodes()
        if kind != "equal"
    ]
    return {"in": text, "differences": parts}


def strings_a_minute(count: int, frontend: str) -> dict[str, int]:
    """Strings never seen before: nothing but words can come from a cache, and few of these do."""
    from songbloom.lyrics.frontends import phonemes

    rates = {}
    for name, texts in unseen(count).items():
        phonemes(texts[0], frontend)  # the tables
        start = time.process_time()
        for text in texts[1:]:
            phonemes(text, frontend)
        rates[name] = round(60 * (count - 1) / (time.process_time() - start))
    return rates


def unseen(count: int) -> dict[str, list[str]]:
    """Lines of random words of the lexicon and of pypinyin's phrases, and harder ones."""
    from pypinyin.phrases_dict import phrases_dict

    from songbloom.lyrics.lexicon import words

    dice = random.Random(0)
    phrases = [phrase for phrase in phrases_dict if re.fullmatch("[\u4e00-\u9fa5]+", phrase)]
    common, lexicon = LYRICS.replace(" ", ""), [word for word in words() if word.isalpha()]

    def english(size: int) -> str:
        return " ".join(dice.choices(lexicon, k=size))

    def mandarin(size: int) -> str:
        return ".".join("".join(dice.choices(phrases, k=2)) for _ in range(size))

    makers: dict[str, Callable[[], str]] = {
        "english": lambda: f"[verse] {english(8)}",
        "mandarin": lambda: f"[verse] {mandarin(2)}",
        "mixed": lambda: f"[verse] {english(4)}.{mandarin(1)} , [outro]",
        "english, one word unknown": lambda: f"[verse] {english(7)} {english(2).replace(' ', '')}",
        "mandarin, common characters": lambda: "".join(dice.choices(common, k=10)),
        "mandarin, any characters": lambda: "".join(
            chr(dice.randrange(0x4E00, 0x9FA6)) for _ in range(10)
        ),
    }
    return {name: [make() for _ in range(count)] for name, make in makers.items()}


def start_up() -> dict[str, dict[str, float]]:
    """Seconds of the import and of the first string in a fresh process, best of three."""
    code = (
        "import time; c, w = time.process_time, time.perf_counter; a, b = c(), w();"
        "from songbloom.lyrics.release import phonemes;"
        "d, e = c(), w(); phonemes({text!r}); print(d - a, e - b, c() - d, w() - e)"
    )
    first = {
        "English": "Hello world",
        "Mandarin": "你好",
        "guessed word": "songblooming",
        "of all": "Hello 世界，songblooming 2024",
    }
    found: dict[str, dict[str, float]] = {}
    for name, text in first.items():
        for _ in range(3):
            run = [sys.executable, "-c", code.format(text=text)]
            seconds = subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()
            cpu, wall, first_cpu, first_wall = (round(float(value), 3) for value in seconds)
            keep_best(found.setdefault("import", {}), cpu, wall)
            keep_best(found.setdefault(f"first string, {name}", {}), first_cpu, first_wall)
    return found


def keep_best(best: dict[str, float], cpu: float, wall: float) -> None:
    best["cpu"] = min(best.get("cpu", cpu), cpu)
    best["wall"] = min(best.get("wall", wall), wall)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("references", nargs="*", type=Path, metavar="REFERENCE.json")
    parser.add_argument("--strings", type=int, default=2000, help="strings in each speed test")
    options = parser.parse_args()
    paths = options.references or [REFERENCE]
    pairs = [pair for path in paths for pair in json.loads(path.read_text(encoding="utf-8"))]
    figures, differences = agreement(pairs)
    result = {
        "agreement": figures,
        "disagreements": differences,
        "strings_a_minute": {
            name: strings_a_minute(options.strings, name) for name in ("release", "v1")
        },
        "seconds": start_up(),
    }
    print(json.dumps(result, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
