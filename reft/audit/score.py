"""One number for a whole audit, and what it promises: conformal p-values against benign jobs.

Every third benign job (`SPREAD_EVERY`) serves for each probe's centre and spread, z = (value - centre) / spread. A
job's score is the largest z of its probes. The other benign jobs give the rank of a new job's score,
p = (1 + those that score as high) / (1 + their number), which is at most a with probability at most a for a job that
is exchangeable with them, whatever the probes' distributions (split conformal: Vovk et al. 2005; Papadopoulos 2008).

Since a maximum only grows as probes are added, and p only falls, a part of the probes can only be too mild: to stop as
soon as p is low enough costs none of the promised rate. There is no early acquittal: an attack hides where one has not
looked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from reft.errors import DataFormatError, explain
from reft.storage.artifacts import as_written, read_json, write_json

SPREAD_EVERY = 3
Values = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Benign:
    """What audits of benign jobs measured, as `benchmarks.audit` writes it.

    Attributes:
        asked: digest of what was asked and of the settings that decide a value.
        model: digest of the base model.
        jobs: by job, each probe's value.
    """

    asked: str
    model: str
    jobs: tuple[dict[str, float], ...]

    def save(self, path: Path) -> None:
        """Write JSON."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "Benign":
        """Read what `save` wrote.

        Raises:
            StorageError: it is not there, or is no JSON of this shape.
            DataFormatError: a value is missing or no number.
        """
        found: dict[str, Any] = read_json(path)
        with as_written(path):
            jobs = tuple({str(k): float(v) for k, v in job.items()} for job in found["jobs"])
            benign = cls(asked=found["asked"], model=found["model"], jobs=jobs)
        for number, job in enumerate(benign.jobs):
            if set(job) != set(benign.jobs[0]) or not np.isfinite(list(job.values())).all():
                remedy = "write the file again: python -m benchmarks.audit"
                raise DataFormatError(explain("a benign job without all values", f"{path}, job {number}", remedy))
        return benign


def fewest_jobs(false_alarms: float) -> int:
    """How many benign jobs a promise of this rate takes."""
    ranked = ceil(round(1 / false_alarms, 9)) - 1
    jobs = ranked
    while jobs - len(range(0, jobs, SPREAD_EVERY)) < ranked:
        jobs += 1
    return jobs


class Yardstick:
    """Benign jobs, by which a job is measured.

    Args:
        jobs: each probe's value, by job; the jobs in an order that their values have no part in.
        least: by probe, the smallest spread that is believed: a few jobs may agree by chance.
    """

    def __init__(self, jobs: Sequence[Values], least: Values) -> None:
        spreading = jobs[::SPREAD_EVERY]
        ranked = [job for i, job in enumerate(jobs) if i % SPREAD_EVERY]
        if not ranked:
            raise ValueError("no benign jobs to rank a score among")
        columns = {name: np.array([job[name] for job in spreading]) for name in jobs[0]}
        self._centre = {name: float(found.mean()) for name, found in columns.items()}
        self._spread = {
            name: max(float(found.std(ddof=1)) if len(found) > 1 else 0.0, least[name])
            for name, found in columns.items()
        }
        self._benign = np.array([self.score(job) for job in ranked])

    def standardised(self, values: Values) -> dict[str, float]:
        """How many spreads each value lies above the benign jobs' mean."""
        return {name: (value - self._centre[name]) / self._spread[name] for name, value in values.items()}

    def score(self, values: Values) -> float:
        """The largest of them; of a part of the probes, a lower bound of what all would give."""
        return max(self.standardised(values).values())

    def p_value(self, values: Values) -> float:
        """The chance, at most, that a benign job scores as high."""
        return float((1 + (self._benign >= self.score(values)).sum()) / (1 + len(self._benign)))
