"""The quirks of the released front end, each in a test of its own name.

What the released models were trained with is the specification here, not what is right: most of
these would be errors elsewhere, and the `v1` front end mends them.
"""

import pytest

from songbloom.lyrics.release import phonemes
from songbloom.lyrics.vocabulary import RELEASE_VOCABULARY


def says(spoken: dict[str, str]) -> None:
    for text, symbols in spoken.items():
        assert phonemes(text) == symbols, text


# The line


def test_symbols_pass_through_so_english_a_i_my_by_are_not_pronounced():
    """A piece that is a symbol of any language stays: the words a, I, my, by, U, N, o, e, sh."""
    assert phonemes("a I my by U N o e sh") == "a I my by U N o e sh"
    assert phonemes("SP UNK _ er4 AA1") == "SP UNK _ er4 AA1"


def test_a_symbol_with_anything_at_it_is_pronounced():
    says({"I.": "AY1 .", "a.": "AH0 .", "A": "EY1", "My": "M AY1", "I'm": "AY1 M"})


def test_section_tags_pass_through_in_lower_case_only():
    tags = "[verse] [chorus] [bridge] [intro] [outro] [inst] [silence]"
    assert phonemes(tags) == tags
    says({"[Verse]": "V ER1 S", "[CHORUS]": "K AO1 R AH0 S", "[solo]": "S OW1 L OW2"})
    says({"[intro],": "IH1 N T R OW0 ,"})


def test_only_single_spaces_split():
    """A line end is a full stop; a tab and other spaces stick words together."""
    says({"hello\nworld": "HH AH0 L OW1 . W ER1 L D"})
    says({"red\trose": phonemes("redrose"), "red\u3000rose": phonemes("redrose")})


def test_a_double_space_is_an_empty_item_with_id_0():
    assert phonemes("[verse]  [chorus]") == "[verse]  [chorus]"
    assert RELEASE_VOCABULARY.encode(phonemes("[verse]  [chorus]")) == [1, 0, 2]
    assert phonemes(" ") == " "


def test_what_nobody_reads_leaves_an_empty_item_behind():
    """Kana, hangul, Cyrillic, emoji, full-width letters, characters beyond U+9FA5."""
    assert phonemes("ひらがな 한국어 Привет 😀 ＡＢＣ 㐀 〇") == " " * 6
    says({"love♥you": "L AH1 V Y UW1", "你ね好": "n i3 h ao3"})


# Punctuation


def test_full_width_marks_become_six_ascii_ones():
    says({"，；：、·/": ", , , , , ,", "。！？": ". ! ?", "—": "-", "…": "…"})


def test_dollar_is_a_full_stop():
    says({"$5": ". F AY1 V"})


def test_three_dots_and_tildes_are_an_ellipsis():
    says({"...": "…", "....": "… .", "~～": "… …", "。。。": ". . ."})


def test_marks_cut_words_hyphens_too():
    says({"love,me": "L AH1 V , M IY1", "well-known": "W EH1 L - N OW1 N", "!?": "! ?"})


def test_other_signs_vanish_and_join_what_they_parted():
    says({"(hello)": "HH AH0 L OW1", "rock&roll": phonemes("rockroll"), "o+k": phonemes("ok")})


def test_an_apostrophe_outside_a_word_is_a_hyphen():
    says({"'": "-", "dancin'": "D AE1 N S IH0 N -", "cats'": "K AE1 T S -"})
    says({"'night": "- N AY1 T", "don't": "D OW1 N T"})


def test_a_typographic_apostrophe_vanishes():
    """’ is none of the characters that English keeps: "don’t" is said as "dont" is. (Lyrics that
    are parsed have plain ones by then.)"""
    assert phonemes("don’t") == phonemes("dont")
    assert phonemes("’") == ""


def test_more_than_three_apostrophes_are_three():
    says({"''": "- -", "'''": "- - -", "''''": "- - -", "''''''''": "- - -"})


# English


def test_accents_fall_off():
    says({"café": "K AH0 F EY1", "é": "IY1", "Ångström": phonemes("Angstrom")})


def test_capital_a_is_ey_and_small_a_a_schwa():
    says({"A": "EY1", "a!": "AH0 !", "ABBA": "AE1 B AH0"})


def test_single_letters_are_named():
    says({"b.": "B IY1 .", "w!": "D AH1 B AH0 L Y UW0 !", "x.": "EH1 K S ."})


def test_digits_are_english_even_in_chinese():
    says({"3个": "TH R IY1 g e5", "2013年": "T W EH1 N T IY0 TH ER1 T IY1 N n ian2"})


def test_numbers_between_1000_and_3000_are_years():
    says({"1806": "EY0 T IY1 N OW1 S IH1 K S", "2024": "T W EH1 N T IY0 T W EH1 N T IY0 F AO2 R"})
    says({"3806": "TH R IY1 TH AW1 Z AH0 N D , EY1 T HH AH1 N D R AH0 D S IH1 K S"})


def test_marks_in_numbers_cut_them():
    says({"1,000": "W AH1 N , Z IY1 R OW0", "3.5": "TH R IY1 . F AY1 V"})
    says({"1/2": "W AH1 N , T UW1"})


def test_clock_times_and_units_stick_together():
    says({"10:30": phonemes("tenthirty"), "3pm": "TH R IY1 P IY1 EH1 M", "50%": "F IH1 F T IY0"})


def test_ordinals_and_pounds_are_expanded():
    says({"1st": "F ER1 S T", "22nd": "T W EH1 N T IY0 S EH1 K AH0 N D"})
    says({"£5": "F AY1 V P AW1 N D Z"})


def test_eg_and_ie_are_cut_before_they_could_be_expanded():
    says({"e.g.": "IY1 . JH IY1 .", "i.e.": "AY1 . IY1 ."})


def test_the_hot_list():
    says({"ChatGPT": "CH AE1 T JH IY1 P IY1 T IY1", "json": "JH EY1 S AH0 N"})


def test_six_deleted_words_are_spelled_or_taken_apart():
    says({"AI": "EY1 AY1", "ae": "EY1 IY1", "ar": "EY1 AA1 R", "OS": "OW1 EH1 S"})
    says({"hud": "EY1 CH Y UW1 D IY1", "iOS": "AY1 OW1 EH1 S"})


def test_unknown_words_of_three_letters_are_spelled():
    says({"KTV": "K EY1 T IY1 V IY1", "brb": "B IY1 AA1 R B IY1"})


def test_possessives_of_unknown_owners_follow_the_last_sound():
    says({"zorbek's": "Z AO1 R B EH1 K S", "jazz's": "JH AE1 Z AH0 Z"})
    says({"songbloom's": "S AO1 NG B L UW1 M Z"})
    says({"James's": "JH EY1 M Z IH0 Z"})  # the lexicon's own


def test_compounds_are_taken_apart():
    says({"OpenAI": "OW1 P AH0 N EY1 AY1", "moonriver": "M UW1 N R IH1 V ER0"})


def test_the_rest_is_guessed():
    says({"xyzzyq": "Z IH1 G Z IY0 K Y UW1"})


def test_heteronyms_are_what_a_tagger_says_of_the_bare_word():
    """Each piece is tagged alone: "record" is a noun, "used" a participle."""
    says(
        {
            "record": "R EH1 K ER0 D",
            "used": "Y UW1 Z D",
            "closer": "K L OW1 S ER0",
            "refuse": "R EH1 F Y UW2 Z",
        }
    )


def test_read_and_complex_are_patched():
    says({"read": "R EH1 D", "complex": "K AH0 M P L EH1 K S"})


def test_phones_that_are_no_symbols_are_dropped():
    """The lexicon's remarks, and UW without stress; ER and IH without stress are symbols."""
    says({"porthos": "P AO0 R T AO1 S"})
    assert "UW" not in RELEASE_VOCABULARY
    assert "ER" in RELEASE_VOCABULARY and "IH" in RELEASE_VOCABULARY


# Mandarin


def test_traditional_characters_are_read_as_simplified_ones():
    says({"愛你們": "AA ai4 n i3 m en5", "國": "g uo2"})


def test_opencpop_notation_of_vowels_without_initials():
    says(
        {
            "爱": "AA ai4",
            "鹅": "EE e2",
            "哦": "OO o5",
            "欧": "OO ou1",
            "二": "EE er4",
            "哟": "OO o5",
        }
    )
    says(
        {
            "月": "y ve4",
            "远": "y van3",
            "云": "y vn2",
            "王": "w ang2",
            "我": "w o3",
            "烟": "y En1",
            "也": "y E3",
            "一": "y i1",
        }
    )


def test_opencpop_notation_of_buzzed_vowels():
    says({"自": "z i04", "词": "c i02", "是": "sh ir4", "日": "r ir4", "你": "n i3"})


def test_opencpop_notation_of_short_finals():
    says({"水": "sh ui3", "六": "l iu4", "春": "ch un1", "女": "n v3", "局": "j v2", "学": "x ve2"})


def test_en_and_m_are_replaced_before_words_are_cut():
    """嗯 is 恩 and 呣 is 母; a doubled 嗯 is then a doubled noun with a neutral end."""
    says({"嗯": "EE en1", "呣": "m u3", "嗯嗯": "EE en1 EE en5"})


def test_the_neutral_tone_is_5():
    says({"吗": "m a5", "的": "d e5", "了": "l e5", "个": "g e5"})


def test_er_stays_a_syllable():
    says({"花儿": "h ua1 EE er2", "女儿": "n v3 EE er2"})


def test_sandhi_of_bu():
    says({"不是": "b u2 sh ir4", "不好": "b u4 h ao3", "看不懂": "k an4 b u5 d ong3"})


def test_sandhi_of_yi():
    says({"一个": "y i2 g e5", "一天": "y i4 t ian1", "听一听": "t ing1 y i5 t ing1"})
    says({"第一": "d i4 y i1", "一九": "y i1 j iu3", "万一": "w an4 y i1"})


def test_sandhi_of_third_tones():
    says(
        {"你好": "n i2 h ao3", "展览馆": "zh an2 l an2 g uan3", "岂有此理": "q i2 y ou3 c i02 l i3"}
    )
    says({"纸老虎": "zh ir3 l ao2 h u3", "所有人": "s uo2 y ou3 r en2"})


def test_neutral_endings():
    says(
        {"桌上": "zh uo1 sh ang5", "家里": "j ia1 l i5", "出去": "ch u1 q v5", "我们": "w o3 m en5"}
    )
    says({"朋友": "p eng2 y ou5", "幸福": "x ing4 f u5", "计划": "j i4 h ua5"})


def test_doubled_words_end_neutral_but_for_a_few():
    says({"妈妈": "m a1 m a5", "哈哈": "h a1 h a5", "人人": "r en2 r en2"})


def test_a_few_words_in_zi_keep_its_tone():
    says({"女子": "n v2 z i03", "分子": "f en4 z i03", "孩子": "h ai2 z i05"})


def test_words_decide_between_readings():
    says(
        {
            "银行": "y in2 h ang2",
            "行走": "x ing2 z ou3",
            "长大": "zh ang3 d a4",
            "音乐": "y in1 y ve4",
        }
    )
    says(
        {
            "快乐": "k uai4 l e4",
            "重复": "ch ong2 f u4",
            "归还": "g ui1 h uan2",
            "沉没": "ch en2 m o4",
        }
    )


def test_a_character_without_a_reading_is_left_out():
    says({"你噷好": "n i3 h ao3"})


@pytest.mark.parametrize("text", ["你好hello", "hello你好", "SongBloom.让歌声绽放天空"])
def test_scripts_change_inside_a_piece(text):
    """Runs of Chinese, marks and the rest are read one after another."""
    assert all(symbol in RELEASE_VOCABULARY for symbol in phonemes(text).split(" "))
    assert "L OW1 n i2 h ao3" in phonemes("hello你好")
