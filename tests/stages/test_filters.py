"""Laws of the filters: each rule at its limit, one reason for people, nothing asked too early."""

import dataclasses
from typing import Any

import pytest

from songbloom.manifest import Track
from songbloom.stages.filters import judge, reason
from songbloom.tables import FiltersConfig

GOOD: dict[str, Any] = {
    **{"duration": 200.0, "rms_dbfs": -14.0, "silence": 0.02, "clipped": 0.0},
    **{"sample_rate": 44_100, "lyrics_words": 200, "lyrics_error": ""},
    "lyrics_languages": ["en"],
}


def _track(language: str = "", **fields: Any) -> Track:
    return Track("a", "a.flac", language=language, results={"ingest": {**GOOD, **fields}})


def _refused(track: Track, stage: str = "ingest", **config: Any) -> list[str]:
    decisions = judge(stage, track, FiltersConfig(**config))
    return [decision.rule for decision in decisions if not decision.kept]


def test_an_ordinary_song_is_kept_with_all_its_numbers() -> None:
    """Every rule leaves its number and its limit in the row."""
    decisions = judge("ingest", _track(), FiltersConfig())
    assert all(decision.kept for decision in decisions)
    assert {decision.rule: (decision.value, decision.limit) for decision in decisions} == {
        "min_duration": (200.0, 10.0),
        "max_duration": (200.0, 600.0),
        "min_rms": (-14.0, -50.0),
        "max_silence": (0.02, 0.5),
        "max_clipped": (0.0, 0.01),
        "min_sample_rate": (44_100, 16_000),
        "lyrics": ("there", "required"),
        "languages": ("en", "any"),
    }


@pytest.mark.parametrize(
    ("rule", "field", "kept", "refused"),
    [
        ("min_duration", "duration", 10.0, 9.999),
        ("max_duration", "duration", 600.0, 600.001),
        ("min_rms", "rms_dbfs", -50.0, -50.01),
        ("max_silence", "silence", 0.5, 0.5001),
        ("max_clipped", "clipped", 0.01, 0.010001),
        ("min_sample_rate", "sample_rate", 16_000, 15_999),
    ],
)
def test_a_rule_refuses_beyond_its_limit(
    rule: str, field: str, kept: float, refused: float
) -> None:
    """The limit itself is kept; the reason has the number, the limit and the key."""
    assert _refused(_track(**{field: kept})) == []
    track = _track(**{field: refused})
    assert _refused(track) == [rule]
    limit = getattr(FiltersConfig(), rule)
    told = reason(next(d for d in judge("ingest", track, FiltersConfig()) if not d.kept))
    assert str(refused) in told and str(limit) in told and f"[filters] {rule}" in told


@pytest.mark.parametrize("rule", ["min_duration", "min_rms", "min_sample_rate"])
def test_zero_turns_a_lower_limit_off(rule: str) -> None:
    """Also for levels, where 0 dBFS would refuse everything."""
    track = _track(duration=0.1, rms_dbfs=-120.0, sample_rate=100)
    assert rule in _refused(track)
    assert rule not in _refused(track, **{rule: 0})


def test_lyrics_are_required_unless_they_are_optional() -> None:
    """Missing and unreadable ones are told apart."""
    missing = _track(lyrics_words=0, lyrics_languages=[])
    unreadable = _track(lyrics_words=0, lyrics_languages=[], lyrics_error="not UTF-8")
    for track, word in ((missing, "missing"), (unreadable, "unreadable")):
        assert _refused(track) == ["lyrics"]
        assert _refused(track, lyrics="optional") == []
        assert word in [d.value for d in judge("ingest", track, FiltersConfig())]


@pytest.mark.parametrize(
    ("stated", "found", "language"),
    [
        ("", ["fr", "en"], "fr"),
        ("en", ["fr"], "fr"),  # tags are often wrong
        ("pt", ["es"], "pt"),  # lyrics do not tell all languages apart
        ("en", [], "en"),
        ("", ["und"], "und"),
    ],
)
def test_the_language_is_that_of_the_lyrics(stated: str, found: list[str], language: str) -> None:
    """What is said of a song counts only where its lyrics cannot tell."""
    track = _track(stated, lyrics_languages=found)
    assert _refused(track, languages=f"zh, {language}") == []
    assert _refused(track, languages="zh,ko") == ["languages"]
    assert _refused(track) == []


def test_instrumentals_need_no_voice() -> None:
    """Where lyrics are optional, a song without words is kept without a voice."""

    def separated(**fields: Any) -> Track:
        track = _track(**fields)
        return dataclasses.replace(track, results={**track.results, "separate": {"voice": 0.0}})

    assert _refused(separated(), "separate") == ["min_voice"]
    assert _refused(separated(), "separate", lyrics="optional") == ["min_voice"]
    assert _refused(separated(lyrics_words=0), "separate", lyrics="optional") == []


def test_alignment_decides_on_what_was_heard() -> None:
    """Lyrics of another song; and the language that was heard where lyrics told none."""

    def aligned(matched: float | None, language: str = "en", **fields: Any) -> Track:
        track, found = _track(**fields), {"matched": matched, "language": language}
        return dataclasses.replace(track, results={**track.results, "align": found})

    assert _refused(aligned(0.39), "align") == ["min_alignment"]
    assert _refused(aligned(0.76), "align") == []
    assert _refused(aligned(None), "align") == []
    assert _refused(aligned(0.9, "fr"), "align", languages="en") == []
    wordless = aligned(None, "fr", lyrics_languages=[])
    assert _refused(wordless, "align", languages="en") == ["languages"]


def test_other_stages_decide_nothing() -> None:
    """Tokens and latents are made of songs that were kept."""
    assert judge("tokenize", _track(), FiltersConfig()) == ()
