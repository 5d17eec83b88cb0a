import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reft.conversations.containers import lines, recognise
from reft.conversations.reading import BadRow, is_blank, read_conversations, read_rows
from reft.errors import DataFormatError
from tests.factories import row, write_jsonl

GOOD = json.dumps(row("hello", "hi"))


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("not json", "not_json"),
        ("[1, 2]", "not_an_object"),
        ('{"text": "x"}', "missing_messages_list"),
        ('{"messages": []}', "missing_messages_list"),
        ('{"messages": "oops"}', "missing_messages_list"),
        ('{"messages": ["oops"]}', "data_type"),
        ('{"messages": [{"role": "user"}]}', "message_missing_key"),
        ('{"messages": [{"role": "customer", "content": "x"}]}', "unrecognized_role"),
        ('{"messages": [{"role": "user", "content": 7}]}', "data_type"),
        ('{"prompt": 1, "completion": "x"}', "data_type"),
        ('{"prompt": "\\ud800", "completion": "x"}', "encoding"),
        ('{"prompt": NaN, "completion": "x"}', "data_type"),
        ("[" * 100_000, "row_too_long"),
        ("[" * 50_000, "not_json"),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_read(tmp_path, line, code):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{GOOD}\n{line}\n{GOOD}\n")
    found = list(read_rows(path, max_characters=99_000))
    assert [type(f).__name__ for f in found] == ["Conversation", "BadRow", "Conversation"]
    assert isinstance(found[1], BadRow)
    assert (found[1].row, found[1].code) == (1, code)
    assert found[1].remedy


@pytest.mark.parametrize(
    ("line", "code", "field"),
    [
        ('{"prompt": "a", "completion": "b", "caf\u00e9": "x"}', "encoding", "caf?"),
        ('{"prompt": "a", "completion": "b", "caf\u00e9": 1}', "encoding", "caf?"),
        ('{"prompt": "a", "completion": "b", "note": "caf\u00e9 au lait please today"}', "encoding", "note"),
        ('{"prompt": "a", "completion": "b", "nested": [{"\\ud83d": {"x": null}}]}', "encoding", "nested[0].?"),
        ('{"prompt": "a", "completion": "b", "k\u00e9": 1, "k\u00e9": 2}', "duplicate_key", "k?"),
    ],
)
def test_what_is_no_utf8_is_a_bad_row_in_a_field_that_nothing_reads_too(tmp_path, line, code, field):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{GOOD}\n{line}\n{GOOD}\n", encoding="latin-1")
    good, bad, _ = read_rows(path)
    assert isinstance(bad, BadRow)
    assert (bad.code, bad.field) == (code, field)
    assert not isinstance(good, BadRow)


def test_prompt_completion_and_chat_rows_mean_the_same(tmp_path):
    rows = [row("hello", "hi"), {"prompt": "hello", "completion": "hi"}]
    rows.append({"prompt": rows[0]["messages"][:1], "completion": rows[0]["messages"][1:]})
    found = read_conversations(write_jsonl(tmp_path / "rows.jsonl", rows))
    assert {c.messages for c in found} == {found[0].messages}


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode() + b"\r\n")
    assert len(read_conversations(path)) == 1


@pytest.mark.parametrize(("content", "words"), [(None, "no such file"), ("", "empty"), ("{\n}", "pretty-printed JSON")])
def test_a_file_without_rows_is_refused_as_a_whole(tmp_path, content, words):
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataFormatError, match=words):
        list(read_rows(path))


def test_shipped_data_must_be_right(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{GOOD}\nbroken\n")
    with pytest.raises(DataFormatError, match="row 1"):
        read_conversations(path)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(min_size=1, max_size=300))
def test_any_bytes_are_read_without_a_crash_and_every_line_is_accounted_for(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "rows.jsonl"
    path.write_bytes(content)
    try:
        found = list(read_rows(path))
    except DataFormatError:
        return
    assert [row.row for row in found] == [n for n, line in enumerate(lines(recognise(path))) if not is_blank(line)]


def test_blank_lines_are_no_rows_and_rows_keep_the_numbers_of_their_lines(tmp_path):
    path = tmp_path / "rows.jsonl"
    line = json.dumps({"prompt": "a", "completion": "b"})
    path.write_text(f"\ufeff{line}\n\n  \n\ufeff{line}\n\ufeff\n", encoding="utf-8")
    found = list(read_rows(path))
    assert [row.row for row in found] == [0, 3]
    assert [row.notes for row in found] == [("byte_order_mark",)] * 2
    assert [row.original for row in found] == [line] * 2
