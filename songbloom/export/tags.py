"""Tags and lyrics inside a sound file: Vorbis comments in FLAC, Ogg and Opus, ID3 in MP3 and WAV.

Lyrics with times are LRC in LYRICS, which players show line by line, and in ID3 SYLT as well; the
same words without times are UNSYNCEDLYRICS and USLT. (c2pa's library leaves SYLT out of an MP3 that
it signs, so LYRICS is what remains there.)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from songbloom.errors import MissingAssetError
from songbloom.units import Seconds

_ID3 = ("mp3", "wav")
_MILLISECONDS, _LYRICS, _UNKNOWN_LANGUAGE = 2, 1, "XXX"


@dataclass(frozen=True)
class Tags:
    """What is written; "" and empty are left out. `about` are further names with their values."""

    title: str
    artist: str = ""
    comment: str = ""
    software: str = ""
    lyrics: str = ""  # the words alone
    lrc: str = ""
    lines: tuple[tuple[Seconds, str], ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)


def require() -> None:
    """`MissingAssetError` without mutagen."""
    try:
        import mutagen  # noqa: F401
    except ImportError as error:
        raise MissingAssetError(
            "mutagen, which reads and writes tags, is not installed",
            "Type: pip install 'songbloom[export]'",
        ) from error


def write(path: Path, tags: Tags) -> None:
    """Put `tags` into a sound file in place."""
    if path.suffix.lstrip(".").lower() in _ID3:
        _write_id3(path, tags)
    else:
        _write_comments(path, tags)


def read(path: Path) -> dict[str, str]:
    """A file's text tags by their names in capitals, as `write` names them; {} for none.

    The names of ID3's frames are those of Vorbis comments where `write` uses them.
    """
    import mutagen

    try:
        found = mutagen.File(path)
    except (mutagen.MutagenError, ValueError, TypeError, KeyError, EOFError):
        return {}
    if found is None or not found.tags:
        return {}
    if type(found).__name__ in ("MP3", "WAVE"):
        return _read_id3(found.tags)
    try:
        return {str(name).upper(): str(value) for name, value in found.tags}
    except (ValueError, TypeError):  # MP4 and other tags that are no list of pairs
        return {}


def _plain(tags: Tags) -> dict[str, str]:
    values = {
        "TITLE": tags.title,
        "ARTIST": tags.artist,
        "COMMENT": tags.comment,
        "ENCODER": tags.software,
        **tags.about,
    }
    return {name: value for name, value in values.items() if value}


def _write_comments(path: Path, tags: Tags) -> None:
    import mutagen

    file = mutagen.File(path)
    if file.tags is None:
        file.add_tags()
    file.tags.clear()
    for name, value in _plain(tags).items():
        file.tags[name] = value
    if tags.lyrics:
        file.tags["LYRICS"] = tags.lrc or tags.lyrics
        file.tags["UNSYNCEDLYRICS"] = tags.lyrics
    file.save()


def _write_id3(path: Path, tags: Tags) -> None:
    from mutagen import id3
    from mutagen.mp3 import MP3
    from mutagen.wave import WAVE

    file: Any = MP3(path) if path.suffix.lower() == ".mp3" else WAVE(path)
    if file.tags is None:
        file.add_tags()
    frames: dict[str, Any] = {"TITLE": id3.TIT2, "ARTIST": id3.TPE1, "ENCODER": id3.TSSE}
    for name, value in _plain(tags).items():
        if name in frames:
            file.tags.add(frames[name](encoding=3, text=value))
        elif name == "COMMENT":
            file.tags.add(id3.COMM(encoding=3, lang=_UNKNOWN_LANGUAGE, desc="", text=value))
        else:
            file.tags.add(id3.TXXX(encoding=3, desc=name, text=value))
    if tags.lyrics:
        lyrics = tags.lrc or tags.lyrics
        file.tags.add(id3.TXXX(encoding=3, desc="LYRICS", text=lyrics))
        file.tags.add(id3.USLT(encoding=3, lang=_UNKNOWN_LANGUAGE, desc="", text=tags.lyrics))
    if tags.lines:
        timed = [(text, round(1000 * start)) for start, text in tags.lines]
        file.tags.add(
            id3.SYLT(
                encoding=1,  # UTF-16: of an MP3 with UTF-8 here c2pa's library drops all tags
                lang=_UNKNOWN_LANGUAGE,
                format=_MILLISECONDS,
                type=_LYRICS,
                desc="",
                text=timed,
            )
        )
    file.save(v2_version=4)


def _read_id3(frames: Any) -> dict[str, str]:
    names = {"TIT2": "TITLE", "TPE1": "ARTIST", "TSSE": "ENCODER", "COMM": "COMMENT"}
    names["USLT"] = "UNSYNCEDLYRICS"
    found = {}
    for frame in frames.values():
        if frame.FrameID in names:
            found[names[frame.FrameID]] = str(frame)
        elif frame.FrameID == "TXXX":
            found[frame.desc.upper()] = str(frame)
    return found
