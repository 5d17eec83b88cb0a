"""Absolute limits: `max_NAME` or `min_NAME` in the gate's settings, for any measure and the filter's error."""

from collections.abc import Iterator

from reft.config import GateSettings, NoSettings
from reft.evaluation.measures import MEASURES, is_fault
from reft.gate.gate import Case
from reft.gate.rule import Rule
from reft.statistics import Interval

PLACE, SETTINGS = 1, NoSettings


def rules(case: Case) -> Iterator[Rule]:
    """One rule for every limit that is set."""
    rates = {m.name: case.candidate.rates.get(m.name) for m in MEASURES}
    for name, rate in {**rates, "filter_fpr": case.filter_fpr}.items():
        if rule := _limit(name, rate, case.settings):
            yield rule


def _limit(name: str, rate: Interval | None, settings: GateSettings) -> Rule | None:
    side = "max" if is_fault(name) else "min"
    limit: float | None = getattr(settings, f"{side}_{name}", None)
    if limit is None:
        return None
    words = f"{name.replace('_', ' ')} at {'most' if side == 'max' else 'least'} {limit:g}"
    if rate is None:
        # What was not measured cannot be vouched for; the filter's rate alone needs labels that real jobs lack.
        return Rule(words, name == "filter_fpr", "not measured")
    passed = rate.value <= limit if side == "max" else rate.value >= limit
    return Rule(words, passed, f"{rate.value:.4f} [{rate.low:.3f}, {rate.high:.3f}], n = {rate.n}")
