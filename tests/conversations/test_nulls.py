"""A null that somebody wrote is learnt; one that a table of structs holds for a key that a row lacks is none."""

import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft.conversations.reading import BadRow, read_row, read_rows

ARGUMENTS = {"a": None, "deep": {"b": None, "list": [None, {"c": None}]}, "d": 1}
TOOLS = [{"name": "f", "parameters": {"properties": {"a": {"default": None, "enum": [None, "x"]}}}}]


def calling(arguments, tools=None):
    turn = {
        "role": "assistant",
        "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": arguments}}],
    }
    return {"messages": [{"role": "user", "content": "go"}, turn], **({"tools": tools} if tools else {})}


def learnt(row):
    return json.loads(row.messages[-1].content)["arguments"]


def write(path, column, kind=None):
    table = pa.table({"messages": pa.array(column, kind)})
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    return path


@pytest.mark.parametrize("as_text", [False, True])
def test_nulls_of_lines_are_kept(as_text):
    arguments, tools = (json.dumps(value) if as_text else value for value in (ARGUMENTS, TOOLS))
    found = read_row(json.dumps(calling(arguments, tools)), 0)
    assert learnt(found) == ARGUMENTS
    assert json.loads(found.messages[0].content) == TOOLS


def test_datasets_fills_objects_with_nulls_that_are_not_learnt(tmp_path):
    tools = [
        {
            "type": "function",
            "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}},
        },
        {
            "type": "function",
            "function": {"name": "g", "parameters": {"type": "object", "properties": {"b": {"enum": ["x"]}}}},
        },
    ]
    rows = [calling({"a": "x"}, tools), calling({"b": "y"}, tools)]
    rows[1]["messages"][1]["tool_calls"][0]["function"]["name"] = "g"
    datasets.Dataset.from_list(rows).to_json(tmp_path / "rows.jsonl")
    assert '"b":null' in (tmp_path / "rows.jsonl").read_text()
    found = list(read_rows(tmp_path / "rows.jsonl"))
    assert [learnt(row) for row in found] == [{"a": "x"}, {"b": "y"}]
    assert json.loads(found[0].messages[0].content) == tools


@pytest.mark.parametrize(
    ("arguments", "properties", "expected"),
    [
        ({"a": None, "b": None}, {"a": {}}, {"a": None}),
        ({"a": {"x": None, "y": None}}, {"a": {"properties": {"x": {}, "y": None}}}, {"a": {"x": None}}),
        ({"a": [{"x": None, "y": 1}]}, {"a": {"items": {"properties": {"y": {}}}}}, {"a": [{"y": 1}]}),
        ({"a": {"x": None}}, {"a": {"type": "object"}}, {"a": {"x": None}}),
    ],
)
def test_a_null_is_learnt_where_the_function_has_such_a_parameter(arguments, properties, expected):
    for tools in ([{"name": "f", "parameters": {"properties": properties}}], [{"name": "f", "parameters": properties}]):
        assert learnt(read_row(json.dumps(calling(arguments, tools)), 0)) == expected


def test_nulls_of_a_json_list_and_of_other_forms_are_kept(tmp_path):
    xlam = {"query": "go", "answers": [{"name": "f", "arguments": ARGUMENTS}], "functions": TOOLS}
    (tmp_path / "rows.json").write_text(json.dumps([calling(ARGUMENTS), xlam]))
    found = list(read_rows(tmp_path / "rows.json"))
    assert [learnt(row) for row in found] == [ARGUMENTS, ARGUMENTS]
    assert json.loads(found[1].messages[0].content) == TOOLS


@pytest.mark.parametrize("arguments", [None, "null", "", {}])
def test_no_arguments_are_an_empty_object(arguments):
    assert learnt(read_row(json.dumps(calling(arguments)), 0)) == {}


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_struct_holds_nulls_for_the_keys_of_other_rows(tmp_path, suffix):
    rows = [calling({"a": 1, "list": [{"x": 1}, {"y": 2}]})["messages"], calling({"b": {"c": 2}})["messages"]]
    found = list(read_rows(write(tmp_path / f"rows{suffix}", rows)))
    assert [learnt(row) for row in found] == [{"a": 1, "list": [{"x": 1}, {"y": 2}]}, {"b": {"c": 2}}]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_map_and_json_text_hold_the_nulls_that_were_written(tmp_path, suffix):
    function = {"name": "f", "arguments": [("a", None), ("b", "x")]}
    call = pa.struct([("name", pa.string()), ("arguments", pa.map_(pa.string(), pa.string()))])
    kind = pa.list_(pa.struct([
        ("role", pa.string()), ("content", pa.string()), ("tool_calls", pa.list_(pa.struct([("function", call)]))),
    ]))  # fmt: skip
    turns = [{"role": "user", "content": "go"}, {"role": "assistant", "tool_calls": [{"function": function}]}]
    (row,) = read_rows(write(tmp_path / f"map{suffix}", [turns], kind))
    assert learnt(row) == {"a": None, "b": "x"}
    (row,) = read_rows(write(tmp_path / f"text{suffix}", [json.dumps(calling(ARGUMENTS)["messages"])]))
    assert learnt(row) == ARGUMENTS


def test_structs_within_maps_and_views_of_lists_lose_the_nulls_of_other_rows(tmp_path):
    part = pa.struct([("type", pa.string()), ("b", pa.string())])
    function = pa.struct([("name", pa.string()), ("arguments", pa.map_(pa.string(), pa.list_view(part)))])
    kind = pa.list_(pa.struct([
        ("role", pa.string()), ("content", pa.string()), ("tool_calls", pa.list_(pa.struct([("function", function)]))),
    ]))  # fmt: skip
    call = {"name": "f", "arguments": [("a", [{"type": "x"}, None])]}
    turns = [{"role": "user", "content": "go"}, {"role": "assistant", "tool_calls": [{"function": call}]}]
    (row,) = read_rows(write(tmp_path / "rows.arrow", [turns], kind))
    assert learnt(row) == {"a": [{"type": "x"}, None]}


def test_json_cells_of_the_datasets_library_hold_theirs(tmp_path):
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps(calling(a)) + "\n" for a in ({"a": None, "b": 1}, {"a": "x"}, {"a": [1]}))
    )
    file = str(tmp_path / "rows.jsonl")
    rows = datasets.load_dataset("json", data_files=file, split="train", cache_dir=str(tmp_path / "c"))
    rows.to_parquet(str(tmp_path / "rows.parquet"))
    assert [learnt(row) for row in read_rows(tmp_path / "rows.parquet")] == [
        {"a": None, "b": 1},
        {"a": "x"},
        {"a": [1]},
    ]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [('{"a": 1, "a": 2}', "duplicate_key"), ("{'a': 1}", "data_type"), ('{"a": Infinity}', "data_type")],
)
def test_arguments_as_text_keep_the_rules_of_rows(arguments, code):
    found = read_row(json.dumps(calling(arguments)), 0)
    assert isinstance(found, BadRow)
    assert (found.code, found.field) == (code, "a" if code == "duplicate_key" else found.field)


def test_nan_is_null_in_arguments_as_in_rows():
    assert learnt(read_row(json.dumps(calling({"a": float("nan")})), 0)) == {"a": None}
    assert learnt(read_row(json.dumps(calling('{"a": NaN}')), 0)) == {"a": None}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_json_text_with_a_key_twice_is_a_bad_row_and_no_lost_text(tmp_path, suffix):
    text = '[{"role": "user", "content": "one", "content": "two"}, {"role": "assistant", "content": "yes"}]'
    path = tmp_path / f"rows{suffix}"
    if suffix == ".jsonl":
        path.write_text(json.dumps({"messages": text}) + "\n")
    else:
        write(path, [text])
    (found,) = read_rows(path)
    assert isinstance(found, BadRow)
    assert (found.code, found.field) == ("duplicate_key", "content")
