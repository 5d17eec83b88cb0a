"""The canonical form of a row: a conversation of messages, with the row's place in its file."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from reft.errors import DataFormatError, explain

INDEX = re.compile(r"\[\d+\]")
Role = Literal["system", "user", "assistant", "tool"]


class Message(BaseModel):
    """One turn. Content is plain text; whatever it contains, it is never read as a template marker.

    `learn` is False for an assistant turn that is context only (OpenAI's weight 0). `reasoning` is what an assistant
    thought before the answer; it goes where the chat template puts it, or nowhere.
    """

    model_config = ConfigDict(frozen=True)

    role: Role
    content: str
    learn: bool = True
    reasoning: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """All that the turn says."""
        return (self.reasoning, self.content) if self.reasoning else (self.content,)


@dataclass(frozen=True)
class Unread:
    """A text of a row that is neither learnt nor context, and where it stands: it is scored all the same."""

    field: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """One row of a data set.

    `row` is the row's 0-based number in the file as uploaded; `source` and `kind` say where shipped
    rows come from ("aart", "written"; "ordinary", "lookalike", "task") and are empty for user rows.

    Attributes:
        left_out: the field that says that the row is not to be learnt (KTO's label, a weight of 0); else empty.
        options: what the row sets in its chat template (TRL's `chat_template_kwargs`).
        notes: names of things about the line that a person should know; they do no harm.
    """

    row: int
    messages: tuple[Message, ...]
    source: str = ""
    kind: str = ""
    original: str = field(default="", repr=False, compare=False)
    unread: tuple[Unread, ...] = ()
    left_out: str = ""
    options: tuple[tuple[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages up to, and without, the last assistant turn."""
        return self.messages[:-1] if self.messages[-1].role == "assistant" else self.messages

    @property
    def answer(self) -> str | None:
        """The last assistant turn, or None where the row is a prompt alone."""
        last = self.messages[-1]
        return last.content if last.role == "assistant" else None

    @property
    def unread_fields(self) -> frozenset[str]:
        """The fields whose text nothing reads, without the places in lists: messages[].name."""
        return frozenset(INDEX.sub("[]", unread.field) for unread in self.unread)

    @property
    def asks(self) -> bool:
        """Whether a user says anything; only then is there an instruction."""
        return any(m.role == "user" for m in self.messages)

    @property
    def instruction(self) -> str:
        """The last user turn.

        Raises:
            DataFormatError: no user says anything (`asks`).
        """
        if not self.asks:
            raise DataFormatError(explain("no user turn", f"row {self.row}", "let a user ask something in it"))
        return next(m.content for m in reversed(self.messages) if m.role == "user")


def from_prompt(prompt: str, row: int = 0) -> Conversation:
    """A conversation of a single user turn."""
    return Conversation(row=row, messages=(Message(role="user", content=prompt),))


def written(messages: Iterable[Message]) -> list[dict[str, str]]:
    """Role and content of each message, as a row's JSON has them under `messages`."""
    return [{"role": message.role, "content": message.content} for message in messages]
