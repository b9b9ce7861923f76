"""The report's page and the dataset card say what the manifest says, and need nothing else."""

import base64
import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from browser import ask, browse
from typer.testing import CliRunner

from songbloom import audio, manifest
from songbloom.errors import SongBloomError, UsageError
from songbloom.manifest import Decision, Track
from songbloom.stages import picture, report, summary
from songbloom.stages.card import write_card
from songbloom.stages.report import Wish, write_report
from songbloom.stages.stage import DETAILS_FILE, result_folder
from songbloom.tables import FiltersConfig
from songbloom_cli import report as command

RATE = 24_000
EVIL = "</script><script>document.documentElement.dataset.errors = 'pwned'</script>"


def tone(seconds: float, hertz: float = 1000.0) -> np.ndarray:
    """A sine, float32 [1, n], whose second half is half as loud."""
    time = np.arange(round(seconds * RATE)) / RATE
    loudness = np.where(time < seconds / 2, 0.8, 0.4)
    return (loudness * np.sin(2 * np.pi * hertz * time)).astype(np.float32)[None]


def words(text: str, start: float) -> list[dict[str, Any]]:
    """Words of half a second each, ever surer."""
    return [
        {"text": word, "start": start + i / 2, "end": start + i / 2 + 0.5, "confidence": i / 4}
        for i, word in enumerate(text.split())
    ]


def lines() -> list[dict[str, Any]]:
    """Two lines in two sections; the second line's last word was not heard."""
    lost = {"text": "lost", "start": None, "end": None, "confidence": 0.0}
    return [
        {"section": 0, "text": "one two three", "start": 0.5, "end": 2.0, "confidence": 0.5,
         "words": words("one two three", 0.5)},
        {"section": 1, "text": "four five lost", "start": 2.5, "end": 3.5, "confidence": 0.5,
         "words": [*words("four five", 2.5), lost]},
    ]  # fmt: skip


def song(id: str, **other: Any) -> Track:
    """A song that is ready."""
    tags = [{"tag": "verse", "start": 0.5, "end": 2.0}, {"tag": "chorus", "start": 2.5, "end": 3.5}]
    sections = [
        {"tag": "verse", "start": 0.0, "end": 2.25, "confidence": 0.9},
        {"tag": "chorus", "start": 2.25, "end": 4.0, "confidence": 0.1},
    ]
    results = {
        "ingest": {"rms_dbfs": -12.5, "silence": 0.0, "lyrics_lines": 2, "lyrics_words": 6},
        "separate": {"key": "eeff", "voice": 0.5, "vocals_dbfs": -20.0},
        "align": {"key": "aabb", "sections": tags, "matched": 0.8, "language": "en"},
        "structure": {"key": "ccdd", "sections": sections, "tempo": 120.0},
    }
    known: dict[str, Any] = {
        "id": id, "audio": f"{id}.flac", "title": f"Song {id}", "artist": "Ann", "language": "en",
        "licence": "CC-BY-4.0", "source": "here", "duration": 4.0, "state": "ready",
        "decisions": (Decision("min_voice", 0.5, 0.1, True),), "results": results,
    }  # fmt: skip
    return Track(**(known | other))


def corpus() -> list[Track]:
    """Songs of every state, one of them with texts that would like to be code."""
    refused = Decision("min_voice", 0.02, 0.1, False)
    return [
        song("a"),
        song("b", title=EVIL, artist='"><img src=x onerror=alert(1)>', licence="", language="zh"),
        song("c", results={}, decisions=(), title=""),
        song("d", state="rejected", stage="separate", reason="min_voice: 0.02",
             decisions=(refused,), results={"separate": {"voice": 0.02}}, duration=700.0),
        song("e", state="failed", stage="ingest", reason="e.flac: is empty (0 bytes)", results={},
             decisions=(), duration=None),
    ]  # fmt: skip


def dataset(folder: Path, tracks: list[Track], sounds: bool = True) -> Path:
    """A prepared dataset `folder`/data of songs in `folder`/songs."""
    data, songs = folder / "data", folder / "songs"
    songs.mkdir(parents=True)
    data.mkdir()
    manifest.write(data / "manifest.jsonl", tracks)
    backends = {
        "separate": {"name": "seedling", "why": "<b>small</b>", "licence": "", "hash": "ff" * 32}
    }
    described = {
        "songs": "../songs",
        "filters": dataclasses.asdict(FiltersConfig()),
        "backends": backends,
    }
    (data / "prepare.json").write_text(json.dumps(described))
    for track in tracks if sounds else ():
        if track.state == "ready":
            audio.save(songs / track.audio, tone(4.0), RATE)
    details = {"align": {"lines": lines()}, "structure": {"beats": [0.5, 1.0]}}
    for stage, key in (("align", "aabb"), ("structure", "ccdd"), ("separate", "eeff")):
        made = result_folder(data / "work", stage, key)
        made.mkdir(parents=True)
        if stage in details:
            (made / DETAILS_FILE).write_text(json.dumps(details[stage]))
    for name, hertz in (("vocals", 500.0), ("accompaniment", 200.0)):
        audio.save(made / f"{name}.flac", tone(4.0, hertz), RATE)
    return data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset(tmp_path_factory.mktemp("report"), corpus())


@pytest.fixture(scope="module")
def page(data: Path) -> str:
    """The page with every stem of every song that has one."""
    write_report(data, data.parent / "report.html", Wish(stems=True))
    return (data.parent / "report.html").read_text("utf-8")


def read(page: str, name: str) -> dict[str, Any]:
    """The JSON of one of the page's data elements."""
    found = re.search(f'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


# --- what the page says ---------------------------------------------------------------------------


def test_page_says_what_the_manifest_says(page: str) -> None:
    """Totals, reasons, rules and rows are those of the manifest."""
    held = read(page, "data")
    totals = held["summary"]
    assert totals["states"] == {"ready": 3, "rejected": 1, "failed": 1, "pending": 0}
    assert totals["hours_ready"] == round(12 / 3600, 4) and totals["hours"] == round(712 / 3600, 4)
    assert (totals["lines"], totals["words"]) == (4, 12)
    assert [(row["name"], row["songs"]) for row in totals["languages"]] == [("en", 2), ("zh", 1)]
    assert [(row["name"], row["sections"]) for row in totals["sections"]] == [
        ("chorus", 2),
        ("verse", 2),
    ]
    assert {(r["state"], r["stage"], r["reason"], r["example"]) for r in totals["refused"]} == {
        ("rejected", "separate", "min_voice", "d"),
        ("failed", "ingest", "is empty (0 bytes)", "e"),
    }
    assert totals["rules"] == [{"rule": "min_voice", "limit": 0.1, "kept": 2, "refused": 1}]
    assert [(row["id"], row["title"]) for row in held["tracks"]] == [
        (track.id, track.title) for track in corpus()
    ]
    confidences = next(h for h in totals["histograms"] if h["name"] == "confidence")["bins"]
    assert [kept for _, kept, _ in confidences if kept] == [6, 4, 2]  # 0, .25 and .5 of two songs
    assert held["tracks"][0]["confidence"] == pytest.approx(1 / 6, abs=1e-4)
    assert held["shown"] == ["a", "b", "c", "d"]  # e has no length: there is nothing to draw
    assert held["backends"][0]["why"] == "<b>small</b>"


def test_a_song_holds_what_the_stages_found(page: str) -> None:
    """Words, sections, decisions and sound of a song are in its own element."""
    detail = read(page, "track-0")
    assert (
        detail["lines"] == lines()
        and detail["beats"] == [0.5, 1.0]
        and detail["tags"] == ["verse", "chorus"]
    )
    assert [section["confidence"] for section in detail["sections"]] == [0.9, 0.1]
    assert detail["decisions"] == [{"rule": "min_voice", "value": 0.5, "limit": 0.1, "kept": True}]
    assert list(detail["sound"]) == ["mix", "vocals", "accompaniment"]
    assert list(detail["peaks"]) == ["vocals", "accompaniment"]
    assert detail["results"]["structure"] == {"key": "ccdd", "tempo": 120.0}
    assert list(read(page, "track-2")["peaks"]) == ["mix"]  # no stems are there


def test_sound_in_the_page_is_the_song(page: str, tmp_path: Path) -> None:
    """Decoded, the sound of the page has the song's length and its pitch."""
    path = tmp_path / "mix.ogg"
    path.write_bytes(base64.b64decode(read(page, "track-0")["sound"]["mix"]))
    heard = audio.load(path, RATE)
    assert heard.shape == (1, 4 * RATE)
    assert abs(np.argmax(np.abs(np.fft.rfft(heard[0]))) / 4 - 1000) < 2


def test_the_page_fetches_nothing(page: str) -> None:
    """No address in it but the name of SVG's namespace, and a policy that forbids fetching."""
    assert set(re.findall(r"\w+://[\w./]*", page)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|<link|<iframe|url\(", page)
    assert not re.search(r'(src|href)="(?!#)', page.split("<script type=")[0])
    assert "default-src 'none'" in page


def test_texts_stay_texts(page: str) -> None:
    """What songs are called cannot end an element: the page has its own script elements alone."""
    shown = len(read(page, "data")["shown"])
    assert page.count("</script>") == page.count("<script") == shown + 2
    assert "<img src=x" not in page and "<b>small" not in page
    assert read(page, "data")["tracks"][1]["title"] == EVIL


def test_same_dataset_same_bytes(data: Path, tmp_path: Path) -> None:
    """Two pages of one dataset are equal, whatever they are called."""
    for name in ("one.html", "two.html"):
        write_report(data, tmp_path / name, Wish(stems=True))
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


# --- which songs ----------------------------------------------------------------------------------


def test_named_songs_are_shown_in_their_order(data: Path, tmp_path: Path) -> None:
    """--track shows these and no others; one that is not there is named."""
    made = write_report(data, tmp_path / "r.html", Wish(ids=("c", "e", "a", "c"), audio=False))
    assert made.shown == made.silent == ("c", "e", "a")
    page = (tmp_path / "r.html").read_text("utf-8")
    assert "could not be read" in read(page, "track-1")["note"]
    assert not read(page, "track-0")["sound"] and read(page, "track-0")["image"]
    with pytest.raises(UsageError, match="--track nosuch"):
        write_report(data, tmp_path / "r.html", Wish(ids=("a", "nosuch")))


def test_size_is_kept(data: Path, tmp_path: Path) -> None:
    """Past the size songs come without sound, then not at all; the list stays whole."""
    full = write_report(data, tmp_path / "full.html", Wish())
    assert full.silent == ("d",)  # too long
    silent = write_report(data, tmp_path / "silent.html", Wish(audio=False))
    limit = silent.bytes + 4 * report.BYTES_PER_SECOND  # room for the first of three
    part = write_report(data, tmp_path / "part.html", Wish(max_bytes=limit))
    assert part.bytes <= limit and part.shown == full.shown
    assert "a" not in part.silent and {"c", "d"} <= {*part.silent}
    none = write_report(data, tmp_path / "none.html", Wish(max_bytes=1))
    assert none.shown == ()
    assert len(read((tmp_path / "none.html").read_text("utf-8"), "data")["tracks"]) == 5


def test_empty_and_bare_datasets(tmp_path: Path) -> None:
    """No songs, no descriptions, no sound files: a page and a card nevertheless."""
    empty = dataset(tmp_path / "empty", [])
    assert write_report(empty, tmp_path / "empty.html", Wish()).summary["songs"] == 0
    assert "Songs ready | 0" in write_card(empty).read_text("utf-8")
    bare = dataset(tmp_path / "bare", [song("a"), song("c", results={})], sounds=False)
    (bare / "prepare.json").unlink()
    assert write_report(bare, tmp_path / "bare.html", Wish()).silent == ("a", "c")
    assert (
        "not where it was" in read((tmp_path / "bare.html").read_text("utf-8"), "track-0")["note"]
    )
    write_card(bare)
    for make in (write_card, lambda folder: write_report(folder, tmp_path / "x.html", Wish())):
        with pytest.raises(SongBloomError, match="holds no manifest"):
            make(tmp_path)


def test_a_large_dataset_is_sampled_by_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which songs are listed and shown follows from the ids: order and neighbours do not matter."""
    monkeypatch.setattr(report, "MAX_ROWS", 50)
    tracks = [song(f"song {i}") for i in range(400)]

    def taken(some: list[Track]) -> tuple[set[str], set[str]]:
        survey = report.Survey(Wish(tracks=7))
        for track in some:
            survey.add(track)
        listed = {track.id for track in survey.listed()}
        return listed, {track.id for track in survey.chosen()}

    listed, shown = taken(tracks)
    assert len(listed) == 50 and len(shown) == 7 and shown <= listed
    assert taken(tracks[::-1]) == (listed, shown)
    kept = [track for track in tracks if track.id in listed]
    assert taken(kept) == (listed, shown)


# --- numbers --------------------------------------------------------------------------------------


def histogram(tracks: list[Track], name: str) -> dict[str, Any]:
    totals = summary.Summary()
    for track in tracks:
        totals.add(track)
    found = totals.to_dict(dataclasses.asdict(FiltersConfig()))["histograms"]
    return next(h for h in found if h["name"] == name)


def test_histograms_count_every_song_once() -> None:
    """Each value falls into the bin that holds it, the songs left out beside the kept."""
    lengths = [0.0, 12.0, 59.99, 60.0, 61.5, 599.0, 9000.0]
    tracks = [song(str(i), duration=seconds) for i, seconds in enumerate(lengths)]
    tracks.append(song("out", duration=60.5, state="rejected"))
    found = histogram(tracks, "duration")
    assert sum(kept for _, kept, _ in found["bins"]) == 7
    assert sum(out for _, _, out in found["bins"]) == 1
    held = next(b for b in found["bins"] if b[0] <= 60.5 < b[0] + found["step"])
    assert held[2] == 1 and len(found["bins"]) <= 40 and found["limits"] == [10.0, 600.0]
    starts = [start for start, _, _ in found["bins"]]
    assert np.allclose(np.diff(starts), found["step"])


@pytest.mark.parametrize("value", [0.0, 0.07, 0.29, 0.57, 0.58, 0.99, 1.0])
def test_shares_are_on_one_scale(value: float) -> None:
    """A share's histogram goes from 0 to 1, and 1 is in its last bin."""
    tracks = [song("a", results={"separate": {"voice": value}})]
    found = histogram(tracks, "voice")
    assert found["bins"][0][0] == 0 and found["bins"][-1][0] + found["step"] == pytest.approx(1)
    start = next(start for start, kept, _ in found["bins"] if kept)
    assert start - 1e-9 <= value <= start + found["step"] + 1e-9


def test_memory_does_not_grow_with_names() -> None:
    """Reasons and sources beyond the first 500 are counted together."""
    totals = summary.Summary()
    for i in range(2000):
        totals.add(song(str(i), source=f"source {i}"))
        totals.add(song(f"x{i}", state="failed", stage="align", reason=f"odd {i}"))
    found = totals.to_dict({})
    assert len(found["sources"]) == len(found["refused"]) == 501
    assert found["sources"][0] == {"name": "others", "songs": 1500, "hours": pytest.approx(1.6667)}
    assert sum(row["songs"] for row in found["refused"]) == 2000


def test_spectrogram_shows_pitch_and_peaks_loudness() -> None:
    """The PNG's brightest row is the tone's mel band; peaks halve where the sound does."""
    Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    path = picture.spectrogram(tone(2.0, 3000.0)[0], RATE)
    pixels = np.array(Image.open(io.BytesIO(path)))
    assert pixels.shape == (64, 50)
    mel = [2595 * np.log10(1 + hertz / 700) for hertz in (40, 3000, RATE / 2)]
    band = round((mel[1] - mel[0]) / (mel[2] - mel[0]) * 65 - 1)
    assert abs(63 - int(pixels[:, 10].argmax()) - band) <= 1
    loud = picture.peaks(tone(2.0), 50)
    assert loud.shape == (50,) and np.allclose(loud[[5, 45]], [0.8, 0.4], atol=0.01)
    assert picture.columns(1e6) == picture.MAX_COLUMNS and picture.columns(0) == 1


# --- the card -------------------------------------------------------------------------------------


def test_card(data: Path) -> None:
    """Its YAML is what hubs read, its numbers the manifest's; the same again; no HTML gets in."""
    path = write_card(data)
    text = path.read_text("utf-8")
    front = yaml.safe_load(text.split("---")[1])
    assert front["language"] == ["en", "zh"] and front["license"] == ["cc-by-4.0", "unknown"]
    assert front["size_categories"] == ["n<1K"]
    for row in ("Songs ready | 3", "en | 2 |", "chorus | 2 |", "CC-BY-4.0 | 2 |", "not told | 1 |"):
        assert f"| {row}" in text, row
    assert "| `min_voice` | 0.1 | 2 | 1 | Least share of a song in which somebody sings. |" in text
    assert "| failed | ingest | is empty (0 bytes) | 1 |" in text
    assert "&lt;b&gt;small&lt;/b&gt;" in text and "<b>" not in text
    before = path.read_bytes()
    assert write_card(data).read_bytes() == before


def test_card_cells_hold_any_text(tmp_path: Path) -> None:
    """A name with a bar, a line break and a byte that is no text is one cell."""
    data = dataset(tmp_path, [song("a", source="a|b\nc\udcff<i>", licence="CC BY 4.0")])
    text = write_card(data).read_text("utf-8")
    assert r"| a\|b c?&lt;i&gt; | 1 | 0.00 |" in text
    assert yaml.safe_load(text.split("---")[1])["license"] == "cc-by-4.0"


# --- the command line -----------------------------------------------------------------------------


def test_command(data: Path, tmp_path: Path) -> None:
    """The path of the page on stdout; with --json the totals, and what is shown."""
    app = typer.Typer()
    command.register(app)
    out = tmp_path / "page.html"
    ran = CliRunner().invoke(app, [str(data), "-o", str(out), "--tracks", "1", "--json"])
    told = json.loads(ran.stdout)
    assert told["output"] == str(out) and told["bytes"] == out.stat().st_size
    assert told["songs"] == 5 and len(told["shown"]) == 1
    ran = CliRunner().invoke(app, [str(data), "-o", str(out), "--track", "b", "--no-audio"])
    assert ran.stdout.splitlines()[-1] == str(out)


# --- in a browser ---------------------------------------------------------------------------------

CHECK = """
  told.start = [".word.now", ".chip.now", ".sung.now time"].map(text);
  told.head = parseFloat($("head").style.left);
  [...document.querySelectorAll(".word")].find((word) => word.textContent === "five").click();
  told.clicked = [text(".word.now"), $("clock").textContent, location.hash];
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft", bubbles: true }));
  told.back = text(".word.now");
  told.lost = [...document.querySelectorAll(".word")].filter((word) => word.disabled).length;
  told.colours = [...document.querySelectorAll(".word")].map((word) => word.className);
  told.lanes = text("#names div");
  told.titles = text("#list tbody a");
  document.querySelectorAll("#list thead button")[3].click();
  told.sorted = text("#list tbody td:nth-child(4)");
  $("search").value = "is empty"; $("search").dispatchEvent(new Event("input"));
  told.found = text("#list tbody tr td:last-child");
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "n", bubbles: true }));
  told.next = $("player-title").textContent;
  $("choose").value = "c"; $("choose").dispatchEvent(new Event("change"));
  told.wordless = $("lyrics").textContent;
  told.bars = document.querySelectorAll("#charts svg rect.kept").length;
"""


def test_in_a_browser(page: str, tmp_path: Path) -> None:
    """The page draws itself without errors, seeks to where its address says, highlights the word
    that is sung, plays the sound, and answers clicks and keys."""
    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")
    told = ask(path, CHECK, "#track=a&t=1.2")
    assert told["start"] == [["two"], ["two"], ["0:01"]] and told["head"] == pytest.approx(30)
    assert told["clicked"] == [["five"], "0:03.0 / 0:04.0", "#track=a&t=3.00"]
    assert told["back"] == ["two"] and told["lost"] == 1
    assert told["colours"] == ["word c0", "word c1 now", "word c2", "word c0", "word c1", "word c0"]
    assert told["lanes"] == ["", "beats", "sections", "words", "mel", "vocals", "backing"]
    assert told["titles"] == ["Song a", EVIL, "c", "Song d"]
    assert told["sorted"] == ["0:04", "0:04", "0:04", "11:40", ""]
    assert told["found"] == ["e.flac: is empty (0 bytes)"] and told["next"] == EVIL
    assert told["wordless"] == "No words were aligned." and told["bars"] > 5


def test_sound_is_played_by_a_browser(page: str, tmp_path: Path) -> None:
    """The browser decodes the sound of the page: it knows its length."""
    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")
    assert 'data-audio="4.00"' in browse(path, "#track=a")


def test_an_empty_dataset_in_a_browser(tmp_path: Path) -> None:
    """Without songs the page says so, without errors."""
    write_report(dataset(tmp_path / "empty", []), tmp_path / "page.html", Wish())
    drawn = browse(tmp_path / "page.html", "#track=a")
    assert 'data-errors="0"' in drawn and 'data-ready="true"' in drawn
    assert "There are no songs." in drawn and '<section id="player"' in drawn
