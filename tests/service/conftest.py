"""One server for the tests of a module, unless a test wants one of its own."""

import pytest

from tests.service.serving import served, settings_for


@pytest.fixture(scope="module")
def server(tiny_model, tmp_path_factory):
    with served(settings_for(tmp_path_factory.mktemp("service"), tiny_model)) as running:
        yield running


@pytest.fixture
def client(server):
    return server.client()
