"""Ways to score a row: how sure is it that its text asks for harm, or gives it?

A scorer is one module here with a function `load(inputs) -> Scorer`; `filtering.scorer` names it by its file. Its
`SETTINGS`, a section, say what `filtering.scorer_settings` may hold, so that a wrong key is told before a run begins.
Thresholds and decisions are not a scorer's: `reft.filtering.filter` sets them alike for all.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from reft import plugins
from reft.config import FilteringSettings
from reft.conversations.schema import Conversation
from reft.filtering.inputs import ScorerInputs
from reft.filtering.scoring import RowScore
from reft.refusal_feature.extraction import LabelledPrompts
from reft.runtime.progress import Report

__all__ = ["Scorer", "load_scorer", "scorer_names", "untrained_beside"]


class Scorer(Protocol):
    """A loaded scorer."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def reads(self) -> str:
        """Where it looks, in words."""

    @property
    def details(self) -> dict[str, Any]:
        """Where it looks, for programs."""

    @property
    def doubts(self) -> list[str]:
        """What a person should know before trusting it."""

    @property
    def fingerprint(self) -> str:
        """The identity of its inputs, and after it what else of models and rows decides its scores; not its code."""

    @property
    def calibration(self) -> LabelledPrompts:
        """The rows that set its thresholds."""

    def score(
        self, rows: Sequence[Conversation], settings: FilteringSettings, *, report: Report | None = None
    ) -> list[RowScore]:
        """Scores in [-1, 1] of every part of every row, in the order given; higher is more harmful."""


def scorer_names() -> tuple[str, ...]:
    """What `filtering.scorer` may be."""
    return plugins.names(__name__)


def load_scorer(name: str, inputs: ScorerInputs) -> Scorer:
    """The scorer of that name.

    Raises:
        ConfigurationError: there is none of that name, or `inputs.options` are not what it takes.
        ModelError: its model cannot be loaded.
    """
    return plugins.load(__name__, name, "filtering.scorer").load(inputs)


def untrained_beside(scorer: Scorer, inputs: ScorerInputs) -> Scorer:
    """The untrained difference of means, which every scorer is held against; the scorer itself where it is that."""
    return scorer if scorer.name == "untrained" else load_scorer("refusal_feature", inputs.without_training())
