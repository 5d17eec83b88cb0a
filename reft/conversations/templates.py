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
CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")
TemplateChoice = Literal["auto", "own", "chatml"]


def set_chat_template(tokenizer: PreTrainedTokenizerBase, choice: str = "auto") -> str:
    """Give the tokenizer the template that `choice` names, and return its name.

    `choice` is "own" (the model's, required), "chatml" (whose tokens are required), "auto" (the model's own where there
    is one, else ChatML where the tokenizer has its tokens, else plain turns that end with the end-of-text token) or the
    path of a Jinja file. ChatML and plain turns begin as the tokenizer begins every text of its own accord.

    Raises:
        ModelError: "own" was asked for and the tokenizer has none, "chatml" and it lacks the tokens, or the named file
            is missing.
    """
    if choice in ("own", "auto") and tokenizer.chat_template:
        return "own"
    if choice == "own":
        remedy = "set model.chat_template to 'auto', 'chatml' or the path of a Jinja template"
        where = f"{tokenizer.name_or_path} (model.chat_template: own)"
        raise ModelError(explain("the tokenizer has no chat template", where, remedy))
    lacking = [token for token in CHATML_TOKENS if token not in _added(tokenizer)]
    if choice == "chatml" and lacking:
        # As ordinary text an answer would end in letters, and a user's text could write the same marks.
        what = f"the tokenizer has no {' and no '.join(lacking)}, which ChatML's turns are marked by"
        where = f"{tokenizer.name_or_path} (model.chat_template: chatml)"
        raise ModelError(explain(what, where, "set model.chat_template to 'auto', or to 'own' for the model's own"))
    if choice in ("auto", "chatml"):
        template = PLAIN if lacking else CHATML
        tokenizer.chat_template = "{{ bos_token }}" + template if _begins_texts(tokenizer) else template
        return "plain" if lacking else "chatml"
    path = Path(choice)
    if not path.is_file():
        remedy = "name 'auto', 'own', 'chatml' or an existing Jinja file"
        raise ModelError(explain("no such chat template", choice, remedy))
    tokenizer.chat_template = path.read_text(encoding="utf-8")
    return path.name


def _added(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """The tokens that are found whole in a text, before it is split."""
    return {str(token) for token in tokenizer.added_tokens_decoder.values()}


def _begins_texts(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer puts its beginning-of-text token before every text, as the model then learnt it."""
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


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
