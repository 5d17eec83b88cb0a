"""Every text of a row is learnt, scored, or named: there is no fourth outcome."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from reft.config import FilteringSettings
from reft.conversations.reading import BadRow, read_row
from reft.filtering.scoring import score_parts

MARK = "zanzibar marmalade quixotic umbrella forty seven"
TURNS = [{"role": "user", "content": "Say one."}, {"role": "assistant", "content": "One."}]
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "rain", "parameters": {"type": "object"}}}]
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
EXTRA = {"metadata": {"note": "n", "tags": ["a", {"b": "c"}]}, "rejected_response": "r", "images": [{"path": "p"}]}
ROWS: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{**TURNS[0], "name": "eve"}, {**TURNS[1], "reasoning_content": "t", "thinking": "u"}],
             "system": "s", "tools": TOOLS, **EXTRA},
    "chat with a system turn": {"messages": [{"role": "system", "content": "s"}, *TURNS], "system": "other"},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "cache": {"type": "e"}}]},
                           {"role": "assistant", "content": ["b"]}], "system": [{"text": "s"}]},
    "calls": {"messages": [TURNS[0], {"role": "assistant", "content": None, "tool_calls": [CALL]},
                           {"role": "tool", "tool_call_id": "c1", "content": "rain"}, TURNS[1]]},
    "conversational prompt": {"prompt": [TURNS[0]], "completion": [TURNS[1]], "tools": json.dumps(TOOLS),
                              "chat_template_kwargs": {"enable_thinking": False, "effort": "low"}},
    "prompt and completion": {"prompt": "a", "completion": "b", "system": "s", "label": True, **EXTRA},
    "alpaca": {"instruction": "a", "input": "b", "output": "c", "system": "s", "history": [["q", "a"]], "tools": "[]"},
    "dolly": {"instruction": "a", "context": "b", "response": "c", "category": "d"},
    "orca": {"id": "1", "system_prompt": "s", "question": "a", "response": "b"},
    "xlam": {"query": "a", "answers": json.dumps([{"name": "f", "arguments": {"x": "y"}}]), "tools": json.dumps(TOOLS)},
    "sharegpt": {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "weight": None}],
                 "system": "s", "tools": json.dumps(TOOLS), "source": "web", "kind": "k"},
    "sql": {"question": "a", "context": "b", "answer": "c", "title": "t"},
}  # fmt: skip


CELLS = ("messages", "conversations", "prompt", "completion", "history", "tools", "answers", "chat_template_kwargs")


def hidden(value: Any) -> Iterator[Any]:
    """The row with the marked text in each place where a string can stand, one at a time, keys among them."""
    if isinstance(value, str):
        yield MARK
    elif isinstance(value, dict):
        yield {**value, MARK: 1}
        yield {**value, "unheard_of": {"deep": [MARK]}}
        for key, item in value.items():
            yield from ({**value, key: changed} for changed in hidden(item))
    elif isinstance(value, list):
        yield [*value, MARK]
        for index, item in enumerate(value):
            yield from ([*value[:index], changed, *value[index + 1 :]] for changed in hidden(item))


CASES = [(name, number, row) for name, whole in ROWS.items() for number, row in enumerate(hidden(whole))]


def test_there_are_many_places():
    assert len(CASES) > 150


def as_it_is(row: dict[str, Any]) -> dict[str, Any]:
    return row


def in_cells(row: dict[str, Any]) -> dict[str, Any]:
    """The row as a CSV or a table of text columns has it: what is read place by place as JSON text."""
    return {
        key: json.dumps(item) if key in CELLS and isinstance(item, list | dict) else item for key, item in row.items()
    }


@pytest.mark.parametrize("written", [as_it_is, in_cells])
@pytest.mark.parametrize("name", ROWS)
def test_every_text_is_learnt_scored_or_named(tokenizer, name, written):
    settings, missed = FilteringSettings(), []
    for number, row in enumerate(hidden(copy.deepcopy(ROWS[name]))):
        found = read_row(json.dumps(written(row)), 0)
        if isinstance(found, BadRow):  # refused by name: nothing of it is used
            continue
        read: list[str] = []

        def note(prompts, texts=read):
            texts += [tokenizer.decode(prompt.input_ids) for prompt in prompts]
            return [0.0] * len(prompts)

        score_parts(tokenizer, [found], settings, read=note)
        if not any(MARK in text for text in read):
            missed.append((number, row))
    assert not missed


@pytest.mark.parametrize("name", ROWS)
def test_the_rows_themselves_are_good_and_say_what_is_not_read(name):
    found = read_row(json.dumps(ROWS[name]), 0)
    assert not isinstance(found, BadRow)
    fields = {unread.field for unread in found.unread}
    assert not fields & {"system", "system_prompt", "tools", "context", "input", "messages", "history"} or (
        name == "chat with a system turn" and fields == {"system"}
    )


@pytest.mark.parametrize("name", ROWS)
def test_json_text_in_a_cell_is_read_and_named_as_the_lists_and_objects_that_it_holds(name):
    typed, text = (read_row(json.dumps(row), 0) for row in (ROWS[name], in_cells(ROWS[name])))
    assert (text.messages, text.options) == (typed.messages, typed.options)
    assert text.unread == typed.unread


def test_what_a_cell_holds_beside_what_is_read_is_named_by_its_place():
    turns = json.dumps([{**TURNS[0], "id": "7", "train": "false"}, json.dumps({**TURNS[1], "note": "n"})])
    found = read_row(json.dumps({"messages": turns}), 0)
    assert [(left.field, left.text) for left in found.unread] == [("messages[0].id", "7"), ("messages[1].note", "n")]
    calls = json.dumps([{"name": "f", "arguments": {"x": "y"}, "thought": MARK}])
    found = read_row(json.dumps({"query": "q", "answers": calls}), 0)
    assert [(left.field, left.text) for left in found.unread] == [("answers[0].thought", MARK)]


def test_json_text_is_turns_only_where_prompt_and_answer_both_are():
    turns = json.dumps(TURNS)
    for row in ({"prompt": turns, "completion": "fine"}, {"prompt": "[1]", "completion": turns}):
        assert [m.content for m in read_row(json.dumps(row), 0).messages] == [*row.values()]


def test_a_request_that_is_spread_over_fields_is_read_as_one(tokenizer):
    row = {"prompt": "a", "completion": "b", **{f"f{n}": word for n, word in enumerate(MARK.split())}}
    found = read_row(json.dumps(row), 0)
    read: list[str] = []

    def note(prompts):
        read.extend(tokenizer.decode(prompt.input_ids) for prompt in prompts)
        return [0.0] * len(prompts)

    (scored,) = score_parts(tokenizer, [found], FilteringSettings(), read=note)
    assert any(MARK in text for text in read)
    assert any(part.where.startswith("fields f0, f1") for part in scored.parts)
