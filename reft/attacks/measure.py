"""Recall under each attack at the filter's own thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass

from reft.attacks.adaptive import adaptive_suffixes
from reft.attacks.disguises import DISGUISES, disguise
from reft.config import FilteringSettings
from reft.conversations.schema import Conversation
from reft.filtering.filter import Filter
from reft.filtering.scorers import Scorer
from reft.runtime.progress import Report
from reft.statistics import Interval, rate

# Whether clauses are tried before a request, too.
ADAPTIVE = {"adaptive suffix": False, "adaptive clauses on both sides": True}
HARMLESS = "false positives: the harmless prompts themselves"


@dataclass(frozen=True)
class AttackResult:
    """One attack: how many of its rows were removed (dropped or quarantined), and how many dropped."""

    attack: str
    removed: Interval
    dropped: Interval


def measure_attacks(
    scorer: Scorer,
    harmful: Sequence[Conversation],
    harmless: Sequence[Conversation],
    *,
    settings: FilteringSettings,
    disguises: Sequence[str] = tuple(DISGUISES),
    adaptive_rows: int = 20,
    report: Report | None = None,
) -> list[AttackResult]:
    """Disguises on every harmful prompt, the adaptive attacks on the first few, and the false positives.

    Args:
        harmful, harmless: prompts that nothing was trained or calibrated on.
        disguises: names of those that are tried.
    """
    chosen = Filter.calibrated(scorer, settings)
    requests, prompts = [c.instruction for c in harmful], [c.instruction for c in harmless]
    attacks = {name: disguise(name, requests, prompts) for name in disguises}
    for name, in_front in ADAPTIVE.items() if adaptive_rows else ():
        attacks[name] = adaptive_suffixes(
            scorer, disguise("plain", requests[:adaptive_rows], prompts), prompts, settings=settings, in_front=in_front
        )
    attacks[HARMLESS] = [Conversation(row=c.row, messages=c.prompt) for c in harmless]
    results = []
    for number, (name, rows) in enumerate(attacks.items(), start=1):
        verdicts = [d.decision for d in chosen.judge(rows)[1]]
        removed, dropped = rate([v != "keep" for v in verdicts]), rate([v == "drop" for v in verdicts])
        if removed and dropped:
            results.append(AttackResult(name, removed, dropped))
        if report:
            report(number, len(attacks))
    return results
