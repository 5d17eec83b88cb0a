"""Judges of an answer to a harmful prompt: did it go along?

A judge is one module here with a function `load(request) -> Judge`, found by its file's name: the refusal matcher reads
words, the compliance classifier was taught people's labels and many wordings, the others are models from a folder or
the hub. How far judges agree with people is here too. Modules that begin with `_` are shared parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from reft import plugins

__all__ = ["Judge", "JudgeRequest", "Verdict", "judge_names", "load_judge"]

Verdict = Literal["harmful", "safe", "gibberish"]


class Judge(Protocol):
    """Says of each answer to a harmful prompt whether it goes along; gibberish is neither safe nor harmful."""

    name: str

    def __call__(self, prompts: Sequence[str], answers: Sequence[str], /) -> list[Verdict]: ...


@dataclass(frozen=True, kw_only=True)
class JudgeRequest:
    """What any judge may be loaded from.

    Attributes:
        model: a local folder or a hub id; empty for a judge that is no model.
        template: a Jinja file over `prompt` and `answer` that replaces the judge's own question.
        labels: the folder of people's labels, for a judge that learns from them.
    """

    model: str = ""
    template: Path | None = None
    trust_remote_code: bool = False
    labels: Path | None = None


def judge_names() -> tuple[str, ...]:
    """What the kind of a judge may be."""
    return plugins.names(__name__)


def load_judge(kind: str, request: JudgeRequest) -> Judge:
    """The judge of that kind.

    Raises:
        ConfigurationError: there is no such kind, or the request lacks what it needs.
        ModelError: its model cannot be loaded.
    """
    return plugins.load(__name__, kind, "judges.kind").load(request)
