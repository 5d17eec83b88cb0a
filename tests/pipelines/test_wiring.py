"""The pipeline put together, as ZenML reads it before a step runs: what decides is a step's parameter."""

import pytest

from pipelines.reft import reft
from reft.audit.benign import Benign, Setup
from reft.errors import StorageError
from reft.keys.closure import digest_of_code
from reft.keys.stages import code_key


def test_the_gates_own_code_and_the_evaluations_are_parts_of_its_cache_key(store):  # noqa: ARG001
    reft.prepare(settings={})
    given = reft.invocations["gate"].parameters
    assert (given["code"], given["own_code"]) == (code_key("evaluation"), digest_of_code("steps.gate"))


def test_a_calibration_that_is_measured_later_trains_nothing_anew(store, tmp_path):  # noqa: ARG001
    file = tmp_path / "benign.json"
    Benign(setup=Setup(asked="q", model="m", chat_template="c", method="reft"), jobs=()).save(file)
    settings = {"audit": {"enabled": True}, "data": {"audit_benign": str(file)}}
    reft.prepare(settings=settings)
    knows = {name for name, step in reft.invocations.items() if str(file) in repr(step.parameters)}
    assert knows == {"audit", "report"}
    file.write_text("[]")
    with pytest.raises(StorageError, match=r"set data\.audit_benign to null"):
        reft.prepare(settings=settings)
