"""What raters answered in a listening test, and what it says about the systems.

Answers are the JSONL files that the page of `songbloom.evaluation.listening` lets raters download;
the test's key tells which system each trial was. Repeats and anchors screen raters and are never
counted as ratings.

MOS intervals draw raters and songs anew at the same time (the pigeonhole bootstrap, Owen 2007),
since ratings by one rater, and of one song, are alike; they are rather too wide than too narrow.
A/B pairs get an exact binomial test of "no preference" over all answers, and the same test with one
vote a rater, which does not take a rater's answers for independent ones.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from songbloom.errors import SongBloomError
from songbloom.evaluation import rubric
from songbloom.evaluation.listening import FORMAT
from songbloom.evaluation.report import markdown_table
from songbloom.evaluation.rubric import NEITHER, SCALES, SIDES
from songbloom.evaluation.statistics import Statistics, holm

PREFERENCE = "PREF"
Table = tuple[str, Sequence[str], list[list[str]]]  # title, header, rows
_Vote = tuple[str, str | None]  # a rater, and who wins
_MANY = 8  # answers that all being the same says something
_SCALES = {scale.key: scale for scale in SCALES}


@dataclass(frozen=True)
class Screening:
    """When a rater's answers are left out.

    `min_answered` is a share of the trials; `max_repeat` the mean distance, in steps of the scale,
    between two ratings of one song; `max_turned` the share of repeats that choose the other song,
    or of anchors that are rated to sound better than the song they are made from.
    """

    min_answered: float = 0.5
    max_repeat: float = 1.0
    max_turned: float = 0.5


@dataclass(frozen=True)
class Answer:
    """One trial answered by one rater: scores by scale, or a preference."""

    rater: str
    trial: str
    given: Mapping[str, Any]


@dataclass(frozen=True)
class _Test:
    """A test's key and all answers to it, by rater and trial."""

    key: Mapping[str, Any]
    raters: Mapping[str, Mapping[str, Mapping[str, Any]]]

    def trials(self, role: str) -> dict[str, Mapping[str, Any]]:
        return {id: t for id, t in self.key["trials"].items() if t["role"] == role}


def analyse(
    files: Sequence[Path],
    key: Path,
    *,
    screening: Screening | None = None,
    statistics: Statistics | None = None,
) -> dict[str, Any]:
    """What the answers say, as JSON; see the module.

    `screening` None keeps every rater. `SongBloomError` for files that cannot be read, lines that
    are no answers, answers to another test, and a trial that a rater answered twice in two ways.
    """
    statistics = statistics or Statistics()
    test = _read(files, key)
    reasons = {r: screened(test.key, a, screening) if screening else [] for r, a in
               sorted(test.raters.items())}  # fmt: skip
    kept = {rater: test.raters[rater] for rater, why in reasons.items() if not why}
    found: dict[str, Any] = {
        "format": FORMAT,
        "test": test.key["test"],
        "kind": test.key["kind"],
        "systems": test.key["systems"],
        "songs": len(test.key["songs"]),
        "loudness": test.key["loudness"],
        "screening": asdict(screening) if screening else None,
        "confidence": statistics.confidence,
        "raters": len(kept),
        "left_out": [{"rater": r, "reasons": why} for r, why in reasons.items() if why],
        "answers": sum(len(given) for given in kept.values()),
    }
    sifted = _Test(test.key, kept)
    if test.key["kind"] == "ab":
        return found | {"pairs": _pairs(sifted, statistics)}
    scores = _scores(sifted)
    return found | {
        "scores": {
            system: {scale: _mean(scores[system, scale], statistics) for scale in _SCALES}
            for system in test.key["systems"]
        },
        "differences": _differences(scores, test.key["systems"], statistics),
    }


def screened(
    key: Mapping[str, Any], answers: Mapping[str, Mapping[str, Any]], screening: Screening
) -> list[str]:
    """Why a rater is to be left out; empty for one to be kept. `answers` are by trial."""
    trials = key["trials"]
    reasons = []
    if len(answers) < screening.min_answered * len(trials):
        reasons.append(f"answered {len(answers)} of {len(trials)} trials")
    ratings = [given for id, given in answers.items() if trials[id]["role"] == "rating"]
    if len(ratings) >= _MANY and all(given == ratings[0] for given in ratings):
        reasons.append(f"gave the same answer to all {len(ratings)} trials")
    twice = [(id, t) for id, t in trials.items() if t["of"] in answers and id in answers]
    repeats = [(answers[id], answers[t["of"]]) for id, t in twice if t["role"] == "repeat"]
    anchors = [(answers[id], answers[t["of"]]) for id, t in twice if t["role"] == "anchor"]
    if key["kind"] == "ab":
        turned = sum(_contradict(*pair) for pair in repeats)
        if turned > screening.max_turned * len(repeats):
            reasons.append(f"chose the other song in {turned} of {len(repeats)} repeats")
        return reasons
    apart = [abs(one[s] - two[s]) for one, two in repeats for s in one.keys() & two.keys()]
    if apart and sum(apart) / len(apart) > screening.max_repeat:
        steps = sum(apart) / len(apart)
        reasons.append(f"rated the same songs {steps:.1f} steps apart when they came again")
    fooled = sum(_sound(dull) > _sound(clear) for dull, clear in anchors)
    if fooled > screening.max_turned * len(anchors):
        reasons.append(f"rated {fooled} of {len(anchors)} muffled songs above their clear versions")
    return reasons


def tables(found: Mapping[str, Any]) -> list[Table]:
    """What `analyse` found, for people."""
    made = _ab_tables(found) if found["kind"] == "ab" else _mos_tables(found)
    if found["left_out"]:
        rows = [[r["rater"], "; ".join(r["reasons"])] for r in found["left_out"]]
        made.append(("Raters left out", ("rater", "reason"), rows))
    return made


def summary(found: Mapping[str, Any]) -> str:
    """One line: whose answers, to what."""
    return (
        f"{found['answers']} answers of {found['raters']} raters "
        f"({len(found['left_out'])} left out), {found['songs']} songs at "
        f"{found['loudness']:.1f} LUFS, test {found['test']}"
    )


def markdown(found: Mapping[str, Any]) -> str:
    """The whole analysis as Markdown."""
    parts = ["# Listening test\n", f"{summary(found)}. Intervals: {found['confidence']:.0%}.\n"]
    for title, header, rows in tables(found):
        parts += [f"## {title}\n", markdown_table(header, rows)]
    if found["kind"] == "mos":
        asked = [[s.key, f"{s.name}. {s.question}", f"{s.low} to {s.high}"] for s in SCALES]
        parts += ["## Scales\n", markdown_table(("scale", "question", "scores"), asked)]
    return "\n".join(parts)


def _mos_tables(found: Mapping[str, Any]) -> list[Table]:
    scores = [[system, *map(_cell, row.values())] for system, row in found["scores"].items()]
    apart = [
        [f"{row['one']} - {row['other']}", row["scale"], _cell(row), str(row["ratings"])]
        for row in found["differences"]
    ]
    made: list[Table] = [("Mean opinion scores", ("system", *_SCALES), scores)]
    if apart:
        made.append(("Differences", ("systems", "scale", "mean", "ratings"), apart))
    return made


def _cell(mean: Mapping[str, Any] | None) -> str:
    if mean is None:
        return "-"
    ends = mean["interval"]
    return f"{mean['mean']:.2f}" + (f" [{ends[0]:.2f}, {ends[1]:.2f}]" if ends else "")


def _ab_tables(found: Mapping[str, Any]) -> list[Table]:
    header = ("one", "other", "wins", "losses", "ties", "rate", "interval", "p", "p (Holm)",
              "p by rater")  # fmt: skip
    rows = []
    for row in found["pairs"]:
        ends = row["interval"]
        rows.append([
            row["one"], row["other"], *(str(row[key]) for key in ("wins", "losses", "ties")),
            "-" if row["rate"] is None else f"{row['rate']:.1%}",
            f"{ends[0]:.1%} to {ends[1]:.1%}" if ends else "-",
            *("-" if p is None else f"{p:.4g}" for p in (row["p"], row["p_holm"],
                                                        row["by_rater"]["p"])),
        ])  # fmt: skip
    return [("Preferences", header, rows)]


def _sound(given: Mapping[str, int]) -> float:
    """What a rater thinks of the sound, voice and instruments."""
    return given["QLT_V"] + given["QLT_A"]


def _contradict(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether a pair and the same pair with its sides changed were answered in two ways.

    The song on side A of one is on side B of the other, so the same letter is the other song.
    """
    return one[PREFERENCE] in SIDES and one[PREFERENCE] == other[PREFERENCE]


# ---- MOS ----------------------------------------------------------------------------------------


def _scores(test: _Test) -> dict[tuple[str, str], np.ndarray]:
    """Scores `[raters, songs]` by system and scale, NaN where none was given."""
    songs = {song: column for column, song in enumerate(test.key["songs"])}
    shape = (len(test.raters), len(songs))
    scores: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.full(shape, np.nan))
    for id, trial in test.trials("rating").items():
        for row, given in enumerate(test.raters.values()):
            for scale, score in given.get(id, {}).items():
                scores[trial["systems"][0], scale][row, songs[trial["song"]]] = score
    return scores


def _mean(scores: np.ndarray, statistics: Statistics) -> dict[str, Any] | None:
    """The mean opinion score with its interval; None where nobody was asked."""
    known = ~np.isnan(scores)
    if not known.any():
        return None
    return {
        "mean": round(float(scores[known].mean()), 6),
        "interval": _interval(scores, statistics),
        "ratings": int(known.sum()),
        "raters": int(known.any(axis=1).sum()),
        "songs": int(known.any(axis=0).sum()),
    }


def _differences(
    scores: Mapping[tuple[str, str], np.ndarray], systems: Sequence[str], statistics: Statistics
) -> list[dict[str, Any]]:
    """Each system less each later one, over what the same rater gave to the same song."""
    rows = []
    for one, other in combinations(systems, 2):
        for scale in _SCALES:
            apart = scores[one, scale] - scores[other, scale]
            if mean := _mean(apart, statistics):
                rows.append({"one": one, "other": other, "scale": scale, **mean})
    return rows


def _interval(scores: np.ndarray, statistics: Statistics) -> list[float] | None:
    """Percentile interval of the mean of `[raters, songs]`, both drawn anew; None of one score."""
    known = ~np.isnan(scores)
    if known.sum() < 2:
        return None
    rng, (raters, songs) = statistics.rng(), scores.shape
    rows = rng.multinomial(raters, np.full(raters, 1 / raters), size=statistics.resamples)
    columns = rng.multinomial(songs, np.full(songs, 1 / songs), size=statistics.resamples)
    sums = np.einsum("br,rs,bs->b", rows, np.where(known, scores, 0.0), columns, optimize=True)
    counts = np.einsum("br,rs,bs->b", rows, known.astype(float), columns, optimize=True)
    means = sums[counts > 0] / counts[counts > 0]
    tail = (1 - statistics.confidence) / 2
    return [round(float(end), 6) for end in np.quantile(means, [tail, 1 - tail])]


# ---- A/B ----------------------------------------------------------------------------------------


def _pairs(test: _Test, statistics: Statistics) -> list[dict[str, Any]]:
    """Wins of each system over each later one; p-values over all pairs are Holm's too."""
    votes: dict[tuple[str, str], list[_Vote]] = defaultdict(list)
    for id, trial in test.trials("rating").items():
        for rater, answers in test.raters.items():
            if id in answers:
                choice = answers[id][PREFERENCE]
                winner = None if choice == NEITHER else trial["systems"][SIDES.index(choice)]
                votes[_in_order(trial["systems"], test.key["systems"])].append((rater, winner))
    rows = [_pair(*pair, votes[pair], statistics) for pair in combinations(test.key["systems"], 2)]
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = None if p is None else round(p, 6)
    return rows


def _in_order(pair: Iterable[str], systems: Sequence[str]) -> tuple[str, str]:
    """Two systems in the test's order."""
    one, other = sorted(pair, key=systems.index)
    return one, other


def _pair(one: str, other: str, votes: Sequence[_Vote], statistics: Statistics) -> dict[str, Any]:
    """`rate` is wins over wins and losses; ties are told, not halved."""
    counts = Counter(winner for _, winner in votes)
    raters = _majorities(one, other, votes)
    return {
        "one": one,
        "other": other,
        "wins": counts[one],
        "losses": counts[other],
        "ties": counts[None],
        **_binomial(counts[one], counts[other], statistics),
        "by_rater": {
            "wins": raters[one],
            "losses": raters[other],
            "ties": raters[None],
            "p": _binomial(raters[one], raters[other], statistics)["p"],
        },
    }


def _majorities(one: str, other: str, votes: Iterable[_Vote]) -> Counter[str | None]:
    """How many raters chose each system more often than the other."""
    each: dict[str, Counter[str | None]] = defaultdict(Counter)
    for rater, winner in votes:
        each[rater][winner] += 1
    return Counter(
        one if c[one] > c[other] else other if c[other] > c[one] else None for c in each.values()
    )


def _binomial(wins: int, losses: int, statistics: Statistics) -> dict[str, Any]:
    """The rate with its Wilson interval, and the exact two-sided p-value of an even coin."""
    if not wins + losses:
        return {"rate": None, "interval": None, "p": None}
    test = binomtest(wins, wins + losses)
    ends = test.proportion_ci(statistics.confidence, method="wilson")
    return {
        "rate": round(wins / (wins + losses), 6),
        "interval": [round(float(ends.low), 6), round(float(ends.high), 6)],
        "p": round(float(test.pvalue), 6),
    }


# ---- files --------------------------------------------------------------------------------------


def _read(files: Sequence[Path], key_path: Path) -> _Test:
    """The key, and the answers by rater (sorted by trial)."""
    key = _read_key(key_path)
    raters: dict[str, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for path in files:
        for where, answer in _lines(path, key):
            before = raters[answer.rater].setdefault(answer.trial, answer.given)
            if before != answer.given:
                raise SongBloomError(
                    f"{where}: rater '{answer.rater}' answered trial {answer.trial} twice, in two "
                    "ways",
                    "Two raters may have used one name: rename one, or remove the older answers.",
                )
    if not raters:
        raise SongBloomError(
            f"{', '.join(map(str, files))}: no answers", "Name the .jsonl files that raters sent."
        )
    return _Test(key, {rater: dict(sorted(raters[rater].items())) for rater in sorted(raters)})


def _read_key(path: Path) -> dict[str, Any]:
    try:
        key = json.loads(Path(path).read_text("utf-8"))
        right = key["format"] == FORMAT and bool(key["trials"]) and bool(key["test"])
    except OSError as error:
        raise SongBloomError(
            f"{path}: cannot be read ({error.strerror or error})",
            "Name the OUT.key.json that songbloom listen make wrote beside OUT.",
        ) from error
    except (ValueError, KeyError, TypeError):
        right = False
    if not right:
        raise SongBloomError(
            f"{path}: is no key of a listening test of format {FORMAT}",
            "Name the OUT.key.json that songbloom listen make wrote beside OUT.",
        )
    if key.get("rubric") != rubric.VERSION:
        raise SongBloomError(
            f"{path}: its raters were asked by another rubric ({key.get('rubric')}), here is "
            f"{rubric.VERSION}",
            "Analyse it with the version of songbloom that made it.",
        )
    return dict(key)


def _lines(path: Path, key: Mapping[str, Any]) -> Iterator[tuple[str, Answer]]:
    """(where, answer) of each line."""
    try:
        text = Path(path).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SongBloomError(
            f"{path}: cannot be read ({error})", "Name the .jsonl files that raters sent."
        ) from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", _answer(line, f"{path}:{number}", key)


def _answer(line: str, where: str, key: Mapping[str, Any]) -> Answer:
    hint = "Ask the rater to download the answers again."
    try:
        row = json.loads(line)
        rater, trial, given = row["rater"], row["trial"], row["answers"]
    except (ValueError, KeyError, TypeError) as error:
        raise SongBloomError(f"{where}: is no answer of a listening test", hint) from error
    if row.get("test") != key["test"]:
        raise SongBloomError(
            f"{where}: answers test {row.get('test')}, the key is of {key['test']}",
            "Name the key of that test.",
        )
    known = isinstance(rater, str) and isinstance(trial, str) and trial in key["trials"]
    if not known or not isinstance(given, dict) or not _possible(given, key["kind"]):
        raise SongBloomError(f"{where}: holds an answer that the page cannot give", hint)
    return Answer(rater, trial, given)


def _possible(given: Mapping[str, Any], kind: str) -> bool:
    if kind == "ab":
        return given.keys() == {PREFERENCE} and given[PREFERENCE] in (*SIDES, NEITHER)
    asked = {scale.key for scale in SCALES if not scale.needs}
    return asked <= given.keys() <= _SCALES.keys() and all(
        type(score) is int and _SCALES[key].low <= score <= _SCALES[key].high
        for key, score in given.items()
    )
