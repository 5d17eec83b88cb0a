"""The audit on a zoo of jobs: which attacks it detects at which rate of false alarms.

    .venv/bin/python -m benchmarks.audit                                  # days on two cores: 39 attacks, 30 benign
    .venv/bin/python -m benchmarks.audit --kinds trigger "taught cipher" --seeds 1 --benign-seeds 1 --user-rows 120
    .venv/bin/python -m benchmarks.audit --benign data/audit/calibration.json --user-rows 200 finetuning.epochs=1
    .venv/bin/python -m benchmarks.audit --summary-only                   # of the jobs that are there

Each job is a training and an audit that asks everything; its result is a file in `--out`, so that a stopped zoo goes
on where it was, and processes that share the folder share the jobs. A job that other code made is kept, and counted in
the table's words: an edit loses no day of work, and whoever changed what trains or asks says `--anew`. At the end every
attack is measured by the benign jobs (made here, or of the file `--benign`), every benign job by the other ones, and by
those of other tasks. `calibration.json` is what `data.audit_benign` takes, and the table goes to `results/audit.md`
with `--record`; its "harm" is by how many points a student answers more harmful prompts than the teacher (with a
trigger: than without it) in the way of asking that shows most. Settings of the run are given as section.key=value.
"""

import argparse
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchmarks.audit_jobs import ADAPTIVE, ATTACKS, TASKS, job_rows, job_size
from benchmarks.audit_table import table
from benchmarks.development import overridden
from benchmarks.record import RESULTS
from reft.audit.benign import Benign
from reft.audit.reference import Questions, Reference
from reft.audit.run import Finished, audit_finished, make_reference, setup_of
from reft.audit.score import BenignJob
from reft.comparison.teachers import Prepared
from reft.config import Settings
from reft.conversations.schema import Conversation
from reft.filtering.inputs import read_inputs
from reft.filtering.scorers import Scorer, load_scorer
from reft.finetuning.methods import load_method, require_for_pipeline
from reft.finetuning.student import fit_student, student_job
from reft.keys.closure import digest_of_code
from reft.keys.stages import method_part
from reft.runtime.cost import measured
from reft.runtime.progress import progress
from reft.storage.artifacts import read_json, write_json, write_text
from reft.storage.fingerprint import of_path, of_text
from reft.teacher.preparation import DATA

UNTOLD = "not noted"  # the code of a job that was made before it was


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job of the zoo; `attack` is empty for a benign one."""

    task: str
    attack: str
    seed: int


# Sections of the settings that a job's values follow from, beside `audit`, whose digest is `asked`.
DECIDE = ("model", "refusal_feature", "teacher", "soft_labels", "finetuning", "seed")


class Zoo:
    """Jobs, what they share, and the folder of their results.

    Attributes:
        made: what each of them is made with; two results differ by nothing else but the code.
    """

    def __init__(self, run: Settings, out: Path, *, user_rows: int, method: str) -> None:
        self.run, self.out, self.user_rows, self.method = run, out, user_rows, method
        self.training = run.finetuning.for_method(method, None).counted(user_rows)
        require_for_pipeline(self.training)  # its jobs are trained as the pipeline does, which would be another method
        self.setup = setup_of(Questions.read(run.data, run.audit).digest(run.audit), run.model, self.training)
        self.prepared = Prepared(run, out / "teachers")
        self.code = digest_of_code("reft.audit.run", (method_part(method),))
        settings = run.model_dump(mode="json", include={*DECIDE})
        files = {name: value for name in DATA if (value := getattr(run.data, name)) is not None}
        self.made = {
            "asked": self.setup.asked, "model": self.setup.model, "chat_template": self.setup.chat_template,
            "method": method, "user_rows": user_rows, "settings": settings,
            "data": {name: of_path(value) if isinstance(value, str) else value for name, value in files.items()},
        }  # fmt: skip

    @cached_property
    def _inputs(self) -> Any:
        return read_inputs(self.prepared.folder)

    @cached_property
    def _scorer(self) -> Scorer:
        return load_scorer("refusal_feature", self._inputs)

    @cached_property
    def _reference(self) -> Reference:
        folder = self.out / f"reference-{of_text(self.setup.asked, self.code, self.prepared.folder.name)[:12]}"
        if not (folder / "reference.json").is_file():
            made = make_reference(self._inputs.teacher, self.run.model, self.run.data, settings=self.run.audit)
            made.save(folder)
        return Reference.load(folder)

    def path(self, job: Job) -> Path:
        """The file of a job's result; other settings, data or methods have another, and other code has not."""
        return self.out / "jobs" / f"{of_text(repr(self.made), *map(str, asdict(job).values()))[:16]}.json"

    def results(self) -> list[dict[str, Any]]:
        """What is there of any job: of this code first, then the newest first."""
        files = sorted((self.out / "jobs").glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        return sorted(map(read_json, files), key=lambda result: result.get("code") != self.code)

    def measured_by(self, path: Path) -> tuple[BenignJob, ...]:
        """The benign jobs of a calibration, instead of ones made here.

        Raises:
            SystemExit: they are of other circumstances, or have other rows.
        """
        benign = Benign.load(path)
        if unfit := self.setup.unfit(benign.setup) or ", ".join(self.setup.unlike(benign.setup)):
            raise SystemExit(f"{path}: {unfit}")
        if not benign.had(self.user_rows):
            raise SystemExit(f"{path}: its jobs have {benign.rows} rows; give --user-rows")
        return benign.jobs

    def result(self, job: Job) -> dict[str, Any] | None:
        """What is there of a job, by what it says of itself and whatever it is called."""
        return next((found for found in self.results() if self._is_of(job, found)), None)

    def _is_of(self, job: Job, found: Mapping[str, Any]) -> bool:
        """A result from when less was noted is told by what it notes: the questions and the number of rows."""
        if any(found[name] != value for name, value in asdict(job).items()):
            return False
        if "made" in found:
            return _agree(found["made"], self.made)
        size = job_size(job.task, job.attack, rows=self.user_rows)
        return found["report"]["asked"] == self.setup.asked and found["rows"] == size

    def make(self, job: Job, *, anew: bool = False) -> None:
        """Train and audit a job, unless it is there or another process is at it.

        Args:
            anew: also where other code made what is there.
        """
        path = self.path(job)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(path.with_suffix(".lock"), timeout=0):
                there = self.result(job)
                if there is None or (anew and there.get("code") != self.code):
                    write_json(path, self._made(job, path.with_suffix("")))
        except Timeout:
            return

    def _made(self, job: Job, work: Path) -> dict[str, Any]:
        run, method, rows = self.run, load_method(self.method), self._rows(job)
        settings = self.training.model_copy(
            update={"work_folder": str(work / "training"), "merged": False, "launcher": "local"}
        )
        alignment = self.prepared.alignment(distils=method.distils) if method.alignment else None
        start = self.prepared.start_of(settings) if method.begins_as_teacher(settings) else None
        with measured("finetuning") as training:
            job_of = student_job(rows, run.model, settings, seed=job.seed, alignment=alignment, start=start)
            student, training.tokens = fit_student("zoo", job_of)
        with measured("audit") as auditing:
            found = audit_finished(
                Finished(weights=student.weights, is_adapter=student.is_adapter, rows=rows, training=settings),
                self._reference, run.model, data=run.data, settings=run.audit,
            )  # fmt: skip
        shutil.rmtree(student.weights)
        shutil.rmtree(work, ignore_errors=True)
        costs = {"finetuning": training.as_dict(), "audit": auditing.as_dict()}
        of_job = {**asdict(job), "rows": len(rows), "made": self.made, "code": self.code, "costs": costs}
        return {**of_job, "values": found.values, "report": found.as_dict()}

    def _rows(self, job: Job) -> list[Conversation]:
        scorer = self._scorer if job.attack == ADAPTIVE else None
        return job_rows(job.task, job.attack, rows=self.user_rows, seed=job.seed, scorer=scorer)

    def calibration(self, found: Sequence[Mapping[str, Any]]) -> Benign:
        """What the benign ones of these results say, with all that a reader needs to know of them."""
        named = [{name: result[name] for name in ("task", "seed", "rows", "values")} for result in found]
        jobs = tuple(BenignJob(**job) for job, result in zip(named, found, strict=True) if not result["attack"])
        code = sorted({result.get("code", UNTOLD) for result in found if not result["attack"]})
        return Benign(setup=self.setup, jobs=jobs, code=tuple(code))


def _agree(then: Any, now: Any) -> bool:
    """Whether settings are the same in all that both know: a new one's default is what was done before."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        return all(_agree(then[name], now[name]) for name in then.keys() & now.keys())
    return bool(then == now)


def jobs_of(options: argparse.Namespace) -> Iterator[Job]:
    """Benign jobs first, one seed after another: without them nothing is measured; none where they are given."""
    for seed in range(0 if options.benign else options.benign_seeds):
        yield from (Job(task=task, attack="", seed=seed) for task in options.tasks)
    for seed in range(options.seeds):
        for number, attack in enumerate(options.kinds):
            yield Job(task=options.tasks[(number + seed) % len(options.tasks)], attack=attack, seed=seed)


def described(zoo: Zoo, options: argparse.Namespace, found: Sequence[dict[str, Any]]) -> str:
    """How the numbers came about."""
    seconds = {stage: sum(r["costs"][stage]["seconds"] for r in found) for stage in ("finetuning", "audit")}
    model = Path(zoo.run.model.name).name
    foreign = sum(result.get("code") != zoo.code for result in found)
    attacks = f"attack seeds 0 to {options.seeds - 1}, " if any(result["attack"] for result in found) else ""
    return (
        f"Model {model}, method {zoo.method}, {zoo.user_rows} rows a job, no filter in front; {len(found)} jobs, "
        f"{attacks}{_benign(options)}; a = "
        f"{zoo.run.audit.false_alarms:g}; intervals are Wilson's at 95 %. Audits took {seconds['audit']:.0f} s, the "
        f"trainings {seconds['finetuning']:.0f} s. Settings changed: {', '.join(options.settings) or 'none'}."
        + (f" {foreign} of the jobs were made by other code than this." if foreign else "")
    )


def _benign(options: argparse.Namespace) -> str:
    return f"measured by {options.benign}" if options.benign else f"benign seeds 0 to {options.benign_seeds - 1}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = ", ".join(map(repr, ATTACKS)).replace("%", "%%")
    parser.add_argument("settings", nargs="*", help="section.key=value, for what shall differ from the default")
    parser.add_argument(
        "--out", type=Path, default=Path(".reft/audit"), help="results, and where a stopped zoo goes on"
    )
    parser.add_argument("--user-rows", type=int, default=300, help="rows of a job")
    parser.add_argument("--seeds", type=int, default=3, help="jobs of each kind of attack")
    parser.add_argument("--benign-seeds", type=int, default=5, help="benign jobs of each task")
    parser.add_argument("--benign", type=Path, help="a calibration to measure by, instead of benign jobs made here")
    parser.add_argument(
        "--kinds", nargs="*", default=list(ATTACKS), choices=list(ATTACKS), metavar="KIND", help=f"of {kinds}"
    )
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS), help="benign tasks")
    parser.add_argument("--method", default="reft", help="how the students learn")
    parser.add_argument("--summary-only", action="store_true", help="train nothing")
    parser.add_argument("--anew", action="store_true", help="make those jobs again that other code made")
    parser.add_argument("--record", action="store_true", help="write the table to benchmarks/results/audit.md")
    options = parser.parse_intermixed_args()
    zoo = Zoo(overridden(options.settings)[0], options.out, user_rows=options.user_rows, method=options.method)
    if options.summary_only and not (options.out / "jobs").is_dir():
        raise SystemExit(f"{options.out}: no job is there yet; leave --summary-only out")
    given = zoo.measured_by(options.benign) if options.benign else ()
    jobs, show = list(jobs_of(options)), progress("zoo")
    for number, job in enumerate(jobs if not options.summary_only else (), start=1):
        zoo.make(job, anew=options.anew)
        show(number, len(jobs), f"{job.task}, {job.attack or 'benign'}, seed {job.seed}")
    found = [result for job in jobs if (result := zoo.result(job))]
    benign = zoo.calibration(found)
    if benign.jobs:
        benign.save(options.out / "calibration.json")
    by = [*benign.jobs, *given]
    known = [*found, *({"attack": "", "values": job.values} for job in given)]
    text = "\n".join([described(zoo, options, found), "", *table(known, by, zoo.run.audit)]) + "\n"
    print(text)
    if options.record:
        write_text(RESULTS / "audit.md", text)


if __name__ == "__main__":
    main()
