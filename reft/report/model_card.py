"""The model card that goes with a student wherever it goes: what it was trained on, what was filtered, its scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from reft.evaluation.artifact import EvaluationReport
from reft.evaluation.measures import MEASURES
from reft.filtering.decisions import FilterReport
from reft.report.summary import LABELS, percent
from reft.statistics import Interval


@dataclass(frozen=True, kw_only=True)
class CardInputs:
    """Everything the card tells.

    Attributes:
        name: of the registered model.
        base: name of the base model.
        history: the finetuning's metrics by step.
        settings: the finetuning's settings.
        lineage: digests of what the student was made from.
        verdict: the gate's, as `reft.gate.gate.Verdict.as_dict` gives it.
    """

    name: str
    base: str
    task: str
    is_adapter: bool
    history: list[dict[str, float]]
    settings: Mapping[str, Any]
    report: FilterReport
    evaluation: EvaluationReport
    lineage: Mapping[str, str]
    verdict: Mapping[str, Any]


def render_model_card(inputs: CardInputs) -> str:
    """The text of the `README.md` that stands beside the weights, where hubs and registries look for it."""
    environment = Environment(loader=PackageLoader("reft.report", "."), undefined=StrictUndefined, finalize=_as_text)
    last = inputs.history[-1]
    scores = {name: inputs.evaluation.models[name] for name in LABELS if name in inputs.evaluation.models}
    return environment.get_template("model_card.md.j2").render(
        **vars(inputs), models=scores, labels=LABELS, measures=MEASURES, rate=_rate,
        steps=int(last["step"]), tokens=int(last["tokens"]), ce=last["ce"], kl=last["kl"],
    )  # fmt: skip


def _as_text(value: object) -> str:
    """A name on one line, without elements or pictures: MLflow and hubs draw a card's Markdown, and HTML in it."""
    return " ".join(str(value).splitlines()).replace("<", "&lt;").replace("![", "!\\[")


def _rate(interval: Interval | None) -> str:
    return f"{percent(vars(interval))}, n = {interval.n}" if interval else "not measured"
