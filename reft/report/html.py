"""The report: one HTML file that needs nothing else, made of the sections of `reft.report.sections`."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from reft import plugins
from reft.evaluation.artifact import EvaluationReport
from reft.filtering.artifact import FilteredData
from reft.moved import keep_old_names
from reft.report.page import render
from reft.teacher.artifact import Teacher
from reft.validation.validate import ValidatedData


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """Everything that a report shows: what the steps made.

    Attributes:
        summary: as `reft.report.summary.build_summary` gives it.
        histories: losses by step, by training.
        labels: of the user's rows, by row number, where there are any.
        examples: how many of the surest and of the least sure removals are shown.
    """

    summary: Mapping[str, Any]
    validated: ValidatedData
    teacher: Teacher
    filtered: FilteredData
    evaluation: EvaluationReport
    histories: Mapping[str, list[dict[str, float]]]
    labels: Mapping[int, str]
    examples: int


def render_report(result: RunResult) -> str:
    """The whole page: every section that has something to show, in order."""
    sections = []
    for section in plugins.load_all("reft.report.sections"):
        values = section.values(result)
        if values is not None:
            name = section.__name__.rpartition(".")[2]
            sections.append(render(f"sections/{name}.html.j2", **values))
    task = result.summary["task"]["name"]
    return str(render("template.html.j2", task=task, sections=sections, version=version("refusal-feature-teacher")))


keep_old_names(__name__)
