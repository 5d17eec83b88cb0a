"""Rows of Parquet and Arrow as lines of JSON, without what those formats put around or in place of a value.

A struct has every key that any row of the column has, and null where a row has no such key. Those nulls are left out
here, where the type still tells them; whoever means a null that is learnt writes JSON text, or a map. Which nulls of
rows of JSON are meant is said in `reft.conversations.tools`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from reft.conversations.fields import RowError, from_json, is_unicode
from reft.errors import DataFormatError, explain

Decode = Callable[[Any], Any]
LISTS = (
    pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view,
    pa.types.is_large_list_view,
)  # fmt: skip
# What a cell that neither Python nor JSON can hold raises: a time of the year 10000, a zone that nobody knows, bytes
# that are no text in a column of text, a map whose keys are none, lists within lists without end.
UNTOLD = (ArithmeticError, LookupError, RecursionError, TypeError, ValueError, pa.ArrowException)


def json_rows(batches: Iterator[pa.RecordBatch], file: Path) -> Iterator[str]:
    """Every row of the file as one object.

    The `datasets` library keeps values whose kind differs from row to row as JSON text, told by the Arrow type, by
    its own note in the schema, or, where both are gone, by every value of the column being such text.

    Raises:
        DataFormatError: a cell has a value that no row of JSON can hold.
    """
    decode: Decode | None = None
    for batch in batches:
        try:
            rows = batch.to_pylist()
            decode = decode or _decoder(batch, rows)
            yield from _lines(rows, decode)
        except UNTOLD as error:
            raise _untold(error, file, _untold_column(batch)) from error


def require_sound(batch: pa.RecordBatch, file: Path) -> None:
    """See that every column is what it says: text that is UTF-8, offsets within the content.

    Raises:
        DataFormatError: one is not.
    """
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            column.validate(full=True)
        except pa.ArrowException as error:
            raise _untold(error, file, name) from error


def _untold(error: Exception, file: Path, column: str) -> DataFormatError:
    where, remedy = ", column ".join(filter(None, (str(file), column))), "cast the column to text, or leave it out"
    return DataFormatError(explain(f"a value that cannot be read: {str(error)[:200]}", where, remedy))


def _lines(rows: list[dict[str, Any]], decode: Decode) -> Iterator[str]:
    for row in rows:
        text = json.dumps(decode(row), ensure_ascii=False, default=_plain)
        # JSON in a cell may spell half a character, which is no UTF-8 and must stay spelt.
        yield text if is_unicode(text) else json.dumps(decode(row), default=_plain)


def _untold_column(batch: pa.RecordBatch) -> str:
    """The first column that holds such a value by itself."""
    for index, name in enumerate(batch.schema.names):
        column = batch.select([index])
        try:
            rows = column.to_pylist()
            list(_lines(rows, _decoder(column, rows)))
        except UNTOLD:
            return name
    return ""


def _plain(value: Any) -> str:
    """Text for what JSON has no word for; bytes that are text are text, of others only their number is told."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return f"({len(value)} bytes)"
    return str(value)


def _decoder(batch: pa.RecordBatch, rows: list[dict[str, Any]]) -> Decode:
    features = _features(batch.schema)
    columns = {
        field.name: _of_type(field.type, features.get(field.name), [row[field.name] for row in rows])
        for field in batch.schema
    }
    return lambda row: {name: columns[name](value) for name, value in row.items()}


def _features(schema: pa.Schema) -> Mapping[str, Any]:
    """What the `datasets` library noted of each column; nothing where the note is none of its own."""
    found = _cell((schema.metadata or {}).get(b"huggingface", b"").decode("utf-8", "replace"))
    for name in ("info", "features"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _of_type(kind: pa.DataType, feature: Any, values: list[Any]) -> Decode:
    """What undoes the storage of a column, given the values of its first batch."""
    if _is_json(kind, feature) or (_is_text(kind) and _all_json(values)):
        return _cell
    if pa.types.is_map(kind):
        part = _of_type(kind.item_type, None, [item for value in values for _, item in value or ()])
        return lambda value: None if value is None else _of_pairs([(key, part(item)) for key, item in value])
    if any(is_list(kind) for is_list in LISTS):
        inner = feature.get("feature") if isinstance(feature, Mapping) else None
        inner = feature[0] if isinstance(feature, list) and feature else inner
        item = _of_type(kind.value_type, inner, [item for value in values for item in value or ()])
        return lambda value: None if value is None else [item(part) for part in value]
    if pa.types.is_struct(kind):
        fields = feature if isinstance(feature, Mapping) else {}
        parts = {
            f.name: _of_type(f.type, fields.get(f.name), [value[f.name] for value in values if value]) for f in kind
        }
        return lambda value: None if value is None else _of_struct(value, parts)
    return lambda value: value


def _of_struct(value: Mapping[str, Any], parts: Mapping[str, Decode]) -> dict[str, Any]:
    return {name: parts[name](part) for name, part in value.items() if part is not None}


def _of_pairs(pairs: list[tuple[Any, Any]]) -> Any:
    """A map, as an object; as it is where a key stands twice."""
    return found if len(found := dict(pairs)) == len(pairs) else pairs


def _cell(value: Any) -> Any:
    """What a cell holds as JSON; one in which a key stands twice stays text, of which reading makes a bad row."""
    try:
        return from_json(value)
    except RowError:
        return value


def _is_json(kind: pa.DataType, feature: Any) -> bool:
    return isinstance(kind, pa.JsonType) or (isinstance(feature, Mapping) and feature.get("_type") == "Json")


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _all_json(values: list[Any]) -> bool:
    """Whether every text is a JSON string or a list of typed parts, and some are strings."""
    texts = [value for value in values if value is not None]
    if not texts or not all(value[:1] in ('"', "[") for value in texts):
        return False
    found = [_cell(value) for value in texts]
    parts = all(
        isinstance(item, list) and item and all(isinstance(p, dict) and "type" in p for p in item)
        for item, text in zip(found, texts, strict=True)
        if text[0] == "["
    )
    quoted = [
        item is not text and isinstance(item, str) for item, text in zip(found, texts, strict=True) if text[0] == '"'
    ]
    return parts and bool(quoted) and all(quoted)
