"""Every knob of the product: one tree of settings, refused at once where a key or value is wrong.

A profile is a YAML file (`zenml.yaml`, `configs/full.yaml`) whose `parameters.settings` fills this tree. A
description here is the line of why that stands above the key there; a test holds the two together.
"""

from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from reft.config.cluster import ClusterSettings, Toleration
from reft.config.renamed import with_present_names
from reft.config.sections import (
    DEFAULT_MODEL,
    Count,
    DataSettings,
    EvaluationSettings,
    FilteringSettings,
    GateSettings,
    ModelSettings,
    RefusalFeatureSettings,
    Section,
    Share,
    TrackingSettings,
    ValidationSettings,
)
from reft.config.training import FinetuningSettings, LoraSettings, SoftLabelSettings, TeacherSettings
from reft.errors import ConfigurationError, explain
from reft.moved import keep_old_names

__all__ = [
    "DEFAULT_MODEL",
    "ClusterSettings",
    "Count",
    "DataSettings",
    "EvaluationSettings",
    "FilteringSettings",
    "FinetuningSettings",
    "GateSettings",
    "LoraSettings",
    "ModelSettings",
    "RefusalFeatureSettings",
    "Section",
    "Settings",
    "Share",
    "SoftLabelSettings",
    "TeacherSettings",
    "Toleration",
    "TrackingSettings",
    "ValidationSettings",
    "parse_settings",
    "read_profile",
]


class Settings(Section):
    """The whole tree."""

    seed: int = Field(0, ge=0, description="seed of every random choice")
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    validation: ValidationSettings = ValidationSettings()
    refusal_feature: RefusalFeatureSettings = RefusalFeatureSettings()
    teacher: TeacherSettings = TeacherSettings()
    soft_labels: SoftLabelSettings = SoftLabelSettings()
    filtering: FilteringSettings = FilteringSettings()
    finetuning: FinetuningSettings = FinetuningSettings()
    cluster: ClusterSettings = ClusterSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    gate: GateSettings = GateSettings()
    tracking: TrackingSettings = TrackingSettings()

    def only(self, *sections: str) -> "Settings":
        """These sections as they are and all others at their defaults: what a step that reads no other depends on."""
        return Settings(**{name: getattr(self, name) for name in sections})

    @model_validator(mode="after")
    def _fits_the_cluster(self) -> "Settings":
        finetuning, cluster = self.finetuning, self.cluster
        if finetuning.launcher == "local":
            return self
        if finetuning.processes not in (1, cluster.processes):
            raise ValueError(
                f"finetuning.processes is {finetuning.processes}, but cluster.nodes times cluster.gpus_per_node is "
                f"{cluster.processes}; leave it 1 for a TrainJob"
            )
        if finetuning.batch_size % cluster.processes:
            raise ValueError(
                f"finetuning.batch_size must be a multiple of the {cluster.processes} processes that cluster.nodes and "
                "cluster.gpus_per_node make"
            )
        if not Path(finetuning.work_folder).is_relative_to(cluster.work_mount):
            raise ValueError(f"finetuning.work_folder must lie under cluster.work_mount ({cluster.work_mount})")
        return self


def parse_settings(values: dict[str, Any] | None) -> Settings:
    """Fill the tree.

    Raises:
        ConfigurationError: naming every wrong key by its path, what was found and what was expected.
    """
    try:
        return Settings.model_validate(with_present_names(values or {}))
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in found['loc']) or 'settings'}: {found['msg']} (found {found['input']!r:.60})"
            for found in error.errors()
        ]
        raise ConfigurationError(
            explain("; ".join(problems), "the settings of the run", "see zenml.yaml for every key and its meaning")
        ) from error


def read_profile(path: Path) -> Settings:
    """The settings of a profile (`parameters.settings` of a run configuration).

    Raises:
        ConfigurationError: the file is missing, is not YAML, or holds wrong settings.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return parse_settings(content["parameters"]["settings"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigurationError(
            explain(f"no settings could be read: {error}", str(path), "name a file shaped like zenml.yaml")
        ) from error


keep_old_names(__name__)
