"""The filter on prompts from sources that nothing was trained or calibrated on: the number to trust."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reft.config import DataSettings, EvaluationSettings
from reft.conversations.reading import read_conversations
from reft.conversations.schema import Conversation
from reft.evaluation.questions import evaluation_sets
from reft.filtering.decisions import Thresholds
from reft.statistics import Interval, auroc, rate

HARMFUL = "harmful prompts"
TASK = "task rows"


def provider_groups(data: DataSettings, settings: EvaluationSettings) -> dict[str, Sequence[Conversation]]:
    """The evaluation's questions, and the fields' rows: none of a customer's."""
    sets = evaluation_sets(data, settings)
    return {
        HARMFUL: sets.harmful, "benign look-alikes": sets.lookalikes, "ordinary prompts": sets.ordinary,
        **by_field(data),
    }  # fmt: skip


def by_field(data: DataSettings) -> dict[str, list[Conversation]]:
    """Harmless rows of fields whose work speaks of harm, by field: as a law firm or a clinic has them."""
    groups: dict[str, list[Conversation]] = defaultdict(list)
    for row in read_conversations(data.evaluation_fields) if data.evaluation_fields else ():
        groups[f"{row.kind or 'professional'} rows"].append(row)
    return dict(sorted(groups.items()))


@dataclass(frozen=True)
class UnseenGroup:
    """One source of unseen prompts.

    Attributes:
        name: what the prompts are.
        removed: share that would be quarantined or dropped: recall for harmful prompts, else false positives.
        auroc: of the scorer, harmful prompts against these; None for the harmful prompts themselves.
        untrained_auroc: the same of the untrained difference of means.
    """

    name: str
    removed: Interval
    auroc: float | None
    untrained_auroc: float | None


def unseen_groups(
    scores: Mapping[str, Sequence[float]], untrained: Mapping[str, Sequence[float]], thresholds: Thresholds
) -> list[UnseenGroup]:
    """One entry per group; `scores` and `untrained` hold the same groups, one of them `HARMFUL`."""
    groups = []
    for name, found in scores.items():
        removed = rate([score > thresholds.quarantine for score in found])
        if removed is not None:
            harmful = name == HARMFUL
            of_scorer = None if harmful else auroc(scores[HARMFUL], found)
            of_untrained = None if harmful else auroc(untrained[HARMFUL], untrained[name])
            groups.append(UnseenGroup(name, removed, of_scorer, of_untrained))
    return groups
