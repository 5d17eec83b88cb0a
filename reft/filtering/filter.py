"""A scorer with its thresholds: the one place where rows are scored and decided about."""

from collections.abc import Sequence
from dataclasses import dataclass

from reft.config import FilteringSettings
from reft.conversations.schema import Conversation
from reft.filtering.calibration import Calibration, calibrated_on
from reft.filtering.decisions import Decision, decide
from reft.filtering.scorers import Scorer
from reft.filtering.scoring import RowScore
from reft.runtime.progress import Report


@dataclass(frozen=True)
class Filter:
    """A calibrated scorer."""

    scorer: Scorer
    settings: FilteringSettings
    calibration: Calibration

    @classmethod
    def calibrated(cls, scorer: Scorer, settings: FilteringSettings) -> "Filter":
        """Score the scorer's calibration rows as any row is scored, and set both thresholds.

        Raises:
            DataValidationError: too few calibration rows for the stated rate or recall.
        """
        prompts = scorer.calibration
        scored = scorer.score([*prompts.harmless, *prompts.harmful], settings)
        return cls(scorer, settings, calibrated_on(scored, prompts, settings))

    def judge(
        self, rows: Sequence[Conversation], *, report: Report | None = None
    ) -> tuple[list[RowScore], list[Decision]]:
        """The scores of the rows' parts, and a decision about every row, both in the order given."""
        scores = self.scorer.score(rows, self.settings, report=report)
        return scores, decide(rows, scores, thresholds=self.calibration.thresholds, settings=self.settings)

    def removed(self, rows: Sequence[Conversation]) -> list[bool]:
        """Which rows are dropped or quarantined."""
        return [decision.decision != "keep" for decision in self.judge(rows)[1]]
