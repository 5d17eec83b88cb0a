"""Two servers on one database and one folder: each job is handed out once, and one goes on when the other ends."""

import time
from collections import Counter

import pytest

from tests.service.serving import rows_file, until
from tests.service.two_servers import site_on_postgres

pytestmark = [pytest.mark.slow, pytest.mark.night]


@pytest.fixture(scope="module")
def site(tiny_model, tmp_path_factory):
    with site_on_postgres(tmp_path_factory.mktemp("two"), tiny_model) as made:
        yield made


def test_each_job_is_handed_out_once_and_one_server_goes_on_when_the_other_is_killed(site, tmp_path):
    key = site.key()
    with site.serving("one", key, "--workers", "2") as (first, one), site.serving("two", key) as (_, two):
        file = one.files.create(file=rows_file(tmp_path), purpose="fine-tune").id
        assert two.files.wait_for_processing(file, poll_interval=0.2, max_wait_seconds=60).status == "processed"
        assert two.files.content(file).read() == rows_file(tmp_path).read_bytes()
        jobs = [
            (one, two)[i % 2].fine_tuning.jobs.create(model="tiny", training_file=file, suffix=f"n{i}").id
            for i in range(4)
        ]
        until(lambda: len(site.started()) == 4, seconds=90)
        first.kill()  # its workers go on, and its dispatcher ends with it, whether it led or not
        first.wait(30)
        jobs.append(two.fine_tuning.jobs.create(model="tiny", training_file=file, suffix="later").id)
        until(lambda: len(site.started()) == 5, seconds=90)
        time.sleep(10)  # longer than a lease: whoever did not hold one any more would have been replaced
        assert site.started() == Counter(jobs)
        assert {two.fine_tuning.jobs.retrieve(job).status for job in jobs} == {"running"}
        (worker,) = site.workers(jobs[0])
        worker.kill()
        until(lambda: site.started() == Counter([*jobs, jobs[0]]), seconds=60)
        for job in jobs:
            two.fine_tuning.jobs.cancel(job)
        until(lambda: not any(site.processes(job) for job in jobs) and not site.workers(), seconds=60)
        until(lambda: not list((site.folder / "work" / "jobs").iterdir()), seconds=30)
