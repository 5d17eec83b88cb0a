"""One part of a shared scan judged, and all parts put together: byte for byte what one process would have left.

Under the work's folder in the store: `work.json`, `teacher` and `models` (what everybody must have), `rows` (the parts
of an input that is no plain JSONL), `filter.json` (the thresholds, from whoever calibrated first), and the parts with
their markers (`reft.storage.parts`).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from reft.config import FilteringSettings, Settings, ValidationSettings
from reft.conversations.containers import Container, lines
from reft.errors import ConfigurationError, DataFormatError, explain, parts
from reft.filtering.filter import Filter
from reft.filtering.inputs import ScorerInputs, read_inputs, untrained_inputs
from reft.filtering.overrides import Override
from reft.filtering.scorers import load_scorer
from reft.keys.closure import digest_of_code, digest_of_code_with
from reft.models.default_model import resolve_model
from reft.scan.result import Judged
from reft.scan.scan import ROWS_PER_SHARD, write_shards
from reft.scan.shards import merge
from reft.scan.survey import ScanPart, is_lines
from reft.storage.artifacts import as_written, scratch
from reft.storage.fingerprint import of_path, of_text
from reft.storage.parts import Parted
from reft.storage.store import Store
from reft.validation.parts import fetched


@dataclass(frozen=True, kw_only=True)
class ScanJob:
    """What every machine must know of a scan that is shared.

    Attributes:
        data: the address of the file, or of the folder, that holds the rows.
        kind: what the files are; each must be the same.
        note: what of a folder is not read.
        has_teacher: whether the work's folder holds a teacher; else the untrained feature judges.
        models: folders in the work's folder of models that only the machine had that gave the work out, by name.
        code: the digest of the code that judges: a machine with other code must not take part.
        parts: the rows in order.
        files: each file's name and rows.
        unread: what of the input could not be read.
        alarms: what is wrong with the rows as a whole.
    """

    data: str
    kind: dict[str, Any]
    note: str
    settings: FilteringSettings
    limits: ValidationSettings
    columns: tuple[str, str] | None
    has_teacher: bool
    models: dict[str, str]
    code: str
    overrides: tuple[Override, ...]
    parts: tuple[ScanPart, ...]
    files: tuple[tuple[str, int], ...]
    unread: tuple[dict[str, Any], ...]
    alarms: tuple[str, ...]

    @property
    def is_lines(self) -> bool:
        """Whether parts are pieces of the input itself: plain JSONL."""
        return is_lines(self.kind)


@dataclass(frozen=True, kw_only=True)
class SharedScan(Parted):
    """A scan that several machines share; a marker says the part's rows, the digest of the thresholds, and what could
    not be read.
    """

    job: ScanJob

    @classmethod
    def found(cls, store: Store, folder: str) -> "SharedScan":
        """What was written for everybody."""
        name = f"{folder}/work.json"
        with as_written(Path(name)):
            job = TypeAdapter(ScanJob).validate_json(store.read(name))
        return cls(job=job, store=store, folder=folder)

    def judged(self) -> tuple[Judged, str]:
        """What judges, as whoever calibrated first left it, and the digest of that."""
        text = self.store.read(f"{self.folder}/filter.json").decode()
        return TypeAdapter(Judged).validate_python(json.loads(text)), of_text(text)


def code_for(scorer: str) -> str:
    """The digest of the code that judges with the scorer of that name, which need not be loaded for it."""
    return digest_of_code(__name__, (f"reft.filtering.scorers.{scorer}",))


def give_out(store: Store, folder: str, job: ScanJob, *, teacher: Path | None) -> SharedScan:
    """Write what every machine must have; `work.json` last.

    Args:
        teacher: the folder that `save_inputs` wrote, if one judges.
    """
    for name, where in job.models.items():
        store.put_folder(Path(resolve_model(name)).expanduser(), f"{folder}/{where}")
    if teacher:
        store.put_folder(teacher, f"{folder}/teacher")
    store.write(f"{folder}/work.json", TypeAdapter(ScanJob).dump_json(job))
    return SharedScan(job=job, store=store, folder=folder)


def only_here(names: Iterable[str], mount: Path) -> dict[str, str]:
    """Of these models those in a folder that only this machine has, with the place that each gets among the work.

    Args:
        mount: what lies on this volume is seen by all.
    """
    found = {}
    for name in names:
        path = Path(resolve_model(name)).expanduser()
        if path.is_dir() and not path.resolve().is_relative_to(mount.resolve()):
            found[name] = f"models/{of_path(path)}"
    return found


def scan_part(shared: SharedScan, number: int) -> None:
    """Judge the rows of a part and leave them in the store, its marker last.

    Raises:
        ConfigurationError: this machine's code would judge otherwise, or a model is missing.
        StorageError: the disk is full, or the store does not answer.
    """
    with scratch("part") as folder:
        (whole := folder / "whole").mkdir()
        part = shared.job.parts[number]
        files, faults = _fetched(shared, part, folder / "rows")
        mark: dict[str, Any] = {"rows": 0, "filter": "", "faults": faults}
        if not faults:
            chosen, digest = _filter(shared, folder)
            _judge(shared.job, part, files, chosen=chosen, folder=folder, whole=whole)
            mark |= {"rows": part.rows, "filter": digest}
        shared.finish(number, whole, mark)


def _fetched(shared: SharedScan, part: ScanPart, folder: Path) -> tuple[list[Container], list[dict[str, Any]]]:
    """The part's pieces here; and which of them cannot be read, and why."""
    job, found, faults = shared.job, list[Container](), list[dict[str, Any]]()
    data = Store(job.data) if job.is_lines else shared.store
    kind = {"kind": "jsonl", "compression": None, "columns": [], "delimiter": ""}
    for place, piece in enumerate(part.pieces):
        try:
            found.append(fetched(data, piece, kind, limits=job.limits, into=folder / f"{place:06d}"))
        except DataFormatError as error:
            what, _, remedy = parts(error)
            where = {"key": data.key(piece.name), "offset": piece.begin, "end": piece.end}
            faults.append({**where, "what": what, "remedy": remedy})
    return found, faults


def _judge(
    job: ScanJob, part: ScanPart, files: Sequence[Container], *, chosen: Filter, folder: Path, whole: Path
) -> None:
    shards = [folder / "shards" / f"{number:06d}" for number in range(-(-part.rows // ROWS_PER_SHARD))]
    found = chain.from_iterable(lines(file) for file in files)
    overrides = {override.row: override for override in job.overrides}
    for _ in write_shards(
        dict(enumerate(shards)), found, chosen,
        columns=job.columns, overrides=overrides, first_line=part.first_line,
    ):  # fmt: skip
        pass
    merge(shards, whole)
    with (whole / "shards.jsonl").open("w", encoding="utf-8") as described:
        for shard in shards:
            described.write((shard / "shard.json").read_text(encoding="utf-8").replace("\n", " ") + "\n")


def _filter(shared: SharedScan, folder: Path) -> tuple[Filter, str]:
    """The scorer with the thresholds that hold for everybody, and their digest."""
    job, name = shared.job, f"{shared.folder}/filter.json"
    scorer = load_scorer(job.settings.scorer, _inputs(shared, folder))
    if digest_of_code_with(__name__, scorer) != job.code:
        what = "this machine's reft, or a library of its, is of another version than where the work was given out"
        raise ConfigurationError(
            explain(what, shared.store.key(name), "set cluster.image to the image of that version")
        )
    if not shared.store.has(name):
        judged = Judged.by(Filter.calibrated(scorer, job.settings))
        shared.store.write(name, json.dumps(asdict(judged)).encode())
    judged, digest = shared.judged()
    scores = [*judged.calibration.harmless, *judged.calibration.harmful]
    return Filter.calibrated(scorer, job.settings, scores=scores), digest


def _inputs(shared: SharedScan, folder: Path) -> ScorerInputs:
    job, options = shared.job, dict(shared.job.settings.scorer_settings)
    here = {
        name: str(shared.store.get_folder(f"{shared.folder}/{where}", folder / where))
        for name, where in job.models.items()
    }
    if not job.has_teacher:
        inputs = untrained_inputs(Settings())
    else:
        inputs = read_inputs(shared.store.get_folder(f"{shared.folder}/teacher", folder / "teacher"))
    model = inputs.model.model_copy(update={"name": here.get(inputs.model.name, inputs.model.name)})
    if options.get("model") in here:
        options["model"] = here[options["model"]]
    return replace(inputs, model=model, options=options)
