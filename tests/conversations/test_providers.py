"""Training files of services that finetune, as their documentation has them, read as they are."""

import json

import pytest

from reft.conversations.fields import RowError
from reft.conversations.reading import parse_row
from reft.conversations.tokenization import encode

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather", "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}  # fmt: skip
ASK, TELL = {"role": "user", "content": "Is it raining in Oslo?"}, {"role": "assistant", "content": "Yes, it is."}
ARGUMENTS = json.dumps({"city": "Oslo"})


def call(name):
    return {"id": name, "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}


OPENAI = {
    "chat": {"messages": [{"role": "system", "content": "Be short."}, ASK, TELL]},
    "developer": {"messages": [{"role": "developer", "content": "Be short."}, ASK, TELL]},
    "weights": {"messages": [ASK, {**TELL, "weight": 0}, {"role": "user", "content": "And in Rome?"},
                             {"role": "assistant", "content": "No.", "weight": 1}]},
    "tools": {"messages": [ASK, {"role": "assistant", "tool_calls": [call("call_1")]},
                           {"role": "tool", "tool_call_id": "call_1", "content": "rain"}, TELL],
              "tools": [WEATHER], "parallel_tool_calls": False},
    "functions": {"messages": [ASK, {"role": "assistant", "content": None,
                                     "function_call": {"name": "weather", "arguments": ARGUMENTS}}],
                  "functions": [WEATHER["function"]]},
    "text parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": ASK["content"]}]}, TELL]},
}  # fmt: skip
MISTRAL = {
    "default instruct": {"messages": [ASK, TELL, {"role": "user", "content": "And in Rome?"},
                                      {"role": "assistant", "content": "No."}]},
    "function calling": {"messages": [{"role": "system", "content": "Be short."}, ASK,
                                      {"role": "assistant", "content": "", "tool_calls": [call("TX92Jm8Zi")]},
                                      {"role": "tool", "content": "rain", "tool_call_id": "TX92Jm8Zi"}, TELL],
                         "tools": [WEATHER]},
    "weights": {"messages": [ASK, {**TELL, "weight": 0}, ASK, {**TELL, "weight": 1}]},
}  # fmt: skip
TOGETHER = {
    "conversational": {"messages": [{"role": "system", "content": "Be short."}, ASK, TELL]},
    "weights of all turns": {"messages": [{**ASK, "weight": 0}, {**TELL, "weight": 1}]},
    "instruction": {"prompt": ASK["content"], "completion": TELL["content"]},
}
EVERY = [(f"{who}: {name}", row) for who, rows in (("OpenAI", OPENAI), ("Mistral", MISTRAL), ("Together", TOGETHER))
         for name, row in rows.items()]  # fmt: skip


@pytest.mark.parametrize("row", [row for _, row in EVERY], ids=[name for name, _ in EVERY])
def test_a_row_is_read_and_its_answers_are_learnt(tokenizer, row):
    found = parse_row(json.dumps(row), 0, 1000)
    turns = row.get("messages") or [{"role": "user"}, {"role": "assistant"}]
    learnt = [turn for turn in turns if turn["role"] == "assistant" and turn.get("weight") != 0]
    assert len(encode(tokenizer, found).learnt) == len(learnt)
    assert ASK["content"] in [message.content for message in found.messages]
    if "tools" in row or "functions" in row:
        assert "The weather of a city." in found.messages[0].content  # what may be called is read, and scored
        assert any("Oslo" in m.content for m in found.messages if m.role == "assistant")


@pytest.mark.parametrize(
    ("row", "code", "remedy"),
    [
        ({"text": "It rains in Oslo."}, "missing_messages_list", "messages"),
        (
            {"input": {"messages": [ASK]}, "preferred_output": [TELL], "non_preferred_output": [TELL]},
            "missing_messages_list", "preferences",
        ),
        ({"messages": [{"role": "Chatbot", "content": "Yes."}]}, "unrecognized_role", "assistant"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, TELL]},
            "unsupported_content", "text",
        ),
    ],
)  # fmt: skip
def test_what_is_not_trained_on_is_refused_by_name(row, code, remedy):
    with pytest.raises(RowError) as refused:
        parse_row(json.dumps(row), 0, 1000)
    assert refused.value.code == code
    assert remedy in refused.value.remedy
