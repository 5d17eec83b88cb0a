"""The judges of a grid: the refusal matcher, the classifier learnt from people's labels, and models that are named."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reft.artifacts import read_json, write_json
from reft.evidence.judging import (
    Judge,
    RefusalMatcher,
    Validation,
    Verdict,
    labelled_answers,
    train_classifier,
    validated,
)
from reft.evidence.model_judges import load_judge
from reft.evidence.settings import EvidenceSettings
from reft.fingerprint import of_code, of_path, of_text
from reft.models.default_model import resolve_model

# A model judge reads so many of the human-labelled answers: enough for an interval of four points to each side.
LABELLED_ROWS = 500


@dataclass(frozen=True)
class Panel:
    """Judges, and how each does on answers that people labelled."""

    judges: list[Judge]
    validations: list[Validation]


class Remembered:
    """A judge whose verdicts are kept in a folder, so that a large model is asked nothing twice.

    Args:
        identity: whatever decides its verdicts.
    """

    def __init__(self, judge: Judge, identity: str, folder: Path) -> None:
        self.name = judge.name
        self._judge, self._identity, self._folder = judge, identity, folder

    def __call__(self, prompts: Sequence[str], answers: Sequence[str]) -> list[Verdict]:
        """Verdicts in the order given."""
        path = self._folder / f"{of_text(self._identity, *prompts, *answers)}.json"
        if not path.is_file():
            write_json(path, self._judge(prompts, answers))
        return read_json(path)


def load_panel(grid: EvidenceSettings, folder: Path) -> Panel:
    """The judges that the grid names.

    Args:
        folder: where the verdicts of model judges are kept.

    Raises:
        ModelError: a model that cannot be loaded.
    """
    panel = Panel([RefusalMatcher()], [])
    labelled = labelled_answers(Path(grid.judge_data)) if grid.judge_data else None
    if labelled:
        classifier, found = train_classifier(labelled)
        panel.judges.append(classifier)
        panel.validations.extend(found)
    for named in grid.judges:
        template = Path(named.template) if named.template else None
        model = load_judge(named.name, named.kind, template, grid.run.model.trust_remote_code)
        files = [of_path(resolve_model(named.name)), of_path(template) if template else ""]
        code = of_code("evidence/model_judges", "evaluation/judges")
        judge = Remembered(model, of_text(named.kind, *files, code), folder)
        panel.judges.append(judge)
        if labelled:
            panel.validations.append(validated(judge, labelled, LABELLED_ROWS))
    return panel
