"""What tells those who start servers again how this one is."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2
from sqlalchemy import event

from tests.service.serving import served, settings_for, until

MANY = 60  # more than there are threads for requests


def test_it_lives_while_every_thread_waits_for_the_database(tiny_model, tmp_path):
    with served(settings_for(tmp_path, tiny_model), checks=False) as server:
        headers = {"authorization": f"Bearer {server.key()}"}
        waiting, back = [], threading.Event()

        def wait(_):
            waiting.append(1)
            back.wait(30)

        def ask(_):
            return httpx2.get(f"{server.url}/v1/files", headers=headers, timeout=60).status_code

        event.listen(server.service.database.engine, "begin", wait)
        with ThreadPoolExecutor(MANY) as pool:
            try:
                answers = [pool.submit(ask, i) for i in range(MANY)]
                until(lambda: len(waiting) >= 40)
                assert httpx2.get(f"{server.url}/healthz", timeout=20).json() == {"status": "ok"}  # they still wait
            finally:
                back.set()
            assert {answer.result() for answer in answers} == {200}
