"""Files of one typed set whose types differ: one set of rows where the types go together, and else refused at once."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft.config import ValidationSettings
from reft.conversations.containers import recognise
from reft.conversations.reading import BadRow, read_rows
from reft.conversations.writer import give_back, stage
from reft.errors import DataFormatError
from reft.validation.file import validate_file

PAIR = {"prompt": ["q"], "completion": ["a"]}


def write(folder, kind, *tables):
    """A file of this kind for each table: a, b, and so on."""
    folder.mkdir()
    for name, table in zip("abc", tables, strict=False):
        path = str(folder / f"{name}.{kind}")
        if kind == "parquet":
            pq.write_table(table, path)
        else:
            with pa.ipc.new_file(path, table.schema) as writer:
                writer.write_table(table)
    return folder


def columns(**more):
    return pa.table({**more, **PAIR})


def given_back(folder, out):
    found = recognise(folder)
    os.replace(stage(found, out).files[0], out / "kept.jsonl")
    rows = sum(1 for _ in read_rows(folder))
    (written,) = give_back(found, out, ("kept",), group_of=np.zeros(rows, np.uint8))
    return pq.read_table(written) if found.kind == "parquet" else pa.ipc.open_file(str(written)).read_all()


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize(
    ("one", "other", "values"),
    [
        (columns(system=["be kind"]), columns(system=[None]), ["be kind", None]),  # pandas: a column that is empty
        (columns(system=[None]), columns(system=["be kind"]), [None, "be kind"]),
        (columns(number=[1]), columns(number=[1.5]), [1.0, 1.5]),  # pandas: a number that is missing
        (columns(more=[["x"]]), columns(more=[[]]), [["x"], []]),
        (columns(more=["x"]), pa.table(PAIR), ["x", None]),
        (columns(a=[1], b=["x"]), columns(b=["y"], a=[2]), [1, 2]),
        (columns(more=[{"x": 1}]), columns(more=[{"y": "z"}]), [{"x": 1, "y": None}, {"x": None, "y": "z"}]),
    ],
)
def test_types_that_go_together_are_one_schema(tmp_path, kind, one, other, values):
    one = one.replace_schema_metadata({"pandas": "of one file"})
    folder = write(tmp_path / "in", kind, one, other)
    assert [row.instruction for row in read_rows(folder)] == ["q", "q"]
    table = given_back(folder, tmp_path / "out")
    assert table.column(0).to_pylist() == values
    assert table.column("prompt").to_pylist() == ["q", "q"]
    assert not table.schema.metadata  # it told of types that the columns no longer have


def test_rows_of_several_forms_stay_what_they_are(tmp_path):
    said = [[{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]]
    folder = write(tmp_path / "in", "parquet", pa.table({"messages": said}), pa.table(PAIR))
    assert [row.instruction for row in read_rows(folder)] == ["hello", "q"]
    table = given_back(folder, tmp_path / "out")
    pq.write_table(table, tmp_path / "again")
    assert [row.instruction for row in read_rows(tmp_path / "again")] == ["hello", "q"]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_types_that_do_not_are_refused_before_a_row_is_read(tmp_path, kind):
    tables = columns(number=[None]), columns(number=["one"]), columns(number=[1])
    folder = write(tmp_path / "in", kind, *tables)
    words = f"(?s)column 'number' is string in b.{kind} and int64 in c.{kind}.*remedy.*one type"
    with pytest.raises(DataFormatError, match=words):
        recognise(folder)


def test_a_number_that_the_common_type_does_not_hold_is_refused_and_never_rounded(tmp_path):
    folder = write(tmp_path / "in", "parquet", columns(number=[2**53 + 1]), columns(number=[0.5]))
    with pytest.raises(DataFormatError, match=r"(?s)9007199254740993.*a\.parquet.*one type"):
        stage(recognise(folder), tmp_path / "out")


def test_a_file_that_is_cut_off_is_told_as_such(tmp_path):
    folder = write(tmp_path / "in", "parquet", pa.table(PAIR))
    (folder / "b.parquet").write_bytes((folder / "a.parquet").read_bytes()[:-20])
    with pytest.raises(DataFormatError, match=r"(?s)damaged.*b\.parquet"):
        recognise(folder)


def test_what_pandas_writes_for_an_empty_column_is_validated(tmp_path, tokenizer):
    folder = write(tmp_path / "in", "parquet", columns(system=["be kind"]), columns(system=[None]))
    options = {"settings": ValidationSettings(), "max_length": 200}
    assert validate_file(folder, tmp_path / "out", tokenizer, **options).usable == 2
    again = list(read_rows(tmp_path / "out" / "usable.parquet"))
    assert not any(isinstance(row, BadRow) for row in again)
    assert [len(row.messages) for row in again] == [3, 2]
