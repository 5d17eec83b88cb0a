"""One materializer for every artifact of ours: it writes itself into a folder, stored and fetched whole."""

from pathlib import Path
from typing import Any, ClassVar

from zenml.enums import ArtifactType
from zenml.io import fileio
from zenml.materializers.base_materializer import BaseMaterializer

from reft.audit.reference import Reference
from reft.evaluation.artifact import EvaluationReport
from reft.filtering.artifact import FilteredData
from reft.filtering.provider import ProviderScores
from reft.finetuning.artifact import Student
from reft.refusal_feature.feature import RefusalFeature
from reft.soft_labels.labels import SoftLabels
from reft.storage.artifacts import Artifact
from reft.teacher.artifact import Teacher
from reft.validation.validate import ValidatedData


class FolderMaterializer(BaseMaterializer):
    """Copies an artifact's folder to and from the artifact store, wherever that is."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (
        EvaluationReport, FilteredData, ProviderScores, Reference, RefusalFeature, SoftLabels, Student, Teacher,
        ValidatedData,
    )  # fmt: skip
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def save(self, data: Artifact) -> None:
        """Write into a temporary folder, then copy it to the store."""
        with self.get_temporary_directory(delete_at_exit=True) as folder:
            data.save(Path(folder))
            for file in sorted(Path(folder).rglob("*")):
                target = f"{self.uri}/{file.relative_to(folder).as_posix()}"
                if file.is_dir():
                    fileio.makedirs(target)
                else:
                    fileio.copy(str(file), target, overwrite=True)

    def load(self, data_type: type[Any]) -> Any:
        """Copy the folder here and read it; weights stay on disk until the step has ended."""
        with self.get_temporary_directory(delete_at_exit=False) as folder:
            for base, _, files in fileio.walk(self.uri):
                here = Path(folder, str(base).removeprefix(self.uri).lstrip("/"))
                here.mkdir(parents=True, exist_ok=True)
                for name in files:
                    fileio.copy(f"{base}/{name}", str(here / str(name)), overwrite=True)
            return data_type.load(Path(folder))
