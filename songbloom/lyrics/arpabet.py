"""Every symbol of the `v1` front end as the nearest ARPAbet phones: one set for all languages.

English is itself, without stress. The rest is said as an English singer would: ü is Y UW, a nasal
vowel ends in N. Tones, lengths, marks and pauses are no phones.
"""

import functools
import re

_PHONES = """
AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH
"""
PHONES = frozenset(_PHONES.split())


def _table(text: str) -> dict[str, tuple[str, ...]]:
    rows = (row.split() for row in text.replace("\n", ",").split(","))
    return {row[0]: tuple(row[1:]) for row in rows if row}


_CONSONANTS = _table("""
b B, p P, m M, f F, d D, t T, n N, l L, g G, k K, h HH, j JH, q CH, x SH, zh JH, ch CH, sh SH, r R
z D Z, c T S, s S, y Y, w W, ts T S, v V, gw G W, kw K W, kk K, tt T, pp P, ss S, jj JH
by B Y, dy D Y, gy G Y, hy HH Y, ky K Y, my M Y, ny N Y, py P Y, ry R Y, ty T Y, fy F Y
-k K, -t T, -p P, ɾ R, ʁ R, ç SH, ɣ G, β V, ɲ N Y, ʎ L Y, ʝ Y, ɥ W, pf P F
""")
_FINALS = _table("""
a AA, ai AY, an AA N, ang AA NG, ao AW, e AH, ei EY, en AH N, eng AH NG, er ER, o AO, ong UH NG
ou OW, i IY, i0 IH, ir IH, E EH, En EH N, ia Y AA, ian Y EH N, iang Y AA NG, iao Y AW, ie Y EH
in IY N, ing IY NG, iong Y UH NG, iu Y OW, u UW, ua W AA, uai W AY, uan W AA N, uang W AA NG
ui W EY, un W AH N, uo W AO, v Y UW, ve W EH, van W EH N, vn Y UW N
""")
_JYUTPING = _table("""
aa AA, aai AY, aau AW, a AH, ai AY, au AW, e EH, ei EY, eo ER, eoi OY, i IY, iu Y UW, o AO, oi OY
ou OW, oe ER, u UW, ui UW IY, yu Y UW, ng NG
""")
_JAPANESE = _table("a AA, i IY, u UW, e EH, o OW, N N")
_IPA = _table("""
a AA, ɑ AA, ɐ AH, aɪ AY, aʊ AW, e EY, ɛ EH, ə AH, i IY, ɪ IH, o OW, ɔ AO, ɔʏ OY, ø ER, œ ER, u UW
ʊ UH, ʌ AH, ɯ UH, y Y UW, ʏ Y UW, x HH
""")
_TONED = re.compile(r"(i0|[A-Za-z]+)[1-5]")
_TONED_JYUTPING = re.compile(r"([a-z]+)[1-6]")
_NASAL = "\u0303"


@functools.cache
def phones(symbol: str) -> tuple[str, ...]:
    """The stressless ARPAbet phones of a symbol; none for tags, marks, pauses and the unknown."""
    if symbol[:-1] in PHONES and symbol[-1] in "012":
        return (symbol[:-1],)
    if symbol in PHONES and symbol != "AA":  # which is how pinyin opens a syllable with a vowel
        return (symbol,)
    if len(symbol) > 2 and symbol[0] == symbol[-1] == "/":
        return _ipa(symbol[1:-1])
    if toned := _TONED.fullmatch(symbol):
        return _FINALS.get(toned[1], ())
    return _CONSONANTS.get(symbol) or _JAPANESE.get(symbol.rstrip("^"), ())


def _ipa(sound: str) -> tuple[str, ...]:
    """What stands between slashes: IPA, a Cantonese vowel with its tone, a Korean consonant."""
    if toned := _TONED_JYUTPING.fullmatch(sound):
        return _JYUTPING.get(toned[1], ())
    plain = sound.strip("ˈː" + _NASAL)
    nasal = ("N",) if _NASAL in sound else ()
    return (_IPA.get(plain) or _CONSONANTS.get(plain, ())) + nasal
