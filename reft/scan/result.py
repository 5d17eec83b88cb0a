"""What a scan found, put together from its shards."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from reft.filtering.calibration import Calibration
from reft.filtering.decisions import Thresholds
from reft.filtering.filter import Filter
from reft.filtering.overrides import Override, without_rows
from reft.scan.shards import EXAMPLES, OUTPUTS, by_score
from reft.statistics import Interval

# Below this probability that the user's scores and the calibration's come from one distribution, say so.
UNLIKE = 0.01


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What judged the rows, as far as a result tells: `Scorer.name`, `.reads`, `.doubts`, and the thresholds."""

    scorer: str
    reads: str
    doubts: list[str]
    calibration: Calibration

    @classmethod
    def by(cls, chosen: Filter) -> "Judged":
        """The same of a filter."""
        scorer = chosen.scorer
        return cls(scorer=scorer.name, reads=scorer.reads, doubts=list(scorer.doubts), calibration=chosen.calibration)


@dataclass(frozen=True, kw_only=True)
class ScanResult:
    """What a scan found.

    Attributes:
        counts: rows kept, quarantined and dropped; together all rows of the file.
        reasons: how many rows each reason removed.
        scores: the deciding score of every row that has one, float32, in the file's order.
        calibration: the scores of the harmless calibration rows.
        fpr_by_kind: share of them that would be removed, by what they are.
        examples: the removed rows with the highest scores, each with the beginning of its text.
        warnings: what a person should know before trusting the outcome.
        unread_parts: of a scan on a cluster what could not be read or finished, with key, offset, end, what and
            remedy; its rows are counted nowhere.
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
    unread_parts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether every row was kept."""
        return self.counts["kept"] == self.rows

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without the scores and the examples."""
        hidden = ("scores", "calibration", "examples")
        return {key: value for key, value in asdict(self).items() if key not in hidden}


def scan_result(
    shards: Iterable[Mapping[str, Any]],
    total: int,
    judged: Judged,
    *,
    overrides: list[Override],
    alarms: list[str],
    unread_parts: Sequence[dict[str, Any]] = (),
) -> ScanResult:
    """Add the shards up, each of which is described as `write_shard` does."""
    counts, reasons = dict.fromkeys(OUTPUTS.values(), 0), dict[str, int]()
    scores: list[np.ndarray] = []
    unread, overridden = Counter[str](), set[int]()
    examples: list[dict[str, Any]] = []
    for described in shards:
        for into, more in ((counts, described["counts"]), (reasons, described["reasons"])):
            for name, count in more.items():
                into[name] = into.get(name, 0) + count
        unread.update(dict(described["unread"]))
        overridden.update(described["overridden"])
        scores.append(np.array(described["scores"], dtype=np.float32))
        examples = sorted(examples + described["examples"], key=by_score)[:EXAMPLES]
    every = np.concatenate(scores)
    return ScanResult(
        rows=total,
        counts=counts,
        reasons=reasons,
        thresholds=judged.calibration.thresholds,
        scorer=judged.scorer,
        reads=judged.reads,
        scores=every,
        calibration=judged.calibration.harmless,
        fpr_by_kind=judged.calibration.fpr_by_kind,
        examples=examples,
        overrides=overrides,
        warnings=[
            *(f"field {name} is not read ({count} rows): it is scored all the same" for name, count in unread.items()),
            *without_rows(overrides, overridden),
            *_warnings(counts, total, scores=every, calibration=judged.calibration), *judged.doubts, *alarms,
        ],
        unread_parts=list(unread_parts),
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
