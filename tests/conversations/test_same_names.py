"""Two columns of one name would lose the cells of one: such a table is refused, by its name and theirs."""

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft.conversations.containers import recognise
from reft.conversations.reading import read_rows
from reft.conversations.writer import stage
from reft.errors import DataFormatError

COLUMNS = [pa.array(["a"]), pa.array(["b"]), pa.array(["c"])]
TWICE = pa.Table.from_arrays(COLUMNS, names=["prompt", "completion", "prompt"])


def write(path, table):
    if path.suffix == ".parquet":
        pq.write_table(table, path)
        return path
    with (pa.ipc.new_file if path.suffix == ".arrow" else pa.ipc.new_stream)(str(path), table.schema) as writer:
        writer.write_table(table)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".stream"])
def test_columns_of_typed_tables(tmp_path, suffix):
    path = write(tmp_path / f"rows{suffix}", TWICE)
    with pytest.raises(DataFormatError, match=rf"2 columns of the name 'prompt'\n.*{path.name}\n.*rename them"):
        list(read_rows(path))
    with pytest.raises(DataFormatError, match="2 columns of the name 'prompt'"):
        stage(recognise(path), tmp_path / "out")


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_columns_of_one_of_many_files(tmp_path, suffix):
    write(tmp_path / f"a{suffix}", TWICE.rename_columns(["prompt", "completion", "more"]))
    write(tmp_path / f"b{suffix}", TWICE)
    with pytest.raises(DataFormatError, match=rf"2 columns of the name 'prompt'\n.*b{suffix}\n.*rename them"):
        recognise(tmp_path)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_parts_of_a_struct(tmp_path, suffix):
    kind = pa.struct([("role", pa.string()), ("content", pa.string()), ("content", pa.string())])
    turns = pa.StructArray.from_arrays(COLUMNS, fields=list(kind))
    table = pa.table({"messages": pa.ListArray.from_arrays(pa.array([0, 1]), turns)})
    with pytest.raises(DataFormatError, match=r"2 parts of the name 'content'\n.*column messages\n.*rename them"):
        list(read_rows(write(tmp_path / f"rows{suffix}", table)))


@pytest.mark.parametrize(
    "header",
    ["prompt,completion,prompt", "frage;antwort;antwort", '"prompt"\t prompt\tcompletion', "a,x,a,prompt,input"],
)
def test_a_header_of_csv(tmp_path, header):
    path = tmp_path / "rows.csv"
    path.write_text(f"{header}\na,b,c\n")
    with pytest.raises(DataFormatError, match=r"2 columns of the name '(prompt|antwort|a)'"):
        recognise(path)
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(DataFormatError, match="2 columns of the name"):
        recognise(path)


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [("prompt;completion, with, with", ";"), ("prompt,completion,,", ","), ("prompt,completion,Prompt", ",")],
)
def test_a_header_that_can_be_read_with_names_of_their_own_is(tmp_path, header, delimiter):
    (path := tmp_path / "rows.csv").write_text(f"{header}\na,b,c\n")
    assert recognise(path).delimiter == delimiter
