"""What the filter says of the provider's own rows: the same for every customer's job, so it is scored once for all."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from reft.config import FilteringSettings
from reft.conversations.schema import Conversation
from reft.filtering.scorers import Scorer
from reft.runtime.progress import Report
from reft.storage.artifacts import read_json, write_json

Groups = Mapping[str, Sequence[Conversation]]


@dataclass(frozen=True, kw_only=True)
class ProviderScores:
    """Scores of rows that belong to no customer.

    Attributes:
        calibration: of the scorer's calibration rows, the harmless ones followed by the harmful ones.
        unseen: of prompts from sources that nothing was trained or calibrated on, by what they are.
        untrained: of the same by the untrained difference of means.
    """

    calibration: list[float]
    unseen: dict[str, list[float]]
    untrained: dict[str, list[float]]

    def save(self, folder: Path) -> None:
        """Write `scores.json`."""
        write_json(folder / "scores.json", asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "ProviderScores":
        """Read what `save` wrote."""
        return cls(**read_json(folder / "scores.json"))


def provider_scores(
    scorer: Scorer, untrained: Scorer, *, groups: Groups, settings: FilteringSettings, report: Report | None = None
) -> ProviderScores:
    """Score the calibration rows, and the groups with both scorers.

    Args:
        untrained: the untrained difference of means, to compare with; may be the scorer itself.
        report: called with (rows so far, rows in all) while the calibration rows are scored.
    """
    prompts = scorer.calibration
    calibration = deciding(scorer, [*prompts.harmless, *prompts.harmful], settings, report=report)
    unseen = scores_of(groups, scorer, settings)
    floor = unseen if scorer.name == untrained.name else scores_of(groups, untrained, settings)
    return ProviderScores(calibration=calibration, unseen=unseen, untrained=floor)


def scores_of(groups: Groups, scorer: Scorer, settings: FilteringSettings) -> dict[str, list[float]]:
    """The deciding scores of every group's rows."""
    return {name: deciding(scorer, rows, settings) for name, rows in groups.items()}


def deciding(
    scorer: Scorer, rows: Sequence[Conversation], settings: FilteringSettings, *, report: Report | None = None
) -> list[float]:
    """The score of each row's deciding part."""
    return [row.deciding.score for row in scorer.score(rows, settings, report=report)] if rows else []
