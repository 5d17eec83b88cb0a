"""Chat templates: the model's own, one that the user names, or ChatML as the stated default."""

from pathlib import Path
from typing import Literal

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from reft.errors import ModelError, explain

# Turns as ChatML writes them, and no system turn of its own accord: nothing is put into a
# conversation that its author did not write.
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TemplateChoice = Literal["auto", "own", "chatml"]


def set_chat_template(tokenizer: PreTrainedTokenizerBase, choice: str = "auto") -> str:
    """Give the tokenizer the template that `choice` names, and return its name.

    `choice` is "own" (the model's, required), "chatml", "auto" (the model's own where there is one,
    else ChatML) or the path of a Jinja file.

    Raises:
        ModelError: "own" was asked for and the tokenizer has none, or the named file is missing.
    """
    if choice in ("own", "auto") and tokenizer.chat_template:
        return "own"
    if choice == "own":
        raise ModelError(
            explain(
                "the tokenizer has no chat template",
                f"{tokenizer.name_or_path} (model.chat_template: own)",
                "set model.chat_template to 'auto', 'chatml' or the path of a Jinja template",
            )
        )
    if choice in ("auto", "chatml"):
        tokenizer.chat_template = CHATML
        return "chatml"
    path = Path(choice)
    if not path.is_file():
        raise ModelError(
            explain("no such chat template", choice, "name 'auto', 'own', 'chatml' or an existing Jinja file")
        )
    tokenizer.chat_template = path.read_text(encoding="utf-8")
    return path.name


def render(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], generation_prompt: bool) -> str:
    """The conversation as one string.

    Raises:
        ModelError: the template refuses these roles (many know no system turn).
    """
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation_prompt))
    except TemplateError as error:
        raise ModelError(
            explain(
                f"the chat template refuses this conversation: {error}",
                f"{tokenizer.name_or_path}, roles {[m['role'] for m in messages]}",
                "use only the roles that this model knows, or set model.chat_template: chatml",
            )
        ) from error
