"""The pipeline put together, as ZenML reads it before a step runs: what decides is a step's parameter."""

from pipelines.reft import reft
from reft.keys.closure import digest_of_code
from reft.keys.stages import code_key


def test_the_gates_own_code_and_the_evaluations_are_parts_of_its_cache_key(store):  # noqa: ARG001
    reft.prepare(settings={})
    given = reft.invocations["gate"].parameters
    assert (given["code"], given["own_code"]) == (code_key("evaluation"), digest_of_code("steps.gate"))
