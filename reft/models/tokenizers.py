"""Loading a tokenizer from a local folder or the hub; it needs no PyTorch, which takes most of the time to start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers

from reft.conversations.templates import set_chat_template
from reft.errors import ModelError, explain


def load_tokenizer(
    name: str, chat_template: str = "auto", trust_remote_code: bool = False
) -> transformers.PreTrainedTokenizerBase:
    """The tokenizer with a chat template set and a padding token.

    Raises:
        ModelError: the folder or hub id has no usable tokenizer.
    """
    return _loaded(transformers.AutoTokenizer, name, chat_template, trust_remote_code=trust_remote_code)


def try_tokenizer(folder: Path, chat_template: str = "auto", trust_remote_code: bool = False) -> None:
    """See that a folder's tokenizer loads and can be given the template, before any work begins.

    A `tokenizer.json` is read by the class that all fast tokenizers are made of: which of them a model asks for makes
    no difference to that, and to find it out transformers would load PyTorch and what runs models. A tokenizer with
    code of its own needs that code.

    Raises:
        ModelError: as `load_tokenizer`.
    """
    described = folder / "tokenizer_config.json"
    if described.is_file() and b'"auto_map"' in described.read_bytes():
        load_tokenizer(str(folder), chat_template, trust_remote_code)
    else:
        _loaded(transformers.PreTrainedTokenizerFast, str(folder), chat_template)


def _loaded(kind: Any, name: str, chat_template: str, **options: Any) -> transformers.PreTrainedTokenizerBase:
    folder = Path(name).expanduser()
    require_folder_or_hub_id(name)
    try:
        tokenizer: Any = kind.from_pretrained(folder if folder.is_dir() else name, **options)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            explain(
                f"no tokenizer could be loaded ({first_line(error)})",
                name,
                "put tokenizer.json and tokenizer_config.json beside the weights (tokenizer.save_pretrained(folder))",
            )
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(
            explain("the tokenizer is not a fast one", name, "convert it: it must load from a tokenizer.json")
        )
    set_chat_template(tokenizer, chat_template)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def require_folder_or_hub_id(name: str) -> None:
    """A path that does not exist must not be mistaken for a hub id and looked up on the network.

    Raises:
        ModelError: it is such a path.
    """
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if looks_like_path and not Path(name).expanduser().is_dir():
        raise ModelError(explain("no such model folder", name, "correct model.name in the configuration"))


def first_line(error: BaseException) -> str:
    """What an error says in its first line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
