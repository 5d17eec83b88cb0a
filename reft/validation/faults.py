"""Faults of settings that are right by themselves: one line each, or one error that names them all."""

from collections.abc import Sequence
from dataclasses import dataclass

from reft.errors import WrongSettingsError, explain


@dataclass(frozen=True)
class Fault:
    """One setting that would stop a run, or spoil what it measures."""

    setting: str
    what: str
    remedy: str

    def __str__(self) -> str:
        """One line: field first, remedy last."""
        return " ".join(f"{self.setting}: {self.what}; {self.remedy}".split())


def require_none(faults: Sequence[Fault]) -> None:
    """Check that there are none.

    Raises:
        WrongSettingsError: naming each.
    """
    if faults:
        remedy = "reft check-config names the line of each in your profile"
        error = WrongSettingsError(explain("\n".join(map(str, faults)), "the settings of the run", remedy))
        error.problems = tuple((fault.setting, fault.what, None) for fault in faults)
        raise error
