"""Logging to the MLflow run that is active; does nothing outside of one.

A server that does not answer is asked again for a few minutes (MLFLOW_HTTP_REQUEST_MAX_RETRIES), while the work waits;
after that every function raises RegistryError.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow.data.filesystem_dataset_source import FileSystemDatasetSource
from mlflow.data.meta_dataset import MetaDataset

from reft.evaluation.evaluate import ModelScores
from reft.tracking.server import asking

_MAX_PARAMETER = 500


def log_losses(prefix: str) -> Callable[[dict[str, Any]], None]:
    """A function that logs each step's losses while training runs."""

    @asking("log losses")
    def log(metrics: dict[str, Any]) -> None:
        if mlflow.active_run():
            values = {f"{prefix}/{k}": float(v) for k, v in metrics.items() if k not in ("step", "steps")}
            mlflow.log_metrics(values, step=int(metrics["step"]))

    return log


@asking("log metrics")
def log_metrics(prefix: str, metrics: Mapping[str, float | None]) -> None:
    """Log the metrics that are there, under `prefix/`."""
    if mlflow.active_run():
        mlflow.log_metrics({f"{prefix}/{k}": float(v) for k, v in metrics.items() if v is not None})


def log_scores(prefix: str, scores: ModelScores) -> None:
    """Log every rate of a model that was measured, and the rate of every source where there are several."""
    for place, rates in ((prefix, scores.rates), *((f"{prefix}/{m}", of) for m, of in scores.by_source.items())):
        log_metrics(place, {name: rate.value for name, rate in rates.items() if rate})


@asking("log settings")
def log_settings(section: str, settings: dict[str, Any]) -> None:
    """Log a section of the settings as parameters `section.key`."""
    if mlflow.active_run():
        mlflow.log_params({f"{section}.{k}": str(v)[:_MAX_PARAMETER] for k, v in settings.items()})


@asking("log a data set")
def log_dataset(path: str, context: str, digest: str) -> None:
    """Log a data set by name and fingerprint; its rows stay where they are."""
    if mlflow.active_run():
        source = _Source(Path(path).resolve().as_uri())
        mlflow.log_input(_Dataset(source, name=Path(path).name, digest=digest[:32]), context=context)


@asking("log files")
def log_folder(folder: Path, name: str) -> None:
    """Log a file or all files of a folder as artifacts under `name`."""
    if mlflow.active_run():
        (mlflow.log_artifacts if folder.is_dir() else mlflow.log_artifact)(str(folder), name)


class _Dataset(MetaDataset):
    """A data set that is known by its fingerprint alone."""

    @property
    def profile(self) -> None:
        """Nothing: no row is read."""


class _Source(FileSystemDatasetSource):
    """A file by its address."""

    def __init__(self, address: str) -> None:
        self._address = address

    @property
    def uri(self) -> str:
        """The address."""
        return self._address

    @staticmethod
    def _get_source_type() -> str:
        return "file"

    def load(self, dst_path: str | None = None) -> str:  # noqa: ARG002 (set by the base class)
        """The address: the rows are not copied."""
        return self._address

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:  # noqa: ARG004 (set by the base class)
        return False

    @classmethod
    def _resolve(cls, raw_source: Any) -> "_Source":
        raise NotImplementedError("made from a path, never resolved")

    def to_dict(self) -> dict[str, str]:
        """For JSON."""
        return {"uri": self._address}

    @classmethod
    def from_dict(cls, source_dict: dict[str, str]) -> "_Source":
        """Back from `to_dict`."""
        return cls(source_dict["uri"])
