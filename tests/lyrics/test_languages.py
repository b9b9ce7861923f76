"""Which language a run of characters is in."""

import pytest

from songbloom.lyrics.languages import Run, of_sentence, of_song, runs


def guess(text, language=None):
    """The runs of a text that is a song and a sentence at once."""
    return runs(text, of_sentence(text, of_song(text, language), language))


@pytest.mark.parametrize(
    ("line", "language"),
    [
        # English, with foreign words in it, and where nothing tells
        ("I met a señorita down in Mexico", "en"),
        ("Voulez-vous coucher", "en"),
        ("la la la", "en"),
        ("c'est la vie, she said to me", "en"),
        ("the way that you die in my arms", "en"),
        ("me and you and the café on the corner", "en"),
        ("Te amo, my love, I need you", "en"),
        # Spanish, French, German by their small words and letters
        ("quiero bailar contigo toda la noche", "es"),
        ("tú eres mi corazón", "es"),
        ("no me dejes nunca más", "es"),
        ("je t'aime encore un peu", "fr"),
        ("ne me quitte pas", "fr"),
        ("la mer qu'on voit danser le long des golfes clairs", "fr"),
        ("ich liebe dich so sehr", "de"),
        ("über den Wolken muss die Freiheit grenzenlos sein", "de"),
        ("du hast mich gefragt und ich hab nichts gesagt", "de"),
    ],
)
def test_latin_letters(line, language):
    assert {run.language for run in guess(line)} == {language}


def test_a_line_without_a_sign_is_in_the_language_of_its_song():
    song = of_song("Ich liebe dich und du bist mein. Tanz, tanz, tanz. I love you")
    assert of_sentence("Tanz, tanz, tanz", song).latin == "de"
    assert of_sentence("I love you", song).latin == "en"
    assert of_sentence("tu es ma vie", of_song("je t'aime, tu es ma vie et moi")).latin == "fr"


SONGS = {  # traditional
    "fr": "Au clair de la lune.Mon ami Pierrot.Prête-moi ta plume.Pour écrire un mot",
    "es": "La cucaracha, la cucaracha.Ya no puede caminar.Porque no tiene, porque le falta",
    "de": "Stille Nacht, heilige Nacht.Alles schläft, einsam wacht.Schlaf in himmlischer Ruh",
    "en": "Twinkle twinkle little star.How I wonder what you are.Up above the world so high",
}


@pytest.mark.parametrize("language", SONGS)
def test_every_line_of_a_song_is_in_its_language(language):
    """Short lines too, and those of words that two languages share."""
    song = of_song(SONGS[language])
    assert {of_sentence(line, song).latin for line in SONGS[language].split(".")} == {language}


@pytest.mark.parametrize(
    ("song", "line", "language"),
    [
        ("君が好きだ.永遠", "永遠", "ja"),
        ("我爱你，世界很大，我们一起走过风雨.ねえ", "永远", "zh"),
        ("我爱你，世界很大，我们一起走过风雨.ねえ", "好きだ永", "ja"),
        ("我係咁鍾意你，唔好走", "你唔好走", "yue"),
        ("我很喜欢你", "你不要走", "zh"),
    ],
)
def test_chinese_characters(song, line, language):
    """Kana in the sentence or much of it in the song is Japanese; Cantonese has its own letters."""
    assert of_sentence(line, of_song(song)).han == language


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("3个 apple", [("zh", "3个"), ("en", "apple")]),
        ("love 3 你", [("en", "love 3"), ("zh", "你")]),
        ("爱 3 love", [("zh", "爱 3"), ("en", "love")]),
        ("爱 3love", [("zh", "爱"), ("en", "3love")]),
        ("君が love 사랑", [("ja", "君が"), ("en", "love"), ("ko", "사랑")]),
        ("it's well-known", [("en", "it's well-known")]),
        ("50%", [("en", "50%")]),
        ("hello “world”", [("en", "hello world")]),
        ("мир", []),
    ],
)
def test_runs(line, expected):
    """Digits belong to the letters they touch, else to those before, else to those after."""
    assert guess(line) == [Run(*run) for run in expected]


@pytest.mark.parametrize(
    ("line", "language", "expected"),
    [
        ("hello", "fr", [("fr", "hello")]),
        ("永遠 hello", "ja", [("ja", "永遠"), ("en", "hello")]),
        ("你 hello", "yue", [("yue", "你"), ("en", "hello")]),
        ("je t'aime mon amour", "en", [("en", "je t'aime mon amour")]),
        ("好きだ 사랑", "zh", [("zh", "好"), ("ja", "きだ"), ("ko", "사랑")]),
        ("123", "ja", [("ja", "123")]),
    ],
)
def test_a_named_language_overrides_the_guess_for_its_script(line, language, expected):
    assert guess(line, language) == [Run(*run) for run in expected]
