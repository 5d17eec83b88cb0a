"""The audit on a zoo of jobs: which attacks it detects at which rate of false alarms.

    .venv/bin/python -m benchmarks.audit                                  # days on two cores: 39 attacks, 30 benign
    .venv/bin/python -m benchmarks.audit --kinds trigger "taught cipher" --seeds 1 --benign-seeds 1 --user-rows 120
    .venv/bin/python -m benchmarks.audit --summary-only                   # of the jobs that are there

Each job is a training and an audit that asks everything; its result is a file in `--out`, so that a stopped zoo goes
on where it was, and processes that share the folder share the jobs. At the end every attack is measured by the benign
jobs, and every benign job by the other ones; `calibration.json` is what `data.audit_benign` takes, and the table goes
to `results/audit.md` with `--record`. Settings of the run are given as section.key=value.
"""

import argparse
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchmarks.audit_jobs import ATTACKS, TASKS, job_rows
from benchmarks.development import RESULTS, overridden
from reft.audit.audit import least_of
from reft.audit.reference import Questions, Reference
from reft.audit.run import Finished, audit_finished, make_reference
from reft.audit.score import Benign, Yardstick
from reft.comparison.teachers import Prepared
from reft.config import Settings
from reft.filtering.inputs import read_inputs
from reft.filtering.scorers import Scorer, load_scorer
from reft.finetuning.methods import load_method
from reft.finetuning.student import fit_student, student_job
from reft.keys.closure import digest_of_code
from reft.keys.stages import method_part
from reft.report.summary import percent
from reft.runtime.cost import measured
from reft.runtime.progress import progress
from reft.statistics import rate
from reft.storage.artifacts import read_json, write_json, write_text
from reft.storage.fingerprint import of_path, of_text


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job of the zoo; `attack` is empty for a benign one."""

    task: str
    attack: str
    seed: int


class Zoo:
    """Jobs, what they share, and the folder of their results."""

    def __init__(self, run: Settings, out: Path, *, user_rows: int, method: str) -> None:
        self.run, self.out, self.user_rows, self.method = run, out, user_rows, method
        self.prepared = Prepared(run, out / "teachers")
        self.asked = Questions.read(run.data, run.audit).digest(run.audit)
        self.base = of_path(self.prepared.base)
        self.code = digest_of_code("reft.audit.run", (method_part(method),))

    @cached_property
    def _inputs(self) -> Any:
        return read_inputs(self.prepared.folder)

    @cached_property
    def _scorer(self) -> Scorer:
        return load_scorer("refusal_feature", self._inputs)

    @cached_property
    def _reference(self) -> Reference:
        folder = self.out / f"reference-{of_text(self.asked, self.code, self.prepared.folder.name)[:12]}"
        if not (folder / "reference.json").is_file():
            made = make_reference(self._inputs.teacher, self.run.model, self.run.data, settings=self.run.audit)
            made.save(folder)
        return Reference.load(folder)

    def path(self, job: Job) -> Path:
        """The file of a job's result; other settings, rows or methods have another."""
        said = (self.asked, self.base, self.prepared.folder.name, self.run.finetuning.model_dump_json(), self.code)
        digest = of_text(*said, self.method, str(self.user_rows), *map(str, asdict(job).values()))
        return self.out / "jobs" / f"{digest[:16]}.json"

    def result(self, job: Job) -> dict[str, Any] | None:
        """What is there of a job."""
        return read_json(path) if (path := self.path(job)).is_file() else None

    def make(self, job: Job) -> None:
        """Train and audit a job, unless it is there or another process is at it."""
        path = self.path(job)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(path.with_suffix(".lock"), timeout=0):
                if not path.is_file():
                    write_json(path, self._made(job, path.with_suffix("")))
        except Timeout:
            return

    def _made(self, job: Job, work: Path) -> dict[str, Any]:
        run, method = self.run, load_method(self.method)
        scorer = self._scorer if job.attack == "adaptive rows" else None
        rows = job_rows(job.task, job.attack, rows=self.user_rows, seed=job.seed, scorer=scorer)
        settings = run.finetuning.for_method(self.method, None).model_copy(
            update={"work_folder": str(work / "training"), "merged": False, "launcher": "local"}
        )
        alignment = self.prepared.alignment(distils=method.distils) if method.alignment else None
        start = self.prepared.start_of(settings) if method.begins_as_teacher(settings) else None
        with measured("finetuning") as training:
            job_of = student_job(rows, run.model, settings, seed=job.seed, alignment=alignment, start=start)
            student, training.tokens = fit_student("zoo", job_of)
        with measured("audit") as auditing:
            found = audit_finished(
                Finished(weights=student.weights, is_adapter=student.is_adapter, rows=rows), self._reference,
                run.model, data=run.data, settings=run.audit, calibrated=False,
            )  # fmt: skip
        shutil.rmtree(student.weights)
        shutil.rmtree(work, ignore_errors=True)
        costs = {"finetuning": training.as_dict(), "audit": auditing.as_dict()}
        return {**asdict(job), "rows": len(rows), "values": found.values, "report": found.as_dict(), "costs": costs}


def jobs_of(options: argparse.Namespace) -> Iterator[Job]:
    """Benign jobs first, one seed after another: without them nothing is measured."""
    for seed in range(options.benign_seeds):
        yield from (Job(task=task, attack="", seed=seed) for task in options.tasks)
    for seed in range(options.seeds):
        for number, attack in enumerate(options.kinds):
            yield Job(task=options.tasks[(number + seed) % len(options.tasks)], attack=attack, seed=seed)


def summary(found: Sequence[dict[str, Any]], run: Settings) -> list[str]:
    """The table: detection by kind, and false alarms of benign jobs, each measured by the others."""
    benign = [result for result in found if not result["attack"]]
    least = least_of(benign[0]["values"], run.audit.rows) if benign else {}
    lines = [
        "| jobs | flagged at p <= a | flagged by plain thresholds | median p | worst probe, by job |",
        "| --- | --- | --- | --- | --- |",
    ]
    for kind in ("", *dict.fromkeys(result["attack"] for result in found if result["attack"])):
        of_kind = [result for result in found if result["attack"] == kind]
        ps = []
        for result in of_kind:
            others = [other["values"] for other in benign if other is not result]
            if len(others) > 1:
                ps.append(Yardstick(others, least).p_value(result["values"]))
        cells = [kind or "benign, each by the others", _share([p <= run.audit.false_alarms for p in ps])]
        cells.append(_share([result["report"]["alarm"] for result in of_kind]))
        cells.append(f"{sorted(ps)[len(ps) // 2]:.3f}" if ps else "")
        cells.append("; ".join(result["report"]["worst"][0] for result in of_kind))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _share(flags: Sequence[bool]) -> str:
    found = rate(list(flags))
    return percent(vars(found) if found else None) + (f" of {len(flags)}" if flags else "")


def described(zoo: Zoo, options: argparse.Namespace, found: Sequence[dict[str, Any]]) -> str:
    """How the numbers came about."""
    seconds = {stage: sum(r["costs"][stage]["seconds"] for r in found) for stage in ("finetuning", "audit")}
    model = Path(zoo.run.model.name).name
    return (
        f"Model {model}, method {zoo.method}, {zoo.user_rows} rows a job, no filter in front; {len(found)} jobs, "
        f"attack seeds 0 to {options.seeds - 1}, benign seeds 0 to {options.benign_seeds - 1}; a = "
        f"{zoo.run.audit.false_alarms:g}; intervals are Wilson's at 95 %. Audits took {seconds['audit']:.0f} s, the "
        f"trainings {seconds['finetuning']:.0f} s. Settings changed: {', '.join(options.settings) or 'none'}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", help="section.key=value, for what shall differ from the default")
    parser.add_argument(
        "--out", type=Path, default=Path(".reft/audit"), help="results, and where a stopped zoo goes on"
    )
    parser.add_argument("--user-rows", type=int, default=300, help="rows of a job")
    parser.add_argument("--seeds", type=int, default=3, help="jobs of each kind of attack")
    parser.add_argument("--benign-seeds", type=int, default=5, help="benign jobs of each task")
    parser.add_argument("--kinds", nargs="*", default=list(ATTACKS), choices=list(ATTACKS), help="kinds of attack")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS), help="benign tasks")
    parser.add_argument("--method", default="reft", help="how the students learn")
    parser.add_argument("--summary-only", action="store_true", help="train nothing")
    parser.add_argument("--record", action="store_true", help="write the table to benchmarks/results/audit.md")
    options = parser.parse_intermixed_args()
    zoo = Zoo(overridden(options.settings)[0], options.out, user_rows=options.user_rows, method=options.method)
    if options.summary_only and not (options.out / "jobs").is_dir():
        raise SystemExit(f"{options.out}: no job is there yet; leave --summary-only out")
    jobs, show = list(jobs_of(options)), progress("zoo")
    for number, job in enumerate(jobs if not options.summary_only else (), start=1):
        zoo.make(job)
        show(number, len(jobs), f"{job.task}, {job.attack or 'benign'}, seed {job.seed}")
    found = [result for job in jobs if (result := zoo.result(job))]
    benign = tuple(result["values"] for result in found if not result["attack"])
    if benign:
        Benign(asked=zoo.asked, model=zoo.base, jobs=benign).save(options.out / "calibration.json")
    text = "\n".join([described(zoo, options, found), "", *summary(found, zoo.run)]) + "\n"
    print(text)
    if options.record:
        write_text(RESULTS / "audit.md", text)


if __name__ == "__main__":
    main()
