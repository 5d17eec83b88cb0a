"""Names that MLflow refuses are told before a run."""

import pytest
from mlflow.exceptions import MlflowException

from reft.config import TrackingSettings
from reft.errors import WrongSettingsError
from reft.tracking.names import LONGEST, refused_names
from reft.validation.faults import require_none


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "an empty name"),
        ("  ", "an empty name"),
        (
            "team/student",
            "the MLflow registry refuses this name: Invalid model name 'team/student'. Names",
        ),
        ("a:b", "the MLflow registry refuses this name: Invalid model name 'a:b'. Names cannot contain '/' or ':'"),
        ("..", "the MLflow registry refuses this name: Invalid value"),
        ("x" * 208, "a name of 208 characters; 207 are the most"),
    ],
)
def test_a_name_that_the_registry_refuses_is_told_with_its_setting(name, said):
    (fault,) = refused_names(TrackingSettings(registered_name=name))
    assert fault.setting == "tracking.registered_name"
    assert fault.what.startswith(said)
    with pytest.raises(WrongSettingsError, match=r"^tracking\.registered_name: .*; choose another name, as"):
        require_none([fault])


@pytest.mark.parametrize("name", ["reft-student", "Größe 1", "x" * LONGEST])
def test_what_the_registry_takes_is_no_fault(name, store):
    assert refused_names(TrackingSettings(registered_name=name)) == []
    store.create_registered_model(name)


@pytest.mark.parametrize("name", ["", "team/student", "a:b"])
def test_the_registry_does_refuse_them(name, store):
    with pytest.raises(MlflowException):
        store.create_registered_model(name)
