"""Requests as tokens, bounded before and after they are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reft.config.serving import NEW_TOKENS, Limits, variable
from reft.conversations.tokenization import encode, fewest_tokens, longest_token
from reft.errors import ReftError, parts
from reft.service.errors import ApiError, invalid
from reft.service.serving.requests import Ask

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Prompt:
    """The tokens, and how many may follow."""

    ids: tuple[int, ...]
    most: int


def prompt_of(
    ask: Ask, tokenizer: PreTrainedTokenizerBase, *, longest: int | None, positions: int | None, limits: Limits
) -> Prompt:
    """The prompt's tokens, in which nothing that a user wrote is a marker of the template.

    Args:
        longest: tokens that a prompt may have.
        positions: of the model.

    Raises:
        ApiError: 400, too long, or the model's template has no place for such messages.
    """
    longest = min(filter(None, (longest, positions)), default=None)
    if longest and fewest_tokens(ask.conversation, longest_token(tokenizer)) > longest:
        raise _too_long("The prompt is", longest)
    try:
        ids = encode(tokenizer, ask.conversation).input_ids
    except ReftError as error:
        raise invalid(f"These messages do not fit the model's chat template: {parts(error)[0]}", "messages") from error
    if longest and len(ids) > longest:
        raise _too_long(f"The prompt has {len(ids)} tokens,", longest)
    room = positions - len(ids) if positions else limits.new_tokens
    if room < (ask.length or 1):
        message = f"The prompt's {len(ids)} tokens and the answer do not fit into the model's {positions} positions."
        raise invalid(message, ask.length_param if ask.length else "messages", "context_length_exceeded")
    return Prompt(ids, ask.length or min(NEW_TOKENS, limits.new_tokens, room))


def _too_long(what: str, longest: int) -> ApiError:
    message = f"{what} more than the limit of {longest} tokens ({variable('prompt_tokens')})."
    return invalid(message, "messages", "context_length_exceeded")
