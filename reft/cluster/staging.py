"""Files that only this machine has, copied to the storage that all nodes share."""

import os
import shutil
import uuid
from dataclasses import replace
from pathlib import Path

from reft.finetuning.job import FinetuneJob
from reft.storage.artifacts import read_json, write_json
from reft.storage.fingerprint import of_path


def on_shared_storage(job: FinetuneJob, folder: Path, mount: Path) -> FinetuneJob:
    """The job with its model, teacher and chat template where every node finds them.

    Models are kept under `models` there, by content, for the jobs to come; the rest goes with the job's folder. A hub
    id stays one: each node fetches it by itself.
    """

    def model(name: str) -> str:
        path = Path(name).expanduser()
        return str(_shared(path, mount / "models", mount)) if path.exists() else name

    described = {"name": model(job.model.name)}
    template = Path(job.model.chat_template)
    if template.is_file():
        described["chat_template"] = str(_shared(template, folder / "chat_template", mount))
    teacher = job.teacher
    if teacher:
        weights = _shared(teacher.weights, folder / "teacher", mount)
        teacher = replace(teacher, weights=weights, base=model(teacher.base))
    return replace(job, model=job.model.model_copy(update=described), teacher=teacher)


def name_the_base(output: Path, job: FinetuneJob) -> None:
    """An adapter names its base as the job did, not as the copy is called."""
    described = output / "adapter_config.json"
    if described.is_file():
        write_json(described, {**read_json(described), "base_model_name_or_path": job.model.name})


def _shared(source: Path, under: Path, mount: Path) -> Path:
    """A copy named by its content, made once, whole or not at all; what is shared already stays where it is."""
    source = source.resolve()
    if source.is_relative_to(mount.resolve()):
        return source
    target = under / of_path(source) / source.name
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
    if source.is_dir():
        shutil.copytree(source, partial)
    else:
        shutil.copy(source, partial)
    try:
        os.replace(partial, target)
    except OSError:  # another job has just copied the same folder
        shutil.rmtree(partial)
    return target
