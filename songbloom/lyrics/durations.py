"""How long lyrics take to sing: syllables at a measured rate, and a pause after every line.

`benchmarks/durations.py` measures the two constants and how far the estimate is from recordings,
from synthesised songs and from scores. No model lets its length be set, so this is what to expect,
not what will be.
"""

from songbloom.lyrics.document import Lyrics, Section
from songbloom.lyrics.syllables import count
from songbloom.units import Seconds

# Within lines, the median recording takes 0.446 s a syllable (14 English songs of JamendoLyrics,
# line times by hand) and the median synthesised song 0.439 s.
SECONDS_PER_SYLLABLE: Seconds = 0.445
# From a line's end to the next one's start, within a section: the median recording. Synthesised
# songs pause for 1.56 s, since each of their lines begins a bar.
LINE_PAUSE: Seconds = 0.75
# The error that nine of ten recordings stay under, as a share of their length.
UNCERTAINTY = 0.34

# What one tag of a part without words stands for, by the convention of the released models.
SECONDS_PER_TAG: dict[str, Seconds] = {"150s": 1.0, "240s": 5.0}


def line_seconds(text: str) -> Seconds:
    """Time of a line with the pause after it; 0 where there is nothing to sing."""
    syllables = count(text)
    return syllables * SECONDS_PER_SYLLABLE + LINE_PAUSE if syllables else 0.0


def section_seconds(section: Section, seconds_per_tag: Seconds = 1.0) -> Seconds:
    """Time of a section: of its lines, or of its tags where it holds no words.

    Sections follow each other without a pause of their own, as those of synthesised songs do; in
    recordings nobody has marked them.
    """
    if not section.lines:
        return section.repeats * seconds_per_tag
    return sum(map(line_seconds, section.texts))


def song_seconds(lyrics: Lyrics, seconds_per_tag: Seconds = 1.0) -> Seconds:
    """Time of a whole song."""
    return sum(section_seconds(section, seconds_per_tag) for section in lyrics.sections)
