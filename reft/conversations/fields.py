"""What of a row was read: text leaves a row through one gate, so that what nothing read can be named and scored."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from reft.conversations.schema import Unread

# Where in a row a value stands: its keys and indices from the outside in.
Place = tuple[str | int, ...]
LONGEST_NAME = 60
# A key of so many words is a text that somebody put there, not a name.
WORDS_OF_A_NAME = 4
# Levels of objects and lists in a row. Rows of tools and their results have some ten.
LEVELS = 200
STRINGS_AND_BRACKETS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)


class RowError(ValueError):
    """Raised while parsing one row; carries what becomes a `BadRow`.

    Fields are often named by the row itself: halves of characters in a name become question marks, so that it can be
    written down.
    """

    def __init__(self, code: str, field: str, remedy: str) -> None:
        field, remedy = (text.encode("utf-8", "replace").decode() for text in (field, remedy))
        super().__init__(f"{code} at {field}: {remedy}")
        self.code, self.field, self.remedy = code, field, remedy


class Fields:
    """Which places of one row were read.

    Attributes:
        schemas: of the arguments of the functions that the row declares, by name.
    """

    def __init__(self, schemas: Mapping[str, Any] | None = None) -> None:
        self._read: set[Place] = set()
        self._decoded: dict[Place, Any] = {}
        self.schemas = schemas or {}

    def text(self, value: Any, place: Place) -> str:
        """The value, which must be text, as read.

        Raises:
            RowError: it is no text, or not UTF-8.
        """
        if not isinstance(value, str):
            found = "null" if value is None else type(value).__name__
            raise RowError("data_type", shown(place), f"give text, not {found}")
        self.take(place)
        return _whole(value, place)

    def take(self, place: Place) -> None:
        """Everything at this place was read."""
        self._read.add(place)

    def decoded(self, value: Any, place: Place) -> Any:
        """What a text holds as JSON, as `from_json` has it: what is in an object or list is read place by place.

        Raises:
            RowError: a key stands twice in an object.
        """
        found = from_json(value)
        if isinstance(value, str) and isinstance(found, dict | list):
            self._decoded[place] = found
        return found

    def unread(self, row: Mapping[str, Any]) -> tuple[Unread, ...]:
        """Every text of the row that nothing took, in the row's order, keys that are sentences among them.

        Raises:
            RowError: one, or any key, is not UTF-8.
        """
        return tuple(Unread(field=shown(place), text=_whole(text, place)) for place, text in self._texts(row))

    def _texts(self, row: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
        waiting: list[tuple[Place, Any]] = [((), row)]  # a list, not recursion: a row may be nested deeply
        while waiting:
            place, value = waiting.pop()
            if place in self._read:
                continue
            value = self._decoded.get(place, value)
            if isinstance(value, str):
                if value.strip():
                    yield place, value
            elif isinstance(value, Mapping):
                keys = (key for key in value if len(key.split()) > WORDS_OF_A_NAME or not is_unicode(key))
                yield from (((*place, key), key) for key in keys)
                waiting += [((*place, key), item) for key, item in reversed(value.items())]
            elif isinstance(value, list):
                waiting += [((*place, index), item) for index, item in reversed(list(enumerate(value)))]


def is_unicode(text: str) -> bool:
    """Whether there are no halves of characters in it: bytes that were no UTF-8, or one of a pair of escapes."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _whole(text: str, place: Place) -> str:
    """The text.

    Raises:
        RowError: it is not UTF-8; no tokenizer takes it, and no report could be written.
    """
    if not is_unicode(text):
        raise RowError("encoding", shown(place), "save the file as UTF-8, without halves of characters")
    return text


def shown(place: Place) -> str:
    """A place as people write it: messages[0].content."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return text.removeprefix(".")[:LONGEST_NAME]


def from_json(value: Any) -> Any:
    """What a text holds as JSON; the value itself where it is no text, or no JSON.

    Raises:
        RowError: a key stands twice in an object.
    """
    try:
        return DECODER.decode(value) if isinstance(value, str) else value
    except RowError:
        raise
    except (ValueError, RecursionError):
        return value


def as_json(value: Any, place: Place) -> str:
    """The value as the text that the model reads, null where the row says null.

    Raises:
        RowError: it holds an infinity, which JSON has no word for.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise RowError("data_type", shown(place), "give numbers that JSON can hold, no infinity") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RowError("duplicate_key", str(twice)[:60], "give each key once: readers differ on which one counts")
    return found


def _constant(name: str) -> float | None:
    """NaN, which is no JSON, is what pandas writes for nothing; an infinity stays one, and no field takes it."""
    return None if name == "NaN" else float(name)


class RowDecoder:
    """Reads JSON of as many levels as `LEVELS`, whatever the interpreter would bear.

    Python's own bound is its stack, which is as deep as whoever calls leaves it, and which a library may move:
    `torch.compile` doubles it for the whole process. A row must not be good in one place and bad in another.
    """

    def __init__(self, *, pairs: Callable[[list], dict], constant: Callable[[str], float | None] = float) -> None:
        """With `JSONDecoder`'s hooks: what makes an object of its pairs, and a value of NaN or an infinity."""
        self._decoder = json.JSONDecoder(parse_constant=constant, object_pairs_hook=pairs)

    def decode(self, text: str) -> Any:
        """The value of a text.

        Raises:
            RecursionError: nested more deeply.
            ValueError: not JSON.
        """
        if _is_deep(text):
            raise RecursionError(f"more than {LEVELS} levels")
        return self._decoder.decode(text)


def _is_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= LEVELS:
        return False  # as nearly every row
    depth = 0
    for found in STRINGS_AND_BRACKETS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > LEVELS:
            return True
    return False


# Of whole rows and of JSON text within them.
DECODER = RowDecoder(pairs=_unique_keys, constant=_constant)
