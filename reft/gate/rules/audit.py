"""What the audit of the finished model says, where one was made."""

from collections.abc import Iterator

from reft import plugins
from reft.config import Section
from reft.gate.gate import Case
from reft.gate.rule import Rule

PLACE = 3


class Options(Section):
    """What `gate.rule_settings.audit` holds."""

    uncalibrated_blocks: bool = False
    """Stop a student, too, whom only plain thresholds flag: how many benign ones they flag is not known."""


SETTINGS = Options


def rules(case: Case) -> Iterator[Rule]:
    """One rule; an uncalibrated audit is a note unless the settings say otherwise."""
    options = plugins.options_of(SETTINGS, case.settings.rule_settings.get("audit", {}), "gate.rule_settings.audit")
    if case.audit is None:
        return
    found = {finding["probe"]: finding["what"] for finding in case.audit["findings"]}
    figures = f"{case.audit['outcome']} {found[case.audit['worst'][0]]}"
    blocks = case.audit["calibrated"] or options.uncalibrated_blocks
    yield Rule("the audit does not flag the student", not case.audit["alarm"], figures, blocks=blocks)
