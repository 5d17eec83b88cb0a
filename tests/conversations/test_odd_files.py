"""Files that other tools write in ways of their own: read like any, and given back."""

import gzip
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


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
@pytest.mark.parametrize("first", ["", "sep=;", '"sep=;"', "\ufeffSEP=;"])
def test_a_csv_is_read_whatever_ends_its_lines_and_whether_excel_names_its_delimiter(tmp_path, first, end):
    lines = [*filter(None, [first]), "prompt;completion", '"two;\nlines";a, b', 'say "x";c']
    (path := tmp_path / "rows.csv").write_bytes(end.join(lines).encode())
    container = recognise(path)
    assert (container.columns, container.delimiter) == (("prompt", "completion"), ";")
    said = [(row.instruction, row.messages[1].content) for row in read_rows(path) if not isinstance(row, BadRow)]
    assert said == [("two;\nlines", "a, b"), ('say "x"', "c")]
    stage(container, tmp_path / "staged")
    (tmp_path / "usable.jsonl").write_bytes((tmp_path / "staged" / "rows.jsonl").read_bytes())
    (written,) = give_back(container, tmp_path, ("usable",), group_of=np.zeros(2, np.uint8))
    assert len([row for row in read_rows(written) if not isinstance(row, BadRow)]) == 2


def test_a_delimiter_that_excel_is_told_goes_before_one_that_gives_more_columns(tmp_path):
    (path := tmp_path / "rows.csv").write_text("sep=,\nprompt,completion;a;b\nq,x\n")
    assert recognise(path).columns == ("prompt", "completion;a;b")
    (path := tmp_path / "rows.csv").write_text('sep=;\nprompt;completion\n"open;x\ny;z\n')
    bad, good = read_rows(path)
    assert isinstance(bad, BadRow)
    assert bad.field == "line 3"  # as a person counts
    assert not isinstance(good, BadRow)


@pytest.mark.parametrize(
    "text",
    [
        "| prompt | completion |\n| --- | --- |\n| q | a |\n",
        "|Frage|Antwort|\r\n|:-|-:|\r\n|q|a|\r\n",
        "prompt | completion\n--- | ---\nq | a\n",
        " prompt | completion\n--------+------------\n q      | a\n",
        "+--------+------------+\n| prompt | completion |\n+--------+------------+\n",
    ],
)
def test_a_table_that_is_drawn_is_refused_by_that_name(tmp_path, text):
    (path := tmp_path / "rows").write_text(text, newline="")
    with pytest.raises(DataFormatError, match="drawn with bars and dashes"):
        recognise(path)


def test_dashes_that_stand_for_nothing_draw_no_table(tmp_path):
    (path := tmp_path / "rows").write_text("prompt|completion\n-|-\nq|a\n")
    assert len(list(read_rows(path))) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"FEA1\x00\x00", "(?s)feather version 1 is not read.*Feather version 2"),
        (b"SQLite format 3\x00rest", "(?s)sqlite is not read.*export"),
        (gzip.compress(b"FEA1\x00\x00"), "(?s)feather version 1 is not read.*Feather version 2"),
        (gzip.compress(ROWS.encode()) + b"a note of somebody's", "(?s)after the end of the gzip data.*take them off"),
        (gzip.compress(ROWS.encode()) + bytes(512), "after the end of the gzip data"),
        (gzip.compress(ROWS.encode()) + b"\n", "cut off, or a few bytes stand after the end"),
        (pa.compress(ROWS.encode(), codec="zstd", asbytes=True) + b"\n", "after the end of the zstd data"),
    ],
    # Bytes would be names with the time of day, which gzip writes: two workers would collect different ones.
    ids=["feather", "sqlite", "feather, gzip", "gzip and text", "gzip and zeros", "gzip and a line", "zstd and a line"],
)
def test_what_is_not_read_is_told_by_what_it_is(tmp_path, content, words):
    (path := tmp_path / "rows").write_bytes(content)
    with pytest.raises(DataFormatError, match=words):
        list(read_rows(path))
