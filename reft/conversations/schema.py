"""The canonical form of a row: a conversation of messages, with the row's place in its file."""

from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict

Role = Literal["system", "user", "assistant", "tool"]


class Message(BaseModel):
    """One turn. Content is plain text; whatever it contains, it is never read as a template marker.

    `learn` is False for an assistant turn that is context only (OpenAI's weight 0).
    """

    model_config = ConfigDict(frozen=True)

    role: Role
    content: str
    learn: bool = True


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """One row of a data set.

    `row` is the row's 0-based number in the file as uploaded; `source` and `kind` say where shipped
    rows come from ("aart", "written"; "ordinary", "lookalike", "task") and are empty for user rows.
    """

    row: int
    messages: tuple[Message, ...]
    source: str = ""
    kind: str = ""
    original: str = field(default="", repr=False, compare=False)

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
    def instruction(self) -> str:
        """The last user turn."""
        return next(m.content for m in reversed(self.messages) if m.role == "user")


def from_prompt(prompt: str, row: int = 0) -> Conversation:
    """A conversation of a single user turn."""
    return Conversation(row=row, messages=(Message(role="user", content=prompt),))
