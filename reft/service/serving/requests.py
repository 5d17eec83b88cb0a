"""Requests read as rows of a data set are, as far as that goes without their model."""

from dataclasses import dataclass
from typing import Any

from reft.config.serving import Limits, variable
from reft.conversations.formats import RowError, messages_of
from reft.conversations.schema import Conversation
from reft.service.errors import invalid
from reft.service.serving.bodies import ChatCreate


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What is to be answered, and how; `length` is None where the request says nothing of it."""

    conversation: Conversation
    length: int | None
    length_param: str
    temperature: float
    top_p: float
    seed: int | None
    stops: tuple[str, ...]


def ask_of(body: ChatCreate, limits: Limits) -> Ask:
    """The request, checked as far as that goes without its model.

    Raises:
        ApiError: 400, with what is wrong in `param`.
    """
    body.refuse_unsupported()
    param = "max_tokens" if body.max_completion_tokens is None else "max_completion_tokens"
    length = getattr(body, param)
    if length is not None and length > limits.new_tokens:
        message = f"{length} tokens of an answer, more than the limit of {limits.new_tokens} ({variable('new_tokens')})"
        raise invalid(message, param)
    return Ask(
        conversation=conversation_of(body.messages), length=length, length_param=param,
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p, seed=body.seed, stops=body.stops,
    )  # fmt: skip


def conversation_of(messages: list[dict[str, Any]]) -> Conversation:
    """The messages as a row of them would be read.

    Raises:
        ApiError: 400, with the message in `param`.
    """
    try:
        found = messages_of({"messages": messages})
    except RowError as error:
        raise invalid(f"{error.code.replace('_', ' ')}: {error.remedy}", error.field) from error
    if found[-1].role == "assistant":
        raise invalid("The last message is the assistant's: end with what is to be answered.", "messages")
    if not any(message.role == "user" for message in found):
        raise invalid("There is no message of a user.", "messages")
    return Conversation(row=0, messages=found)
