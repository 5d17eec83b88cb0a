"""The run configuration of a job: the service's, and in it what is the job's own."""

import re
from pathlib import Path
from typing import Any

import yaml

from reft.config import Settings, parse_settings
from reft.config.yaml_file import read_yaml
from reft.service.files import SUFFIX_OF_ROWS
from reft.service.jobs.folders import JobFolder
from reft.service.service import Service
from reft.service.tables import Job, Organization, StoredFile
from reft.storage.artifacts import write_text

# Sections of a profile that are not the pipeline's own, and the one that would cache even the report that a run leaves.
OURS = ("service", "parameters", "enable_cache")


def named_as(file: StoredFile, path: Path) -> Path:
    """The path with the ending of the uploaded file, which says what kind of file it is."""
    ending = SUFFIX_OF_ROWS.search(file.filename)
    return path.with_name(f"{path.name}{ending[0] if ending else '.jsonl'}")


def effective(settings: Settings, wanted: dict[str, Any]) -> dict[str, Any]:
    """A job's hyperparameters as they are used, in place of `auto`; epochs that follow from its rows stay that."""
    plain = settings.finetuning
    auto = {"n_epochs": plain.epochs, "batch_size": plain.batch_size, "learning_rate_multiplier": 1.0}
    return {name: value if wanted.get(name, "auto") == "auto" else wanted[name] for name, value in auto.items()}


def job_settings(
    service: Service, job: Job, owner: Organization, *, folder: JobFolder, files: dict[str, Path], screen_only: bool
) -> dict[str, Any]:
    """All settings of the job's run.

    Args:
        files: of this machine: `user`, and where there are such `task_test` and `overrides`.
        screen_only: end after the filter.

    Raises:
        ConfigurationError: the profile and the job's part do not go together.
    """
    base = service.run_settings
    values = base.model_dump(mode="json")
    chosen = effective(base, job.hyperparameters)
    paths = {name: str(path) for name, path in files.items()}
    values["model"]["name"] = service.models[job.model]
    values["data"] |= {
        "columns": base.data.columns, "split": None, "user_labels": None, "task": job.suffix or job.id,
        "task_test": None, "overrides": None, **paths,
    }  # fmt: skip
    values["finetuning"] |= {
        "epochs": chosen["n_epochs"], "batch_size": chosen["batch_size"],
        "learning_rate": base.finetuning.learning_rate * chosen["learning_rate_multiplier"],
        "micro_batch_size": min(base.finetuning.micro_batch_size, chosen["batch_size"]),
        "work_folder": str(folder.trainings), "seed": job.seed, "kept_epochs": service.settings.checkpoints,
    }  # fmt: skip
    # A model that learns from the rows as they came, for comparison, is nothing that a service should make.
    values["evaluation"]["sft"] = False
    # The same for every job, with a validation file or without: the baselines' key has it, and they are shared.
    values["evaluation"]["golden_rows"] = service.settings.golden_rows
    values["tracking"] = {
        "registered_name": f"{owner.name}-{re.sub(r'[^A-Za-z0-9]', '', job.id.removeprefix('ftjob-'))}",
        "runs_folder": str(folder.latest.parent),
        "screening_folder": str(folder.screening(reviewed="overrides" in files)),
    }
    values["until"] = "filtering" if screen_only else None
    parse_settings(values)
    return values


def write_profile(service: Service, path: Path, settings: dict[str, Any], *, job_id: str) -> Path:
    """The file that the pipeline's command is given; ZenML's own keys come from the service's profile."""
    there = read_yaml(service.settings.profile).value if service.settings.profile else {}
    beside = {name: value for name, value in dict(there).items() if name not in OURS}
    # By its tag the job's runs are found again, when what they have stored shall go.
    beside["tags"] = [*beside.get("tags", ()), job_id]
    write_text(path, yaml.safe_dump({**beside, "parameters": {"settings": settings}}, sort_keys=False))
    return path
