"""Step audit_reference: the teacher and the base model under the audit's probes, once for all customers."""

from typing import Annotated, Any

from zenml import step

from reft.audit.reference import Reference
from reft.audit.run import make_reference
from reft.config import AuditSettings, DataSettings, ModelSettings
from reft.teacher.artifact import Teacher
from steps.materializer import FolderMaterializer
from steps.metadata import measured_step


@step(output_materializers={"audit_reference": FolderMaterializer})
def audit_reference(
    teacher: Teacher, model: ModelSettings, *, data: DataSettings, settings: AuditSettings, key: dict[str, Any]
) -> Annotated[Reference, "audit_reference"]:
    """What every student of this provider is held against."""
    with measured_step("audit_reference"):
        return make_reference(teacher, model, data, settings=settings)
