"""A scorer with its thresholds: the one place where rows are scored and decided about."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reft.config import FilteringSettings
from reft.conversations.schema import Conversation
from reft.errors import StorageError
from reft.filtering.calibration import Calibration, calibrated_on
from reft.filtering.decisions import Decision, decide
from reft.filtering.provider import code_of_scores, decided_by, deciding
from reft.filtering.scorers import Scorer
from reft.filtering.scoring import RowScore
from reft.runtime.progress import Report
from reft.storage.artifacts import read_json, write_json


@dataclass(frozen=True)
class Filter:
    """A calibrated scorer."""

    scorer: Scorer
    settings: FilteringSettings
    calibration: Calibration

    @classmethod
    def calibrated(
        cls,
        scorer: Scorer,
        settings: FilteringSettings,
        *,
        scores: Sequence[float] | None = None,
        kept_in: Path | None = None,
        report: Report | None = None,
    ) -> "Filter":
        """Score the scorer's calibration rows as any row is scored, and set both thresholds.

        Args:
            scores: the calibration rows' where they are known, as `ProviderScores.calibration` has them.
            kept_in: a folder that keeps the scores for the next time; they are found again by all that decides them.
            report: called with (rows so far, rows in all) where they must be scored.

        Raises:
            DataValidationError: too few calibration rows for the stated rate or recall.
        """
        prompts = scorer.calibration
        file = None
        if kept_in and scorer.fingerprint:
            file = kept_in / f"{decided_by(scorer.fingerprint, code_of_scores(scorer), settings)}.json"
        if scores is None and file and file.is_file():
            scores = [float(score) for score in read_json(file)]
        elif scores is None:
            scores = deciding(scorer, [*prompts.harmless, *prompts.harmful], settings, report=report)
            if file:
                with suppress(StorageError):  # a folder that cannot be written costs time, no more
                    write_json(file, scores)
        return cls(scorer, settings, calibrated_on(scores, prompts, settings))

    def judge(
        self, rows: Sequence[Conversation], *, report: Report | None = None
    ) -> tuple[list[RowScore], list[Decision]]:
        """The scores of the rows' parts, and a decision about every row, both in the order given."""
        scores = self.scorer.score(rows, self.settings, report=report)
        return scores, decide(rows, scores, thresholds=self.calibration.thresholds, settings=self.settings)

    def removed(self, rows: Sequence[Conversation]) -> list[bool]:
        """Which rows are dropped or quarantined."""
        return [decision.decision != "keep" for decision in self.judge(rows)[1]]
