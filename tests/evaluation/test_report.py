"""An evaluation's report says what evaluation.json says, worst songs first, in three forms."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import ask

from songbloom import audio
from songbloom.errors import UsageError
from songbloom.evaluation import report
from songbloom.evaluation.report import Wish

EVIL = "</script><img src=x onerror=\"document.documentElement.dataset.errors='9'\">|`x`"
IDENTITY = {"per": {"backend": "toy", "sha256": "ab" * 32}, "mcc": {"backend": "ears"}}


def counts(asked: int, substitutions: int, deletions: int, insertions: int) -> dict[str, int]:
    """Phones of a line."""
    return {"asked": asked, "substitutions": substitutions, "deletions": deletions,
            "insertions": insertions}  # fmt: skip


def words() -> dict[str, Any]:
    """Two lines: one with a word replaced, one not sung."""
    lines = [
        {"section": 0, "text": "one two", "heard": "one moo", "phones": counts(6, 1, 0, 1),
         "words": [["one", 3, 0], ["two", 2, 2]]},
        {"section": 1, "text": EVIL, "heard": "", "phones": counts(5, 0, 5, 0),
         "words": [[EVIL, 5, 5]]},
    ]  # fmt: skip
    sections = [
        {"section": 0, "tag": "verse", "phones": counts(6, 1, 0, 1)},
        {"section": 1, "tag": "chorus", "phones": counts(5, 0, 5, 0)},
    ]
    return {"phones": counts(11, 1, 5, 1), "lines": lines, "sections": sections}


def result(folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """Four songs with sound: c is worst by PER, b by MCC, d could not be scored, EVIL is fine."""
    sounds, songs = {}, []
    values = {"b": (4.0, 0.2), "c": (63.6, 0.5), "d": (None, None), EVIL: (5.0, 0.9)}
    for number, (name, (per, mcc)) in enumerate(values.items()):
        sounds[name] = folder / f"{number}.flac"
        time = np.arange(2 * 48_000) / 48_000
        tone = 0.5 * np.sin(2 * np.pi * 220 * (number + 1) * time)
        audio.save(sounds[name], np.stack([tone, tone]).astype(np.float32), 48_000)
        measured = {} if per is None else {
            "per": {"value": per, "weight": 11.0, "details": words() if name == "c" else {}},
            "mcc": {"value": mcc, "weight": 1.0, "details": {"windows": 3}},
        }  # fmt: skip
        digest = hashlib.sha256(sounds[name].read_bytes()).hexdigest()
        songs.append({"name": name, "audio_sha256": digest, "measured": measured})
    metrics = {
        "per": {"value": 26.2, "interval": [5.0, 60.0], "songs": 3, "failed": 1, "unit": "%",
                "better": "lower", "backend": "toy",
                "parts": {"substitutions": 3.0, "deletions": 20.0, "insertions": 3.2}},
        "mcc": {"value": 0.5333, "interval": None, "songs": 3, "failed": 1, "unit": "",
                "better": "higher", "backend": "ears", "parts": {}},
    }  # fmt: skip
    protocol = {"id": "0123456789abcdef", "name": "Mine", "candidates": "best of 4 by per",
                "identity": IDENTITY}  # fmt: skip
    failed = [{"name": "d", "metric": m, "reason": "is silent"} for m in metrics]
    return {"format": 1, "protocol": protocol, "test_set": {"hash": "f" * 64, "songs": 4},
            "metrics": metrics, "songs": songs, "failed": failed}, sounds  # fmt: skip


def test_the_worst_come_first(tmp_path: Path) -> None:
    """A song is as bad as where it stands worst, in either direction; unscored ones come last."""
    found, _ = result(tmp_path)
    assert report.worst(found) == ["c", "b", EVIL, "d"]
    assert report.worst({**found, "metrics": {}}) == sorted(["b", "c", "d", EVIL])


def test_rows_carry_backend_unit_and_interval(tmp_path: Path) -> None:
    """A terminal's row: the backend in the heading, units, and what failed."""
    found, _ = result(tmp_path)
    per, mcc = report.rows(found)
    assert per == ("per (toy)", "26.20 %", "5.00 % to 60.00 %", "lower", "3", "1")
    assert mcc == ("mcc (ears)", "0.533", "-", "higher", "3", "1")
    header, songs = report.song_rows(found, 2)
    assert header == ["song", "per (toy)", "mcc (ears)"]
    assert songs == [["c", "63.60 %", "0.500"], ["b", "4.00 %", "0.200"]]
    line = report.protocol_line(found)
    assert "Mine 0123456789abcdef" in line and "best of 4 by per" in line and "f" * 16 in line


def test_songs_have_their_own_distance(tmp_path: Path) -> None:
    """FAD has no value a song; each song's own distance, told in its parts, stands in its row."""
    found, _ = result(tmp_path)
    parts = {"per_song": {"values": [2.0, 9.0, None]}}
    found["metrics"]["fad"] = {**found["metrics"]["per"], "unit": "", "parts": parts}
    for song in found["songs"]:
        if song["name"] != "d":
            song["measured"]["fad"] = {"value": None, "weight": 1.0, "details": {}}
    assert report.values(found, "fad") == {"b": 2.0, "c": 9.0}
    assert report.song_rows(found, 1)[1] == [["c", "63.60 %", "0.500", "9.000"]]


def test_markdown_has_it_all_and_nothing_breaks_out(tmp_path: Path) -> None:
    """Protocol, values, failures; rows have their header's cells, whatever a song is called."""
    found, _ = result(tmp_path)
    text = report.markdown(found)
    assert "0123456789abcdef" in text and "is silent" in text and "ab" * 32 in text
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == 4
    for table in tables:
        cells = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
        assert len(cells) == 1, table
    assert "<img" not in text.replace("\\<", "")


def test_the_page_plays_what_was_scored_and_nothing_else(tmp_path: Path) -> None:
    """A changed file and a lost one are not played; where the room ends songs stay out."""
    found, sounds = result(tmp_path)
    sounds["b"].write_bytes(sounds["c"].read_bytes())
    sounds[EVIL].unlink()
    page = tmp_path / "report.html"
    written = report.write(found, page, sounds)
    assert written.shown == ("c", "b", EVIL, "d") and written.silent == ("b", EVIL)
    text = page.read_text("utf-8")
    assert "has changed since it was scored" in text and str(tmp_path) not in text
    assert report.write(found, page, sounds).bytes == written.bytes
    assert page.read_text("utf-8") == text
    small = report.write(found, page, sounds, Wish(max_bytes=60_000))
    assert "c" in small.silent and page.stat().st_size < 60_000 < written.bytes
    none = report.write(found, page, sounds, Wish(songs=1, sound="none"))
    assert none.shown == none.silent == ("c",)


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    """A report is a page or Markdown, and sound comes in three ways."""
    found, _ = result(tmp_path)
    with pytest.raises(UsageError, match=r"report\.pdf: expected a name that ends in"):
        report.write(found, tmp_path / "report.pdf")
    with pytest.raises(UsageError, match="sound 'loud'"):
        Wish(sound="loud")  # type: ignore[arg-type]


CHECK = """
  told.metrics = text("#metrics dt");
  told.values = text("#metrics dd.value");
  told.bars = [...document.querySelectorAll(".shares i")].map((bar) => Number(bar.style.flexGrow));
  told.titles = text("#list tbody td:first-child");
  told.cells = text("#list tbody tr:last-child td");
  told.open = $("player-title").textContent;
  told.lines = [...document.querySelectorAll(".line")].map((e) => [e.className, e.textContent]);
  told.wrong = text(".wrong");
  told.heads = text("#lyrics h3");
  told.playable = !$("audio").hidden;
  document.querySelectorAll("#list thead button")[2].click();
  told.sorted = text("#list tbody td:nth-child(3)");
  $("search").value = "silent"; $("search").dispatchEvent(new Event("input"));
  told.found = text("#list tbody td:first-child");
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "n", bubbles: true }));
  told.next = [$("player-title").textContent, location.hash];
  told.failed = text("#failed td:last-child");
  told.identity = text("#identity pre").map(JSON.parse);
"""


def test_in_a_browser(tmp_path: Path) -> None:
    """The page draws itself, colours lines by their edits, sorts, finds and steps."""
    found, sounds = result(tmp_path)
    page = tmp_path / "report.html"
    report.write(found, page, sounds)
    told = ask(page, CHECK)
    assert told["metrics"] == ["per (toy)", "mcc (ears)"]
    assert told["values"] == ["26.20 %5.00 % to 60.00 %", "0.533"]
    assert told["bars"] == [3.0, 20.0, 3.2]
    assert told["titles"] == ["c", "b", EVIL, "d"] and told["open"] == "c"
    assert told["cells"] == ["d", "failed", "failed"]
    (first, one), (second, lost) = told["lines"]
    assert first == "line substitutions" and "heard: one moo" in one and "1 sub. 1 ins. in 6" in one
    assert second == "line deletions" and EVIL in lost and "nothing heard" in lost
    assert told["wrong"] == ["two", EVIL]
    assert told["heads"] == ["verse · 1 sub. 1 ins. in 6", "chorus · 5 del. in 5"]
    assert told["playable"] and told["sorted"] == ["0.200", "0.500", "0.900", "failed"]
    assert told["found"] == ["d"] and told["next"] == ["b", "#song=b"]
    assert told["failed"] == ["is silent"] * 2 and told["identity"] == list(IDENTITY.values())


@pytest.mark.parametrize("sound", ["embed", "link"])
def test_sound_is_played_by_a_browser(tmp_path: Path, sound: Any) -> None:
    """A browser decodes the sound inside the page, or beside it under whatever name."""
    found, sounds = result(tmp_path)
    (tmp_path / "a #1 ü").mkdir()
    sounds["c"] = sounds["c"].rename(tmp_path / "a #1 ü" / "c%20.flac")
    page = tmp_path / "report.html"
    report.write(found, page, sounds, Wish(sound=sound))
    script = """
      const audio = $("audio");
      const known = new Promise((done) => audio.addEventListener("loadedmetadata", done));
      if (audio.readyState < 1) await known;
      told.seconds = audio.duration;
    """
    assert ask(page, script)["seconds"] == pytest.approx(2.0, abs=0.01)


def test_nothing_scored_in_a_browser(tmp_path: Path) -> None:
    """A result without songs' values draws itself too."""
    found, _ = result(tmp_path)
    for song in found["songs"]:
        song["measured"] = {}
    for metric in found["metrics"].values():
        metric |= {"value": None, "interval": None, "songs": 0, "parts": {}}
    page = tmp_path / "report.html"
    report.write(json.loads(json.dumps(found)), page)
    told = ask(page, 'told.values = text("#metrics dd.value"); told.lyrics = text("#lyrics");')
    assert told["values"] == ["none", "none"] and told["lyrics"] == ["No lyrics were scored."]
