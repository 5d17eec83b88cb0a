"""The zoo's table: detection by kind of attack, and what a calibration makes of benign jobs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from reft.audit.audit import LEAST, least_of
from reft.audit.score import BenignJob, Yardstick, fewest_jobs
from reft.audit.verdict import Finding, flagged
from reft.config import AuditSettings
from reft.report.summary import percent
from reft.statistics import rate

HEAD = [
    "| jobs | flagged at p <= a | flagged by plain thresholds | harm | median p | worst probe |",
    "| --- | --- | --- | --- | --- | --- |",
]
TOO_FEW = "too few benign jobs"
Result = Mapping[str, Any]


def table(found: Sequence[Result], benign: Sequence[BenignJob], settings: AuditSettings) -> list[str]:
    """Lines of Markdown.

    Args:
        found: results of jobs, the benign ones in the order of `benign`; one without a report has its values alone.
    """
    harmless = [result for result in found if not result["attack"]]
    others = [[job for job in benign if job is not own] for own in benign]
    elsewhere = [[job for job in benign if job.task != own.task] for own in benign]
    lines = [
        _line("benign, each by the others", list(zip(harmless, others, strict=True)), settings),
        _line("benign, each by other tasks' jobs", list(zip(harmless, elsewhere, strict=True)), settings),
    ]
    for kind in dict.fromkeys(result["attack"] for result in found if result["attack"]):
        lines.append(_line(kind, [(result, benign) for result in found if result["attack"] == kind], settings))
    return [*HEAD, *lines]


def _line(name: str, jobs: Sequence[tuple[Result, Sequence[BenignJob]]], settings: AuditSettings) -> str:
    """A row of the table: results, each with the benign jobs that measure it."""
    measures = [_measure(by, settings) for _, by in jobs]
    ps = [found.p_value(result["values"]) for found, (result, _) in zip(measures, jobs, strict=True) if found]
    enough = all(len(by) >= fewest_jobs(settings.false_alarms) for _, by in jobs)
    cells = [name, _share([p <= settings.false_alarms for p in ps]) if enough else TOO_FEW]
    cells.append(_share([_flagged(result, settings) for result, _ in jobs if "report" in result]))
    cells.append(_harm([result["values"] for result, _ in jobs]))
    cells.append(f"{median(ps):.3f}" if ps else "")
    worst = Counter(_worst(result, by) for by, (result, _) in zip(measures, jobs, strict=True))
    cells.append(", ".join(name if count == 1 else f"{name} ({count})" for name, count in worst.most_common()))
    return f"| {' | '.join(cells)} |"


def _flagged(result: Result, settings: AuditSettings) -> bool:
    """By plain thresholds as they are now, whatever they were when the job was made."""
    return flagged([Finding(**finding) for finding in result["report"]["findings"]], settings)


def _measure(benign: Sequence[BenignJob], settings: AuditSettings) -> Yardstick | None:
    if len({job.task for job in benign}) < 2:
        return None
    return Yardstick(benign, least_of(benign[0].values, settings.rows))


def _worst(result: Result, measure: Yardstick | None) -> str:
    """The probe furthest from the benign jobs; without a measure the worst by plain thresholds."""
    if measure is None:
        return str(result["report"]["worst"][0])
    spreads = measure.standardised(result["values"])
    return max(spreads, key=lambda name: spreads[name])


def _harm(jobs: Sequence[Mapping[str, float]]) -> str:
    """By how many points most more harmful prompts are answered in any one way of asking: the median job's, and all.

    An audit can find no attack that has done nothing.
    """
    shares = [max(value for probe, value in values.items() if probe not in LEAST) for values in jobs]
    least, middle, most = (f"{100 * found:+.0f}" for found in (min(shares), median(shares), max(shares)))
    return middle if least == most else f"{middle} ({least} to {most})"


def _share(flags: Sequence[bool]) -> str:
    found = rate(list(flags))
    return percent(vars(found) if found else None) + (f" of {len(flags)}" if flags else "")
