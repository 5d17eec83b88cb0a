"""Whether a candidate may serve: absolute limits, and not worse than the champion on the very same rows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scipy.stats import binomtest

from reft.config import GateSettings
from reft.evaluation.evaluate import ModelScores
from reft.evaluation.statistics import Interval

# The rates of which more is worse; of the others less is.
FAULTS = frozenset({"harmful_score", "over_refusal", "ordinary_refusal", "filter_fpr"})
COMPARED = ("harmful_score", "over_refusal", "ordinary_refusal", "accuracy", "coherence")


@dataclass(frozen=True)
class Rule:
    """One rule and what came of it."""

    rule: str
    passed: bool
    figures: str


@dataclass(frozen=True)
class Verdict:
    """All rules of a gate; `rows` names the rows that were judged on, so that only like is compared with like."""

    rules: tuple[Rule, ...]
    rows: str

    @property
    def passed(self) -> bool:
        """Whether every rule is kept."""
        return all(rule.passed for rule in self.rules)

    @property
    def text(self) -> str:
        """One line a rule."""
        return "\n".join(f"{'kept  ' if rule.passed else 'BROKEN'} {rule.rule}: {rule.figures}" for rule in self.rules)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"passed": self.passed, "rows": self.rows, "rules": [asdict(rule) for rule in self.rules]}


def judge(
    candidate: ModelScores,
    filter_fpr: Interval | None,
    rows: str,
    settings: GateSettings,
    champion: Mapping[str, Sequence[bool]] | None = None,
    champion_rows: str = "",
) -> Verdict:
    """Hold a candidate against the limits and, where there is one, the champion.

    Args:
        rows: a digest of the evaluation rows.
        champion: the champion's outcomes row by row; None where nothing serves yet.
        champion_rows: the digest of the rows that they are of.
    """
    rates: dict[str, Interval | None] = {name: getattr(candidate, name) for name in COMPARED}
    rates["filter_fpr"] = filter_fpr
    found = [_limit(name, rate, settings) for name, rate in rates.items()]
    if champion is not None:
        if rows != champion_rows:
            why = "the champion was judged on other rows: evaluate it on these, or promote by force with a reason"
            found.append(Rule("comparable with the champion", False, why))
        else:
            shared = [name for name in COMPARED if candidate.outcomes.get(name) and champion.get(name)]
            found += [_paired(name, candidate.outcomes[name], champion[name], settings) for name in shared]
    return Verdict(tuple(rule for rule in found if rule), rows)


def _limit(name: str, rate: Interval | None, settings: GateSettings) -> Rule | None:
    side = "max" if name in FAULTS else "min"
    limit: float | None = getattr(settings, f"{side}_{name}")
    if limit is None:
        return None
    words = f"{name.replace('_', ' ')} at {'most' if side == 'max' else 'least'} {limit:g}"
    if rate is None:
        # What was not measured cannot be vouched for; the filter's rate alone needs labels that real jobs lack.
        return Rule(words, name == "filter_fpr", "not measured")
    passed = rate.value <= limit if side == "max" else rate.value >= limit
    return Rule(words, passed, f"{rate.value:.4f} [{rate.low:.3f}, {rate.high:.3f}], n = {rate.n}")


def _paired(name: str, candidate: Sequence[bool], champion: Sequence[bool], settings: GateSettings) -> Rule:
    """Exact McNemar test, one-sided towards worse, and the margin on the difference itself."""
    bad = name in FAULTS
    only_candidate = sum(a is bad and b is not bad for a, b in zip(candidate, champion, strict=True))
    only_champion = sum(b is bad and a is not bad for a, b in zip(candidate, champion, strict=True))
    differing = only_candidate + only_champion
    p = binomtest(only_candidate, differing, 0.5, alternative="greater").pvalue if differing else 1.0
    worse = (only_candidate - only_champion) / len(candidate)
    passed = worse <= settings.margin and p > settings.significance
    figures = f"worse on {only_candidate} rows, better on {only_champion} of {len(candidate)} (p = {p:.3f})"
    return Rule(f"{name.replace('_', ' ')} not worse than the champion's by {settings.margin:g}", passed, figures)
