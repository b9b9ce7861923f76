"""The words of the synthetic songs: hand-written lists by part of speech, and their simple forms.

Homographs (read, live, wind, tear, close ...) are left out: what is sung must not hang on a tagger.
Every word is filtered through the lexicon, so each one has known phones.
"""

import functools
import zlib
from collections.abc import Iterable

from songbloom.lyrics.lexicon import lookup

_NOUNS = """
air airport alley anchor angel animal answer apple april apron arch arrow ash attic autumn avenue
baby balcony ball balloon band bank banner bar barn basket battle bay beach beacon beam bear
beauty bed bee bell bench berry bicycle bird birthday blanket blaze blossom blue boat body bone
bonfire book border bottle boulevard boy branch bread breath breeze brick bridge brother bubble
bucket building bullet burden bus bush butterfly button cabin cable cage cake camera camp candle
canoe canyon captain car card carpet carnival castle cat cathedral cave ceiling cellar center
century chain chair chance change channel chapel chapter charm cherry child chimney choice chorus
church circle circus city clay cliff clock cloud clover coal coast coat coffee coin color comet
compass concrete copper coral corner cotton country courage cousin cover cowboy cradle creek
cricket crowd crown crystal cup curtain curve dagger dance danger darkness dawn day daughter
daylight debt december deer delight desk diamond dinner distance doctor dog doll dollar dolphin
door doorway dragon drawer dream dress drink driver drum dust eagle ear earth east echo edge elbow
ember emerald empire engine evening eye eyelid fable face factory fairy faith falcon fall family
farm farmer fashion father favor fear feather february feeling fence fever fiddle field fighter
film finger fire firefly fish flag flame flash flavor flight flood floor flower flute fog folk
foot footprint forest fortune fountain fox frame freedom freeway friday friend fruit funeral
future galaxy gamble game garage garden gate gentleman ghost giant gift ginger girl glacier glass
glory glove goal gold grace grain grandfather grandmother grape grass gravel gravity green ground
guard guest guitar gypsy hair half hall hallway hammer hand handle happiness harbor harvest hat
hawk head heart heartache heartbeat heat heaven hedge heel helmet hero highway hill history hollow
holiday home honey honor hope horizon horn horse hospital hotel hour hunger hunter hurricane ice
idea island ivory ivy jacket jail january jar jasmine jewel job joke journal journey judge july
june jungle jury kettle key kid king kingdom kiss kitchen kite knee knife knight knot lace ladder
lady lake lamp land lantern laughter laundry law lawn leaf leather ledge legend lemon lesson
letter library lie lifetime light lighthouse lightning lily line lion lip liquor liar lock locket
lover luck lumber lullaby machine madness magic maiden mail mailman mango mansion map maple marble
march market mask master match meadow meaning medal medicine melody memory mercy message metal
meteor midnight mile milk mill miner miracle mirror mission mist mistake moment monday money
monkey monster month monument moon moonlight morning moss moth mother motion motor mountain mouse
mouth movie mud muscle museum music mystery nail name nation nature neck needle neighbor nest net
neon newspaper nickel night nightingale noise north nose note november number oak oar oasis ocean
october office oil olive onion orange orchard orchestra orchid outlaw oven owl page pain paint
painter palace palm paper parade paradise park parrot partner party passenger passion path
patience pavement peace peach peacock pearl pebble pen pencil people pepper person phone
photograph piano picture piece pigeon pillow pilot pine pipe pirate pity place plain planet plate
player playground pleasure pocket poem poet poison pony pool porch portrait postcard potion powder
power prayer preacher price pride prince princess prison prisoner promise prophet puddle pulse
puppet purpose puzzle queen question quilt rabbit radio rag railroad rain rainbow raven reason
rebel recipe record reflection refrain religion remedy rescue revolution rhythm ribbon riddle
rider ring river road robin rocket roof room rooster root rope rose ruby ruin rumor runner saddle
sail sailor saint salt salvation sand satellite saturday scar scarf scarecrow scene school science
sea season seat secret seed september shade shadow shame shape shark shell shelter sheriff ship
shirt shoe shop shore shoulder shower sidewalk sign signal silence silk silver singer sister skin
sky skyline slave sleeve slipper smile smoke snake snow snowflake soldier son song sorrow soul
sound south space spark sparrow spell spider spirit spoon spring spy square squirrel stable
staircase stage star statue station steam steel stem step stone store storm story stove stranger
straw stream street string student suburb sugar suit suitcase summer sun sunday sundown sunflower
sunlight sunrise sunset surface surprise swallow swan sweater sword symphony table tail tale taste
taxi tea teacher temple tent thief thing thought thread throat throne thumb thunder thursday
ticket tide tiger timber time toe tomorrow tongue tower town toy track traffic train traitor
treasure tree triumph trouble truck trumpet trust truth tuesday tulip tunnel turn turtle twilight
umbrella uncle universe valley vampire vein velvet victory village vine violet violin vision voice
volcano voyage wagon waiter wall wallet waltz warrior watch water waterfall wave weather wedding
wednesday weekend west whale wheat wheel whiskey whisper whistle widow wife window wine wing
winter wire wisdom wish witch wizard wolf woman wonder wood word worker world wreck wrist writer
yard year yesterday youth zebra zipper
"""

_VERBS = """
admire adore answer arrive ask awaken bake balance bargain bathe beg begin believe belong bend
bless bloom blow boil borrow bounce break breathe bring build burn bury buy call capture care
carry carve cast catch celebrate change chase cheer cherish choose circle claim clap clean climb
cling collect color come comfort confess conquer cook count cover crack crawl cross cry curl dance
dare deceive decide deliver deny deserve destroy discover dive draw dream dress drift drink drive
drop drown earn echo embrace end enjoy enter erase escape explain explore fade fail fall fasten
fear feed feel fight fill find finish fix flash flicker float flood flow fly fold follow forget
forgive freeze gallop gamble gather give glitter glow grab grow guess guide hang happen harvest
haunt heal hear help hide hit hold honor hope hunt hurry hurt imagine invent invite join judge
jump keep kick kill kiss kneel knit knock know laugh launch lay lean learn leave lend lift light
linger listen lock long look lose love make marry measure melt mend miss mourn move need notice
obey offer open order owe paint pardon pass pay phone pick plant play please plead polish pour
practice praise pray prepare press pretend promise protect prove pull punish push raise reach
recall receive remain remember remind repeat reply return reveal ride ring rise roam roll rule run
rush sail save say scatter scream search see seek sell send settle shake share shatter shelter
shine shiver shout show shut sigh sing sink sit skate skip slam sleep slide slip smell smile smoke
soar solve speak spend spill spin splash stand stare start stay steal steer step stop stretch
struggle stumble suffer surrender survive sway sweep swim swing take talk taste teach tell tempt
thank think throw tie touch trace trade travel treat tremble trust try tumble turn twist
understand unfold vanish visit wait wake walk wander want warm warn wash watch wave wear weep
welcome whisper whistle win wipe wish wonder work worry wrap write yearn yell
"""

_ADJECTIVES = """
able afraid alive alone amber ancient angry ashamed asleep awake awful bad bare beautiful bitter
black blind blue bold brave bright broken brown busy calm careful careless cheap clean clear
clever cloudy cold common complete cool crazy crimson cruel curious damp dangerous daring dark
dear deadly deep delicate different dirty distant divine dizzy double dreamy drunk dry dull dusty
eager early easy electric elegant empty endless equal evil faint fair faithful false familiar
famous fancy fast fatal fearless feeble final fine foolish foreign forever forgotten fortunate
fragile free fresh friendly frozen full funny gentle genuine gifted glad golden good graceful
grand grateful gray great greedy green guilty handsome happy hard harmless heavy helpless hidden
high hollow holy honest hopeful hopeless hot huge humble hungry idle innocent invisible jealous
jolly joyful kind large last late lazy little lonely long loose lost loud lovely loyal lucky mad
magic magnetic mellow merry mighty modern modest musical naked narrow natural naughty near neat
nervous new nice noble noisy normal numb odd old open ordinary pale patient peaceful perfect plain
pleasant polite poor precious pretty proud pure purple quick quiet rare raw ready real reckless
red restless rich ripe rough round royal rude rusty sacred sad safe salty scarlet secret selfish
serious shallow sharp shiny short shy sick silent silly silver simple single sleepy slender
slippery slow small smooth sober soft solid sorry sour special splendid steady stormy strange
strong stubborn sudden sunny sweet swift tall tame tender terrible thick thin thirsty tidy tight
tiny tired total tough true ugly unknown useful useless vacant vast velvet violent warm weak
wealthy weary wet white whole wicked wide wild wise wonderful wooden wrong yellow young
"""

_ADVERBS = """
again ago alone already always anymore anyway apart around away back barely below beside deeply
down easily endlessly even ever finally forever gently gladly halfway hardly here high home
honestly inside instead lately lightly low madly maybe nearly never nowhere often once only
outside over quickly quietly really sadly safely silently simply sincerely slowly softly someday
sometimes somehow somewhere soon still suddenly surely sweetly together tonight truly twice
underground upstairs wildly yet
"""

_NAMES = """
abigail adam alice amanda andrew angela annie anthony barbara benjamin betty billy bobby caroline
carmen cecilia charlie christine daisy daniel david deborah delilah diana dorothy eddie edward
eleanor elizabeth emily eva felix frances frank gabriel george gloria grace hannah harry helen
henry isabel jack jacob james jane janet jasper jenny jeremy jessica joanna johnny jolene joseph
joshua judy julia julian kate kevin laura leonard lily linda louise lucy maggie marcus margaret
maria martha martin mary matthew melissa michael michelle molly monica nancy nathan nicholas
oliver oscar patrick paul peggy peter philip rachel rebecca richard robert roger rosie roxanne
ruby samuel sandra sarah sebastian simon sophie stella stephen steven susan suzanne sylvia teresa
thomas timothy valerie veronica victor victoria vincent virginia walter wendy william
"""

_PLACES = """
africa alabama alaska america amsterdam arizona asia athens atlanta austin berlin boston brazil
brooklyn california canada carolina chicago china colorado dallas denver dublin egypt england
europe florida france georgia germany havana hollywood houston india ireland italy jamaica japan
jerusalem kansas kentucky london louisiana madrid memphis mexico miami minnesota montana moscow
nashville nevada oklahoma orlando oregon paris philadelphia poland portugal rome russia scotland
seattle spain sweden tennessee texas tokyo vegas venice vienna virginia
"""

_IRREGULAR_PAST = {
    "awaken": "awakened", "begin": "began", "bend": "bent", "blow": "blew", "break": "broke",
    "bring": "brought", "build": "built", "buy": "bought", "cast": "cast", "catch": "caught",
    "choose": "chose", "cling": "clung", "come": "came", "dive": "dove", "draw": "drew",
    "drink": "drank", "drive": "drove", "fall": "fell", "feed": "fed", "feel": "felt",
    "fight": "fought", "find": "found", "fly": "flew", "forget": "forgot", "forgive": "forgave",
    "freeze": "froze", "give": "gave", "grow": "grew", "hang": "hung", "hear": "heard",
    "hide": "hid", "hit": "hit", "hold": "held", "hurt": "hurt", "keep": "kept", "kneel": "knelt",
    "know": "knew", "lay": "laid", "leave": "left", "lend": "lent", "light": "lit", "lose": "lost",
    "make": "made", "pay": "paid", "ride": "rode", "ring": "rang", "rise": "rose", "run": "ran",
    "say": "said", "see": "saw", "seek": "sought", "sell": "sold", "send": "sent", "shake": "shook",
    "shine": "shone", "shut": "shut", "sing": "sang", "sink": "sank", "sit": "sat",
    "sleep": "slept", "slide": "slid", "speak": "spoke", "spend": "spent", "spin": "spun",
    "stand": "stood", "steal": "stole", "sweep": "swept", "swim": "swam", "swing": "swung",
    "take": "took", "teach": "taught", "tell": "told", "think": "thought", "throw": "threw",
    "understand": "understood", "wake": "woke", "wear": "wore", "weep": "wept", "win": "won",
    "write": "wrote",
}  # fmt: skip
_IRREGULAR_PLURAL = {
    "child": "children", "foot": "feet", "gentleman": "gentlemen", "knife": "knives",
    "leaf": "leaves", "mailman": "mailmen", "mouse": "mice", "person": "people", "thief": "thieves",
    "wife": "wives", "wolf": "wolves", "woman": "women",
}  # fmt: skip
_NO_PLURAL = {
    "air", "darkness", "daylight", "east", "faith", "fish", "gold", "grass", "happiness", "heat",
    "home", "honey", "laughter", "luck", "madness", "midnight", "moonlight", "mud", "music",
    "north", "patience", "peace", "people", "rain", "sand", "silence", "silver", "smoke", "snow",
    "south", "sugar", "sunlight", "thunder", "traffic", "twilight", "water", "weather", "west",
    "wheat", "wisdom", "youth", "deer", "courage", "freedom", "gravity", "mercy", "half", "house",
    "bus", "circus", "compass", "glass", "witch", "church", "mouth",
}  # fmt: skip
# Spellings whose sound depends on the sentence, or that the release's front end says oddly.
_HOMOGRAPHS = {
    "record", "records", "rebel", "rebels", "refrain", "live", "lives", "leading", "perfect",
    "wound", "close", "use", "separate", "desert", "object", "present", "learned", "dove",
    "blessed", "house", "does", "collect", "collects", "invite", "invites", "mouth",
}  # fmt: skip
_VOWELS = "aeiou"
_DOUBLED = {
    "beg", "begin", "clap", "drop", "forget", "grab", "hit", "hop", "hum", "knit", "plan", "run",
    "rub", "shut", "sit", "skip", "slam", "slip", "spin", "step", "stop", "swim", "wrap", "win",
}  # fmt: skip
HELD_OUT_SHARE = 10  # one content word in so many is never sung in the training split


def plural(noun: str) -> str:
    """The plural of a regular or listed English noun."""
    if noun in _IRREGULAR_PLURAL:
        return _IRREGULAR_PLURAL[noun]
    return third_person(noun)


def third_person(verb: str) -> str:
    """Add -s, -es or -ies."""
    if verb.endswith(("s", "x", "z", "ch", "sh")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in _VOWELS:
        return verb[:-1] + "ies"
    return verb + "s"


def past(verb: str) -> str:
    """The simple past: listed, or regular."""
    if verb in _IRREGULAR_PAST:
        return _IRREGULAR_PAST[verb]
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in _VOWELS:
        return verb[:-1] + "ied"
    return (verb + verb[-1] if verb in _DOUBLED else verb) + "ed"


def gerund(verb: str) -> str:
    """The -ing form."""
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith("ee"):
        return verb[:-1] + "ing"
    return (verb + verb[-1] if verb in _DOUBLED else verb) + "ing"


@functools.cache
def classes() -> dict[str, tuple[str, ...]]:
    """Word class -> its words, sorted: N nouns, P plurals, V verbs, Z -s, D past, G -ing, A, R ...

    A adjectives, R adverbs, M given names, L places.
    """
    nouns, verbs = _NOUNS.split(), _VERBS.split()
    lists: dict[str, Iterable[str]] = {
        "N": nouns,
        "P": [plural(noun) for noun in nouns if noun not in _NO_PLURAL],
        "V": verbs,
        "Z": [third_person(verb) for verb in verbs],
        "D": [past(verb) for verb in verbs],
        "G": [gerund(verb) for verb in verbs],
        "A": _ADJECTIVES.split(),
        "R": _ADVERBS.split(),
        "M": _NAMES.split(),
        "L": _PLACES.split(),
    }
    return {key: tuple(sorted(filter(_sung, set(words)))) for key, words in lists.items()}


def held_out(word: str) -> bool:
    """Whether the training split never sings `word` (a fixed tenth, by the word's checksum)."""
    return zlib.crc32(word.encode()) % HELD_OUT_SHARE == 0


@functools.cache
def pool(key: str, unseen: bool) -> tuple[str, ...]:
    """The words of a class that are held out (`unseen`) or that training may sing."""
    return tuple(word for word in classes()[key] if held_out(word) == unseen)


def _sung(word: str) -> bool:
    return word not in _HOMOGRAPHS and lookup(word) is not None
