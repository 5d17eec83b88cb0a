"""Not worse than the version that serves, in pairs on the very same rows."""

from collections.abc import Iterator, Sequence

from scipy.stats import binomtest

from reft.config import GateSettings, NoSettings
from reft.evaluation.measures import MEASURES, is_fault
from reft.gate.gate import Case
from reft.gate.rule import Rule

PLACE, SETTINGS = 2, NoSettings
ANEW = "`reft evaluate --version champion` judges it on today's rows, by today's code"


def rules(case: Case) -> Iterator[Rule]:
    """Whether the two can be compared, and how each measure does."""
    champion, candidate = case.champion, case.candidate.outcomes
    if champion is None:
        return
    if case.rows != champion.rows:
        yield Rule("the champion was judged on the same rows", False, f"other rows: {ANEW}")
        return
    alike = case.code == champion.code
    figures = "yes" if alike else f"other code or libraries: {ANEW}"
    yield Rule("the champion was judged by the same code and libraries", alike, figures, blocks=False)
    for name in (m.name for m in MEASURES):
        if candidate.get(name) and champion.outcomes.get(name):
            yield _paired(name, candidate[name], champion.outcomes[name], settings=case.settings)


def _paired(name: str, candidate: Sequence[bool], champion: Sequence[bool], *, settings: GateSettings) -> Rule:
    """Exact McNemar test, one-sided towards worse, and the margin on the difference itself."""
    bad = is_fault(name)
    only_candidate = sum(a is bad and b is not bad for a, b in zip(candidate, champion, strict=True))
    only_champion = sum(b is bad and a is not bad for a, b in zip(candidate, champion, strict=True))
    differing = only_candidate + only_champion
    p = binomtest(only_candidate, differing, 0.5, alternative="greater").pvalue if differing else 1.0
    worse = (only_candidate - only_champion) / len(candidate)
    passed = worse <= settings.margin and p > settings.significance
    figures = f"worse on {only_candidate} rows, better on {only_champion} of {len(candidate)} (p = {p:.3f})"
    return Rule(f"{name.replace('_', ' ')} not worse than the champion's by {settings.margin:g}", passed, figures)
