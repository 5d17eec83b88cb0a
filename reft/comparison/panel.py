"""The judges of a grid: the refusal matcher, the classifier learnt from people's labels, and models that are named."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoConfig

from reft.comparison.settings import ComparisonSettings
from reft.errors import ConfigurationError, explain
from reft.judges.compliance_classifier import (
    ComplianceClassifier,
    Judge,
    RefusalMatcher,
    Validation,
    Verdict,
    has_labels,
    labelled_answers,
    train_classifier,
    validated,
)
from reft.judges.model_judges import load_judge
from reft.keys.fingerprint import of_code, of_path, of_text
from reft.models.default_model import resolve_model
from reft.storage.artifacts import read_json, write_json

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


def require_judges(grid: ComparisonSettings) -> None:
    """Refuse, before anything is trained, judges that could not be loaded afterwards.

    Raises:
        ConfigurationError: a model or template that is not there, or two judges of one name.
    """
    names = [RefusalMatcher.name, ComplianceClassifier.name, *(named.shown for named in grid.judges)]
    for named in grid.judges:
        if named.template and not Path(named.template).is_file():
            what = f"judge {named.shown} has no template"
            raise ConfigurationError(explain(what, named.template, "correct its path"))
        if names.count(named.shown) > 1:
            raise ConfigurationError(explain(f"two judges are called {named.shown}", named.name, "give one a title"))
        try:
            AutoConfig.from_pretrained(resolve_model(named.name), trust_remote_code=grid.run.model.trust_remote_code)
        except (OSError, ValueError) as error:
            what = f"judge {named.shown} is not there ({error})"
            raise ConfigurationError(explain(what, named.name, "name a folder or a hub id")) from error
    if grid.judge_data and not has_labels(Path(grid.judge_data)):
        print(f"no human labels under {grid.judge_data}: the compliance classifier does not judge", file=sys.stderr)


def load_panel(grid: ComparisonSettings, folder: Path) -> Panel:
    """The judges that the grid names.

    Args:
        folder: where the verdicts of model judges are kept.

    Raises:
        ModelError: a model that cannot be loaded.
    """
    panel = Panel([RefusalMatcher()], [])
    folder_of_labels = Path(grid.judge_data or "")
    labelled = labelled_answers(folder_of_labels) if grid.judge_data and has_labels(folder_of_labels) else None
    if labelled:
        classifier, found = train_classifier(labelled)
        panel.judges.append(classifier)
        panel.validations.extend(found)
    for named in grid.judges:
        template = Path(named.template) if named.template else None
        model = load_judge(named.name, named.kind, template, trust_remote_code=grid.run.model.trust_remote_code)
        model.name = named.shown
        files = [of_path(resolve_model(named.name)), of_path(template) if template else ""]
        code = of_code("evidence/model_judges", "evaluation/judges")
        judge = Remembered(model, of_text(named.kind, *files, model.revision, code), folder)
        panel.judges.append(judge)
        if labelled:
            panel.validations.append(validated(judge, labelled, LABELLED_ROWS))
    return panel
