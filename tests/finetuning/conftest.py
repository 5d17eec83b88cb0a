"""A small distillation job on the tiny model."""

import pytest

from tests.factories import make_job


@pytest.fixture(scope="session")
def job(tiny_model):
    return make_job(tiny_model)
