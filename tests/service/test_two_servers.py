"""Two servers, each with a state of its own, on one database and one folder of files and jobs."""

import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager

import openai
import psutil
import pytest
import yaml

from reft.runtime.processes import marked
from reft.service.jobs.child import MARK
from tests.deploy.databases import postgres, run
from tests.service.serving import rows_file, until

pytestmark = [pytest.mark.slow, pytest.mark.night]
REFT = [sys.executable, "-m", "reft.cli"]
# What a pipeline is to its job while it runs: a process that takes long, and here says which job it was started for.
PIPELINE = """
import pathlib, sys, time
with open({log!r}, "a") as log:
    log.write(pathlib.Path(sys.argv[-1]).parent.name + "\\n")
time.sleep(600)
"""


class Site:
    """What the servers share."""

    def __init__(self, folder, model, database):
        self.folder, self.database = folder, database
        self.log = folder / "started"
        self.log.touch()
        script = folder / "pipeline.py"
        script.write_text(PIPELINE.format(log=str(self.log)))
        settings = {"model": {"name": model, "max_length": 256}, "validation": {"min_rows": 3}}
        service = {
            "base_models": {"tiny": model}, "pipeline": [sys.executable, str(script)], "jobs_at_once": 10,
            "database": database, "files": str(folder / "files"), "work": str(folder / "work"), "lease_seconds": 8,
        }  # fmt: skip
        self.profile = folder / "profile.yaml"
        self.profile.write_text(yaml.safe_dump({"parameters": {"settings": settings}, "service": service}))

    def key(self):
        command = [*REFT, "keys", "create", "--organization", "acme", "--config", str(self.profile)]
        command += ["--state", str(self.folder / "keys")]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    @contextmanager
    def serving(self, name, key, *options):
        """A server and a client of it."""
        command = [*REFT, "serve", "--config", str(self.profile), "--state", str(self.folder / name), "--port", "0"]
        with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
            try:
                url = re.search(r"http://\S+", process.stdout.readline())[0]
                yield process, openai.OpenAI(base_url=url, api_key=key, max_retries=6)
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                process.wait(30)

    def started(self):
        """How often a pipeline was started for each job."""
        return Counter(self.log.read_text().split())

    def processes(self, job):
        return [process for process in psutil.process_iter() if marked(process, MARK) == job]

    def workers(self, job=""):
        """The processes that run jobs; those of one job."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "reft.service.jobs.worker" in words and str(self.folder) in " ".join(words) and job in " ".join(words):
                found.append(process)
        return found


@pytest.fixture(scope="module")
def site(tiny_model, tmp_path_factory):
    with postgres() as administrator:
        run("createdb", "service", environment=administrator)
        database = f"postgresql+psycopg2://postgres@127.0.0.1:{administrator['PGPORT']}/service"
        made = Site(tmp_path_factory.mktemp("two"), tiny_model, database)
        try:
            yield made
        finally:
            for process in made.workers():
                process.kill()
            for job in made.started():
                for process in made.processes(job):
                    process.kill()


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
