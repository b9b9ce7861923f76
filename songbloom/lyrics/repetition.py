"""Where the chorus is in lyrics without tags: the block that is sung again."""

from collections.abc import Sequence
from dataclasses import replace

from songbloom.lyrics.document import Line, Section

_SAME = 0.6  # share of a block's lines that return
_LEAST_RUN = 2  # lines that return inside a lone block
_MOST = 400  # lines or sections that are compared with each other, which takes their square


def tag_choruses(sections: Sequence[Section]) -> tuple[Section, ...]:
    """The sections with a chorus where a verse returns, and as they were where none does.

    Lyrics that name more than verses are left alone. A lone block is cut where its lines return.
    """
    named = any(s.tag in ("chorus", "bridge") or (s.lines and s.name) for s in sections)
    if named or len(sections) > _MOST:
        return tuple(sections)
    verses = [s for s in sections if s.lines]
    if len(verses) == 1:
        return tuple(part for s in sections for part in (_cut(s) if s.lines else (s,)))
    keys = [frozenset(map(_key, s.texts)) for s in sections]
    again = [bool(key) and sum(_is_same(key, other) for other in keys) > 1 for key in keys]
    if all(again[i] for i, s in enumerate(sections) if s.lines):
        return tuple(sections)  # nothing but the same: no verse to tell a chorus from
    return tuple(
        replace(s, tag="chorus") if returns else s
        for s, returns in zip(sections, again, strict=True)
    )


def _key(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _is_same(a: frozenset[str], b: frozenset[str]) -> bool:
    return bool(a and b) and len(a & b) >= _SAME * max(len(a), len(b))


def _cut(section: Section) -> tuple[Section, ...]:
    """A block as verses and choruses, the longest run of lines that returns being the chorus."""
    keys = [_key(text) for text in section.texts[:_MOST]]
    length, starts = _longest_run(keys)
    if length < _LEAST_RUN:
        return (section,)
    parts: list[Section] = []
    at = 0
    for start in starts:
        if start > at:
            parts.append(_part(section, "verse", section.lines[at:start]))
        parts.append(_part(section, "chorus", section.lines[start : start + length]))
        at = start + length
    if at < len(section.lines):
        parts.append(_part(section, "verse", section.lines[at:]))
    return tuple(parts) if any(p.tag == "verse" for p in parts) else (section,)


def _part(section: Section, tag: str, lines: tuple[Line, ...]) -> Section:
    return replace(section, tag=tag, lines=lines, place=lines[0].place)


def _longest_run(keys: Sequence[str]) -> tuple[int, list[int]]:
    """The longest run of lines that returns without overlap, and where it starts each time."""
    length, first = 0, 0
    above = [0] * (len(keys) + 1)
    for i in range(len(keys)):
        row = [0] * (len(keys) + 1)
        for j in range(i + 1, len(keys)):
            if keys[i] == keys[j]:
                row[j + 1] = above[j] + 1
                if min(row[j + 1], j - i) > length:
                    length, first = min(row[j + 1], j - i), i
        above = row
    run = keys[first - length + 1 : first + 1]
    starts: list[int] = []
    for i in range(len(keys) - length + 1):
        if length and keys[i : i + length] == run and (not starts or i >= starts[-1] + length):
            starts.append(i)
    return length, starts
