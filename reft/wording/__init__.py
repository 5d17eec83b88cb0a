"""What is wrong with settings, in words for people: the setting, what was given, what is wanted.

What is wanted is read off the JSON schema of the settings, so that a new knob is described without another line.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

__all__ = ["DEEPEST", "Problem", "not_finite", "problems_of", "shown", "unknown_key"]

SHOWN = 60  # characters of a value that was given
DEEPEST = 100  # sections within sections; what writes settings down follows them no further than some hundred
BITS = 64  # of a whole number: what seeds and counts may have
NUMBERS = {"integer": "a whole number", "number": "a number"}
KINDS = {**NUMBERS, "boolean": "true or false", "string": "text", "null": "null", "object": "a section of keys"}
LIMITS = {
    "minimum": "at least {}", "exclusiveMinimum": "more than {}", "maximum": "at most {}",
    "exclusiveMaximum": "less than {}", "pattern": "of the form {}", "minItems": "of {} or more",
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """One wrong setting; `line` is None where no file was read, or the setting is not in it."""

    setting: str
    what: str
    line: int | None = None

    def __str__(self) -> str:
        """One line: the setting, its place, what is wrong with it."""
        return f"{self.setting}{f' (line {self.line})' if self.line else ''}: {self.what}"


def problems_of(error: ValidationError, model: type[BaseModel], values: Mapping[str, Any]) -> list[Problem]:
    """Each wrong setting once, in the order of the settings."""
    schema = model.model_json_schema()
    found: dict[str, Problem] = {}
    for fault in error.errors(include_url=False):
        path, wanted, beside = _place(schema, fault["loc"])
        name = ".".join(map(str, path)) or "settings"
        if fault["type"] in ("extra_forbidden", "invalid_key"):
            key = str(fault["loc"][-1])
            name = name if path else key  # a section without any key has none that is like it
            found.setdefault(name, Problem(name, unknown_key(key, beside)))
        elif fault["type"] in ("value_error", "assertion_error"):  # our own words
            found.setdefault(name, Problem(name, str(fault["ctx"]["error"])))
        elif fault["type"] == "missing":
            found.setdefault(name, Problem(name, f"is missing; wanted: {_wanted(wanted, schema)}"))
        else:
            given = _at(values, path)
            found.setdefault(name, Problem(name, f"{shown(given)} is given; wanted: {_wanted(wanted, schema)}"))
    return list(found.values())


def unknown_key(key: str, known: Iterable[str]) -> str:
    """What to say of a key that there is not."""
    known = sorted(known)
    if near := get_close_matches(key, known, n=1):
        return f"no such setting; did you mean {near[0]}?"
    return f"no such setting; there are {', '.join(known)}" if known else "no such setting"


def shown(value: Any) -> str:
    """A value as it stands in YAML, cut where it is long."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    if isinstance(value, int) and value.bit_length() > 4 * SHOWN:
        return f"{hex(value)[:SHOWN]}..."  # Python writes no decimals of thousands of digits
    if isinstance(value, Mapping):
        return "a section of keys"
    if isinstance(value, list | tuple | set):
        return "a list"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def not_finite(value: Any, place: str = "") -> str:
    """Names the first number within that is none (.inf, .nan) or vast, or says that it lies too deep; else ""."""
    waiting = [(place, value, 0)]
    while waiting:
        place, value, depth = waiting.pop()
        if depth > DEEPEST:
            return "nested too deeply"
        vast = isinstance(value, int) and value.bit_length() > BITS
        if vast or (isinstance(value, float) and not math.isfinite(value)):
            wanted = f"a number of at most {BITS} bits" if vast else "a number"
            return f"{place}{': ' if place else ''}{shown(value)} is given; wanted: {wanted}"
        inside = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
        waiting += [(f"{place}.{key}".lstrip("."), item, depth + 1) for key, item in inside][::-1]
    return ""


def _place(schema: Mapping[str, Any], loc: tuple[Any, ...]) -> tuple[list[Any], Mapping[str, Any], list[str]]:
    """The path without pydantic's names of classes, the schema there, and the names of the keys beside it."""
    path: list[Any] = []
    here, beside = schema, list(schema.get("properties", {}))
    for part in loc:
        below = [found for form in _forms(here, schema) if (found := _below(form, part)) is not None]
        if not below:
            known = [key for form in _forms(here, schema) for key in form.get("properties", {})]
            if known:  # a key that there is not
                return [*path, part], {}, known
            break  # the name of one of several forms
        path, beside = [*path, part], [k for form in _forms(here, schema) for k in form.get("properties", {})]
        here = below[0]
    return path, here, beside


def _below(form: Mapping[str, Any], part: Any) -> Mapping[str, Any] | None:
    if isinstance(part, int):
        return form.get("items")
    if part in form.get("properties", {}):
        return form["properties"][part]
    further = form.get("additionalProperties")
    return {} if further is True else further or None


def _forms(here: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if "$ref" in here:
        return _forms(schema["$defs"][here["$ref"].rsplit("/", 1)[-1]], schema)
    return [form for one in here["anyOf"] for form in _forms(one, schema)] if "anyOf" in here else [here]


def _wanted(here: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """What the schema asks for, as "a whole number, at least 1, or null"."""
    words = dict.fromkeys(_of_form(form, schema) for form in _forms(here, schema))
    return ", or ".join(words)


def _of_form(form: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "enum" in form or "const" in form:
        choices = form.get("enum", [form.get("const")])
        return choices[0] if len(choices) == 1 else f"one of {', '.join(map(str, choices))}"
    if form.get("type") == "array":
        items = _wanted(form.get("items", {}), schema)
        kind = f"a list (each item: {items})"
    else:
        kind = KINDS.get(str(form.get("type")), "another value")
    limits = [
        words.format(limit if isinstance(limit, str) else f"{limit:g}")
        for name, words in LIMITS.items()
        if (limit := form.get(name)) is not None
    ]
    return ", ".join([kind, *limits])


def _at(values: Any, path: list[Any]) -> Any:
    for part in path:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return None
    return values
