"""The one schema of Parquet or Arrow files that are read as one set of rows.

Whoever writes a set in files gives each the types that its own rows need: a column that is empty in one of them is of
nulls there, and whole numbers are integers where another file has fractions.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from reft.conversations.limits import require_named_apart
from reft.errors import DataFormatError, explain

REMEDY = "give the column one type in every file, or name the files one at a time"


class Together:
    """The columns of files, each with the type that holds its values in all of them."""

    def __init__(self) -> None:
        self._schemas: list[pa.Schema] = []  # those that differ
        self._columns: dict[str, tuple[Path, pa.Field]] = {}  # and the file that the type is from

    def add(self, file: Path, kind: str) -> None:
        """One more file.

        Raises:
            DataFormatError: it is damaged, or a column of it has a type that does not go with an earlier file's.
        """
        schema = _schema_of(file, kind)
        require_distinct(schema, file)
        if any(schema.equals(known) for known in self._schemas):
            return
        columns = dict(self._columns)
        for field in schema:
            before, known = columns.get(field.name, (file, field))
            try:
                options = [pa.schema([known]), pa.schema([field])]
                both = pa.unify_schemas(options, promote_options="permissive").field(0)
            except pa.ArrowException as error:
                types = f"{known.type} in {before.name} and {field.type} in {file.name}"
                raise DataFormatError(explain(f"column {field.name!r} is {types}", str(file), REMEDY)) from error
            columns[field.name] = before if both.type == known.type else file, both
        self._columns = columns
        self._schemas.append(schema)

    @property
    def schema(self) -> pa.Schema | None:
        """None where all files have the same; else without notes, which describe the columns of one file."""
        if len(self._schemas) < 2:
            return None
        return pa.schema([field.with_nullable(True).remove_metadata() for _, field in self._columns.values()])


def schema_of_all(files: Iterable[Path], kind: str) -> pa.Schema | None:
    """What `Together` finds of the files.

    Raises:
        DataFormatError: as there.
    """
    found = Together()
    for file in files:
        found.add(file, kind)
    return found.schema


def fitted(batch: pa.RecordBatch, schema: pa.Schema | None, file: Path) -> Iterator[pa.RecordBatch]:
    """The batch with the columns of the schema, those that it lacks empty; it keeps its own notes.

    Raises:
        DataFormatError: a number is too large for the type that it shares with another file's.
    """
    if schema is None or batch.schema.equals(schema):
        yield batch
        return
    try:
        parts = [schema.empty_table(), pa.Table.from_batches([batch])]
        table = pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException as error:
        what = f"values that do not fit the types of the other files: {error}"
        raise DataFormatError(explain(what, str(file), REMEDY)) from error
    yield from table.replace_schema_metadata(batch.schema.metadata).to_batches()


def require_distinct(schema: pa.Schema, file: Path) -> None:
    """See that no two columns, nor two parts of one, have the same name.

    Raises:
        DataFormatError: two have.
    """
    require_named_apart(schema.names, file)
    waiting = [(field.name, field.type) for field in schema]
    while waiting:
        column, kind = waiting.pop()
        fields = [kind.field(index) for index in range(kind.num_fields)]
        if pa.types.is_struct(kind):
            require_named_apart([field.name for field in fields], file, column)
        waiting += [(column, field.type) for field in fields]


def _schema_of(file: Path, kind: str) -> pa.Schema:
    try:
        if kind == "parquet":
            return pq.read_schema(file)
        with pa.OSFile(str(file), "rb") as source:
            opens = pa.ipc.open_file if source.read(6) == b"ARROW1" else pa.ipc.open_stream
            source.seek(0)
            return opens(source).schema
    except (pa.ArrowException, OSError) as error:
        raise DataFormatError(explain(f"damaged: {error}", str(file), "write or fetch the file again")) from error
