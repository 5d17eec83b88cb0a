"""What `datasets` keeps as JSON text comes out as what it was."""

import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft.conversations.reading import read_rows

PART = {"type": "text", "text": "hi"}
ROWS = [
    {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo", "weight": 1}]},
    {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": "o"},
        ]
    },
]
SAID = [[("user", "hi"), ("assistant", "yo")], [("user", "hi"), ("assistant", "o")]]


def said(path):
    return [[(m.role, m.content) for m in row.messages] for row in read_rows(path)]


@pytest.fixture(params=["as written", "without the library's note", "as plain text"])
def written(request, tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    rows = datasets.load_dataset(
        "json", data_files=str(tmp_path / "rows.jsonl"), split="train", cache_dir=str(tmp_path / "c")
    )
    rows.to_parquet(str(tmp_path / "rows.parquet"))
    table = pq.read_table(tmp_path / "rows.parquet")
    if request.param == "without the library's note":
        table = table.replace_schema_metadata(None)
    elif request.param == "as plain text":
        table = pa.table({"messages": pa.array(table.to_pydict()["messages"], pa.list_(pa.string()))})
    pq.write_table(table, tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def test_messages_that_differ_in_their_keys(written):
    assert said(written) == SAID


@pytest.mark.parametrize("noted", [True, False])
def test_contents_that_differ_in_their_kind(tmp_path, noted):
    turns = [[{"role": m["role"], "content": json.dumps(m["content"])} for m in row["messages"]] for row in ROWS]
    kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    table = pa.table({"messages": pa.array(turns, kind)})
    if noted:
        content = {"role": {"dtype": "string", "_type": "Value"}, "content": {"_type": "Json"}}
        info = {"info": {"features": {"messages": {"feature": content, "_type": "List"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, tmp_path / "rows.parquet")
    assert said(tmp_path / "rows.parquet") == SAID


def test_text_that_only_looks_like_it_stays(tmp_path):
    table = pa.table({"prompt": ['"quoted"', "plain"], "completion": ["[1, 2]", "[3]"]})
    pq.write_table(table, tmp_path / "rows.parquet")
    assert said(tmp_path / "rows.parquet") == [
        [("user", '"quoted"'), ("assistant", "[1, 2]")], [("user", "plain"), ("assistant", "[3]")]
    ]  # fmt: skip


def test_bytes_of_pictures_are_no_text(tmp_path):
    table = pa.table(
        {"prompt": ["a"], "completion": ["b"], "image": [b"\x89PNG" + bytes(200_000)], "note": [b"as text"]}
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    (row,) = read_rows(tmp_path / "rows.parquet")
    assert [(unread.field, unread.text) for unread in row.unread] == [("image", "(200004 bytes)"), ("note", "as text")]
