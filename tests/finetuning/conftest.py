"""A small distillation job on the tiny model."""

import pytest

from tests.factories import change, make_job
from tests.finetuning.night import Night


@pytest.fixture(scope="session")
def job(tiny_model):
    return make_job(tiny_model)


@pytest.fixture(scope="session")
def long(job):
    """The same job, long enough to be cut off."""
    return change(job, epochs=40, checkpoint_every=3)


@pytest.fixture(scope="session")
def undisturbed(long, tmp_path_factory):
    """Its losses and weights where nothing happens."""
    root = tmp_path_factory.mktemp("undisturbed")
    night = Night(root, {"TORCH_EXTENSIONS_DIR": str(root / "extensions")})
    assert "error" not in night.run(long)
    assert (night.left(), night.processes()) == ([], [])
    assert not list((night.root / "work").iterdir())
    # What DeepSpeed compiles is for ranks that talk to one another: one alone waits for no compiler.
    assert not list(root.glob("extensions/*"))
    return night.result()
