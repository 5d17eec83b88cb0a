"""Every form that customers upload becomes the same messages."""

import csv
import json

import pytest

from reft.conversations.formats import column_names, format_of
from reft.conversations.reading import BadRow, RowError, parse_row, read_conversations, read_rows
from reft.conversations.tokenization import encode
from reft.errors import ConfigurationError
from tests.factories import write_jsonl

CALL = {"id": "1", "type": "function", "function": {"name": "find", "arguments": '{"city": "Ulm"}'}}


def read(row, **options):
    messages = parse_row(json.dumps(row), 0, 10_000, **options).messages
    return [(m.role, m.content) for m in messages]


PAIR = [("user", "q"), ("assistant", "a")]


@pytest.mark.parametrize(
    ("row", "form", "expected"),
    [
        ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}, "openai chat", PAIR),
        ({"prompt": "q", "completion": "a"}, "prompt and completion", PAIR),
        (
            {"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]},
            "prompt and completion", PAIR,
        ),
        ({"instruction": "q", "output": "a"}, "alpaca", PAIR),
        ({"instruction": "q", "input": "", "output": "a", "id": 3}, "alpaca", PAIR),
        ({"instruction": "q", "input": "more", "output": "a"}, "alpaca", [("user", "q\nmore"), ("assistant", "a")]),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, "sharegpt", PAIR),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "s"},
            "sharegpt", [("system", "s"), *PAIR],
        ),
        (
            {"conversations": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
            "sharegpt", PAIR,
        ),
        ({"question": "q", "answer": "a"}, "question and answer", PAIR),
        ({"text": "q", "label": "a"}, "text and label", PAIR),
    ],
)  # fmt: skip
def test_known_forms(row, form, expected):
    assert format_of(row) == form
    assert read(row) == expected


def outcomes(path):
    return [row.code if isinstance(row, BadRow) else row.left_out or "ok" for row in read_rows(path)]


def test_a_label_of_a_table_counts_as_a_number_would(tmp_path):
    (tmp_path / "k.csv").write_text(
        "prompt,completion,label\n" + "".join(f"q,a,{label}\n" for label in ("0", "0.0", " 0", "1", "", "False"))
    )
    assert outcomes(tmp_path / "k.csv") == [*["unrecognized_label"] * 3, "ok", "ok", "label"]
    (tmp_path / "t.csv").write_text("instruction,output,kto_tag\nq,a,0\nq,a,true\n")
    assert outcomes(tmp_path / "t.csv") == ["unrecognized_label", "ok"]
    huge = {"prompt": "q", "completion": "a", "weight": 10**400}
    write_jsonl(tmp_path / "w.jsonl", [huge, huge | {"weight": "nan"}, huge | {"weight": " 0.0"}])
    assert outcomes(tmp_path / "w.jsonl") == [*["unrecognized_weight"] * 2, "weight"]


@pytest.mark.parametrize("mark", [False, 0, "False", "0.0"])
def test_a_mark_that_says_no_in_any_form_is_not_learnt(mark):
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "train": mark}]
    assert not parse_row(json.dumps({"messages": turns}), 0, 10_000).messages[1].learn
    turns[1]["train"] = None
    assert parse_row(json.dumps({"messages": turns}), 0, 10_000).messages[1].learn


def test_a_history_and_options_of_a_table_are_read_as_a_list_and_an_object_are(tmp_path):
    row = {"instruction": "q", "output": "a", "history": [["x", "y"]], "chat_template_kwargs": {"thinks": False}}
    write_jsonl(tmp_path / "r.jsonl", [row])
    with (tmp_path / "r.csv").open("w", newline="") as file:
        csv.writer(file).writerows([row, [v if isinstance(v, str) else json.dumps(v) for v in row.values()]])
    (typed,), (text,) = map(read_conversations, (tmp_path / "r.jsonl", tmp_path / "r.csv"))
    assert [m.content for m in text.messages] == ["x", "y", "q", "a"]
    assert (text.messages, text.options) == (typed.messages, typed.options)
    (text,) = (found for found in read_rows(tmp_path / "r.csv"))
    assert not text.unread


def test_named_columns_win_over_forms():
    row = {"prompt": "x", "completion": "y", "frage": "q", "antwort": "a"}
    assert read(row, columns=column_names("frage, antwort")) == PAIR
    with pytest.raises(RowError, match="missing_column at reply"):
        read(row, columns=("frage", "reply"))
    with pytest.raises(ConfigurationError, match="two columns"):
        column_names("frage")


def test_tools_are_text_that_is_read_and_scored():
    row = {
        "messages": [
            {"role": "developer", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "q"}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "1", "content": "rain"},
            {"role": "assistant", "content": "a", "weight": 1},
        ],
        "tools": [{"type": "function", "function": {"name": "find"}}],
    }
    assert read(row) == [
        ("system", 's\n[{"type": "function", "function": {"name": "find"}}]'),
        ("user", "q"),
        ("assistant", '{"name": "find", "arguments": {"city": "Ulm"}}'),
        ("tool", "rain"),
        ("assistant", "a"),
    ]


def test_every_answer_is_learnt_but_for_weight_nought(tokenizer):
    turns = [("user", "q", 1), ("assistant", "one", 0), ("user", "r", 1), ("assistant", "two", 1),
             ("user", "s", 1), ("assistant", "three", 1)]  # fmt: skip
    messages = [{"role": r, "content": c, **({"weight": w} if r == "assistant" else {})} for r, c, w in turns]
    encoded = encode(tokenizer, parse_row(json.dumps({"messages": messages}), 0, 1000))
    learnt = [tokenizer.decode(encoded.input_ids[start:end]) for start, end in encoded.learnt]
    assert learnt == ["two<|im_end|>", "three<|im_end|>"]
    assert encoded.completion == encoded.learnt[-1]
    assert encoded.learnt_tokens == sum(end - start for start, end in encoded.learnt)


@pytest.mark.parametrize(
    ("row", "code", "field"),
    [
        ({"messages": [{"role": "user", "content": "q", "weight": 2}]}, "unrecognized_weight", "messages[0].weight"),
        ({"messages": [{"role": "assistant", "content": "q", "weight": "1"}]}, "unrecognized_weight", "weight"),
        ({"messages": [{"role": "assistant", "content": "q", "weight": True}]}, "unrecognized_weight", "weight"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "unsupported_content", "content[0]"),
        ({"messages": [{"role": "user", "content": None}]}, "data_type", "messages[0].content"),
        ({"messages": [{"role": "user", "content": 7}]}, "data_type", "messages[0].content"),
        ({"messages": [{"role": ["user"], "content": "q"}]}, "unrecognized_role", "messages[0].role"),
        ({"messages": [{"role": "user", "content": "q", "tool_calls": [CALL]}]}, "data_type", "tool_calls"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]},
            "data_type",
            "tool_calls[0].function",
        ),
        ({"messages": [{"role": "user", "content": "a\u0000b"}]}, "control_character", "message 0"),
        ({"conversations": [{"from": "martian", "value": "q"}]}, "unrecognized_role", "conversations[0].from"),
        ({"conversations": [{"value": "q"}]}, "message_missing_key", "conversations[0]"),
        ({"instruction": "q", "output": 3}, "data_type", "output"),
        ({"a": "b"}, "missing_messages_list", "keys"),
    ],
)
def test_a_broken_row_names_its_rule_and_place(row, code, field):
    with pytest.raises(RowError) as found:
        parse_row(json.dumps(row), 0, 1000)
    assert found.value.code == code
    assert field in found.value.field


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('{"prompt": "a", "prompt": "b", "completion": "c"}', "duplicate_key"),
        ('{"prompt": "a", "completion": NaN}', "data_type"),
        ('{"prompt": "a", "completion": "b", "tools": ' + "[" * 40_000 + "]" * 40_000 + "}", "not_json"),
        ('{"prompt": "a", "completion": ' + "[" * 50_000, "not_json"),
        ('{"prompt": "\\ud800", "completion": "c"}', "encoding"),
    ],
)
def test_hostile_lines(line, code):
    with pytest.raises(RowError) as found:
        parse_row(line, 0, 100_000)
    assert found.value.code == code
