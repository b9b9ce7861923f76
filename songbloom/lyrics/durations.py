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


def line_seconds(text: str) -> Seconds:
    """Time of a line with the pause after it; 0 where there is nothing to sing."""
    syllables = count(text)
    return syllables * SECONDS_PER_SYLLABLE + LINE_PAUSE if syllables else 0.0


def section_seconds(section: Section) -> Seconds:
    """Time of a section: of its lines, or what it says of itself where it holds no words.

    Sections follow each other without a pause of their own, as those of synthesised songs do; in
    recordings nobody has marked them.
    """
    if not section.lines:
        return float(section.repeats)
    return sum(map(line_seconds, section.texts))


def song_seconds(lyrics: Lyrics) -> Seconds:
    """Time of a whole song."""
    return sum(map(section_seconds, lyrics.sections))
