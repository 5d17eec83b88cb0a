"""One server for the tests of a module, unless a test wants one of its own."""

import pytest

from reft.service.jobs import states
from reft.service.names import new_id
from tests.service.serving import rows_file, served, settings_for


@pytest.fixture(scope="module")
def server(tiny_model, tmp_path_factory):
    with served(settings_for(tmp_path_factory.mktemp("service"), tiny_model)) as running:
        yield running


@pytest.fixture
def client(server):
    return server.client()


@pytest.fixture(scope="module")
def training_file(server, tmp_path_factory):
    client = server.client()
    made = client.files.create(file=rows_file(tmp_path_factory.mktemp("rows")), purpose="fine-tune")
    assert client.files.wait_for_processing(made.id, poll_interval=0.05).status == "processed"
    return made.id


@pytest.fixture
def job(client, training_file):
    made = client.fine_tuning.jobs.create(model="tiny", training_file=training_file, metadata={"n": new_id("")})
    yield made
    if client.fine_tuning.jobs.retrieve(made.id).status in states.UNFINISHED:
        client.fine_tuning.jobs.cancel(made.id)
