"""Dataset formats: what customers upload, known by the keys of a row, each read into messages.

OpenAI chat (`messages`, with system and developer turns, tool calls, tool outputs and weights), TRL (`prompt` and
`completion`, as text or as messages), Alpaca (`instruction`, `input`, `output`), ShareGPT (`conversations`), and any
pair of named text columns.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from reft.conversations.schema import Message, Role
from reft.errors import ConfigurationError, explain


class RowError(ValueError):
    """Raised while parsing one row; carries what becomes a `BadRow`."""

    def __init__(self, code: str, field: str, remedy: str) -> None:
        super().__init__(f"{code} at {field}: {remedy}")
        self.code, self.field, self.remedy = code, field, remedy


# The roles of this house by the names that others give them.
ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant",
                          "tool": "tool", "function": "tool"}  # fmt: skip
SHAREGPT: dict[str, Role] = {"system": "system", "human": "user", "user": "user", "gpt": "assistant",
                             "assistant": "assistant", "chatgpt": "assistant", "bing": "assistant", "tool": "tool",
                             "function_call": "assistant", "observation": "tool"}  # fmt: skip
# Pairs of column names that say of themselves what they are.
PAIRS = (
    ("prompt", "response"), ("question", "answer"), ("query", "response"), ("input", "output"), ("text", "label"),
    ("context", "response"), ("source", "target"),
)  # fmt: skip


def column_names(given: str | None) -> tuple[str, str] | None:
    """ "question,reply" as a pair; None for nothing.

    Raises:
        ConfigurationError: not two names.
    """
    if not given:
        return None
    names = [name.strip() for name in given.split(",")]
    if len(names) != 2 or not all(names):
        raise ConfigurationError(explain(f"{given!r} does not name two columns", "columns", "write question,reply"))
    return names[0], names[1]


def format_of(row: Mapping[str, Any]) -> str:
    """The name of the row's form; empty where it has none that is known."""
    return next((name for name, (keys, _) in FORMATS.items() if all(key in row for key in keys)), "")


def messages_of(row: Mapping[str, Any], columns: tuple[str, str] | None = None) -> tuple[Message, ...]:
    """The row as messages.

    Args:
        columns: names of the prompt's and the answer's column, where no known form shall be looked for.

    Raises:
        RowError: with the rule that the row breaks.
    """
    if columns:
        missing = [name for name in columns if name not in row]
        if missing:
            raise RowError("missing_column", missing[0], f"the row has {sorted(row)[:8]}")
        return _pair(row[columns[0]], row[columns[1]], *columns)
    if name := format_of(row):
        return FORMATS[name][1](row)
    remedy = "give 'messages', 'prompt' and 'completion', or name two columns (data.columns)"
    raise RowError("missing_messages_list", f"keys {sorted(map(str, row))[:6]}", remedy)


def _chat(row: Mapping[str, Any]) -> tuple[Message, ...]:
    return _with_tools(_turns(row["messages"], "messages"), row.get("tools") or row.get("functions"))


def _turns(value: Any, field: str) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise RowError("missing_messages_list", field, "give a list of at least one message")
    return tuple(_message(item, f"{field}[{index}]") for index, item in enumerate(value))


def _message(item: Any, field: str) -> Message:
    if not isinstance(item, dict):
        raise RowError("data_type", field, "write a message as an object with 'role' and 'content'")
    calls = item.get("tool_calls") or ([{"function": item["function_call"]}] if item.get("function_call") else None)
    if "role" not in item:
        raise RowError("message_missing_key", f"{field}.role", "add 'role' to the message")
    if "content" not in item and not calls:
        raise RowError("message_missing_key", f"{field}.content", "add 'content' to the message")
    role = item["role"]
    if not isinstance(role, str) or role not in ROLES:
        raise RowError("unrecognized_role", f"{field}.role", f"use one of {', '.join(ROLES)}")
    weight = item.get("weight", 1)
    if isinstance(weight, bool) or weight not in (0, 1) or (weight == 0 and ROLES[role] != "assistant"):
        raise RowError("unrecognized_weight", f"{field}.weight", "use 0 or 1, on assistant messages")
    content = item.get("content")
    if calls and (ROLES[role] != "assistant" or not isinstance(calls, list)):
        raise RowError("data_type", f"{field}.tool_calls", "give a list of calls, on an assistant message")
    parts = [] if content is None and calls else [_content(content, f"{field}.content")]
    parts += [_call(call, f"{field}.tool_calls[{index}]") for index, call in enumerate(calls or [])]
    return Message(role=ROLES[role], content="\n".join(filter(None, parts)), learn=weight == 1)


def _content(value: Any, field: str) -> str:
    """Text, or OpenAI's list of parts that are all text."""
    if isinstance(value, list):
        for index, part in enumerate(value):
            if not isinstance(part, dict) or part.get("type") != "text":
                raise RowError(
                    "unsupported_content", f"{field}[{index}]", "only text is trained on: remove other parts"
                )
        return "\n".join(_text(part.get("text"), f"{field}[{i}].text") for i, part in enumerate(value))
    return _text(value, field)


def _call(call: Any, field: str) -> str:
    """A tool call as the model shall write it: one JSON object."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowError("data_type", f"{field}.function", "give the called function's 'name' and 'arguments'")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError as error:
            raise RowError("data_type", f"{field}.function.arguments", "write the arguments as JSON") from error
    return _text(json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False), field)


def _with_tools(turns: tuple[Message, ...], tools: Any) -> tuple[Message, ...]:
    """What the model may call stands in the system turn, where it is read, scored and trained on like any text."""
    if not tools:
        return turns
    described = _text(json.dumps(tools, ensure_ascii=False), "tools")
    if turns[0].role == "system":
        return (Message(role="system", content=f"{turns[0].content}\n{described}"), *turns[1:])
    return (Message(role="system", content=described), *turns)


def _prompt_completion(row: Mapping[str, Any]) -> tuple[Message, ...]:
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, list) and isinstance(completion, list):
        return _turns(prompt, "prompt") + _turns(completion, "completion")
    return _pair(prompt, completion, "prompt", "completion")


def _alpaca(row: Mapping[str, Any]) -> tuple[Message, ...]:
    given = row.get("input")
    more = "" if given is None else _text(given, "input").strip()
    instruction = _text(row["instruction"], "instruction")
    return _pair(f"{instruction}\n{more}" if more else instruction, row["output"], "instruction", "output")


def _sharegpt(row: Mapping[str, Any]) -> tuple[Message, ...]:
    value = row["conversations"]
    if not isinstance(value, list) or not value:
        raise RowError("missing_messages_list", "conversations", "give a list of at least one turn")
    if all(isinstance(item, dict) and "role" in item for item in value):
        return _turns(value, "conversations")
    turns = []
    system = row.get("system")
    if system:
        turns.append(Message(role="system", content=_text(system, "system")))
    for index, item in enumerate(value):
        field = f"conversations[{index}]"
        if not isinstance(item, dict) or "from" not in item or "value" not in item:
            raise RowError("message_missing_key", field, "give each turn 'from' and 'value'")
        if not isinstance(item["from"], str) or item["from"] not in SHAREGPT:
            raise RowError("unrecognized_role", f"{field}.from", f"use one of {', '.join(SHAREGPT)}")
        turns.append(Message(role=SHAREGPT[item["from"]], content=_text(item["value"], f"{field}.value")))
    return tuple(turns)


def _named(prompt: str, answer: str) -> Callable[[Mapping[str, Any]], tuple[Message, ...]]:
    return lambda row: _pair(row[prompt], row[answer], prompt, answer)


def _pair(prompt: Any, answer: Any, *fields: str) -> tuple[Message, ...]:
    return (
        Message(role="user", content=_text(prompt, fields[0])),
        Message(role="assistant", content=_text(answer, fields[1])),
    )


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise RowError("data_type", field, f"give text, not {type(value).__name__}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RowError("encoding", field, "save the file as UTF-8, without halves of characters") from error
    return value


FORMATS: dict[str, tuple[tuple[str, ...], Callable[[Mapping[str, Any]], tuple[Message, ...]]]] = {
    "openai chat": (("messages",), _chat),
    "prompt and completion": (("prompt", "completion"), _prompt_completion),
    "alpaca": (("instruction", "output"), _alpaca),
    "sharegpt": (("conversations",), _sharegpt),
    **{f"{prompt} and {answer}": ((prompt, answer), _named(prompt, answer)) for prompt, answer in PAIRS},
}
