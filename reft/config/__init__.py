"""Every knob of the product: one tree of settings, refused at once where a key or value is wrong.

A profile is a YAML file (`zenml.yaml`, `configs/full.yaml`) whose `parameters.settings` fills this tree. A
description here is the line of why that stands above the key there; a test holds the two together.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from reft.config.cluster import ClusterSettings, Toleration
from reft.config.file import PLACE, read_values, wrong_settings
from reft.config.renamed import with_present_names
from reft.config.sections import (
    DEFAULT_MODEL,
    AuditSettings,
    Count,
    DataSettings,
    EvaluationSettings,
    FilteringSettings,
    GateSettings,
    ModelSettings,
    NoSettings,
    RefusalFeatureSettings,
    Section,
    Share,
    TrackingSettings,
    ValidationSettings,
)
from reft.config.training import FinetuningSettings, LoraSettings, SoftLabelSettings, TeacherSettings
from reft.config.yaml_file import YamlFile
from reft.errors import ConfigurationError, explain  # noqa: F401 (old code looks for them here; goes with 0.3)
from reft.moved import keep_old_names
from reft.wording import Problem, problems_of, shown

__all__ = [
    "DEFAULT_MODEL",
    "AuditSettings",
    "ClusterSettings",
    "Count",
    "DataSettings",
    "EvaluationSettings",
    "FilteringSettings",
    "FinetuningSettings",
    "GateSettings",
    "LoraSettings",
    "ModelSettings",
    "NoSettings",
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
    until: Literal["filtering"] | None = Field(
        None, description="end the run after this stage, so that people can look at its decisions; none: go on"
    )
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
    audit: AuditSettings = AuditSettings()
    gate: GateSettings = GateSettings()
    tracking: TrackingSettings = TrackingSettings()

    def only(self, *sections: str) -> "Settings":
        """These sections as they are and all others at their defaults: what a step that reads no other depends on."""
        return Settings(**{name: getattr(self, name) for name in sections})

    @property
    def starts_as_teacher(self) -> bool:
        """Whether the student can begin as the teacher: an adapter that its own has a place for, on the same model."""
        return self.finetuning.may_start_as(self.teacher.lora, self.model)

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


def parse_settings(values: Any, file: YamlFile | None = None, *, within: tuple[str, ...] = PLACE) -> Settings:
    """Fill the tree.

    Args:
        values: sections by name; None: all defaults.
        file: where they were read, to name it and its lines; `within` is where in it they stand.

    Raises:
        WrongSettingsError: naming every wrong key by its path, what was given and what is wanted.
    """
    values = {} if values is None else values
    if not isinstance(values, Mapping):
        problem = Problem("settings", f"{shown(values)} is given; wanted: a section of keys")
        raise wrong_settings([problem], file, within=within)
    values = with_present_names(values)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise wrong_settings(problems_of(error, Settings, values), file, within=within) from error


def read_profile(path: Path) -> Settings:
    """The settings of a profile (`parameters.settings` of a run configuration).

    Raises:
        ConfigurationError: the file is missing, is not YAML, or holds wrong settings.
    """
    return parse_settings(*read_values(path))


keep_old_names(__name__)
