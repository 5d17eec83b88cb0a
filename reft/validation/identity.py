"""What decides about a row: two validations of one digest find the same in the same text."""

from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from reft.storage.fingerprint import of_text
from reft.validation.sorting import Rules

# What decides about a row beside its text and the settings.
DECIDING, LIBRARIES = ("conversations", "validation"), ("tokenizers", "transformers", "py3langid", "detect-secrets")


def decided_by(rules: Rules) -> str:
    """A digest of all that decides about a row, its code among it: what was left by another work is never merged."""
    tokenizer: Any = rules.judge.tokenizer
    model = (str(tokenizer.chat_template), str(tokenizer.special_tokens_map), str(tokenizer.added_tokens_decoder))
    vocabulary = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else str(sorted(tokenizer.get_vocab()))
    settings = (rules.judge.settings.model_dump_json(), str(rules.judge.max_length), str(rules.columns), str(rules.fix))
    return of_text(*model, vocabulary, *settings, str(sorted(rules.held_out)), _code())


@cache
def _code() -> str:
    """Of our packages that read and judge rows, and of the libraries that they ask; a walk along imports costs more."""
    ours = sorted(file for package in DECIDING for file in (Path(__file__).parents[1] / package).glob("*.py"))
    return of_text(*(file.read_text(encoding="utf-8") for file in ours), *map(version, LIBRARIES))
