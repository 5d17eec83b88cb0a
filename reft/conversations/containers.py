"""What a file is, told by its content, and its rows one after another as lines of JSON.

JSONL, a JSON array, CSV, TSV, Parquet and Arrow, each plain or under gzip or zstandard, alone or as a folder of
shards. Memory holds a block, never a file. What cannot be a row becomes a line that no JSON parser takes, so that it
is counted and quarantined like any other bad row.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from reft.config import ValidationSettings
from reft.conversations.arrow import json_rows, require_sound
from reft.conversations.folders import files_of
from reft.conversations.limits import Meter as Meter
from reft.conversations.limits import require_few_columns, require_named_apart, too_long
from reft.conversations.packed import BLOCK, Compression, opened
from reft.conversations.schemas import fitted, require_distinct, schema_of_all
from reft.conversations.tables import LineTooLongError, head_of, is_drawn, table_rows
from reft.errors import DataFormatError, explain
from reft.moved import keep_old_names

Kind = Literal["jsonl", "json", "csv", "tsv", "parquet", "arrow"]
SUFFIXES: dict[str | None, str] = {None: "", "gzip": ".gz", "zstd": ".zst"}
# A table's cells keep their types, which a mended line of JSON would not.
TYPED = ("parquet", "arrow")
# Rows of a table of more columns are taken fewer at a time.
WIDE, CELLS_AT_ONCE = 1024, 1 << 20
MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"PAR1", "parquet"), (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "stream"), (b"PK\x03\x04", "zip"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"),
    (b"\xfd7zXZ\x00", "xz"), (b"BZh", "bzip2"), (b"7z\xbc\xaf", "7z"), (b"\x04\x22\x4d\x18", "lz4"),
    (b"FEA1", "feather version 1"), (b"Obj\x01", "avro"), (b"\x89HDF\r\n", "hdf5"), (b"SQLite format 3\0", "sqlite"),
    (b"\xd0\xcf\x11\xe0", "xls"),
    *((bytes([0x50 + number]) + b"\x2a\x4d\x18", "zstd") for number in range(16)),  # pzstd begins with a note
)  # fmt: skip


PACKED = ("zip", "xz", "bzip2", "7z", "lz4")
# What is read under no compression, and what to do instead.
OTHERS = {
    "utf-16": "save the file as UTF-8",
    "feather version 1": "write it as Feather version 2, which is Arrow, or as Parquet",
    **dict.fromkeys(("avro", "hdf5", "sqlite", "xls"), "export the rows as JSONL, CSV or Parquet"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Container:
    """A file, or the files of a folder, of one kind.

    Attributes:
        columns, delimiter: of CSV and TSV, the header and what stands between fields.
        note: what of a folder was left aside; a person should hear of it.
        limits: how far compressed files may expand.
        schema: of typed files whose own schemas differ, the one that holds the rows of all.
    """

    files: tuple[Path, ...]
    kind: Kind
    compression: Compression | None = None
    columns: tuple[str, ...] = ()
    delimiter: str = ""
    note: str = ""
    limits: ValidationSettings = field(default_factory=ValidationSettings)
    schema: pa.Schema | None = None

    @property
    def suffix(self) -> str:
        """What a file of this kind is called."""
        return f".{self.kind}{SUFFIXES[self.compression]}"

    @property
    def is_lines(self) -> bool:
        """Whether it is one plain JSONL file, whose lines are the rows."""
        return self.kind == "jsonl" and self.compression is None and len(self.files) == 1


def recognise(path: Path, split: str = "", limits: ValidationSettings | None = None) -> Container:
    """Tell what a file or folder holds.

    Args:
        limits: how far compressed files may expand; none: as far as the defaults say.
        split: which split of a folder; none: `train` where the folder has splits.

    Raises:
        DataFormatError: nothing is there, it is empty, of no known kind, or a folder of several kinds, or of files
            whose columns have types that do not go together.
    """
    files, note = files_of(path, split)
    found = [_recognise_file(file) for file in files]
    kinds = {(c.kind, c.compression, c.columns, c.delimiter) for c in found}
    if len(kinds) > 1:
        names = ", ".join(f"{c.files[0].name}: {c.kind}" for c in found[:4])
        raise DataFormatError(explain(f"files of several kinds ({names})", str(path), "scan each kind on its own"))
    limits = limits or ValidationSettings()
    require_few_columns(len(found[0].columns), files[0], limits)
    several_typed = len(files) > 1 and found[0].kind in TYPED  # of one file, perhaps the beginning alone is here
    schema = schema_of_all(files, found[0].kind) if several_typed else None
    return replace(found[0], files=tuple(files), note=note, limits=limits, schema=schema)


def lines(container: Container) -> Iterator[str]:
    """Every row as a line of JSON without its end; JSONL as it stands, bytes that are no UTF-8 as lone surrogates."""
    meter = Meter(container.limits)
    for file in container.files:
        if container.kind in ("parquet", "arrow"):
            yield from json_rows(batches(file, container, meter), file)
            continue
        with opened(file, container.compression, meter) as stream:
            if container.kind == "jsonl":
                yield from json_lines(stream, file, container.limits)
            elif container.kind == "json":
                yield from _array(stream, file, container.limits)
            else:
                try:
                    longest = container.limits.max_line_mb << 20
                    yield from table_rows(stream, container.columns, container.delimiter, longest=longest)
                except LineTooLongError as error:
                    raise too_long("a line", file, container.limits) from error


def batches(file: Path, container: Container, meter: Meter) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet or Arrow file, some at a time, in the schema that it shares with the container's others.

    Raises:
        DataFormatError: the file is damaged or cut off, expands beyond what the settings allow, or does not go with
            the others.
    """
    try:
        for batch in _batches(file, container):
            meter.count(batch.nbytes, file)
            require_sound(batch, file)
            few = _rows_at_once(batch.num_columns)  # an Arrow file may be one batch, however long it is
            for begin in range(0, len(batch), few):
                yield from fitted(batch.slice(begin, few), container.schema, file)
    except (pa.ArrowException, OSError) as error:
        raise DataFormatError(explain(f"damaged: {error}", str(file), "write or fetch the file again")) from error


def _batches(file: Path, container: Container) -> Iterator[pa.RecordBatch]:
    if container.kind == "parquet":
        table = pq.ParquetFile(file)
        require_few_columns(table.metadata.num_columns, file, container.limits)
        require_distinct(table.schema_arrow, file)
        yield from table.iter_batches(batch_size=_rows_at_once(table.metadata.num_columns))
        return
    source = pa.OSFile(str(file), "rb")
    if source.read(6) == b"ARROW1":
        reader = pa.ipc.open_file(source)
        require_few_columns(len(reader.schema), file, container.limits)
        require_distinct(reader.schema, file)
        yield from (reader.get_batch(index) for index in range(reader.num_record_batches))
    else:
        source.seek(0)
        stream = pa.ipc.open_stream(source)
        require_few_columns(len(stream.schema), file, container.limits)
        require_distinct(stream.schema, file)
        yield from stream


def _rows_at_once(columns: int) -> int:
    """So many that their cells, which become objects of Python's, take little memory however wide the table is."""
    return max(1, CELLS_AT_ONCE // max(columns, WIDE))


def json_lines(stream: IO[bytes], file: Path, limits: ValidationSettings | None = None) -> Iterator[str]:
    """The lines of a JSONL stream without their ends, as they are otherwise.

    Raises:
        DataFormatError: one is longer than the settings (none: the defaults) allow.
    """
    for raw in raw_lines(stream, file, limits):
        yield text_of(raw)


def raw_lines(stream: IO[bytes], file: Path, limits: ValidationSettings | None = None) -> Iterator[bytes]:
    """`json_lines` as the bytes that they are, with their ends."""
    limits = limits or ValidationSettings()
    longest = limits.max_line_mb << 20
    while raw := stream.readline(longest):
        if len(raw) >= longest:
            raise too_long("a line", file, limits)
        yield raw


def text_of(raw: bytes) -> str:
    """A raw line as `json_lines` gives it."""
    return raw.rstrip(b"\r\n").decode("utf-8", errors="surrogateescape")


def _recognise_file(file: Path) -> Container:
    if file.stat().st_size == 0:
        raise DataFormatError(explain("the file is empty", str(file), "give at least one row"))
    with file.open("rb") as stream:
        compression = _magic(stream.read(8))
    packed: Compression | None = compression if compression in ("gzip", "zstd") else None
    with opened(file, packed, Meter(ValidationSettings())) as stream:
        head = stream.read(1 << 16)
    found = _magic(head)
    if found in (*PACKED, *OTHERS) or (packed and found in ("gzip", "zstd")):
        remedies = OTHERS if packed else {**OTHERS, **dict.fromkeys(PACKED, "unpack it")}
        raise DataFormatError(explain(f"{found} is not read", str(file), remedies.get(found, "decompress it once")))
    if found in ("parquet", "arrow", "stream"):
        if packed:
            raise DataFormatError(
                explain(f"{found} inside {packed}", str(file), "decompress it: it packs its own data")
            )
        return Container(files=(file,), kind="parquet" if found == "parquet" else "arrow")
    return _recognise_text(file, head, packed)


def _magic(head: bytes) -> str:
    return next((name for magic, name in MAGIC if head.startswith(magic)), "")


def _recognise_text(file: Path, head: bytes, packed: Compression | None) -> Container:
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
    start = text.lstrip()[:1]
    if start == "[":
        return Container(files=(file,), kind="json", compression=packed)
    if text.split("\n", 1)[0].strip() == "{":
        remedy = "write one JSON object per line, or all of them as one JSON list"
        raise DataFormatError(explain("one pretty-printed JSON object, not rows", str(file), remedy))
    if start == "{":
        return Container(files=(file,), kind="jsonl", compression=packed)
    if is_drawn(text):
        remedy = "save it as CSV, or write one JSON object per line"
        raise DataFormatError(explain("a table drawn with bars and dashes (Markdown), not rows", str(file), remedy))
    delimiter, columns = head_of(text)
    if columns:
        require_named_apart([name.strip() for name in columns if name.strip()], file)
        kind: Kind = "tsv" if delimiter == "\t" else "csv"
        return Container(files=(file,), kind=kind, compression=packed, columns=columns, delimiter=delimiter)
    return Container(files=(file,), kind="jsonl", compression=packed)  # each line is then told what is wrong with it


def _array(stream: IO[bytes], file: Path, limits: ValidationSettings) -> Iterator[str]:
    """The items of one JSON array, each decoded on its own; what follows a broken one is one last, broken row."""
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    decoder, buffer, ended = json.JSONDecoder(), "", False
    buffer = text.read(BLOCK).lstrip().removeprefix("[")
    while True:
        buffer = buffer.lstrip(" \t\r\n")
        if not buffer and not ended:
            more = text.read(BLOCK)
            buffer, ended = more, not more
            continue
        if buffer.startswith("]") and not (buffer[1:] + text.read(BLOCK)).strip():
            return
        try:
            _, end = decoder.raw_decode(buffer)
            if end == len(buffer) and not ended:
                raise ValueError("perhaps a number that goes on")
        except (ValueError, RecursionError):
            more = (
                "" if ended else text.read(max(BLOCK, len(buffer)))
            )  # twice as much, so that no item costs its square
            if len(buffer) + len(more) > limits.max_line_mb << 20:
                raise too_long("a fault in the JSON, or an item", file, limits) from None
            if not more:
                if buffer:
                    yield f"not an item of the list: {buffer}".replace("\n", " ")
                return
            buffer += more
            continue
        yield buffer[:end].replace("\n", " ").replace("\r", " ")
        buffer = buffer[end:].lstrip(" \t\r\n").removeprefix(",")


keep_old_names(__name__)
