"""One turn of a dialogue, as OpenAI, ShareGPT and those who follow them write it."""

from typing import Any

from reft.conversations.fields import DECODER, Fields, Place, RowError, as_json, from_json, shown
from reft.conversations.schema import Message, Role
from reft.conversations.tools import arguments_meant

# The roles of this house by the names that others give them.
ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant",
                          "tool": "tool", "function": "tool"}  # fmt: skip
SHAREGPT: dict[str, Role] = {"system": "system", "human": "user", "user": "user", "gpt": "assistant",
                             "assistant": "assistant", "chatgpt": "assistant", "bing": "assistant", "tool": "tool",
                             "function_call": "assistant", "observation": "tool"}  # fmt: skip
# What a model thought before it answered, by the names that templates and services give it.
REASONING = ("reasoning_content", "thinking", "reasoning")
# Marks of a turn that is context only: OpenAI's and Together's weight aside, Axolotl's and ms-swift's.
LEARNT = ("train", "training", "loss")
TEXT_PARTS = ("text", "input_text", "output_text")


def turns(fields: Fields, value: Any, place: Place) -> tuple[Message, ...]:
    """A list of turns; text that holds the list as JSON, as tables do, is decoded first."""
    value = fields.decoded(value, place)
    if not isinstance(value, list) or not value:
        raise RowError("missing_messages_list", shown(place), "give a list of at least one message")
    where = [(*place, index) for index in range(len(value))]
    return tuple(_turn(fields, fields.decoded(item, at), at) for item, at in zip(value, where, strict=True))


def holds_turns(value: Any) -> bool:
    """Whether it is a list of turns, or text that holds one as JSON, as tables do.

    Raises:
        RowError: a key stands twice in an object of that text.
    """
    is_list = isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("["))
    found = from_json(value) if is_list else None
    if not isinstance(found, list) or not found:
        return False
    return all(isinstance(turn, dict) and not turn.keys().isdisjoint(("role", "from")) for turn in found)


def _turn(fields: Fields, item: Any, place: Place) -> Message:
    if not isinstance(item, dict):
        raise RowError("data_type", shown(place), "write a message as an object with 'role' and 'content'")
    who, what = ("from", "value") if "from" in item and "role" not in item else ("role", "content")
    if what not in item and "value" in item:
        what = "value"
    role = _role(fields, item, (*place, who))
    calls = item.get("tool_calls") or ([{"function": item["function_call"]}] if item.get("function_call") else None)
    if calls and (role != "assistant" or not isinstance(calls, list)):
        field = shown((*place, "tool_calls"))
        raise RowError("data_type", field, "give a list of calls, on an assistant message")
    if what not in item and not calls:
        raise RowError("message_missing_key", shown((*place, what)), f"add {what!r} to the message")
    learn = _weight(fields, item, place)
    content = item.get(what)
    parts = [] if content is None and calls else [content_of(fields, content, (*place, what))]
    where = (*place, "tool_calls") if item.get("tool_calls") else (*place, "function_call")
    for index, call in enumerate(calls or []):
        parts.append(call_of(fields, call, (*where, index) if item.get("tool_calls") else where))
    reasoning = _reasoning(fields, item, place) if role == "assistant" else ""
    return Message(role=role, content="\n".join(filter(None, parts)), learn=learn, reasoning=reasoning)


def _role(fields: Fields, item: dict, place: Place) -> Role:
    key = place[-1]
    if key not in item:
        names = "'role' and 'content' (or 'from' and 'value')"
        raise RowError("message_missing_key", shown(place), f"give the message {names}")
    known = SHAREGPT if key == "from" else ROLES
    name = item[key]
    if not isinstance(name, str) or name not in known:
        raise RowError("unrecognized_role", shown(place), f"use one of {', '.join(known)}")
    fields.take(place)
    return known[name]


def _weight(fields: Fields, item: dict, place: Place) -> bool:
    """Whether the turn is learnt; null is what tables write where a turn says nothing.

    Together's files give other turns a weight, too; whatever it is, they are context.
    """
    weight = 1 if item.get("weight") is None else item["weight"]
    if isinstance(weight, bool) or weight not in (0, 1):
        raise RowError("unrecognized_weight", shown((*place, "weight")), "use 0 or 1")
    for name in ("train_detail", "training_detail"):
        if item.get(name):
            remedy = "a turn is learnt whole or not at all: remove it, or give the turn a weight of 0"
            raise RowError("unrecognized_weight", shown((*place, name)), remedy)
    denied = [_denies(fields, item.get(name), (*place, name)) for name in LEARNT]
    return weight == 1 and not any(denied)


def _denies(fields: Fields, value: Any, place: Place) -> bool:
    """Whether a mark says no: false, 0, or a text that is either."""
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in ("true", "false") or number_of(value) is not None:
        fields.take(place)
    return value is False or number_of(value) == 0 or word == "false"


def number_of(value: Any) -> float | None:
    """A number, also one that a table holds as text; None for whatever else, true and false among it."""
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _reasoning(fields: Fields, item: dict, place: Place) -> str:
    name = next((name for name in REASONING if isinstance(item.get(name), str) and item[name].strip()), None)
    return fields.text(item[name], (*place, name)) if name else ""


def content_of(fields: Fields, value: Any, place: Place) -> str:
    """Text, or a list of parts that are all text, joined as chat templates join them: with nothing between."""
    if not isinstance(value, list):
        return fields.text(value, place)
    texts = []
    for index, part in enumerate(value):
        if isinstance(part, str):
            texts.append(fields.text(part, (*place, index)))
            continue
        if not isinstance(part, dict) or part.get("type", "text") not in (*TEXT_PARTS, None):
            remedy = "only text is trained on: remove other parts"
            raise RowError("unsupported_content", shown((*place, index)), remedy)
        texts.append(fields.text(part.get("text"), (*place, index, "text")))
        fields.take((*place, index, "type"))
    return "".join(texts)


def call_of(fields: Fields, call: Any, place: Place) -> str:
    """A tool call as the model shall write it: one JSON object."""
    function, where = (call.get("function"), (*place, "function")) if isinstance(call, dict) else (None, place)
    if function is None and isinstance(call, dict) and "name" in call:
        function, where = call, place
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        remedy = "give the called function's 'name' and 'arguments'"
        raise RowError("data_type", shown((*place, "function")), remedy)
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = DECODER.decode(arguments or "{}")
        except RowError:
            raise
        except (ValueError, RecursionError) as error:
            field = shown((*where, "arguments"))
            raise RowError("data_type", field, "write the arguments as JSON") from error
    else:
        arguments = arguments_meant(arguments, fields.schemas.get(function["name"]))
    for key in ("name", "arguments"):
        fields.take((*where, key))
    if isinstance(call, dict) and call.get("type") == "function":
        fields.take((*place, "type"))
    written = as_json({"name": function["name"], "arguments": arguments or {}}, (*where, "arguments"))
    return fields.text(written, (*place, ""))
