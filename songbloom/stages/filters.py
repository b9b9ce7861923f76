"""Which songs are left out, by the rules of `[filters]`; each decision carries its number.

A rule is asked after the first stage that knows its number, so that a song that is too long costs
no separation. 0 turns a lower limit off.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from songbloom.lyrics.languages import LANGUAGES
from songbloom.manifest import Decision, Track
from songbloom.tables import FiltersConfig

_SENTENCES = {
    "min_duration": "too short: {value} s, and the limit is {limit} s",
    "max_duration": "too long: {value} s, and the limit is {limit} s",
    "min_rms": "too quiet: {value} dBFS, and the limit is {limit} dBFS",
    "max_silence": "too much silence: a share of {value}, and the limit is {limit}",
    "max_clipped": "clipped: a share of {value}, and the limit is {limit}",
    "min_sample_rate": "sample rate too low: {value} Hz, and the limit is {limit} Hz",
    "lyrics": "lyrics are {value}, and they are {limit}",
    "languages": "language is {value}, and the kept ones are {limit}",
    "min_voice": "too little voice: a share of {value}, and the limit is {limit}",
    "min_alignment": "lyrics do not match: a share of {value} of the words is heard, and the limit "
    "is {limit}",
    "duplicate": "same sound as {value}",
}


def judge(stage: str, track: Track, config: FiltersConfig) -> tuple[Decision, ...]:
    """What the rules that can be decided after `stage` say of a song; none for other stages.

    Every rule is asked, also after one that leaves the song out: the first that is not kept is the
    reason.
    """
    fields = track.results.get(stage, {})
    if stage == "ingest":
        return tuple(_ingested(track, fields, config))
    if stage == "separate" and (_has_words(track) or config.lyrics == "required"):
        return (_least("min_voice", fields["voice"], config.min_voice),)
    if stage == "align":
        return tuple(_aligned(track, fields, config))
    return ()


def reason(decision: Decision) -> str:
    """A decision in a line for people, with the key that decides it."""
    sentence = _SENTENCES[decision.rule].format(value=decision.value, limit=decision.limit)
    return f"{sentence} ([filters] {decision.rule})"


def _ingested(track: Track, fields: Mapping[str, Any], config: FiltersConfig) -> Iterator[Decision]:
    yield _least("min_duration", fields["duration"], config.min_duration)
    yield _most("max_duration", fields["duration"], config.max_duration)
    yield _least("min_rms", fields["rms_dbfs"], config.min_rms)
    yield _most("max_silence", fields["silence"], config.max_silence)
    yield _most("max_clipped", fields["clipped"], config.max_clipped)
    yield _least("min_sample_rate", fields["sample_rate"], config.min_sample_rate)
    words = "there" if fields["lyrics_words"] else "missing"
    words = "unreadable" if fields["lyrics_error"] else words
    yield Decision("lyrics", words, config.lyrics, words == "there" or config.lyrics == "optional")
    language = _language(track, fields)
    if language:
        yield _listed(language, config)


def _aligned(track: Track, fields: Mapping[str, Any], config: FiltersConfig) -> Iterator[Decision]:
    if fields["matched"] is not None:
        yield _least("min_alignment", fields["matched"], config.min_alignment)
    if not _language(track, track.results["ingest"]) and fields["language"]:
        yield _listed(fields["language"], config)


def _language(track: Track, fields: Mapping[str, Any]) -> str:
    """A song's language: what is said of it where lyrics do not tell, else that of the lyrics."""
    found = next(iter(fields["lyrics_languages"]), "")
    stated = track.language
    return stated if stated and (not found or stated not in LANGUAGES) else found


def _listed(language: str, config: FiltersConfig) -> Decision:
    kept = {word.strip().lower() for word in config.languages.split(",")}
    return Decision("languages", language, config.languages, bool({"any", language} & kept))


def _has_words(track: Track) -> bool:
    return bool(track.results.get("ingest", {}).get("lyrics_words"))


def _least(rule: str, value: float, limit: float) -> Decision:
    return Decision(rule, value, limit, limit == 0 or value >= limit)


def _most(rule: str, value: float, limit: float) -> Decision:
    return Decision(rule, value, limit, value <= limit)
