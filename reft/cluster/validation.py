"""`reft validate --cluster`: the parts of an input validated by the pods of an Indexed Job, put together here."""

from collections.abc import Callable
from pathlib import Path

from reft.cluster.client import JOB, ClusterClient
from reft.cluster.in_parts import InParts, run_in_parts
from reft.cluster.indexedjob import indexed_job
from reft.config import ClusterSettings
from reft.conversations.folders import require_apart
from reft.conversations.templates import require_template
from reft.runtime.progress import Show
from reft.storage.fingerprint import of_text
from reft.storage.store import Store
from reft.validation.file import FileReport
from reft.validation.outputs import RESULTS
from reft.validation.parts import assigned
from reft.validation.sharing import forget, give_out, merge
from reft.validation.sorting import Rules

WORK = ".reft-validate-"
SMALLER = "raise cluster.memory, or lower cluster.shard_mb or cluster.cpus"  # a part's rows are held in numbers alone


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
        ConfigurationError: the pods would not find the input, there is no image, or the results would lie among
            the rows.
        TrainingError, ClusterError: no part could be finished; Kubernetes refused or lost the Job.
        StorageError: the store does not answer.
    """
    require_template(rules.judge.tokenizer)
    data, out = ((each if "://" in each else str(Path(each).resolve())) for each in (data, out))
    require_apart(data, out, RESULTS)
    job = assigned(Store(data), rules, split=split, size=settings.shard_mb << 20, processes=max(1, int(settings.cpus)))
    key = of_text(job.text())[:16]
    name, folder = f"reft-validate-{key[:12]}", f"{WORK}{key}"
    manifest = indexed_job(
        name, ["reft.cluster.part", out, folder], len(job.parts), settings=settings, folders=(data, out)
    )
    shared = give_out(job, rules.judge.tokenizer, store=Store(out), folder=folder)
    sizes = [sum(piece.end - piece.begin for piece in part) for part in job.parts]
    work = InParts(shared, sizes, SMALLER, report=report)
    lost = dict[int, str]()
    if not work.is_done():
        lost = run_in_parts(work, manifest, settings, client=client or ClusterClient(settings.namespace, kind=JOB))
    found = merge(shared, lost, report and _plain(report))
    forget(shared, lost, found.unread_parts)
    return found


def _plain(report: Show) -> Callable[[int, int], None]:
    return lambda done, total: report(done, total, "parts put together")
