"""Whether a candidate may serve: every rule of `reft.gate.rules`, and the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from reft import plugins
from reft.config import GateSettings
from reft.evaluation.evaluate import ModelScores
from reft.gate.rule import Rule, line_of
from reft.statistics import Interval


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The version that serves, as it was judged.

    Attributes:
        outcomes: row by row, by measure.
        rows: a digest of what it was asked.
        code: a digest of the code and libraries that asked and judged.
    """

    outcomes: Mapping[str, Sequence[bool]]
    rows: str
    code: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the rules look at.

    Attributes:
        filter_fpr: the filter's false positive rate on the user's rows, where labels tell.
        rows, code: of the candidate's evaluation, as of the champion's.
        champion: None where nothing serves yet.
        audit: as `reft.audit.verdict.AuditReport.as_dict` gives it; None where none was made.
    """

    candidate: ModelScores
    filter_fpr: Interval | None
    rows: str
    code: str
    settings: GateSettings
    champion: Champion | None = None
    audit: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Verdict:
    """All rules of a gate; `rows` and `code` say what was judged on, so that only like is compared with like."""

    rules: tuple[Rule, ...]
    rows: str
    code: str = ""

    @property
    def passed(self) -> bool:
        """Whether every rule that blocks is kept."""
        return all(rule.passed for rule in self.rules if rule.blocks)

    @property
    def text(self) -> str:
        """One line a rule."""
        return "\n".join(map(line_of, self.rules))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        rules = [asdict(rule) for rule in self.rules]
        return {"passed": self.passed, "rows": self.rows, "code": self.code, "rules": rules}


def judge(case: Case) -> Verdict:
    """Hold a candidate against every rule."""
    parts = plugins.load_all("reft.gate.rules")
    return Verdict(tuple(rule for part in parts for rule in part.rules(case)), case.rows, case.code)
