"""The judges of a grid: the refusal matcher, the classifier learnt from people's labels, and models that are named."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoConfig

from reft.comparison.settings import ComparisonSettings
from reft.errors import ConfigurationError, explain
from reft.judges import Judge, JudgeRequest, Verdict, load_judge
from reft.judges._labels import Validation, has_labels, labelled_answers, validated
from reft.judges.compliance_classifier import ComplianceClassifier, taught, validation_of_classifier
from reft.judges.refusal_matcher import RefusalMatcher
from reft.keys.closure import digest_of_code
from reft.models.default_model import resolve_model
from reft.storage.artifacts import read_json, write_json
from reft.storage.fingerprint import of_path, of_text

# A model judge reads so many of the human-labelled answers: enough for an interval of four points to each side.
LABELLED_ROWS = 500


@dataclass(frozen=True)
class Panel:
    """Judges beside the refusal matcher, and how each, it included, does on answers that people labelled."""

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
    names = [RefusalMatcher.name, ComplianceClassifier.name, *(_plain(named.shown) for named in grid.judges)]
    for named in grid.judges:
        if named.template and not Path(named.template).is_file():
            what = f"judge {named.shown} has no template"
            raise ConfigurationError(explain(what, named.template, "correct its path"))
        if names.count(_plain(named.shown)) > 1:
            raise ConfigurationError(explain(f"two judges are called {named.shown}", named.name, "give one a title"))
        if not named.name:
            load_judge(named.kind, JudgeRequest(labels=Path(grid.judge_data or "")))  # says what it lacks
            continue
        try:
            AutoConfig.from_pretrained(resolve_model(named.name), trust_remote_code=grid.run.model.trust_remote_code)
        except (OSError, ValueError) as error:
            what = f"judge {named.shown} is not there ({error})"
            raise ConfigurationError(explain(what, named.name, "name a folder or a hub id")) from error
    if grid.judge_data and not has_labels(Path(grid.judge_data)):
        print(f"no human labels under {grid.judge_data}: the compliance classifier does not judge", file=sys.stderr)


def _plain(name: str) -> str:
    """As it is told apart in tables, where an underscore reads as a blank."""
    return name.replace(" ", "_")


def load_panel(grid: ComparisonSettings, folder: Path) -> Panel:
    """The judges that the grid names.

    Args:
        folder: where the verdicts of model judges are kept.

    Raises:
        ModelError: a model that cannot be loaded.
    """
    panel = Panel([], [])
    labels, trust = Path(grid.judge_data or ""), grid.run.model.trust_remote_code
    labelled = labelled_answers(labels) if grid.judge_data and has_labels(labels) else None
    if labelled:
        panel.judges.append(taught(labelled))
        panel.validations.append(validated(RefusalMatcher(), labelled, len(labelled.answers)))
        panel.validations.append(validation_of_classifier(labelled))
    for named in grid.judges:
        template = Path(named.template) if named.template else None
        request = JudgeRequest(model=named.name, template=template, trust_remote_code=trust, labels=labels)
        judge = load_judge(named.kind, request)
        judge.name = named.shown
        files = [of_path(resolve_model(named.name)) if named.name else "", of_path(template) if template else ""]
        code, revision = digest_of_code(f"reft.judges.{named.kind}"), getattr(judge, "revision", "")
        judge = Remembered(judge, of_text(named.kind, *files, revision, code), folder)
        panel.judges.append(judge)
        if labelled:
            panel.validations.append(validated(judge, labelled, LABELLED_ROWS))
    return panel
