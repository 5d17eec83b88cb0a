"""Files as people have them, each after a public report of somebody whose file was misread elsewhere."""

import json
from pathlib import Path

import pytest

from reft.conversations.containers import recognise
from reft.conversations.reading import BadRow, read_rows
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import encode

CASES = Path(__file__).parent / "cases"


def rows(name: str) -> list[Conversation | BadRow]:
    return list(read_rows(CASES / name))


def said(row: Conversation | BadRow) -> list[tuple[str, str]]:
    assert isinstance(row, Conversation), row
    return [(m.role, m.content) for m in row.messages]


def learnt(row: Conversation | BadRow) -> list[str]:
    assert isinstance(row, Conversation), row
    return [m.content for m in row.messages if m.role == "assistant" and m.learn]


def test_dolly():
    first, _, third, _ = rows("01_dolly.jsonl")
    bridge = "The harbour bridge of Lindau was opened in 1931 after six years of work."
    assert said(first) == [("user", f"When did the harbour bridge open?\n{bridge}"), ("assistant", "In 1931.")]
    assert said(third)[0] == ("user", "Name three fruits.")


def test_a_context_is_part_of_the_question():
    for row in rows("02_context_question_answer.jsonl"):
        assert "CREATE TABLE" in said(row)[0][1]


def test_a_history_becomes_turns():
    first, second = rows("03_alpaca_history.jsonl")
    assert said(first) == [
        ("system", "You answer in one short line."), ("user", "What is the capital of Austria?"),
        ("assistant", "Vienna."), ("user", "And its population?"), ("assistant", "About 1.9 million."),
    ]  # fmt: skip
    assert said(second) == [("user", "Say hello."), ("assistant", "Hello.")]


def test_tools_of_sharegpt_are_context_and_decoded_once():
    first, second = rows("04_sharegpt_tools.jsonl")
    assert said(first)[0][1].startswith('You help with the weather.\n[{"name": "weather"')
    assert said(second)[0] == ("system", "You help with the weather.")
    assert [row.unread for row in (first, second)] == [(), ()]


@pytest.mark.parametrize("name", ["06_weight_null.jsonl", "p2_weight.parquet"])
def test_a_weight_of_null_is_none(name):
    found = rows(name)
    assert len(found) == 3
    assert [len(learnt(row)) for row in found] == ([1, 1, 1])


def test_what_is_labelled_false_is_left_out():
    assert [row.left_out for row in rows("07_kto.jsonl")] == ["", "label", "label"]


def test_parts_are_joined_as_templates_join_them():
    found = rows("11_parts.jsonl")
    assert said(found[0])[0] == said(found[1])[0] == said(found[3])[0] == ("user", "Say hi.")
    assert isinstance(found[2], BadRow)
    assert found[2].code == "unsupported_content"
    assert said(found[4])[0] == ("system", "Be brief.")
    assert said(found[5])[0] == ("system", "Be brief and rude.")


def test_windows_files():
    found = rows("12_windows.jsonl")
    assert [learnt(row) for row in found] == [["One."], ["Two."], ["Three."]]


@pytest.mark.parametrize("name", ["13_nan.jsonl", "p4_nan.parquet"])
def test_a_number_that_is_none_harms_nothing(name):
    assert [learnt(row) for row in rows(name)] == [["One."], ["Two."]]


def test_tables():
    assert [learnt(row) for row in rows("14_pandas_index.csv")] == [["One."], ["Two."]]
    assert [said(row)[0][1] for row in rows("15_semicolon.csv")] == ["Say one.", "Say two; or three."]
    assert [learnt(row) for row in rows("16_messages_json.csv")] == [["One."], ["Two."]]


def test_an_open_quote_is_named_by_its_line_and_swallows_nothing():
    bad, *good = rows("22_quote.csv")
    assert isinstance(bad, BadRow)
    assert (bad.code, bad.field) == ("broken_table_row", "line 2")
    assert [learnt(row) for row in good] == [["Two."], ["Three."], ["About 15 cm."]]


def test_only_the_completion_of_a_conversational_prompt_is_learnt():
    found = rows("19_trl_multi.jsonl")
    assert learnt(found[0]) == ["Two."]
    assert learnt(found[1]) == ['{"name": "weather", "arguments": {"city": "Oslo"}}'] == learnt(found[2])
    assert [said(row)[0][0] for row in found[1:3]] == ["system", "system"]
    assert said(found[3]) == said(found[4]) == [("user", "Say hi."), ("assistant", "Hi.")]


def test_weights_of_rows_are_honoured_or_refused_by_name():
    first, *others = rows("23_sample_weight.jsonl")
    assert isinstance(first, Conversation)
    assert first.left_out == "weight"
    assert [row.code for row in others if isinstance(row, BadRow)] == ["unrecognized_weight"] * 2


def test_folders():
    assert len(rows("d1_saved")) == 20
    found = recognise(CASES / "d3_snapshot_jsonl")
    assert [file.name for file in found.files] == ["train.jsonl"]
    assert "not test" in found.note
    assert all("train" in said(row)[0][1] for row in rows("d3_snapshot_jsonl"))
    assert all("test" in said(row)[0][1] for row in read_rows(CASES / "d3_snapshot_jsonl", split="test"))


# Takes thoughts out of earlier turns and puts an empty block before the last answer without any, as Qwen3's does.
THINKING = (
    "{%- set ns = namespace(last=0) -%}"
    "{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor -%}"
    "{%- for m in messages -%}"
    "{%- set content = m.content -%}{%- set thoughts = m.reasoning_content or '' -%}"
    "{%- if m.role == 'assistant' and '</think>' in content -%}"
    "{%- set thoughts = content.split('</think>')[0].split('<think>')[-1].strip('\n') -%}"
    "{%- set content = content.split('</think>')[-1].lstrip('\n') -%}{%- endif -%}"
    "{{- '<|im_start|>' + m.role + '\n' -}}"
    "{%- if m.role == 'assistant' and loop.index0 > ns.last -%}"
    "{{- '<think>\n' + thoughts + '\n</think>\n\n' -}}{%- endif -%}"
    "{{- content + '<|im_end|>\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)


@pytest.mark.parametrize("name", ["27_think.jsonl", "06_weight_null.jsonl", "19_trl_multi.jsonl"])
def test_what_is_learnt_is_what_the_template_writes(tokenizer, name, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", THINKING)
    for row in rows(name):
        encoded = encode(tokenizer, row)
        messages = [m.model_dump() for m in row.messages]
        whole = tokenizer.apply_chat_template(messages, tokenize=False)
        assert tokenizer.decode(encoded.input_ids) == whole
        asked = tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
        start, end = encoded.completion
        assert asked + tokenizer.decode(encoded.input_ids[start:end]) + "\n" == whole or "<think>" in asked
        assert tokenizer.decode(encoded.input_ids[start:end]).startswith("<think>")


def test_thoughts_of_their_own_field_go_where_the_template_puts_them(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", THINKING)
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "thinking": "hm"}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": turns}))
    (row,) = read_rows(tmp_path / "a.jsonl")
    encoded = encode(tokenizer, row)
    assert tokenizer.decode(encoded.input_ids[slice(*encoded.completion)]) == "<think>\nhm\n</think>\n\nb<|im_end|>"
