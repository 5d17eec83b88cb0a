"""`reft validate --cluster`: the parts of an input validated by the pods of an Indexed Job, put together here."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reft.cluster.client import JOB, ClusterClient
from reft.cluster.indexedjob import indexed_job
from reft.cluster.run import ClusterRun, Stopped, Work
from reft.config import ClusterSettings
from reft.conversations.templates import require_template
from reft.errors import TrainingError, parts
from reft.runtime.progress import Show
from reft.storage.fingerprint import of_text
from reft.storage.store import Store
from reft.validation.file import FileReport
from reft.validation.parts import assigned
from reft.validation.sharing import Shared, forget, give_out, merge
from reft.validation.sorting import Rules

WORK = ".reft-validate-"


def validate_on_cluster(
    data: str,
    out: str,
    rules: Rules,
    *,
    settings: ClusterSettings,
    split: str = "",
    report: Show | None = None,
    client: ClusterClient | None = None,
) -> FileReport:
    """Sort the rows of a file or folder in a store, as `validate_file` does on one machine.

    What a machine finished stays: started again, only parts without a marker are worked on.

    Args:
        data, out: addresses that this machine and the pods read and write.
        report: called with (megabytes so far, megabytes in all, a word on the rows).

    Raises:
        DataFormatError: the input is missing or of no kind that can be read, or there are no rows.
        ConfigurationError: the pods would not find the input, or there is no image.
        TrainingError, ClusterError: no part could be finished; Kubernetes refused or lost the Job.
        StorageError: the store does not answer.
    """
    require_template(rules.judge.tokenizer)
    data, out = ((each if "://" in each else str(Path(each).resolve())) for each in (data, out))
    job = assigned(Store(data), rules, split=split, size=settings.shard_mb << 20, processes=max(1, int(settings.cpus)))
    key = of_text(job.text())[:16]
    name, folder = f"reft-validate-{key[:12]}", f"{WORK}{key}"
    manifest = indexed_job(
        name, ["reft.cluster.part", out, folder], len(job.parts), settings=settings, folders=(data, out)
    )
    shared = give_out(job, rules.judge.tokenizer, store=Store(out), folder=folder)
    work = _Validating(shared, report)
    lost = dict[int, str]()
    if not work.is_done():
        lost = _run(work, manifest, settings, client=client or ClusterClient(settings.namespace, kind=JOB))
    found = merge(shared, lost, report and _plain(report))
    forget(shared, lost, found.unread_parts)
    return found


def _run(
    work: "_Validating", manifest: dict[str, Any], settings: ClusterSettings, *, client: ClusterClient
) -> dict[int, str]:
    """Until every part has its marker; returns those that nobody could finish, and why."""
    few = settings.model_copy(update={"nodes": manifest["spec"]["parallelism"]})
    log = Path(".reft", f"{manifest['metadata']['name']}.log")
    log.parent.mkdir(exist_ok=True)
    try:
        ClusterRun(client, manifest, few, work=work, log=log).run()
    except Stopped:
        raise
    except TrainingError as error:
        missing = work.missing()
        if len(missing) == manifest["spec"]["completions"]:
            raise
        return dict.fromkeys(missing, f"not finished: {parts(error)[0]}")
    return {}


def _plain(report: Show) -> Callable[[int, int], None]:
    return lambda done, total: report(done, total, "parts put together")


class _Validating(Work):
    """The validation as it shows in its markers."""

    def __init__(self, shared: Shared, report: Show | None) -> None:
        self._shared, self._report = shared, report
        self._sizes = [sum(piece.end - piece.begin for piece in part) for part in shared.job.parts]
        self._rows: dict[int, int] = {}
        self._begun, self._before = time.monotonic(), 0

    def prepare(self) -> None:
        """What is finished stays."""

    def look(self, running: bool) -> None:  # noqa: ARG002 (finished parts are told of while pods wait, too)
        """Tell how many rows are done; pods share nothing: none can hang waiting for another."""
        first = not self._rows
        for number in self._shared.done() - set(self._rows):
            self._rows[number] = self._shared.mark_of(number)["rows"]
        rows = sum(self._rows.values())
        if first:
            self._before, self._begun = rows, time.monotonic()
        if self._report:
            pace = (rows - self._before) / max(time.monotonic() - self._begun, 1e-9)
            done = sum(self._sizes[number] for number in self._rows)
            word = f"{rows} rows, {pace:.0f} rows a second, {len(self._rows)} of {len(self._sizes)} parts"
            self._report(done >> 20, sum(self._sizes) >> 20, word)

    def is_done(self) -> bool:
        """Whether every part has its marker."""
        return not self.missing()

    def missing(self) -> set[int]:
        """The parts without a marker."""
        return {*range(len(self._sizes))} - self._shared.done()

    @property
    def smaller(self) -> str:
        """A part's rows are held in numbers alone."""
        return "raise cluster.memory, or lower cluster.shard_mb or cluster.cpus"
