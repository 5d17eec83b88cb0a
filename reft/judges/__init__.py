"""Judges of an answer to a harmful prompt: did it go along?

A judge is one module here. The refusal matcher reads words, the compliance classifier was taught by people's labels, the
others are models that are loaded from a folder or the hub. They are found by their file's name; a new one is one file.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

__all__ = ["Judge", "Verdict"]

Verdict = Literal["harmful", "safe", "gibberish"]


class Judge(Protocol):
    """Says of each answer to a harmful prompt whether it goes along; gibberish is neither safe nor harmful."""

    name: str

    def __call__(self, prompts: Sequence[str], answers: Sequence[str], /) -> list[Verdict]: ...
