"""A listening test is blind, equally loud and repeatable; its answers give the systems' scores."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import ask
from typer.testing import CliRunner

from songbloom import audio, loudness
from songbloom.errors import SongBloomError, UsageError
from songbloom.evaluation import answers, listening, rubric
from songbloom.evaluation.answers import Screening, analyse
from songbloom.evaluation.listening import Wish, make, plan
from songbloom.evaluation.statistics import Statistics
from songbloom_cli import main

RATE = 48_000
SECONDS = 1.2
SONGS = ("anna", "berta", "carla")
HERTZ = {"secretsystem": 330, "hiddensystem": 550}  # what a system's songs are made of
LYRICS = "[verse]\nOne two three\n[chorus]\nFour <b>five</b> six\n"


def tone(hertz: float, level: float, click: float = 0.0) -> np.ndarray:
    """A sine with a little of a much higher one, stereo; `click` is the height of one sample."""
    time = np.arange(round(SECONDS * RATE)) / RATE
    wave = level * (np.sin(2 * np.pi * hertz * time) + 0.1 * np.sin(2 * np.pi * 9000 * time))
    if click:
        wave[len(wave) // 2] = click
    return np.stack([wave, wave]).astype(np.float32)


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two systems' folders: three songs of both, at different levels, and one of the first only."""
    root = tmp_path_factory.mktemp("systems")
    for number, (system, hertz) in enumerate(HERTZ.items()):
        folder = root / system
        folder.mkdir()
        for name in SONGS + (("only",) if number == 0 else ()):
            audio.save(folder / f"{name}.flac", tone(hertz, 0.02 + 0.06 * number), RATE)
            (folder / f"{name}.txt").write_text(LYRICS)
            if name != "carla":
                audio.save(folder / f"{name}.reference.wav", tone(880, 0.2), RATE)
    return {system: root / system for system in HERTZ}


@pytest.fixture(scope="module")
def mos(systems: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test that asks for scores; its key is beside it."""
    output = tmp_path_factory.mktemp("tests") / "mos"
    make(systems, output, Wish())
    return output


@pytest.fixture(scope="module")
def ab(systems: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test that asks for preferences."""
    output = tmp_path_factory.mktemp("tests") / "ab"
    make(systems, output, Wish(kind="ab", repeats=1))
    return output


def key_of(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output.with_name(f"{output.name}.key.json").read_text())
    return found


def test_nothing_tells_the_systems(mos: Path, ab: Path) -> None:
    """No byte of the raters' folder names a system or a song; only the key does."""
    for output in (mos, ab):
        files = [path for path in output.rglob("*") if path.is_file()]
        assert {path.suffix for path in files} == {".html", ".flac"}
        for path in files:
            content = path.read_bytes() + path.name.encode()
            for word in (*HERTZ, *SONGS, "anchor", '"role"'):
                assert word.encode() not in content, (path, word)
        assert key_of(output)["systems"] == list(HERTZ)


def test_sounds_are_what_the_key_says_and_equally_loud(mos: Path) -> None:
    """Every file is the song of the key, at -14 LUFS, below -1 dBTP; anchors lack what is high."""
    sounds = key_of(mos)["sounds"]
    assert len(sounds) == len(list((mos / "sounds").iterdir())) == 2 * 3 + 1 + 2
    for file, known in sounds.items():
        samples = audio.load(mos / file, RATE)
        assert loudness.integrated(samples, RATE) == pytest.approx(-14, abs=0.02)
        assert loudness.true_peak(samples, RATE) <= -1
        spectrum = np.abs(np.fft.rfft(samples[0]))
        bin = 880 if known["system"] is None else HERTZ[known["system"]]
        assert np.argmax(spectrum) == round(bin * SECONDS)
        high = spectrum[round(9000 * SECONDS)] / spectrum.max()
        assert high < 1e-3 if known["muffled"] else high == pytest.approx(0.1, rel=0.01)


def test_peaks_are_never_cut(systems: dict[str, Path], tmp_path: Path) -> None:
    """One song with a high peak makes all songs quieter, and its wave stays as it was."""
    mine = {name: shutil.copytree(folder, tmp_path / name) for name, folder in systems.items()}
    sharp = tone(330, 0.02, click=0.9)
    audio.save(mine["secretsystem"] / "anna.flac", sharp, RATE)
    made = make(mine, tmp_path / "test", Wish(repeats=0, anchors=0))
    assert made.loudness < -25
    for file, known in key_of(made.output)["sounds"].items():
        samples = audio.load(made.output / file, RATE)
        assert loudness.integrated(samples, RATE) == pytest.approx(made.loudness, abs=0.02)
        assert loudness.true_peak(samples, RATE) <= -0.99
        if (known["song"], known["system"]) == ("anna", "secretsystem"):
            np.testing.assert_allclose(samples / samples.max(), sharp / sharp.max(), atol=1e-5)


def test_trials_are_every_song_of_every_system(mos: Path, ab: Path) -> None:
    """MOS: each once, and repeats and an anchor; A/B: each song once, sides in balance, repeats
    the other way round."""
    trials = key_of(mos)["trials"]
    rated = [(t["song"], *t["systems"]) for t in trials.values() if t["role"] == "rating"]
    assert sorted(rated) == sorted((song, system) for song in SONGS for system in HERTZ)
    assert Counter(t["role"] for t in trials.values()) == {"rating": 6, "repeat": 2, "anchor": 1}
    trials = key_of(ab)["trials"]
    pairs = [t for t in trials.values() if t["role"] == "rating"]
    assert sorted(t["song"] for t in pairs) == sorted(SONGS)
    assert {tuple(t["systems"]) for t in pairs} == {tuple(HERTZ), tuple(HERTZ)[::-1]}
    for trial in trials.values():
        if trial["role"] == "repeat":
            assert trials[trial["of"]]["systems"] == trial["systems"][::-1]


def test_same_seed_same_bytes(mos: Path, systems: dict[str, Path], tmp_path: Path) -> None:
    """Made again it is the same; another seed is another test."""
    for name, seed in (("again", 0), ("other", 1)):
        make(systems, tmp_path / name, Wish(seed=seed))
        same = [
            path.read_bytes() == (tmp_path / name / path.relative_to(mos)).read_bytes()
            for path in (*mos.glob("sounds/*"), mos / "index.html")
        ]
        assert all(same) == (seed == 0)
        mine, its = (key_of(path) for path in (mos, tmp_path / name))
        assert (mine == its) == (mine["test"] == its["test"]) == (seed == 0)


def test_numbers_and_sides_are_drawn(systems: dict[str, Path]) -> None:
    """Over seeds, each system comes to be the first file, the first trial and side A."""
    first: dict[str, set[str | None]] = {"file": set(), "trial": set(), "side": set()}
    for seed in range(12):
        scored = listening._Draft.of(systems, Wish(seed=seed))
        pairs = listening._Draft.of(systems, Wish(kind="ab", seed=seed))
        first["file"].add(min(scored.files, key=lambda clip: scored.files[clip]).system)
        first["trial"].add(scored.trials[0].clips[0].system)
        first["side"].add(pairs.trials[0].clips[0].system)
    assert all(set(HERTZ) <= seen for seen in first.values())


def test_the_plan_is_what_is_made(mos: Path, systems: dict[str, Path]) -> None:
    """--dry-run counts what is written; songs of one system alone are told."""
    found = plan(systems, Wish())
    assert found["songs"] == 3 and found["left_out"] == 1
    assert found["without"] == {"lyrics": 0, "reference": 1}
    assert found["trials"] == len(key_of(mos)["trials"])
    assert found["sounds"] == len(key_of(mos)["sounds"])
    assert plan(systems, Wish(songs=2))["songs"] == 2


def test_songs_are_cut_with_a_fade(systems: dict[str, Path], tmp_path: Path) -> None:
    """--max-duration keeps the beginning, and ends it softly."""
    made = make(systems, tmp_path / "test", Wish(max_duration=1.0, repeats=0, anchors=0))
    for file, known in key_of(made.output)["sounds"].items():
        samples = audio.load(made.output / file, RATE)
        assert samples.shape[1] == round((SECONDS if known["system"] is None else 1) * RATE)
        if known["system"]:
            assert np.abs(samples[:, -48:]).max() < 0.01 < np.abs(samples[:, :48]).max()


def _silence(folder: Path) -> None:
    audio.save(folder / "anna.flac", np.zeros((2, RATE * 2), np.float32), RATE)


def test_clips_can_be_elsewhere(systems: dict[str, Path], tmp_path: Path) -> None:
    """--references names the folder of the songs' clips."""
    audio.save(tmp_path / "carla.wav", tone(660, 0.2), RATE)
    assert plan(systems, Wish(), references=tmp_path)["without"]["reference"] == 0


def _no_song(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    audio.save(folder / "else.flac", tone(440, 0.1), RATE)


def _other_clip(folder: Path) -> None:
    audio.save(folder / "anna.reference.wav", tone(770, 0.2), RATE)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_silence, "anna.flac: is silent"),
        (_no_song, "no song in common: secretsystem, hiddensystem"),
        (_other_clip, "anna: the systems' folders hold different reference clips"),
        (lambda folder: (folder / "anna.flac").write_bytes(b"fLaC?"), "anna.flac: "),
    ],
)
def test_what_cannot_be_tested_is_refused(
    systems: dict[str, Path], tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    """One line says which song, and nothing is left behind that looks like a test."""
    mine = {name: shutil.copytree(folder, tmp_path / name) for name, folder in systems.items()}
    spoil(mine["hiddensystem"])
    with pytest.raises(SongBloomError, match=said):
        make(mine, tmp_path / "test", Wish())
    assert not (tmp_path / "test").exists() and not (tmp_path / "test.key.json").exists()


def test_wishes_are_checked(systems: dict[str, Path], mos: Path) -> None:
    """What cannot be meant is refused, and answers' tests are never written over."""
    for wrong in ({"kind": "xy"}, {"format": "aac"}, {"loudness": 3.0}, {"max_duration": 0.1}):
        with pytest.raises(UsageError):
            Wish(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="compares two systems"):
        make(dict([next(iter(systems.items()))]), mos.with_name("x"), Wish(kind="ab"))
    with pytest.raises(SongBloomError, match="mos: exists already"):
        make(systems, mos, Wish())


def test_a_killed_run_is_made_again_and_no_key_is_lost(
    systems: dict[str, Path], tmp_path: Path
) -> None:
    """What a killed run left is written over; the key of another test is not."""
    wish = Wish(songs=1, repeats=0, anchors=0)
    made = make(systems, tmp_path / "test", wish)
    made.output.rename(tmp_path / ".test.partial")  # killed before the last step
    assert make(systems, tmp_path / "test", wish) == made
    shutil.rmtree(made.output)
    with pytest.raises(SongBloomError, match=r"test\.key\.json: exists already"):
        make(systems, tmp_path / "test", Wish(songs=2, repeats=0, anchors=0))
    assert key_of(made.output)["test"] == made.test


# ---- the page -----------------------------------------------------------------------------------

RUN = """
  const begin = async (rater) => {
    $("rater").value = rater;
    document.querySelector("#begin button").click();
  };
  const heard = () => {
    for (const sound of document.querySelectorAll(".rated")) {
      sound.needed = 0;
      sound.dispatchEvent(new Event("timeupdate"));
    }
  };
  await begin(" Ann ");
  told.first = { title: text("#trial-title"), players: text(".player h3"), scales: text("legend"),
    lyrics: text("#beside p"), locked: $("on").disabled, missing: $("missing").textContent };
  const score = () => document.querySelectorAll("#questions fieldset").forEach((set, index) =>
    set.querySelectorAll("input")[index % 2].click());
  score();
  told.unheard = [$("on").disabled, $("missing").textContent];
  document.querySelectorAll("#questions input").forEach((input) => { input.checked = false; });
  heard();
  told.unanswered = [$("on").disabled, $("missing").textContent];
  for (let trial = 0; !$("trial").hidden && trial < 99; trial++) {
    heard(); score();
    if (trial === 1) { // back and on again keeps what was answered
      $("back").click(); heard();
      told.back = [text("#trial-title"), $("on").disabled];
      $("on").click(); heard(); score();
    }
    $("on").click();
  }
  told.lines = $("copy").value;
"""


def run(page: Path, folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Answer a whole test in a browser; what was told, and the answers."""
    copy = shutil.copytree(page, folder / page.name)
    told = ask(copy / "index.html", RUN)
    return told, [json.loads(line) for line in told["lines"].splitlines()]


def test_a_rater_goes_through_a_test_in_a_browser(mos: Path, tmp_path: Path) -> None:
    """Nobody goes on without listening and answering; the answers are those that were given, and
    no song follows itself."""
    told, rows = run(mos, tmp_path)
    first = told["first"]
    assert first["title"] == ["Song 1 of 9"] and first["players"][0] == "The song"
    assert first["locked"] and "listen for 1 s more" in first["missing"]
    assert told["unheard"] == [True, "listen for 1 s more"]
    assert told["unanswered"] == [True, f"{len(first['scales'])} answers to give"]
    assert first["lyrics"] == ["One two three", "Four <b>five</b> six"]
    assert told["back"] == [["Song 1 of 9"], False]
    trials = key_of(mos)["trials"]
    assert sorted(row["trial"] for row in rows) == sorted(trials)
    assert {row["rater"] for row in rows} == {"Ann"}
    assert [row["position"] for row in rows] == list(range(1, 10))
    songs = [trials[row["trial"]]["song"] for row in rows]
    assert sum(one == two for one, two in pairwise(songs)) <= 1
    for row in rows:  # the first and the second step by turns; no clip, no question about it
        asked = ["MUS_V", "MUS_A", "QLT_V", "QLT_A", "CRR"]
        asked += ["CST"] if trials[row["trial"]]["song"] != "carla" else []
        high = [4 if scale == "CRR" else 5 for scale in asked]
        assert row["answers"] == {s: h - n % 2 for n, (s, h) in enumerate(zip(asked, high))}  # noqa: B905
    sent = tmp_path / "ann.jsonl"
    sent.write_text(told["lines"], encoding="utf-8")
    found = analyse([sent], mos.with_name("mos.key.json"))
    assert found["scores"]["secretsystem"]["MUS_V"]["mean"] == 5
    assert found["scores"]["hiddensystem"]["CST"] == {
        "mean": 4, "interval": [4, 4], "ratings": 2, "raters": 1, "songs": 2
    }  # fmt: skip


def test_an_ab_test_in_a_browser(ab: Path, tmp_path: Path) -> None:
    """Two players, one question; who always takes side A is for neither system."""
    told, rows = run(ab, tmp_path)
    assert told["first"]["players"][:2] == ["A", "B"]
    assert told["first"]["scales"] == [rubric.PREFERENCE]
    assert [row["answers"] for row in rows] == [{"PREF": "A"}] * 4


# ---- the analysis -------------------------------------------------------------------------------


def write(path: Path, key: dict[str, Any], rater: str, give: Callable[[Any], Any]) -> Path:
    """A rater's file: what `give` gives to each trial, None for one that is skipped."""
    rows = [
        {"format": 1, "test": key["test"], "rater": rater, "trial": id, "answers": given}
        for id, trial in key["trials"].items()
        if (given := give(trial)) is not None
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def scores(level: int, **other: int) -> dict[str, int]:
    """The same score on all scales but some."""
    known = {scale.key: min(level, scale.high) for scale in rubric.SCALES}
    return {**known, **other}


def by_system(trial: Any) -> dict[str, int]:
    """A careful rater: one system is a step better, and muffled songs sound worse."""
    level = 4 if trial["systems"] == ["secretsystem"] else 3
    return scores(level, QLT_A=level - 1) if trial["role"] == "anchor" else scores(level)


def test_means_and_differences(mos: Path, tmp_path: Path) -> None:
    """Means over raters and songs, differences of the same rater on the same song; repeats and
    anchors count for nothing."""
    key = key_of(mos)

    def strict(trial: Any) -> dict[str, int]:
        return scores(1) if trial["role"] != "rating" else {
            name: score - 1 for name, score in by_system(trial).items()
        }  # fmt: skip

    files = [write(tmp_path / "a", key, "a", by_system), write(tmp_path / "b", key, "b", strict)]
    found = analyse(files, mos.with_name("mos.key.json"))
    mean = found["scores"]["secretsystem"]["QLT_A"]
    assert mean == {"mean": 3.5, "interval": [3.0, 4.0], "ratings": 6, "raters": 2, "songs": 3}
    apart = [row for row in found["differences"] if row["scale"] == "MUS_V"]
    assert [(row["one"], row["other"]) for row in apart] == [tuple(HERTZ)]
    assert apart[0]["mean"] == 1 and apart[0]["interval"] == [1.0, 1.0]
    assert found["raters"] == 2 and found["left_out"] == []
    assert analyse(files[::-1], mos.with_name("mos.key.json")) == found


def test_intervals_hold_what_they_promise() -> None:
    """Where raters and songs differ, 95 in 100 intervals hold the truth; that of independent
    ratings would hold it in far fewer."""
    rng = np.random.default_rng(0)
    held, naive, trials = 0, 0, 150
    for _ in range(trials):
        noise = rng.normal(0, 0.4, (10, 15))
        table = 3 + rng.normal(0, 0.5, (10, 1)) + rng.normal(0, 0.5, (1, 15)) + noise
        low, high = answers._interval(table, Statistics(resamples=400)) or (0, 0)
        held += low <= 3 <= high
        naive += abs(table.mean() - 3) <= 1.96 * table.std() / np.sqrt(table.size)
    assert held / trials >= 0.9 and naive / trials < 0.7


def test_wins_and_their_p_value(ab: Path, tmp_path: Path) -> None:
    """Nine wins and no loss: the exact p is 2 / 2^9, Wilson's interval is the formula's; by rater
    three of three."""

    def first(trial: Any) -> dict[str, str]:
        return {"PREF": "AB"[trial["systems"].index("secretsystem")]}

    key = key_of(ab)
    files = [write(tmp_path / f"{n}", key, f"r{n}", first) for n in range(3)]
    files.append(write(tmp_path / "x", key, "x", lambda trial: {"PREF": "none"}))
    (row,) = analyse(files, ab.with_name("ab.key.json"))["pairs"]
    assert (row["wins"], row["losses"], row["ties"], row["rate"]) == (9, 0, 3, 1.0)
    assert row["p"] == row["p_holm"] == round(2 / 2**9, 6)
    z2 = 1.959964**2
    assert row["interval"] == pytest.approx([9 / (9 + z2), 1.0], abs=1e-5)
    assert row["by_rater"] == {"wins": 3, "losses": 0, "ties": 1, "p": 0.25}


def _careless(trial: Any) -> dict[str, int]:
    return scores(1 if trial["role"] == "repeat" else 4, MUS_V=2 + (trial["song"] == "anna"))


def _deaf(trial: Any) -> dict[str, int]:
    return scores(5 if trial["role"] == "anchor" else 3, MUS_V=2 + (trial["song"] == "anna"))


@pytest.mark.parametrize(
    ("give", "reason"),
    [
        (by_system, None),
        (_careless, "rated the same songs"),
        (_deaf, "rated 1 of 1 muffled songs above"),
        (lambda trial: scores(3) if trial["song"] == "anna" else None, "of 9 trials"),
    ],
)
def test_careless_raters_are_left_out(
    mos: Path, tmp_path: Path, give: Callable[[Any], Any], reason: str | None
) -> None:
    """Contradictions, deafness to muffling and half a test are told; careful raters stay."""
    file = write(tmp_path / "a", key_of(mos), "a", give)
    key = mos.with_name("mos.key.json")
    found = analyse([file], key, screening=Screening())
    if reason is None:
        assert found["left_out"] == [] and found["raters"] == 1
    else:
        assert reason in found["left_out"][0]["reasons"][0] and found["raters"] == 0
        assert found["scores"]["secretsystem"]["MUS_V"] is None
        assert "Raters left out" in answers.markdown(found)
    assert analyse([file], key)["raters"] == 1


def test_who_always_says_the_same_is_left_out(tmp_path: Path) -> None:
    """Eight answers of one kind say nothing, and choosing side A twice contradicts itself."""
    trials = {f"{n}": {"song": f"s{n}", "systems": ["x", "y"], "role": "rating", "of": None}
              for n in range(8)}  # fmt: skip
    again = {"song": "s0", "systems": ["y", "x"], "role": "repeat", "of": "0"}
    key = {"kind": "ab", "trials": {**trials, "8": again}}
    left = {id: {"PREF": "A"} for id in key["trials"]}
    reasons = answers.screened(key, left, Screening())
    assert reasons == ["gave the same answer to all 8 trials",
                       "chose the other song in 1 of 1 repeats"]  # fmt: skip
    fair = {**left, "8": {"PREF": "B"}, "1": {"PREF": "none"}}
    assert answers.screened(key, fair, Screening()) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "is no answer of a listening test"),
        ("[]", "is no answer of a listening test"),
        ('{"test": "T", "rater": "a", "trial": "999", "answers": {}}', "the page cannot give"),
        ('{"test": "T", "rater": "a", "trial": "001", "answers": {"MUS_V": 6}}', "cannot give"),
        ('{"test": "x", "rater": "a", "trial": "001", "answers": {}}', "answers test x"),
    ],
)
def test_wrong_answers_are_told_with_their_line(
    mos: Path, tmp_path: Path, line: str, said: str
) -> None:
    """A damaged or foreign line is named by file and number."""
    key = key_of(mos)
    file = write(tmp_path / "a.jsonl", key, "a", by_system)
    file.write_text(file.read_text() + line.replace('"T"', f'"{key["test"]}"') + "\n")
    with pytest.raises(SongBloomError, match=rf"a\.jsonl:10: .*{said}"):
        analyse([file], mos.with_name("mos.key.json"))


def test_answers_sent_twice_count_once(mos: Path, tmp_path: Path) -> None:
    """The same file twice changes nothing; two raters under one name are told."""
    key, path = key_of(mos), mos.with_name("mos.key.json")
    file = write(tmp_path / "a", key, "a", by_system)
    assert analyse([file, file], path) == analyse([file], path)
    other = write(tmp_path / "b", key, "a", lambda trial: scores(1))
    with pytest.raises(SongBloomError, match="'a' answered trial 001 twice"):
        analyse([file, other], path)
    (tmp_path / "c").write_text("\n")
    with pytest.raises(SongBloomError, match="no answers"):
        analyse([tmp_path / "c"], path)
    with pytest.raises(SongBloomError, match="is no key of a listening test"):
        analyse([file], file)


def test_the_commands(systems: dict[str, Path], tmp_path: Path) -> None:
    """make prints the page, analyse the scores and writes them; names of systems can be given."""
    shell, out = CliRunner(), tmp_path / "test"
    first, second = systems.values()
    made = shell.invoke(main.app, ["listen", "make", f"we={first}", str(second), "-o", str(out)])
    assert made.exit_code == 0 and made.stdout == f"{out / 'index.html'}\n"
    assert "1 songs are not in every folder" in made.stderr and "test.key.json" in made.stderr
    key = key_of(out)
    assert key["systems"] == ["we", "hiddensystem"]
    sent = str(write(tmp_path / "a.jsonl", key, "a", by_system))
    command = ["listen", "analyse", sent, "--key", f"{out}.key.json"]
    table = shell.invoke(main.app, [*command, "-o", str(tmp_path / "found.json")])
    assert table.exit_code == 0 and "Mean opinion scores" in table.stdout
    told = shell.invoke(main.app, [*command, "--json"])
    assert json.loads(told.stdout) == json.loads((tmp_path / "found.json").read_text())
    twice = shell.invoke(main.app, ["listen", "make", f"a={first}", f"a={second}", "-o", "x"])
    assert isinstance(twice.exception, UsageError)
