"""Chat templates: the model's own, one that the user names, or ChatML as the stated default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reft.errors import ModelError, explain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Turns as ChatML writes them, and no system turn of its own accord: nothing is put into a
# conversation that its author did not write.
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# For a model whose tokenizer has no marks of turns: every turn ends with the one token that no text can spell.
PLAIN = (
    "{% for message in messages %}"
    "{{ message['role'] + ':\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:\n' }}{% endif %}"
)
TemplateChoice = Literal["auto", "own", "chatml"]


def set_chat_template(tokenizer: PreTrainedTokenizerBase, choice: str = "auto") -> str:
    """Give the tokenizer the template that `choice` names, and return its name.

    `choice` is "own" (the model's, required), "chatml", "auto" (the model's own where there is one, else ChatML where
    the tokenizer has its tokens, else plain turns that end with the end-of-text token) or the path of a Jinja file.

    Raises:
        ModelError: "own" was asked for and the tokenizer has none, or the named file is missing.
    """
    if choice in ("own", "auto") and tokenizer.chat_template:
        return "own"
    if choice == "own":
        remedy = "set model.chat_template to 'auto', 'chatml' or the path of a Jinja template"
        where = f"{tokenizer.name_or_path} (model.chat_template: own)"
        raise ModelError(explain("the tokenizer has no chat template", where, remedy))
    if choice == "auto" and not {"<|im_start|>", "<|im_end|>"} <= set(tokenizer.get_vocab()):
        tokenizer.chat_template = PLAIN
        return "plain"
    if choice in ("auto", "chatml"):
        tokenizer.chat_template = CHATML
        return "chatml"
    path = Path(choice)
    if not path.is_file():
        remedy = "name 'auto', 'own', 'chatml' or an existing Jinja file"
        raise ModelError(explain("no such chat template", choice, remedy))
    tokenizer.chat_template = path.read_text(encoding="utf-8")
    return path.name


def require_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """See that the template works at all, before a file is read row by row.

    Raises:
        ModelError: it is broken, or there is no token that could end an answer.
    """
    render(tokenizer, [{"role": "user", "content": "Hello"}], True)
    if tokenizer.eos_token_id is None:
        remedy = "give the tokenizer an eos_token: no answer could end otherwise"
        raise ModelError(explain("the tokenizer has no end-of-text token", str(tokenizer.name_or_path), remedy))


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, str]],
    generation_prompt: bool,
    *,
    options: Mapping[str, Any] | None = None,
) -> str:
    """The conversation as one string.

    Raises:
        ModelError: the template refuses these messages (many know no system turn), or is broken.
    """
    try:
        return str(
            tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=generation_prompt, **(options or {})
            )
        )
    except Exception as error:  # a template is a program: it fails in every way that one can
        raise ModelError(
            explain(
                f"the chat template refuses this conversation: {error}",
                f"{tokenizer.name_or_path}, roles {[m['role'] for m in messages]}",
                "use only the roles that this model knows, or set model.chat_template: chatml",
            )
        ) from error


def takes_system(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the template knows system turns."""
    turns = [{"role": role, "content": f"({role})"} for role in ("system", "user", "assistant")]
    try:
        return "(system)" in render(tokenizer, turns, False)
    except ModelError:
        return False
