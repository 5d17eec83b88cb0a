"""One number for a whole audit, and what it promises: conformal p-values against benign jobs of several tasks.

A job's score is the largest z = (value - centre) / spread of its probes. Two jobs are compared by the centres and
spreads of the benign jobs of all tasks but one: the benign job's own, so that neither of them has a part in the
measure. p = (1 + the benign jobs that score as high) / (1 + their number): cross-conformal prediction (Vovk 2015) with
a task for a fold. Jobs of a task are more alike than jobs of two: were the measure made of a job's own task, benign
jobs would score low among themselves and every new task would look unusual.

What is promised: of jobs that are exchangeable with the benign ones at most about a have p <= a. The proven bound is
about 2 a, whatever the probes' distributions (Barber et al. 2021); in simulations it is below a, and a job of a task
that is not among them has it no more often where tasks differ no more than jobs of one (`tests/audit/test_score.py`).

Since a maximum only grows as probes are added, and p only falls, a part of the probes can only be too mild: to stop as
soon as p is low enough costs none of the promised rate. There is no early acquittal: an attack hides where one has not
looked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

Values = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class BenignJob:
    """What the audit of a benign job measured: each probe's value, and how many rows it was trained on."""

    task: str
    seed: int
    rows: int
    values: Values


def fewest_jobs(false_alarms: float) -> int:
    """How many benign jobs a promise of this rate takes."""
    return ceil(round(1 / false_alarms, 9)) - 1


class Yardstick:
    """Benign jobs, by which a job is measured.

    Args:
        jobs: of two tasks at least, all with the same probes.
        least: by probe, the smallest spread that is believed: a few jobs may agree by chance.

    Raises:
        ValueError: there is one task, or none.
    """

    def __init__(self, jobs: Sequence[BenignJob], least: Values) -> None:
        tasks = list(dict.fromkeys(job.task for job in jobs))
        if len(tasks) < 2:
            raise ValueError("benign jobs of two tasks at least are wanted")
        self._all = _Measure(jobs, least)
        self._without = {task: _Measure([job for job in jobs if job.task != task], least) for task in tasks}
        self._benign = [(job.task, self._without[job.task].score(job.values)) for job in jobs]

    def standardised(self, values: Values) -> dict[str, float]:
        """How many spreads each value lies above the benign jobs' mean."""
        return self._all.standardised(values)

    def score(self, values: Values) -> float:
        """The largest of them; of a part of the probes, a lower bound of what all would give."""
        return self._all.score(values)

    def p_value(self, values: Values) -> float:
        """The chance that a benign job scores as high."""
        mine = {task: measure.score(values) for task, measure in self._without.items()}
        return (1 + sum(score >= mine[task] for task, score in self._benign)) / (1 + len(self._benign))


class _Measure:
    """Each probe's centre and spread over some jobs."""

    def __init__(self, jobs: Sequence[BenignJob], least: Values) -> None:
        columns = {name: np.array([job.values[name] for job in jobs]) for name in jobs[0].values}
        self._of = {
            name: (float(found.mean()), max(float(found.std(ddof=1)) if len(found) > 1 else 0.0, least[name]))
            for name, found in columns.items()
        }

    def standardised(self, values: Values) -> dict[str, float]:
        return {name: (value - self._of[name][0]) / self._of[name][1] for name, value in values.items()}

    def score(self, values: Values) -> float:
        return max(self.standardised(values).values())
