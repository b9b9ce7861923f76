"""Lyrics on their way into a model: its own front end, its own table, the user's word for it."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from generation.conftest import Stage, make_model

from songbloom import hub
from songbloom.errors import SongBloomError, UsageError
from songbloom.files import sha256
from songbloom.generation.options import GenerateOptions
from songbloom.generation.song import generate
from songbloom.lyrics.vocabulary import V1_VOCABULARY
from songbloom.requests import Request, read_requests
from songbloom.toml import loads

KOREAN = "[verse]\n사랑해\n"


@pytest.fixture(scope="module")
def v1_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with the v1 front end and the whole of its table."""
    folder = tmp_path_factory.mktemp("v1") / "model"
    make_model(folder, frontend="v1", lyric_vocab_size=len(V1_VOCABULARY))
    set_table(folder, len(V1_VOCABULARY))
    return folder


def set_table(folder: Path, length: int) -> None:
    """Give the model the first `length` symbols of the v1 table."""
    table = folder / "vocabulary.json"
    table.write_text(json.dumps(V1_VOCABULARY.symbols[:length]), encoding="utf-8")
    info = json.loads((folder / "model.json").read_text("utf-8"))
    info["sha256"][table.name] = sha256(table)
    (folder / "model.json").write_text(json.dumps(info), encoding="utf-8")


def read(text: str, stage: Stage, model: Path) -> list[Request]:
    """The request for a song of these lyrics by this model."""
    return read_requests("-", stage.clip, io.BytesIO(text.encode()), hub.limits_of(model))


def sing(requests: list[Request], model: Path, out: Path, **options: Any) -> tuple[str, list[str]]:
    """(sha256, warnings) of a song."""
    events: list[dict[str, Any]] = []
    (row,) = generate(requests, model, out, GenerateOptions(**options), events.append)
    return row["sha256"], [x["message"] for x in events if x["event"] == "warning"]


def test_a_v1_model_sings_what_the_release_cannot_say(
    stage: Stage, v1_model: Path, tmp_path: Path
) -> None:
    """Korean lyrics are lyrics to it: no warning, and other words are another song."""
    one, warnings = sing(read(KOREAN, stage, v1_model), v1_model, tmp_path / "a.flac")
    assert not any("cannot say" in warning or "no symbol" in warning for warning in warnings)
    two, _ = sing(read("[verse]\n미안해\n", stage, v1_model), v1_model, tmp_path / "b.flac")
    assert one != two


def test_symbols_that_an_older_table_lacks_are_told(
    stage: Stage, v1_model: Path, tmp_path: Path
) -> None:
    """A model trained before a symbol was added leaves it out and says so."""
    make_model(tmp_path / "old", frontend="v1")
    set_table(tmp_path / "old", 330)
    _, warnings = sing(read(KOREAN, stage, v1_model), tmp_path / "old", tmp_path / "x.flac")
    assert any("no symbol for /a/ /ɛ/" in warning for warning in warnings), warnings


def test_a_lexicon_changes_the_song_and_is_part_of_what_made_it(
    stage: Stage, tmp_path: Path
) -> None:
    """Another pronunciation is another song, is made anew, and stands in song.toml."""
    requests = read("[verse]\nhello\n", stage, stage.model)
    words = tmp_path / "words.txt"
    songs = set()
    for text in ("goodbye G UH2 D\n", "hello HH AH0 L OW1\n", "hello B AY1\n"):
        words.write_text(text, encoding="utf-8")
        songs.add(sing(requests, stage.model, tmp_path / "x.flac", lexicon=words)[0])
    assert len(songs) == 2, "a word said as ever is the same song"
    song = loads((tmp_path / "x.song" / "song.toml").read_text("utf-8"))
    assert song["lyrics"]["lexicon_sha256"] == sha256(words)


def test_a_language_that_the_front_end_lacks_is_told_at_once(
    stage: Stage, v1_model: Path, tmp_path: Path
) -> None:
    requests = read("[verse]\nhello\n", stage, stage.model)
    with pytest.raises(UsageError, match="reads English and Mandarin only"):
        sing(requests, stage.model, tmp_path / "x.flac", language="fr")
    with pytest.raises(UsageError, match="'tlh' is unknown"):
        sing(requests, v1_model, tmp_path / "x.flac", language="tlh")


def test_lines_that_cannot_be_sung_are_told_and_the_song_is_refused(
    stage: Stage, v1_model: Path, tmp_path: Path
) -> None:
    """Each line is named in a warning before generation stops with its own error."""
    requests = read("[verse]\n{QQ}\nlove\n{ZZ} me\n", stage, v1_model)
    events: list[dict[str, Any]] = []
    with pytest.raises(SongBloomError, match="no symbol is called 'QQ'"):
        generate(requests, v1_model, tmp_path / "x.flac", GenerateOptions(), events.append)
    warnings = [event["message"] for event in events if event["event"] == "warning"]
    assert [told.split(": ")[0] for told in warnings if "no symbol is called" in told] == [
        "standard input:2:1", "standard input:4:1",
    ]  # fmt: skip
