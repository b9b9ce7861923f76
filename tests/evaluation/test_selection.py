"""Best of N: all candidates are sung, scored and kept, the best is the song, and says so."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation.toys import Inline
from generation.conftest import LYRICS, make_model
from stages.corpora import run

from songbloom import audio
from songbloom.errors import SongBloomError, UsageError
from songbloom.evaluation import candidates, items, protocol, selection
from songbloom.evaluation.candidates import Policy, best
from songbloom.evaluation.protocol import Protocol
from songbloom.files import sha256
from songbloom.generation.bundle import read_bundle, rerender
from songbloom.generation.options import GenerateOptions
from songbloom.lyrics import parse
from songbloom.requests import Request

TEXT = parse(LYRICS)
ORACLE = Protocol(
    "test", ("per", "ser"), settings={name: {"backend": "oracle"} for name in ("per", "ser")}
)
TWICE = GenerateOptions(max_duration=1.6, device="cpu")
WORDS = "light in the morning follow me home sing it again"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model and a clip."""
    made = tmp_path_factory.mktemp("best")
    make_model(made / "model")
    rate = 48_000
    tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(rate) / rate).astype(np.float32)
    audio.save(made / "clip.wav", tone[None], rate)
    return made


def heard(folder: Path, transcripts: Sequence[str], name: str = "song") -> None:
    """What the oracle will hear in each candidate."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, words in enumerate(transcripts):
        (folder / f"{name}_s{number}.oracle.txt").write_text(words)


def requests(folder: Path, *names: str) -> list[Request]:
    return [Request(name, TEXT, folder / "clip.wav") for name in names]


def test_best_of_all_is_kept(folder: Path, tmp_path: Path) -> None:
    """The candidate with the least PER, its bytes under the song's name, the scores of all beside
    it; the same again makes nothing, and the evaluation of the song knows the policy."""
    heard(tmp_path / "candidates", ["light in the fog", WORDS, "follow me home"])
    policy, seen = Policy(3, ("per",)), list[str]()
    how = {"policy": policy, "protocol": ORACLE, "make_crew": Inline}
    rows = selection.best_of(requests(folder, "song"), folder / "model", tmp_path, TWICE,
                             lambda e: seen.append(e["event"]), **how)  # fmt: skip
    kept = tmp_path / "candidates"
    assert (rows[0]["sample"], rows[0]["file"]) == (1, str(tmp_path / "song.flac"))
    assert sha256(tmp_path / "song.flac") == sha256(kept / "song_s1.flac") == rows[0]["sha256"]
    assert len({sha256(kept / f"song_s{k}.flac") for k in range(3)}) == 3
    assert seen.count("candidate") == 3

    song = read_bundle(tmp_path / "song.song").song
    told = song["selection"]
    assert (told["policy"], told["chosen"]) == ("best of 3 by per", "song_s1.flac")
    assert [row["mean_rank"] for row in told["candidates"]] == [2, 1, 3]
    scores = json.loads((kept / "evaluation.json").read_text())
    assert [s["measured"]["per"]["value"] for s in scores["songs"]] == [
        row["per"] for row in told["candidates"]
    ]
    again = rerender(tmp_path / "song.song", None, model_path=folder / "model", device="cpu")
    assert again["identical"]
    works = [
        json.loads((kept / f"song_s{k}.song/speed.json").read_text())["work_seconds"]
        for k in range(3)
    ]
    speed = json.loads((tmp_path / "song.song" / "speed.json").read_text())
    assert speed["work_seconds"] == pytest.approx(sum(works), abs=0.01)

    found = items.find(tmp_path)
    assert [item.name for item in found] == ["song"]
    assert candidates.followed(protocol.load("offline"), found).candidates == "best of 3 by per"

    before = (tmp_path / "song.song" / "song.toml").stat().st_mtime_ns
    seen.clear()
    more = selection.best_of(requests(folder, "song"), folder / "model", tmp_path, TWICE,
                             lambda e: seen.append(e["event"]), **how)  # fmt: skip
    assert more[0]["skipped"] and "skip" in seen and "start" not in seen
    assert (tmp_path / "song.song" / "song.toml").stat().st_mtime_ns == before


def test_best_by_mean_rank() -> None:
    """Ranks are added, not values; the first metric decides between equals, then the order."""
    better = {"per": "lower", "mcc": "higher"}
    scores = [{"per": 10.0, "mcc": 0.1}, {"per": 11.0, "mcc": 0.9}, {"per": 90.0, "mcc": 0.8}]
    assert best(scores, better) == (1, [2.0, 1.5, 2.5])
    assert best([{"per": 2.0, "mcc": 0.1}, {"per": 1.0, "mcc": 0.05}], better)[0] == 1
    assert best([{"per": 1.0, "mcc": 1.0}] * 3, better) == (0, [2.0, 2.0, 2.0])
    assert best([{"per": None, "mcc": 0.9}, {"per": 50.0, "mcc": 0.8}], better)[0] == 1


def test_policies_of_songs_and_protocol_must_agree(tmp_path: Path) -> None:
    """Songs chosen in different ways are refused, and a protocol that says otherwise."""

    def song(name: str, text: str) -> items.Item:
        (tmp_path / name).mkdir()
        (tmp_path / name / "song.toml").write_text(text)
        return items.Item(name, tmp_path / f"{name}.flac", bundle=tmp_path / name)

    first = song("a", "seed = 1\n")
    chosen = song("b", '[selection]\npolicy = "best of 4 by per"\n')
    foreign = items.Item("c", tmp_path / "c.wav")
    plain = Protocol("p", ("per",))
    stated = replace(plain, candidates="best of 4 by per")
    assert candidates.followed(plain, [first, foreign]).candidates == "first"
    assert candidates.followed(plain, [chosen, foreign]).candidates == "best of 4 by per"
    assert candidates.followed(stated, [chosen]) == stated
    assert candidates.followed(stated, [foreign]) == stated
    with pytest.raises(SongBloomError, match="in different ways"):
        candidates.followed(plain, [first, chosen])
    with pytest.raises(UsageError, match="by their bundles"):
        candidates.followed(stated, [first])


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--best-of", 1), "at least 2"),
        (("--best-of", 2, "--select", ","), "no metrics"),
        (("--best-of", 2, "--select", "per,per"), "stands twice"),
        (("--best-of", 2, "--select", "nice"), "no metric 'nice'"),
        (("--best-of", 2, "--select", "signal"), "no better or worse"),
        (("--best-of", 2, "--select", "ser", "--n-samples", 3), "one of them only"),
        (("--best-of", 2, "--protocol", "none"), "protocol none"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    folder: Path, tmp_path: Path, words: tuple[object, ...], why: str
) -> None:
    """Before anything is sung: exit code 2, and what to type."""
    (tmp_path / "song.txt").write_text(LYRICS)
    ran = run("generate", tmp_path / "song.txt", "--prompt", folder / "clip.wav", "-m",
              folder / "model", "-o", tmp_path / "out", *words)  # fmt: skip
    assert (ran.code, ran.out) == (2, ""), ran.err
    assert why in ran.err
    assert not (tmp_path / "out").exists()


def test_plan_names_all_candidates(folder: Path, tmp_path: Path) -> None:
    """--dry-run: what would be sung, and what kept; a file has its candidates beside it."""
    (tmp_path / "song.txt").write_text(LYRICS)
    ran = run("generate", tmp_path / "song.txt", "--prompt", folder / "clip.wav", "-m",
              folder / "model", "-o", tmp_path / "x.wav", "--best-of", 2, "--select", "ser",
              "--dry-run", "--json")  # fmt: skip
    assert ran.code == 0, ran.err
    planned = json.loads(ran.out)
    assert planned["files"] == [str(tmp_path / "x.candidates" / f"x_s{k}.wav") for k in (0, 1)]
    assert planned["kept"] == [str(tmp_path / "x.wav")]
    assert planned["selection"] == "best of 2 by ser"
    assert not list(tmp_path.glob("x*"))
