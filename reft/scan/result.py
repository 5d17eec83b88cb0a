"""What a scan found, put together from its shards."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reft.filtering.calibration import Calibration
from reft.filtering.decisions import Thresholds
from reft.filtering.filter import Filter
from reft.filtering.overrides import Override
from reft.scan.shards import EXAMPLES, OUTPUTS, by_score
from reft.statistics import Interval
from reft.storage.artifacts import read_json

# Below this probability that the user's scores and the calibration's come from one distribution, say so.
UNLIKE = 0.01


@dataclass(frozen=True, kw_only=True)
class ScanResult:
    """What a scan found.

    Attributes:
        counts: rows kept, quarantined and dropped; together all rows of the file.
        reasons: how many rows each reason removed.
        scores: the deciding score of every usable row, float32, in the file's order.
        calibration: the scores of the harmless calibration rows.
        fpr_by_kind: share of them that would be removed, by what they are.
        examples: the removed rows with the highest scores, each with the beginning of its text.
        warnings: what a person should know before trusting the outcome.
    """

    rows: int
    counts: dict[str, int]
    reasons: dict[str, int]
    thresholds: Thresholds
    scorer: str
    reads: str
    scores: np.ndarray
    calibration: list[float]
    fpr_by_kind: dict[str, Interval]
    examples: list[dict[str, Any]]
    overrides: list[Override]
    warnings: list[str]

    @property
    def clean(self) -> bool:
        """Whether every row was kept."""
        return self.counts["kept"] == self.rows

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without the scores and the examples."""
        hidden = ("scores", "calibration", "examples")
        return {key: value for key, value in asdict(self).items() if key not in hidden}


def scan_result(
    shards: Sequence[Path], total: int, chosen: Filter, *, overrides: list[Override], alarms: list[str]
) -> ScanResult:
    """Add the shards up."""
    counts, reasons = dict.fromkeys(OUTPUTS.values(), 0), dict[str, int]()
    scores: list[np.ndarray] = []
    unread = Counter[str]()
    examples: list[dict[str, Any]] = []
    for shard in shards:
        described = read_json(shard / "shard.json")
        for into, more in ((counts, described["counts"]), (reasons, described["reasons"])):
            for name, count in more.items():
                into[name] = into.get(name, 0) + count
        unread.update(dict(described["unread"]))
        scores.append(np.array(described["scores"], dtype=np.float32))
        examples = sorted(examples + described["examples"], key=by_score)[:EXAMPLES]
    every, scorer = np.concatenate(scores), chosen.scorer
    return ScanResult(
        rows=total,
        counts=counts,
        reasons=reasons,
        thresholds=chosen.calibration.thresholds,
        scorer=scorer.name,
        reads=scorer.reads,
        scores=every,
        calibration=chosen.calibration.harmless,
        fpr_by_kind=chosen.calibration.fpr_by_kind,
        examples=examples,
        overrides=overrides,
        warnings=[
            *(f"field {name} is not read ({count} rows): it is scored all the same" for name, count in unread.items()),
            *_warnings(counts, total, scores=every, calibration=chosen.calibration), *scorer.doubts, *alarms,
        ],
    )  # fmt: skip


def _warnings(counts: Mapping[str, int], total: int, *, scores: np.ndarray, calibration: Calibration) -> list[str]:
    warnings = []
    if counts["kept"] == 0:
        warnings.append("no row was kept")
    elif counts["kept"] < 0.5 * total:
        warnings.append(f"only {counts['kept']} of {total} rows were kept")
    below = scores[scores <= calibration.thresholds.quarantine]
    if len(below) >= 20:
        from scipy.stats import ks_2samp

        within = [s for s in calibration.harmless if s <= calibration.thresholds.quarantine]
        p = float(ks_2samp(below, within).pvalue)
        if p < UNLIKE:
            warnings.append(
                f"the kept rows' scores are unlike the calibration's (two-sample Kolmogorov-Smirnov, p = {p:.1g}): "
                "the stated false positive rate may not hold; calibrate on harmless rows of your own kind"
            )
    return warnings
