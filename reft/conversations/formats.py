"""Dataset formats: what customers upload, known by the keys of a row, each read into messages.

Dialogues (`messages`, `conversations`), prompt and answer under the many names that tools give them (TRL, Alpaca,
Dolly, OpenOrca, xLAM, Axolotl), and any pair of named text columns; each with a system column, a history, a context
and tools beside it, where the row has them. What is read here is what is learnt or scored as context; the rest of
the row comes out as unread (`reft.conversations.fields`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reft.conversations.fields import Fields, RowError, as_json, from_json, is_unicode, shown
from reft.conversations.schema import Message, Role, Unread
from reft.conversations.tools import schemas_of, tools_meant
from reft.conversations.turns import ROLES, call_of, content_of, holds_turns, number_of, turns
from reft.errors import ConfigurationError, explain

__all__ = ["ReadRow", "RowError", "column_names", "format_of", "messages_of", "row_of"]

DIALOGUES = {"openai chat": "messages", "sharegpt": "conversations"}
# Pairs of column names that say of themselves what they are, the more telling ones first.
PAIRS = (
    ("instruction", "response"), ("instruction", "answer"), ("instruction", "completion"), ("prompt", "response"),
    ("question", "answer"), ("question", "response"), ("query", "response"), ("query", "answers"), ("query", "answer"),
    ("prompt", "answer"), ("prompt", "output"), ("input", "output"), ("text", "label"), ("context", "response"),
    ("source", "target"),
)  # fmt: skip
# The keys of each format, in the order in which they are looked for.
FORMATS: dict[str, tuple[str, ...]] = {
    "openai chat": ("messages",),
    "prompt and completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
    "sharegpt": ("conversations",),
    **{f"{prompt} and {answer}": (prompt, answer) for prompt, answer in PAIRS},
}
SYSTEM = ("system", "system_prompt")
# What a question is about stands before it, what an instruction works on after it, as their own tools have it.
BEFORE, AFTER = ("context",), ("input", "context")
# A word that a row may set in its template is no longer than this.
OPTION_LENGTH = 20


@dataclass(frozen=True, kw_only=True)
class ReadRow:
    """A row as it was read.

    Attributes:
        left_out: the field that says that the row is not to be learnt; empty where none does.
        options: what the row sets in its chat template.
    """

    messages: tuple[Message, ...]
    unread: tuple[Unread, ...]
    left_out: str
    options: tuple[tuple[str, Any], ...]


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
    # A table of rows of several forms has every form's columns; those of the others are null.
    given = next((name for name, keys in FORMATS.items() if all(row.get(key) is not None for key in keys)), "")
    return given or next((name for name, keys in FORMATS.items() if all(key in row for key in keys)), "")


def messages_of(row: Mapping[str, Any], columns: tuple[str, str] | None = None) -> tuple[Message, ...]:
    """The row's messages alone; see `row_of`."""
    return row_of(row, columns).messages


def row_of(row: Mapping[str, Any], columns: tuple[str, str] | None = None) -> ReadRow:
    """The row as messages, and what of it is none.

    Args:
        columns: names of the prompt's and the answer's column, where no known form shall be looked for.

    Raises:
        RowError: with the rule that the row breaks.
    """
    if not columns and (plain := _plain(row)):
        return plain
    declared = _tools(row)
    fields, name = Fields(schemas_of(declared[1])), "" if columns else format_of(row)
    if columns and (missing := [column for column in columns if column not in row]):
        raise RowError("missing_column", missing[0], f"the row has {sorted(row)[:8]}")
    if not columns and not name:
        remedy = "give 'messages', 'prompt' and 'completion', or name two columns (data.columns)"
        if "chosen" in row or "preferred_output" in row:
            remedy = "pairs of preferences are not trained on: name the prompt's and the better answer's column"
        raise RowError("missing_messages_list", f"keys {sorted(map(str, row))[:6]}", remedy)
    if name in DIALOGUES:
        found = turns(fields, row[DIALOGUES[name]], (DIALOGUES[name],))
    else:
        found = _pair(row, fields, columns or FORMATS[name])
    found = _with_tools(fields, _with_system(row, fields, found), declared)
    left_out = "" if name == "text and label" else _left_out(row, fields, ambiguous=name == "prompt and completion")
    options = _options(row, fields)
    return ReadRow(messages=found, left_out=left_out, options=options, unread=fields.unread(row))


def _plain(row: Mapping[str, Any]) -> ReadRow | None:
    """What most rows are, read without a look for more: turns of a role and a text, or a prompt and its answer.

    None for all others, those among them in which anything is wrong.
    """
    said: list[tuple[Role, Any]] = []
    if len(row) == 1 and isinstance(listed := row.get("messages"), list):
        for turn in listed:
            if not isinstance(turn, dict) or len(turn) != 2 or not isinstance(role := turn.get("role"), str):
                return None
            if role not in ROLES or "content" not in turn:
                return None
            said.append((ROLES[role], turn["content"]))
    elif len(row) == 2 and (keys := FORMATS.get(format_of(row), ())) and keys[-1] != "answers" and len(keys) == 2:
        said = [("user", row[keys[0]]), ("assistant", row[keys[1]])]
        if all(map(holds_turns, row.values())):
            return None
    if not said or not all(isinstance(text, str) and is_unicode(text) for _, text in said):
        return None
    found = tuple(Message(role=role, content=text) for role, text in said)
    return ReadRow(messages=found, unread=(), left_out="", options=())


def _pair(row: Mapping[str, Any], fields: Fields, names: tuple[str, ...]) -> tuple[Message, ...]:
    prompt, answer = row[names[0]], row[names[1]]
    if names[1] != "answers" and holds_turns(prompt) and holds_turns(answer):
        prompt, answer = (fields.decoded(row[name], (name,)) for name in names[:2])
    asked: tuple[Message, ...]
    if isinstance(prompt, list):  # TRL: its turns are context, whoever speaks
        asked = tuple(m.model_copy(update={"learn": m.role != "assistant"}) for m in turns(fields, prompt, (names[0],)))
    else:
        text = _beside(row, fields, names, text=fields.text(prompt, (names[0],)))
        asked = (*_history(row, fields), Message(role="user", content=text))
    if isinstance(answer, list) and names[1] != "answers":
        return asked + turns(fields, answer, (names[1],))
    return (*asked, Message(role="assistant", content=_answer(fields, answer, names[1])))


def _beside(row: Mapping[str, Any], fields: Fields, names: tuple[str, ...], *, text: str) -> str:
    """The prompt with what it is about."""
    instructed = names[0] == "instruction"
    more = []
    for key in AFTER if instructed else BEFORE:
        if key not in names and isinstance(row.get(key), str):
            more.append(fields.text(row[key], (key,)).strip())
    return "\n".join(filter(None, (text, *more) if instructed else (*more, text)))


def _history(row: Mapping[str, Any], fields: Fields) -> tuple[Message, ...]:
    """LLaMA-Factory's earlier pairs of instruction and answer, which it learns too."""
    history = fields.decoded(row.get("history"), ("history",))
    if not history or not isinstance(history, list):
        return ()
    found: list[Message] = []
    for index, pair in enumerate(history):
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowError("data_type", f"history[{index}]", "give a list of an instruction and its answer")
        asked, answered = (fields.text(text, ("history", index, place)) for place, text in enumerate(pair))
        found += [Message(role="user", content=asked), Message(role="assistant", content=answered)]
    return tuple(found)


def _answer(fields: Fields, value: Any, name: str) -> str:
    """An answer's text; xLAM's `answers` are tool calls, as JSON or as JSON text."""
    if name == "answers":
        calls = fields.decoded(value, (name,))
        if isinstance(calls, list) and calls and all(isinstance(call, dict) for call in calls):
            return "\n".join(call_of(fields, call, (name, index)) for index, call in enumerate(calls))
    return fields.text(value, (name,))


def _with_system(row: Mapping[str, Any], fields: Fields, found: tuple[Message, ...]) -> tuple[Message, ...]:
    """A system column opens the dialogue; where the dialogue opens with a system turn itself, that one counts."""
    name = next((name for name in SYSTEM if row.get(name)), None)
    if name is None or found[0].role == "system" or not isinstance(row[name], str | list):
        return found
    text = content_of(fields, row[name], (name,))
    return (Message(role="system", content=text), *found) if text.strip() else found


def _with_tools(fields: Fields, found: tuple[Message, ...], declared: tuple[str, Any]) -> tuple[Message, ...]:
    """What the model may call stands in the system turn, where it is read, scored and trained on like any text."""
    name, tools = declared
    if not tools:
        fields.take((name,))  # an empty list, as text perhaps
        return found
    described = tools if isinstance(tools, str) else as_json(tools, (name,))
    described = fields.text(described, (name,))
    if found[0].role == "system":
        return (found[0].model_copy(update={"content": f"{found[0].content}\n{described}"}), *found[1:])
    return (Message(role="system", content=described), *found)


def _tools(row: Mapping[str, Any]) -> tuple[str, Any]:
    """The field of what may be called, and that, as the row gives it or from JSON text; other text as it is."""
    name = "tools" if row.get("tools") else "functions"
    given = row.get(name)
    if not isinstance(given, str):
        return name, tools_meant(given)
    found = from_json(given)
    return name, found.strip() if isinstance(found, str) else found


def _left_out(row: Mapping[str, Any], fields: Fields, *, ambiguous: bool) -> str:
    """The field by which the row says itself that it is not to be learnt: KTO's label, a weight of 0."""
    for name in ("label", "kto_tag"):
        label = row.get(name)
        said = str(label).strip().lower() if isinstance(label, str | bool) else ""
        if said in ("true", "false"):
            fields.take((name,))
        if said == "false":
            return name
        if (ambiguous or name == "kto_tag") and number_of(label) == 0:
            remedy = "write false where the answer is not to be learnt, or give the column another name"
            raise RowError("unrecognized_label", name, remedy)
    weight = row.get("weight")
    if isinstance(weight, str) and not weight.strip():
        weight = None
    if weight is None:
        return ""
    number = number_of(weight)
    if number not in (0, 1):
        raise RowError("unrecognized_weight", "weight", "use 0 or 1, or give the column another name: rows count alike")
    fields.take(("weight",))
    return "" if number else "weight"


def _options(row: Mapping[str, Any], fields: Fields) -> tuple[tuple[str, Any], ...]:
    """TRL's `chat_template_kwargs`: switches and single words, which cannot carry a text past the filter."""
    given = fields.decoded(row.get("chat_template_kwargs"), ("chat_template_kwargs",))
    if not isinstance(given, dict):
        return ()
    found = []
    for name, value in sorted(given.items()):
        if value is None:  # nothing is set
            continue
        plain = isinstance(value, bool | int | float)
        word = isinstance(value, str) and len(value) <= OPTION_LENGTH and value.replace("-", "").isalnum()
        place = ("chat_template_kwargs", name)
        if not (plain or word) or not name.isidentifier() or name in RESERVED:
            raise RowError("unsupported_option", shown(place), "give the template switches and single words alone")
        fields.take(place)
        found.append((name, value))
    return tuple(found)


# What `apply_chat_template` and templates themselves call their own.
RESERVED = frozenset({
    "conversation", "messages", "tools", "documents", "chat_template", "add_generation_prompt", "tokenize", "padding",
    "continue_final_message", "truncation", "max_length", "return_tensors", "return_dict", "tokenizer_kwargs",
    "return_assistant_tokens_mask", "bos_token", "eos_token", "strftime_now", "raise_exception",
})  # fmt: skip
