"""Files that other tools write in ways of their own: read like any, and given back."""

import json

import numpy as np
import pyarrow as pa
import pytest

from reft.conversations.containers import recognise
from reft.conversations.reading import BadRow, read_rows
from reft.conversations.writer import give_back, stage
from reft.errors import DataFormatError

ROWS = "".join(json.dumps({"prompt": f"say {i}", "completion": str(i)}) + "\n" for i in range(4))
TEXTS = ["a", "b", "a text that is too long to stand within a view", "d"]
ODD = {
    "views, as Polars writes them": pa.array(TEXTS, pa.string_view()),
    "runs": pa.RunEndEncodedArray.from_arrays([2, 4], ["a", "d"]),
    "a struct of views": pa.array([{"x": text} for text in TEXTS], pa.struct([("x", pa.string_view())])),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("groups", [[0, 1, 0, 1], [1, 1, 0, 1], [0, 0, 0, 0]])
def test_columns_that_arrow_does_not_filter_are_given_back(tmp_path, name, groups):
    table = pa.table({"prompt": ["p"] * 4, "completion": ["c"] * 4, "odd": ODD[name]})
    with pa.ipc.new_file(str(path := tmp_path / "in.arrow"), table.schema) as out:
        out.write_table(table)
    container = recognise(path)
    stage(container, tmp_path / "staged")
    written = give_back(container, tmp_path, ("usable", "bad"), group_of=np.array(groups, np.uint8))
    for number, file in enumerate(written):
        found = pa.ipc.open_file(str(file)).read_all()
        found.validate(full=True)
        assert found.schema == table.schema
        assert found["odd"].to_pylist() == [
            v for v, g in zip(ODD[name].to_pylist(), groups, strict=True) if g == number
        ]


def test_json_text_in_views_is_told_as_in_any_text(tmp_path):
    table = pa.table({"prompt": pa.array(['"a"', '"b"'], pa.string_view()), "completion": ["c", "d"]})
    with pa.ipc.new_file(str(path := tmp_path / "in.arrow"), table.schema) as out:
        out.write_table(table)
    assert [row.instruction for row in read_rows(path)] == ["a", "b"]


@pytest.mark.parametrize("note", [b"\x50", b"\x5f"])
def test_zstandard_may_begin_with_a_note_that_holds_nothing(tmp_path, note):
    packed = pa.compress(ROWS.encode(), codec="zstd", asbytes=True)
    (path := tmp_path / "rows").write_bytes(note + b"\x2a\x4d\x18\x04\x00\x00\x00size" + packed)
    assert recognise(path).suffix == ".jsonl.zst"
    assert not any(isinstance(row, BadRow) for row in read_rows(path))


def test_empty_files_among_shards_are_left_aside_and_named(tmp_path):
    for name in ("part-0.jsonl", "part-1.jsonl", "part-2.jsonl"):
        (tmp_path / name).write_text("")
    with pytest.raises(DataFormatError, match=r"the file is empty\n.*part-0"):
        recognise(tmp_path)
    (tmp_path / "part-1.jsonl").write_text(ROWS)
    found = recognise(tmp_path)
    assert [file.name for file in found.files] == ["part-1.jsonl"]
    assert found.note == "2 empty files left aside"
    assert len(list(read_rows(tmp_path))) == 4
    (tmp_path / "test-0.jsonl").write_text(ROWS)
    (tmp_path / "train-0.jsonl").write_text(ROWS)
    for name in ("part-0.jsonl", "part-1.jsonl"):
        (tmp_path / name).unlink()
    assert recognise(tmp_path).note == "only the split train is read, not test (data.split); 1 empty file left aside"
