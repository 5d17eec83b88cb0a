"""The rules that a row must keep, and what is noted of a row that does."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pandas as pd

from reft.config import ValidationSettings
from reft.conversations.formats import format_of
from reft.conversations.languages import languages_of, load_classifier
from reft.conversations.lengths import lengths
from reft.conversations.reading import BadRow
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import spells_special
from reft.errors import ModelError
from reft.validation.findings import is_formula, is_mojibake, personal_data_in, secrets_in
from reft.validation.repeats import BANDS, bands_of_words, first_like, words_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# The rule of a row that is left out by its own word; it is not the file's fault.
LEFT_OUT = "left_out"
# Rows that are judged at once.
ROWS_AT_ONCE = 512
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


@dataclass(frozen=True, kw_only=True)
class Judge:
    """What rows are judged by."""

    tokenizer: PreTrainedTokenizerBase
    settings: ValidationSettings
    max_length: int

    def load(self) -> None:
        """Load what the first rows would load: processes that are forked after that share its memory."""
        if self.settings.languages:
            load_classifier()

    def check(self, rows: Sequence[Conversation | BadRow]) -> list[BadRow | Usable]:
        """What training needs to know of each row, or why it cannot be used; rows cost least some hundreds at once."""
        checked = [self._of_texts(row) for row in rows]
        places = [place for place, found in enumerate(checked) if isinstance(found, Usable)]
        alive = [row for place in places if isinstance(row := rows[place], Conversation)]
        languages = languages_of(alive) if self.settings.languages else [""] * len(alive)
        counts = lengths(self.tokenizer, alive)
        for place, row, language, tokens in zip(places, alive, languages, counts, strict=True):
            warnings = found.warnings if isinstance(found := checked[place], Usable) else ()
            if language and language not in (self.settings.languages or ()):
                warnings = (*warnings, ("language", f"text in {language!r}"))
            checked[place] = self._of_length(row, tokens, warnings)
        return checked

    def _of_texts(self, row: Conversation | BadRow) -> BadRow | Usable:
        """What can be told without the model's tokenizer; a row that is usable so far has no tokens yet."""
        if isinstance(row, BadRow):
            return row
        if fault := _fault(row, self.settings):
            return _bad(row, *fault[:2], remedy=fault[2])
        texts = [text for m in row.messages for text in m.texts] + [unread.text for unread in row.unread]
        text = "\n".join(texts)
        warnings: list[tuple[str, str]] = []
        for policy, kinds, rule in (
            (self.settings.secrets, secrets_in, "secret"),
            (self.settings.personal_data, personal_data_in, "personal_data"),
        ):
            found = kinds(text) if policy != "off" else []
            if found and policy == "quarantine":
                return _bad(row, rule, "messages", remedy=f"remove the {', '.join(found)}")
            warnings += [(rule, kind) for kind in found]
        if any(map(is_formula, texts)):
            warnings.append(("formula", "text that a spreadsheet would run: never open the file in one"))
        return Usable(0, tuple(warnings))

    def _of_length(
        self, row: Conversation, tokens: int | ModelError, warnings: tuple[tuple[str, str], ...]
    ) -> BadRow | Usable:
        if isinstance(tokens, ModelError):
            remedy = (
                "reft validate --fix may mend it (it merges a system turn into the user's), or set model.chat_template"
            )
            return _bad(row, "chat_template", "messages", remedy=f"{str(tokens).splitlines()[0][:160]}: {remedy}")
        if tokens > self.max_length:
            return _bad(
                row, "too_many_tokens", "messages", remedy=f"{tokens} tokens: keep a row under {self.max_length}"
            )
        return Usable(tokens, warnings)


def _bad(row: Conversation, code: str, where: str, *, remedy: str) -> BadRow:
    return BadRow(row=row.row, code=code, field=where, remedy=remedy, original=row.original)


def until_bad(checked: Sequence[BadRow | Usable], bad: int) -> int:
    """How many of the rows there are up to the one that is the `bad`-th bad one; all of them where fewer are."""
    for place, found in enumerate(checked):
        bad -= isinstance(found, BadRow) and found.code != LEFT_OUT
        if bad == 0:
            return place + 1
    return len(checked)


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

    def add(self, rows: Sequence[Conversation | BadRow], checked: Sequence[BadRow | Usable]) -> None:
        """More rows."""
        usable = [
            (place, row, found)
            for place, (row, found) in enumerate(zip(rows, checked, strict=True))
            if isinstance(row, Conversation) and isinstance(found, Usable)
        ]
        noted = {name: np.zeros(len(rows), values.typecode) for name, values in self.values.items()}
        noted["faulty"][:] = [isinstance(found, BadRow) and found.code != LEFT_OUT for found in checked]
        if usable:
            places = [place for place, _, _ in usable]
            for name, values in self._noted([(row, found) for _, row, found in usable]).items():
                noted[name][places] = values
        for name, values in self.values.items():
            values.frombytes(noted[name].tobytes())

    def _noted(self, rows: Sequence[tuple[Conversation, Usable]]) -> dict[str, Any]:
        """What is noted of usable rows, a list for each column."""
        texts = ["\n".join(m.content for m in row.messages) for row, _ in rows]
        words = [[(m.role, words_of(m.content)) for m in row.messages] for row, _ in rows]
        rules = [{rule for rule, _ in found.warnings} for _, found in rows]
        bands = bands_of_words(
            [[*chain.from_iterable(said for role, said in row if role != "system")] for row in words]
        )
        return {
            "usable": 1,
            "special_tokens": [spells_special(self.tokenizer, text) for text in texts],
            "mojibake": [is_mojibake(text) for text in texts],
            **{name: [name in broken for broken in rules] for name in WARNED},
            "leaked": [_asked(row) in self.held_out for row in words] if self.held_out else 0,
            "turns": [len(row) for row in words],
            "tokens": [found.tokens for _, found in rows],
            "digest": [_digest(chain.from_iterable(said for _, said in row)) for row in words],
            "answer": [_digest(row[-1][1] if row[-1][0] == "assistant" else ()) for row in words],
            **dict(zip(BAND_NAMES, np.array(bands, np.uint64).T, strict=True)),
        }

    def save(self, file: BinaryIO) -> None:
        """Write what was noted, column after column."""
        for values in self.values.values():
            file.write(values)

    def take(self, file: BinaryIO, rows: int) -> None:
        """As many rows as were noted elsewhere and saved there."""
        for values in self.values.values():
            values.frombytes(file.read(rows * values.itemsize))

    def __len__(self) -> int:
        return len(self.values["usable"])

    def frame(self) -> pd.DataFrame:
        """The columns that the expectations see, with repeats and the share of the commonest answer found now."""
        found = self._arrays()
        frame = pd.DataFrame({name: found[name] for name in (*FLAGS, "turns", "tokens")})
        rows, exact, near = self._first
        for name, first in (("duplicate", exact), ("near_duplicate", near)):
            repeated = np.zeros(len(frame), np.int8)
            repeated[rows[first < rows]] = 1
            frame[name] = repeated
        _, counts = np.unique(found["answer"][rows], return_counts=True)
        commonest = round(100 * counts.max() / len(rows)) if len(rows) else 0
        return frame.assign(commonest_answer_percent=np.int8(commonest))

    def repeats(self) -> Iterator[tuple[int, int, str]]:
        """(row, the first row like it, `duplicate` or `near_duplicate`) of every row that repeats another."""
        rows, exact, near = self._first
        for row, same, alike in zip(rows.tolist(), exact.tolist(), near.tolist(), strict=True):
            if same < row or alike < row:
                yield (row, same, "duplicate") if same < row else (row, alike, "near_duplicate")

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: np.frombuffer(values, values.typecode) for name, values in self.values.items() if len(values)}

    @cached_property
    def _first(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The usable rows, the first equal to each, and the first near but not equal to an earlier one.

        Asked for when all rows are in: no more can be added then.
        """
        bands = self._arrays()
        rows = np.flatnonzero(bands["usable"] == 1)
        exact = first_like([bands["digest"]], rows)
        near = first_like([bands[name] for name in BAND_NAMES], rows)
        return rows, exact, np.where(exact < rows, rows, near)


WARNED = ("secret", "personal_data", "language", "formula")
BAND_NAMES = tuple(f"band{i}" for i in range(BANDS))
FLAGS = ("usable", "faulty", "special_tokens", "mojibake", "leaked", *WARNED)


def digest_of(text: str) -> int:
    """64 bits of a text, without regard to case and white space."""
    return _digest(words_of(text))


def _digest(words: Iterable[str]) -> int:
    return int.from_bytes(blake2b(" ".join(words).encode(), digest_size=8).digest())


def _asked(turns: Sequence[tuple[str, list[str]]]) -> int:
    """The digest of what the last user turn says."""
    return _digest(next(said for role, said in reversed(turns) if role == "user"))
