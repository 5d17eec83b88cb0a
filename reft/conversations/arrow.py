"""Rows of Parquet and Arrow as lines of JSON, without what those formats put around or in place of a value."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from reft.conversations.fields import from_json, is_unicode
from reft.errors import DataFormatError, explain

Decode = Callable[[Any], Any]
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
    found = from_json((schema.metadata or {}).get(b"huggingface", b"").decode("utf-8", "replace"))
    for name in ("info", "features"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _of_type(kind: pa.DataType, feature: Any, values: list[Any]) -> Decode:
    """What undoes the storage of a column, given the values of its first batch."""
    if _is_json(kind, feature) or (_is_text(kind) and _all_json(values)):
        return from_json
    if pa.types.is_map(kind):
        return lambda value: dict(value) if value and len(dict(value)) == len(value) else value
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = feature.get("feature") if isinstance(feature, Mapping) else None
        inner = feature[0] if isinstance(feature, list) and feature else inner
        item = _of_type(kind.value_type, inner, [item for value in values for item in value or ()])
        return lambda value: None if value is None else [item(part) for part in value]
    if pa.types.is_struct(kind):
        fields = feature if isinstance(feature, Mapping) else {}
        parts = {
            f.name: _of_type(f.type, fields.get(f.name), [value[f.name] for value in values if value]) for f in kind
        }
        return lambda value: None if value is None else {name: parts[name](part) for name, part in value.items()}
    return lambda value: value


def _is_json(kind: pa.DataType, feature: Any) -> bool:
    return isinstance(kind, pa.JsonType) or (isinstance(feature, Mapping) and feature.get("_type") == "Json")


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _all_json(values: list[Any]) -> bool:
    """Whether every text is a JSON string or a list of typed parts, and some are strings."""
    texts = [value for value in values if value is not None]
    if not texts or not all(value[:1] in ('"', "[") for value in texts):
        return False
    found = [from_json(value) for value in texts]
    parts = all(
        isinstance(item, list) and item and all(isinstance(p, dict) and "type" in p for p in item)
        for item, text in zip(found, texts, strict=True)
        if text[0] == "["
    )
    quoted = [
        item is not text and isinstance(item, str) for item, text in zip(found, texts, strict=True) if text[0] == '"'
    ]
    return parts and bool(quoted) and all(quoted)
