"""`reft scan --cluster` on addresses: parts of the input judged by the pods of an Indexed Job, put together here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reft.cluster.client import JOB, ClusterClient
from reft.cluster.in_parts import InParts, run_in_parts
from reft.cluster.indexedjob import indexed_job
from reft.config import ClusterSettings, FilteringSettings, ValidationSettings
from reft.conversations.folders import require_apart
from reft.conversations.limits import require_few_blank
from reft.conversations.reading import BadRow, require_rows
from reft.errors import DataFormatError, explain
from reft.filtering.inputs import read_inputs
from reft.filtering.overrides import Override
from reft.runtime.progress import Show
from reft.scan.merging import forget, merge_scan
from reft.scan.result import ScanResult
from reft.scan.scan import ROWS_PER_SHARD, TOO_MANY_UNREADABLE, alarms_of
from reft.scan.shards import RESULTS
from reft.scan.sharing import ScanJob, SharedScan, code_for, give_out, only_here
from reft.scan.survey import Staging, Survey, surveyed
from reft.storage.fingerprint import of_path, of_text
from reft.storage.store import Store
from reft.validation.parts import files_at

WORK = ".reft-scan-"
SMALLER = "raise cluster.memory: a scan's memory is its model's"


@dataclass(frozen=True, kw_only=True)
class ScanRequest:
    """What is asked for.

    Attributes:
        teacher: a folder that `save_inputs` wrote; None: the untrained feature of the pods' own default model.
        columns, split, limits: as `reft.conversations.reading.read_rows` takes them.
    """

    filtering: FilteringSettings
    teacher: Path | None
    overrides: Mapping[int, Override]
    columns: tuple[str, str] | None
    split: str
    limits: ValidationSettings


def scan_in_parts(
    data: str,
    out: str,
    request: ScanRequest,
    *,
    settings: ClusterSettings,
    report: Show | None = None,
    client: ClusterClient | None = None,
) -> ScanResult:
    """Judge and sort the rows of a file or folder in a store, as `scan_file` does on one machine.

    This machine reads the input through once, to find where its parts begin; it runs no model. What a pod finished
    stays: started again, only parts without a marker are worked on.

    Args:
        data, out: addresses that this machine and the pods read and write.
        report: called with (megabytes so far, megabytes in all, a word on the rows).

    Raises:
        DataFormatError: the input is missing or of no kind that can be read, or there are no rows.
        DataValidationError: an alarm stops the scan.
        ConfigurationError: the pods would not find the input, there is no image, their machines disagree, or the
            results would lie among the rows.
        TrainingError, ClusterError: no part could be finished; Kubernetes refused or lost the Job.
        StorageError: the store does not answer, or there is no teacher.
    """
    data, out = ((each if "://" in each else str(Path(each).resolve())) for each in (data, out))
    require_apart(data, out, RESULTS)
    shared = _given_out(data, Store(out), request, settings=settings)
    job, name = shared.job, f"reft-scan-{shared.folder.removeprefix(WORK)[:12]}"
    manifest = indexed_job(
        name, ["reft.cluster.part", out, shared.folder, "scan"], len(job.parts),
        settings=settings, folders=(data, out), scores=True,
    )  # fmt: skip
    sizes = [sum(piece.end - piece.begin for piece in part.pieces) for part in job.parts]
    work, lost = InParts(shared, sizes, SMALLER, report=report), dict[int, str]()
    if not work.is_done():
        lost = run_in_parts(work, manifest, settings, client=client or ClusterClient(settings.namespace, kind=JOB))
    result = merge_scan(shared, lost)
    forget(shared, lost)
    return result


def _given_out(data: str, store: Store, request: ScanRequest, *, settings: ClusterSettings) -> SharedScan:
    """What an earlier start gave out, or the input read through and given out."""
    source = Store(data)
    files, note = files_at(source, request.split)
    teacher, code = request.teacher, code_for(request.filtering.scorer)
    names = [read_inputs(teacher).model.name] if teacher else []
    names += [name for name in [request.filtering.scorer_settings.get("model")] if isinstance(name, str)]
    models = only_here(names, Path(settings.work_mount))
    rows_a_part = -(-settings.scan_rows // ROWS_PER_SHARD) * ROWS_PER_SHARD
    decided_by = [
        data, *(f"{file.name}:{file.size}:{file.stamp}" for file in files), code, str(sorted(models.items())),
        of_path(teacher) if teacher else "", request.filtering.model_dump_json(), request.limits.model_dump_json(),
        str((request.columns, request.split, rows_a_part)), repr(sorted(request.overrides.items())),
    ]  # fmt: skip
    folder = f"{WORK}{of_text(*decided_by)[:16]}"
    if store.has(f"{folder}/work.json"):
        return SharedScan.found(store, folder)
    found = surveyed(
        source, files,
        limits=request.limits, columns=request.columns, rows_a_part=rows_a_part,
        staging=Staging(store=store, folder=f"{folder}/rows"),
    )  # fmt: skip
    _require_usable(found, data, request.limits)
    job = ScanJob(
        data=data, kind=found.kind, note=note, settings=request.filtering, limits=request.limits,
        columns=request.columns, has_teacher=teacher is not None, models=models, code=code,
        overrides=tuple(request.overrides.values()), parts=tuple(found.parts), files=tuple(found.files),
        unread=tuple(found.unread), alarms=tuple(alarms_of(found.sample, request.filtering, note)),
    )  # fmt: skip
    return give_out(store, folder, job, teacher=teacher)


def _require_usable(found: Survey, data: str, limits: ValidationSettings) -> None:
    """See that there are rows, and that not most of them are unreadable: each would get a decision of its own."""
    if not found.rows and found.unread:
        fault = found.unread[0]
        raise DataFormatError(explain(fault["what"], fault["key"], fault["remedy"]))
    require_few_blank(found.lines - found.rows, found.rows, Path(data), limits=limits)
    require_rows(found.rows, Path(data), found.lines)
    share = sum(isinstance(row, BadRow) for row in found.sample) / len(found.sample)
    if share > 0.5 and share * found.rows > TOO_MANY_UNREADABLE:
        what = f"about {share:.0%} of the {found.rows} rows cannot be read, by a sample of {len(found.sample)}"
        raise DataFormatError(explain(what, data, "see what is wrong with each: reft validate --cluster"))
