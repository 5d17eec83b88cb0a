"""What the filter says of the provider's own rows: the same for every customer's job, so it is scored once for all."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from reft.config import FilteringSettings
from reft.conversations.schema import Conversation
from reft.filtering.scorers import Scorer
from reft.keys.closure import digest_of_code_with
from reft.runtime.progress import Report
from reft.storage.artifacts import read_json, write_json
from reft.storage.fingerprint import of_path, of_text

Groups = Mapping[str, Sequence[Conversation]]
# Settings that say what is done with a score, not what it is.
AFTER_SCORING = {"fpr", "quarantine_fpr", "recall", "harmful_with_refusal", "fail_on_alarms", "examples"}


def decided_by(fingerprint: str, code: str, settings: FilteringSettings) -> str:
    """A digest of all that decides the scores of the calibration rows.

    Args:
        fingerprint: the scorer's.
        code: its code's, as `code_of_scores` has it.
    """
    return of_text(fingerprint, settings.model_dump_json(exclude=AFTER_SCORING), code)[:16]


def code_of_scores(scorer: Scorer) -> str:
    """A digest of the code that decides a scorer's scores."""
    return digest_of_code_with(__name__, scorer)


def calibrations_beside(teacher: Path) -> Path:
    """Where the scores of a teacher's calibration rows are kept: its own folder is sealed."""
    return teacher.with_name(f"{teacher.name}-calibration")


@dataclass(frozen=True, kw_only=True)
class ProviderScores:
    """Scores of rows that belong to no customer.

    Attributes:
        calibration: of the scorer's calibration rows, the harmless ones followed by the harmful ones.
        unseen: of prompts from sources that nothing was trained or calibrated on, by what they are.
        untrained: of the same by the untrained difference of means.
        fingerprint: the scorer's.
        code: a digest of the code that scored.
    """

    calibration: list[float]
    unseen: dict[str, list[float]]
    untrained: dict[str, list[float]]
    fingerprint: str = ""
    code: str = ""

    def save(self, folder: Path) -> None:
        """Write `scores.json`."""
        write_json(folder / "scores.json", asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "ProviderScores":
        """Read what `save` wrote."""
        return cls(**read_json(folder / "scores.json"))

    def leave_beside(self, teacher: Path, settings: FilteringSettings) -> None:
        """Keep the calibration for whoever scores with the teacher in this folder: `Filter.calibrated` finds it there.

        Args:
            teacher: as `save_inputs` wrote it; of a run's scorer, its digest is what the fingerprint lacks.
            settings: under which the rows were scored.
        """
        name = decided_by(of_path(teacher) + self.fingerprint, self.code, settings)
        write_json(calibrations_beside(teacher) / f"{name}.json", self.calibration)


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
    return ProviderScores(
        calibration=calibration, unseen=unseen, untrained=floor, fingerprint=scorer.fingerprint,
        code=code_of_scores(scorer),
    )  # fmt: skip


def scores_of(groups: Groups, scorer: Scorer, settings: FilteringSettings) -> dict[str, list[float]]:
    """The deciding scores of every group's rows."""
    return {name: deciding(scorer, rows, settings) for name, rows in groups.items()}


def deciding(
    scorer: Scorer, rows: Sequence[Conversation], settings: FilteringSettings, *, report: Report | None = None
) -> list[float]:
    """The score of each row's deciding part."""
    return [row.deciding.score for row in scorer.score(rows, settings, report=report)] if rows else []
