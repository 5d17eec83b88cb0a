"""The rules that a row must keep, and what is noted of a row that does."""

import json
import re
from array import array
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from reft.config import ValidationSettings
from reft.conversations.forms import form_of
from reft.conversations.reading import BadRow
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import encode, special_tokens_in
from reft.validation.findings import is_mojibake, personal_data_in, secrets_in

# First letters of the roles: a system turn, then users and answers in turn; between a call and the answer, tools speak.
TURNS = re.compile("s?(ua(t+a)*)+")


@dataclass(frozen=True)
class Usable:
    """A row that can be trained on.

    Attributes:
        tokens: its length.
        warnings: (rule, what was found) for a person to look at.
    """

    tokens: int
    warnings: tuple[tuple[str, str], ...] = ()


def check_row(
    row: Conversation | BadRow, tokenizer: PreTrainedTokenizerBase, settings: ValidationSettings, max_length: int
) -> BadRow | Usable:
    """What training needs to know of the row, or why it cannot be used."""
    if isinstance(row, BadRow):
        return row
    roles = [m.role for m in row.messages]

    def bad(code: str, where: str, remedy: str) -> BadRow:
        return BadRow(row.row, code, where, remedy, row.original)

    if settings.rules == "openai" and form_of(json.loads(row.original)) != "openai chat":
        return bad("missing_messages_list", "messages", "OpenAI's upload rules want a list 'messages' in every row")
    if roles[-1] != "assistant":
        return bad("example_missing_assistant_message", "messages", "end the row with the answer to learn")
    if "system" in roles[1:]:
        return bad("unrecognized_role", "messages", "put the system message first")
    if not TURNS.fullmatch("".join(role[0] for role in roles)):
        return bad("roles_alternation", "messages", "let user and assistant take turns, user first")
    if not any(m.learn for m in row.messages if m.role == "assistant"):
        return bad("nothing_to_learn", "messages", "give at least one assistant message a weight of 1")
    for index, message in enumerate(row.messages):
        if not message.content.strip():
            return bad("missing_content", f"messages[{index}].content", "give the message some text")
    text = "\n".join(m.content for m in row.messages)
    warnings: list[tuple[str, str]] = []
    for policy, kinds, rule in (
        (settings.secrets, secrets_in, "secret"), (settings.personal_data, personal_data_in, "personal_data"),
    ):  # fmt: skip
        found = kinds(text) if policy != "off" else []
        if found and policy == "quarantine":
            return bad(rule, "messages", f"remove the {', '.join(found)}")
        warnings += [(rule, kind) for kind in found]
    tokens = len(encode(tokenizer, row))
    if tokens > max_length:
        return bad("too_many_tokens", "messages", f"{tokens} tokens: keep a row under {max_length}")
    return Usable(tokens, tuple(warnings))


@dataclass
class Columns:
    """What is noted of every row, in numbers alone and in memory of some forty bytes a row.

    Attributes:
        held_out: digests of the prompts of the task's test rows, to see what leaks.
    """

    tokenizer: PreTrainedTokenizerBase
    held_out: frozenset[int] = frozenset()
    values: dict[str, array] = field(
        default_factory=lambda: {
            **{name: array("b") for name in FLAGS}, "turns": array("i"), "tokens": array("i"),
            "digest": array("Q"), "answer": array("Q"),
        }
    )  # fmt: skip

    def add(self, row: Conversation | BadRow, checked: BadRow | Usable) -> None:
        """One more row."""
        noted: dict[str, Any] = dict.fromkeys(self.values, 0)
        if isinstance(row, Conversation) and isinstance(checked, Usable):
            text = "\n".join(m.content for m in row.messages)
            noted = {
                "usable": 1,
                "special_tokens": bool(special_tokens_in(self.tokenizer, text)),
                "mojibake": is_mojibake(text),
                "secret": any(rule == "secret" for rule, _ in checked.warnings),
                "personal_data": any(rule == "personal_data" for rule, _ in checked.warnings),
                "leaked": digest_of(row.instruction) in self.held_out,
                "turns": len(row.messages),
                "tokens": checked.tokens,
                "digest": digest_of(text),
                "answer": digest_of(row.answer or ""),
            }
        for name, values in self.values.items():
            values.append(int(noted[name]))

    def __len__(self) -> int:
        return len(self.values["usable"])

    def frame(self) -> pd.DataFrame:
        """The columns that the expectations see, with duplicates and the share of the commonest answer found now."""
        found = {name: np.frombuffer(values, values.typecode) for name, values in self.values.items() if len(values)}
        usable = found["usable"] == 1
        repeated = np.zeros(len(usable), np.int8)
        first = np.zeros(len(usable), bool)
        rows = np.flatnonzero(usable)
        first[rows[np.unique(found["digest"][rows], return_index=True)[1]]] = True
        repeated[usable & ~first] = 1
        frame = pd.DataFrame({name: found[name] for name in (*FLAGS, "turns", "tokens")})
        _, counts = np.unique(found["answer"][rows], return_counts=True)
        commonest = round(100 * counts.max() / len(rows)) if len(rows) else 0
        return frame.assign(duplicate=repeated, commonest_answer_percent=np.int8(commonest))


FLAGS = ("usable", "special_tokens", "mojibake", "secret", "personal_data", "leaked")


def digest_of(text: str) -> int:
    """64 bits of a text, without regard to case and white space."""
    return int.from_bytes(blake2b(" ".join(text.lower().split()).encode(), digest_size=8).digest())
