"""One rule of a gate and how it is said; light, so that whoever only tells a verdict loads no model code."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """One rule and what came of it; one that does not block is reported and stops nobody."""

    rule: str
    passed: bool
    figures: str
    blocks: bool = True


def told(verdict: Mapping[str, Any]) -> str:
    """A verdict for people, from what `Verdict.as_dict` gives of it: the outcome, then one line a rule."""
    lines = [line_of(Rule(**rule)) for rule in verdict["rules"]]
    return "\n".join([f"the gate is {'passed' if verdict['passed'] else 'NOT passed'}:", *lines])


def broken_in(verdict: Mapping[str, Any]) -> list[Rule]:
    """The rules that stop a student, from what `Verdict.as_dict` gives: where one is only noted, the gate is passed."""
    return [rule for rule in (Rule(**each) for each in verdict["rules"]) if rule.blocks and not rule.passed]


def line_of(rule: Rule) -> str:
    """For people."""
    return f"{outcome_of(rule):6} {rule.rule}: {rule.figures}"


def outcome_of(rule: Rule) -> str:
    """In one word: kept, BROKEN, or NOTE where it is not kept and blocks nobody."""
    return "kept" if rule.passed else "BROKEN" if rule.blocks else "NOTE"
