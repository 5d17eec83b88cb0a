"""Other readings of a text: what an attacker hides behind look-alike letters, invisible marks or an encoding.

A filter that reads only the surface is passed by whatever the model was never shown. Each reading here
is scored beside the original, never instead of it, and the highest score decides.
"""

import base64
import binascii
import codecs
import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from confusable_homoglyphs import confusables


@dataclass(frozen=True)
class Variant:
    """One reading of a text; `name` says how it came about ("normalised", "base64", "base64+rot13")."""

    name: str
    text: str


def variants(text: str, depth: int = 2) -> list[Variant]:
    """The readings of a text that differ from it; none for plain prose.

    Args:
        depth: how many encodings may lie inside one another.
    """
    found: dict[str, str] = {}
    plain = normalised(text)
    if plain != text:
        found[plain] = "normalised"
    layer = [("", plain)]
    for _ in range(depth):
        inner = []
        for before, current in layer:
            for name, decode in DECODERS.items():
                decoded = decode(current)
                if decoded is not None and decoded not in (text, plain) and decoded not in found:
                    found[decoded] = f"{before}+{name}" if before else name
                    inner.append((found[decoded], decoded))
        layer = inner
    return [Variant(name, reading) for reading, name in found.items()]


def normalised(text: str) -> str:
    """NFKC, without invisible characters, and with foreign look-alikes of Latin letters inside Latin words undone."""
    visible = "".join(c for c in unicodedata.normalize("NFKC", text) if not _invisible(c))
    if visible.isascii():
        return visible
    return re.sub(r"\w+", lambda word: _latin(word[0]), visible)


def _invisible(character: str) -> bool:
    # Format characters and variation selectors show nothing; a zero-width joiner inside an emoji is no loss here.
    return unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f"


def _latin(word: str) -> str:
    """The word with look-alikes replaced, if it mixes scripts or is made of nothing but look-alikes."""
    if word.isascii():
        return word
    replaced = "".join(_latin_letter(c) for c in word)
    return replaced if replaced.isascii() else word


def _latin_letter(character: str) -> str:
    if character.isascii() or not character.isalpha():
        return character
    plain = unicodedata.normalize("NFD", character)[0]
    if plain.isascii():
        return character  # an accented Latin letter is what it is
    for entry in confusables.is_confusable(character, preferred_aliases=[]) or []:
        for homoglyph in entry["homoglyphs"]:
            if len(homoglyph["c"]) == 1 and homoglyph["c"].isascii() and homoglyph["c"].isalpha():
                return homoglyph["c"]
    return character


def _base64(text: str) -> str | None:
    return _replaced(r"[A-Za-z0-9+/_-]{16,}={0,2}", text, _from_base64)


def _from_base64(run: str) -> bytes:
    body = run.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(body + "=" * (-len(body) % 4), validate=True)


def _hex(text: str) -> str | None:
    return _replaced(
        r"(?:(?:0x|\\x)?[0-9a-fA-F]{2}[\s:,]?){8,}", text, lambda run: bytes.fromhex(re.sub(r"0x|\\x|[\s:,]", "", run))
    )


def _replaced(pattern: str, text: str, decode: Callable[[str], bytes]) -> str | None:
    """The text with every run that decodes to readable text replaced by it; None where none does."""
    hit = False

    def replace(run: re.Match[str]) -> str:
        nonlocal hit
        try:
            decoded = decode(run[0]).decode("utf-8")
        except (binascii.Error, ValueError):
            return run[0]
        if not _readable(decoded):
            return run[0]
        hit = True
        return f" {decoded} "

    result = re.sub(pattern, replace, text)
    return result.strip() if hit else None


def _readable(text: str) -> bool:
    return len(text) >= 8 and all(c.isprintable() or c.isspace() for c in text) and " " in text.strip()


def _percent(text: str) -> str | None:
    if len(re.findall(r"%[0-9A-Fa-f]{2}", text)) < 3:
        return None
    return unquote(text)


def _rot13(text: str) -> str | None:
    turned = codecs.encode(text, "rot13")
    return turned if _function_words(turned) >= max(2, 2 * _function_words(text)) else None


LEET = str.maketrans("013457@$!|", "oieastasil")
LEET_WORD = r"[A-Za-z0-9@$!|]+"


def _leet(text: str) -> str | None:
    """Words that mix letters with the digits and signs that stand for letters, written with letters.

    Where such words are many, all-digit words ("70" for "to") and long runs of digits are letters too.
    """
    words = re.findall(LEET_WORD, text)
    mixed = sum(map(_is_mixed, words))
    if mixed < 2:
        return None
    throughout = mixed >= 0.25 * len(words)

    def write(word: re.Match[str]) -> str:
        number = re.search(r"\d{3}", word[0]) or not _is_mixed(word[0])
        return word[0].translate(LEET) if throughout or not number else word[0]

    written = re.sub(LEET_WORD, write, text)
    return written if written != text else None


def _is_mixed(word: str) -> bool:
    inner = word.rstrip("!|")
    return any(c.isalpha() for c in inner) and any(c in "013457@$!|" for c in inner)


# A string of JSON: it stands behind one of its signs, so that a quotation in a sentence is seldom one.
JSON_STRING = re.compile(r"""[\[{,:]\s*("(?:[^"\\]|\\.)*")""", re.DOTALL)


def _json(text: str) -> str | None:
    """The strings of JSON inside a text (a tool's description, say) that have several words, a line each.

    JSON's own signs dilute what they say. Strings are looked for, not JSON that is right as a whole: no stray bracket
    hides one.
    """
    found = (_unescaped(match[1]) for match in JSON_STRING.finditer(text))
    return "\n".join(string for string in found if " " in string.strip()) or None


def _unescaped(literal: str) -> str:
    try:
        return json.loads(literal, strict=False)
    except ValueError:
        return literal[1:-1]


# A chat template's own signs, as several model families write them, with the role that goes with them.
MARKUP = re.compile(
    r"(?:<\|[^|<>\n]{1,40}\|>|<(?:start|end)_of_turn>|\[/?INST\]|</?s>)\s*(?:(?:system|user|assistant|model|tool)\b)?"
)


def _markup(text: str) -> str | None:
    """The text with lines in place of a template's signs, which dilute what stands between them.

    They are text here and never become the tokens that they name.
    """
    bare = MARKUP.sub("\n", text).strip()
    return bare if bare != text.strip() else None


# Enough of English to tell a decoded sentence from noise.
COMMON = "a an and are be can do for from how i in is it me my of on or that the this to what with without you your"
FUNCTION_WORDS = frozenset(COMMON.split())


def _function_words(text: str) -> int:
    return sum(word in FUNCTION_WORDS for word in re.findall(r"[a-z]+", text.lower()))


DECODERS: dict[str, Callable[[str], str | None]] = {
    "base64": _base64,
    "hex": _hex,
    "percent": _percent,
    "rot13": _rot13,
    "leet": _leet,
    "json": _json,
    "markup": _markup,
}
