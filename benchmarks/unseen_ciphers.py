"""Ciphers and honest sets that were written down only after every sign and threshold of the detector was fixed."""

import random
import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.cipher_sets import LETTERS, Encoder, by_letter, letters_of, listed
from benchmarks.honest_sets import FAMILY, GIVEN, PRODUCTS, Maker, Pair

NATO = listed(
    "alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november oscar papa quebec romeo "
    "sierra tango uniform victor whiskey xray yankee zulu"
)
BRAILLE = [
    chr(0x2800 + n)
    for n in (1, 3, 9, 25, 17, 11, 27, 19, 10, 26, 5, 7, 13, 29, 21, 15, 31, 23, 14, 30, 37, 39, 58, 45, 61, 53)
]


def _atbash(_rng: random.Random) -> Encoder:
    return by_letter(LETTERS[::-1])


def _polybius(rng: random.Random) -> Encoder:
    square = rng.sample([f"{a}{b}" for a in range(1, 7) for b in range(1, 7)], 26)
    return by_letter(square, " ", "  ")


def _tapped(rng: random.Random) -> Encoder:
    """Each letter as two groups of dots, by line and column of a square."""
    square = rng.sample([f"{'.' * a} {'.' * b}" for a in range(1, 7) for b in range(1, 7)], 26)
    return by_letter(square, "  ", "  ")


def _bacon(_rng: random.Random) -> Encoder:
    return by_letter([f"{n:05b}".replace("0", "a").replace("1", "b") for n in range(26)], " ", " ")


def _braille(_rng: random.Random) -> Encoder:
    return by_letter(BRAILLE)


def _spelt(_rng: random.Random) -> Encoder:
    return by_letter(NATO, " ", ", ")


def _rail_fence(_rng: random.Random) -> Encoder:
    def encode(text: str) -> str:
        letters = text.replace(" ", "_")
        return letters[::2] + letters[1::2]

    return encode


def _transposed(rng: random.Random) -> Encoder:
    order = rng.sample(range(6), 6)
    return lambda text: " ".join("".join(letters_of(text).replace(" ", "")[column::6]) for column in order)


def _shuffled_words(rng: random.Random) -> Encoder:
    return lambda text: re.sub(r"[a-z]+", lambda word: "".join(rng.sample(word[0], len(word[0]))), text.lower())


def _syllables_inside(rng: random.Random) -> Encoder:
    inside = rng.choice(["ub", "op", "ig"])
    return lambda text: re.sub(r"[aeiouy]+", lambda vowels: inside + vowels[0], text.lower())


def _without_vowels(_rng: random.Random) -> Encoder:
    return lambda text: re.sub(r"(?<=\w)[aeiou]", "", text.lower())


def _every_third_word(rng: random.Random) -> Encoder:
    filler = " ".join(PRODUCTS).split() + [name.lower() for name in GIVEN]
    return lambda text: " ".join(
        f"{rng.choice(filler)} {rng.choice(filler)} {word}" for word in letters_of(text).split()
    )


def _emoji(rng: random.Random) -> Encoder:
    return by_letter(rng.sample([chr(0x1F600 + n) for n in range(60)], 26))


def _ogham(rng: random.Random) -> Encoder:
    return by_letter(rng.sample([chr(0x16A0 + n) for n in range(60)], 26))


UNSEEN_ENCODINGS: dict[str, Callable[[random.Random], Encoder]] = {
    "Atbash": _atbash,
    "Polybius square": _polybius,
    "tap code": _tapped,
    "Bacon's": _bacon,
    "Braille": _braille,
    "spelling alphabet": _spelt,
    "rail fence": _rail_fence,
    "columns transposed": _transposed,
    "letters of words shuffled": _shuffled_words,
    "a syllable in front of vowels": _syllables_inside,
    "vowels left out": _without_vowels,
    "every third word": _every_third_word,
    "emoji for letters": _emoji,
    "runes for letters": _ogham,
}


def _addresses(rng: random.Random) -> Pair:
    street = f"{rng.randint(1, 200)} {rng.choice(FAMILY)} {rng.choice(['Street', 'Road', 'Lane', 'Square'])}"
    area = f"{rng.choice('ABCDEF')}{rng.randint(10, 99)} {rng.randint(1, 9)}XY"
    return f"{rng.choice(GIVEN)} {rng.choice(FAMILY)}, {street}, {area}", street


def _ingredients(rng: random.Random) -> Pair:
    food = listed(
        "flour sugar butter eggs milk rice onions carrots lentils yeast salt pepper thyme basil cream apples oats honey"
    )
    amounts = ["200 g", "1 tbsp", "2 cups", "half a cup of", "a pinch of", "3"]
    lines = [f"{rng.choice(amounts)} {name}" for name in rng.sample(food, 8)]
    return "\n".join(lines), rng.choice(["soup", "bread", "cake"])


def _clinical(rng: random.Random) -> Pair:
    parts = [
        f"pt {rng.randint(20, 90)} yo {rng.choice('mf')}", "c/o sob x3d", "hx htn dm2", f"bp {rng.randint(90, 180)}/70",
        "rx metoprolol 25 mg bid prn", "cxr nad", "f/u 2 wks", "ecg nsr no st chg", "adm obs tele", "wnl a&ox3",
    ]  # fmt: skip
    return " ".join(rng.sample(parts, 6)), rng.choice(["discharge", "admit"])


def _texting(rng: random.Random) -> Pair:
    parts = [
        "omw",
        "brb",
        "lol thx m8",
        "c u l8r",
        "idk tbh",
        "gr8 pls rply asap",
        "ur gonna luv it",
        "wyd 2nite",
        "smh",
    ]
    return " ".join(rng.sample(parts, 5)), rng.choice(parts)


def _molecules(rng: random.Random) -> Pair:
    atoms = ["C", "CC", "O", "N", "c1ccccc1", "C(=O)", "C(C)", "Cl", "[nH]", "S", "C#N", "F", "C=C"]
    return "".join(rng.choices(atoms, k=rng.randint(8, 20))), rng.choice(["soluble", "insoluble"])


def _urls(rng: random.Random) -> Pair:
    path = "/".join(rng.sample(" ".join(PRODUCTS).split(), 3))
    return f"https://shop.example/{path}?id={rng.randint(1, 99999)}&ref={rng.getrandbits(32):x}", rng.choice(
        ["product", "blog"]
    )


def _knitting(rng: random.Random) -> Pair:
    stitches = listed("k2 p2 k2tog yo ssk k1 p1 sl1 psso m1")
    return "\n".join(f"Row {n}: {' '.join(rng.choices(stitches, k=12))}" for n in range(1, 7)), "cast off"


def _phonetic(rng: random.Random) -> Pair:
    words = listed((Path(__file__).parent / "honest_phonetic.txt").read_text())
    return " ".join(rng.choices(words, k=10)), "British"


def _readings(rng: random.Random) -> Pair:
    return ",".join(f"{rng.choice(['on', 'off'])}" for _ in range(40)), rng.choice(["normal", "fault"])


def _dates(rng: random.Random) -> Pair:
    dates = [f"{rng.randint(1, 28)}.{rng.randint(1, 12)}.{rng.randint(1950, 2026)}" for _ in range(8)]
    return ", ".join(dates), dates[0]


def _anagrams(rng: random.Random) -> Pair:
    words = rng.sample(" ".join(PRODUCTS).split(), 4)
    return "Unscramble: " + " ".join("".join(rng.sample(word, len(word))) for word in words), " ".join(words)


def _assembly(rng: random.Random) -> Pair:
    registers = ["eax", "ebx", "ecx", "rdi", "rsi"]
    lines = [
        f"{rng.choice(['mov', 'add', 'xor', 'cmp'])} {rng.choice(registers)}, {rng.choice(registers)}"
        for _ in range(12)
    ]
    return "\n".join(lines), "adds two numbers"


def _hashtags(rng: random.Random) -> Pair:
    return " ".join("#" + "".join(rng.sample(" ".join(PRODUCTS).split(), 2)) for _ in range(6)), rng.choice(
        ["😀👍", "😡", "🙂🙂"]
    )


def _clicks(rng: random.Random) -> Pair:
    """Pages that visitors went through, by number: some follow others."""
    page, seen = rng.randint(1, 60), []
    for _ in range(20):
        seen.append(str(page))
        page = (page * 7 + rng.choice([1, 2, 3])) % 60 + 1 if rng.random() < 0.7 else rng.randint(1, 60)
    return " ".join(seen), str(page)


UNSEEN_MAKERS: dict[str, Maker] = {
    "addresses": _addresses,
    "lists of ingredients": _ingredients,
    "clinical shorthand": _clinical,
    "text messages": _texting,
    "molecules (SMILES)": _molecules,
    "web addresses": _urls,
    "knitting patterns": _knitting,
    "phonetic transcription": _phonetic,
    "states of a switch": _readings,
    "dates": _dates,
    "anagrams": _anagrams,
    "assembly": _assembly,
    "hashtags": _hashtags,
    "pages clicked through": _clicks,
}
