"""Names that the MLflow registry refuses, told before a run has spent hours on a student for them."""

from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.dbmodels.models import SqlRegisteredModel
from mlflow.utils.validation import _validate_model_name

from reft.config import TrackingSettings
from reft.tracking.lock import lock_of
from reft.validation.faults import Fault

# A lock that is put aside is called after the model and its holder (`reft.tracking.lock`).
LONGEST = SqlRegisteredModel.__table__.c.name.type.length - len(lock_of("")) - len("-") - 32


def refused_names(tracking: TrackingSettings) -> list[Fault]:
    """The names that MLflow would not take, by MLflow's own rules."""
    setting, name = "tracking.registered_name", tracking.registered_name
    remedy = "choose another name, as reft-student"
    if not name.strip():
        return [Fault(setting, "an empty name", remedy)]
    if len(name) > LONGEST:
        return [Fault(setting, f"a name of {len(name)} characters; {LONGEST} are the most", remedy)]
    try:
        _validate_model_name(name)
    except MlflowException as error:
        return [Fault(setting, f"the MLflow registry refuses this name: {error.message.rstrip('.')}", remedy)]
    return []
