"""The rules that a row must keep, and what is noted of a row that does."""

import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from reft.config import ValidationSettings
from reft.conversations.formats import format_of
from reft.conversations.languages import language_of
from reft.conversations.reading import BadRow
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import encode, special_tokens_in
from reft.errors import ModelError
from reft.validation.findings import is_formula, is_mojibake, personal_data_in, secrets_in
from reft.validation.repeats import BANDS, bands_of, first_like

# The rule of a row that is left out by its own word; it is not the file's fault.
LEFT_OUT = "left_out"
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
    row: Conversation | BadRow, tokenizer: PreTrainedTokenizerBase, settings: ValidationSettings, *, max_length: int
) -> BadRow | Usable:
    """What training needs to know of the row, or why it cannot be used."""
    if isinstance(row, BadRow):
        return row

    def bad(code: str, where: str, remedy: str) -> BadRow:
        return BadRow(row=row.row, code=code, field=where, remedy=remedy, original=row.original)

    if fault := _fault(row, settings):
        return bad(*fault)
    texts = [text for m in row.messages for text in m.texts] + [unread.text for unread in row.unread]
    text = "\n".join(texts)
    warnings: list[tuple[str, str]] = []
    for policy, kinds, rule in (
        (settings.secrets, secrets_in, "secret"), (settings.personal_data, personal_data_in, "personal_data"),
    ):  # fmt: skip
        found = kinds(text) if policy != "off" else []
        if found and policy == "quarantine":
            return bad(rule, "messages", f"remove the {', '.join(found)}")
        warnings += [(rule, kind) for kind in found]
    if any(map(is_formula, texts)):
        warnings.append(("formula", "text that a spreadsheet would run: never open the file in one"))
    if settings.languages and (language := language_of(row)) and language not in settings.languages:
        warnings.append(("language", f"text in {language!r}"))
    try:
        tokens = len(encode(tokenizer, row))
    except ModelError as error:
        remedy = "reft validate --fix may mend it (it merges a system turn into the user's), or set model.chat_template"
        return bad("chat_template", "messages", f"{str(error).splitlines()[0][:160]}: {remedy}")
    if tokens > max_length:
        return bad("too_many_tokens", "messages", f"{tokens} tokens: keep a row under {max_length}")
    return Usable(tokens, tuple(warnings))


def _fault(row: Conversation, settings: ValidationSettings) -> tuple[str, str, str] | None:
    """The rule that the row's turns break, where, and the remedy."""
    roles = [m.role for m in row.messages]
    if row.left_out:
        return LEFT_OUT, row.left_out, "nothing to do: the row says itself that it is not to be learnt"
    if settings.rules == "openai" and format_of(json.loads(row.original)) != "openai chat":
        return "missing_messages_list", "messages", "OpenAI's upload rules want a list 'messages' in every row"
    if roles[-1] != "assistant":
        return "example_missing_assistant_message", "messages", "end the row with the answer to learn"
    if "system" in roles[1:]:
        return "unrecognized_role", "messages", "put the system message first"
    if not TURNS.fullmatch("".join(role[0] for role in roles)):
        return "roles_alternation", "messages", "let user and assistant take turns, user first"
    if not any(m.learn for m in row.messages if m.role == "assistant"):
        return "nothing_to_learn", "messages", "give at least one assistant message a weight of 1"
    for index, message in enumerate(row.messages):
        if not message.content.strip() and message.role != "system":
            return "missing_content", f"messages[{index}].content", "give the message some text"
    return None


@dataclass
class Columns:
    """What is noted of every row, in numbers alone and in memory of some eighty bytes a row.

    Attributes:
        held_out: digests of the prompts of the task's test rows, to see what leaks.
    """

    tokenizer: PreTrainedTokenizerBase
    held_out: frozenset[int] = frozenset()
    values: dict[str, array] = field(
        default_factory=lambda: {
            **{name: array("b") for name in FLAGS}, "turns": array("i"), "tokens": array("i"),
            "digest": array("Q"), "answer": array("Q"), **{band: array("Q") for band in BAND_NAMES},
        }
    )  # fmt: skip

    def add(self, row: Conversation | BadRow, checked: BadRow | Usable) -> None:
        """One more row."""
        noted: dict[str, Any] = dict.fromkeys(self.values, 0)
        noted["faulty"] = isinstance(checked, BadRow) and checked.code != LEFT_OUT
        if isinstance(row, Conversation) and isinstance(checked, Usable):
            text = "\n".join(m.content for m in row.messages)
            noted = {
                "faulty": 0,
                "usable": 1,
                "special_tokens": bool(special_tokens_in(self.tokenizer, text)),
                "mojibake": is_mojibake(text),
                **{name: any(rule == name for rule, _ in checked.warnings) for name in WARNED},
                "leaked": digest_of(row.instruction) in self.held_out,
                "turns": len(row.messages),
                "tokens": checked.tokens,
                "digest": digest_of(text),
                "answer": digest_of(row.answer or ""),
                **dict(zip(BAND_NAMES, bands_of(row), strict=True)),
            }
        for name, values in self.values.items():
            values.append(int(noted[name]))

    def __len__(self) -> int:
        return len(self.values["usable"])

    def frame(self) -> pd.DataFrame:
        """The columns that the expectations see, with repeats and the share of the commonest answer found now."""
        found = self._arrays()
        frame = pd.DataFrame({name: found[name] for name in (*FLAGS, "turns", "tokens")})
        rows, exact, near = self._first(found)
        for name, first in (("duplicate", exact), ("near_duplicate", near)):
            repeated = np.zeros(len(frame), np.int8)
            repeated[rows[first < rows]] = 1
            frame[name] = repeated
        _, counts = np.unique(found["answer"][rows], return_counts=True)
        commonest = round(100 * counts.max() / len(rows)) if len(rows) else 0
        return frame.assign(commonest_answer_percent=np.int8(commonest))

    def repeats(self) -> Iterator[tuple[int, int, str]]:
        """(row, the first row like it, `duplicate` or `near_duplicate`) of every row that repeats another."""
        rows, exact, near = self._first(self._arrays())
        for row, same, alike in zip(rows.tolist(), exact.tolist(), near.tolist(), strict=True):
            if same < row or alike < row:
                yield (row, same, "duplicate") if same < row else (row, alike, "near_duplicate")

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: np.frombuffer(values, values.typecode) for name, values in self.values.items() if len(values)}

    def _first(self, bands: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The usable rows, the first equal to each, and the first near but not equal to an earlier one."""
        rows = np.flatnonzero(bands["usable"] == 1)
        exact = first_like([bands["digest"]], rows)
        near = first_like([bands[name] for name in BAND_NAMES], rows)
        return rows, exact, np.where(exact < rows, rows, near)


WARNED = ("secret", "personal_data", "language", "formula")
BAND_NAMES = tuple(f"band{i}" for i in range(BANDS))
FLAGS = ("usable", "faulty", "special_tokens", "mojibake", "leaked", *WARNED)


def digest_of(text: str) -> int:
    """64 bits of a text, without regard to case and white space."""
    return int.from_bytes(blake2b(" ".join(text.lower().split()).encode(), digest_size=8).digest())
