"""The filtered data set: kept rows, a decision for every row, and the report."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reft.conversations.schema import Conversation
from reft.conversations.storage import load_rows, save_rows
from reft.filtering.decisions import Decision, FilterReport, Thresholds
from reft.filtering.unseen import UnseenGroup
from reft.statistics import Interval
from reft.storage.artifacts import read_json, write_json, write_text


@dataclass(frozen=True, kw_only=True)
class FilteredData:
    """Rows that may be trained on, what happened to the rest, and how the filter does on unseen sources."""

    kept: list[Conversation]
    decisions: list[Decision]
    report: FilterReport
    curves: dict[str, list[float]]
    unseen: list[UnseenGroup] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Write `kept.jsonl` (lines as uploaded), `decisions.jsonl` and `report.json`."""
        save_rows(folder / "kept.jsonl", self.kept)
        write_text(folder / "decisions.jsonl", "".join(json.dumps(asdict(d)) + "\n" for d in self.decisions))
        described = {"report": self.report, "curves": self.curves, "unseen": [asdict(g) for g in self.unseen]}
        write_json(folder / "report.json", described)

    @classmethod
    def load(cls, folder: Path) -> "FilteredData":
        """Read what `save` wrote."""
        kept = load_rows(folder / "kept.jsonl")
        lines = (folder / "decisions.jsonl").read_text(encoding="utf-8").splitlines()
        stored = read_json(folder / "report.json")
        report: dict[str, Any] = stored["report"]
        apart = {name: Thresholds(**value) for name, value in report["thresholds"].pop("languages").items()}
        report["thresholds"] = Thresholds(**report["thresholds"], languages=apart)
        for name in ("recall", "fpr", "calibration_recall", "calibration_fpr"):
            report[name] = Interval(**report[name]) if report[name] else None
        report["fpr_by_kind"] = {kind: Interval(**found) for kind, found in report["fpr_by_kind"].items()}
        unseen = [UnseenGroup(removed=Interval(**group.pop("removed")), **group) for group in stored["unseen"]]
        decisions = [Decision(**json.loads(line)) for line in lines]
        return cls(
            kept=kept, decisions=decisions, report=FilterReport(**report), curves=stored["curves"], unseen=unseen
        )
