"""A second start of a job's command waits for the run that the first has started; on a ZenML store of its own."""

import json
import os
import subprocess
import sys
import time

import pytest
import yaml

from reft.service.jobs.words import failure_of, stage_of

pytestmark = pytest.mark.slow
COMMAND = [sys.executable, "-m", "pipelines.attached", "--pipeline", "tests.pipelines.waiting_pipeline.waiting"]
RUNS = """
import json
from zenml.client import Client
runs = Client().list_pipeline_runs(sort_by="asc:created").items
print(json.dumps([[run.name, run.status] for run in runs]))
"""
SECONDS = 300


class Store:
    """ZenML's store in a folder, and commands on it."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = os.environ | {
            "ZENML_CONFIG_PATH": str(folder / "zenml"), "ZENML_REPOSITORY_PATH": str(folder),
            "ZENML_ANALYTICS_OPT_IN": "false", "ZENML_LOGGING_VERBOSITY": "WARN", "PYTHONPATH": ".",
            "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        self.runs()  # made once, not by two commands at once

    def runs(self):
        done = subprocess.run(
            [sys.executable, "-c", RUNS], env=self.environment, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout.splitlines()[-1])

    def job(self, name):
        """The run configuration of a job, and the file that its step waits for."""
        folder = self.folder / name
        folder.mkdir()
        (folder / "run.yaml").write_text(yaml.safe_dump({"parameters": {"go": str(folder / "go")}}))
        return folder / "run.yaml", folder / "go"

    def start(self, config, *more):
        with (self.folder / f"{time.time_ns()}.log").open("w") as log:
            process = subprocess.Popen(
                [*COMMAND, "--config", str(config), *more], env=self.environment, stdout=log, stderr=log
            )
        return process, log.name


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("attached"))


def said(started):
    with open(started[1]) as log:
        return log.read()


def until_said(started, words):
    until = time.monotonic() + SECONDS
    while words not in said(started):
        assert time.monotonic() < until, said(started)
        assert started[0].poll() is None, said(started)
        time.sleep(0.1)


def ended(started):
    return started[0].wait(SECONDS)


def of(store, config):
    return [status for name, status in store.runs() if name.startswith(f"{config.parent.name}-")]


def test_a_second_start_waits_for_the_run_says_its_stages_and_ends_with_its_words(store):
    config, go = store.job("fails")
    started = [store.start(config), store.start(config)]
    until = time.monotonic() + SECONDS
    while not (waits := [one for one in started if "finetuning begins, " in said(one)]):
        assert time.monotonic() < until, [said(one) for one in started]
        time.sleep(0.2)
    (second,) = waits
    go.write_text("fail")
    assert [ended(one) for one in started] == [1, 1]
    assert of(store, config) == ["failed"]
    words = said(second)
    assert stage_of(words) == "training"
    assert failure_of(words, trained=True).message == "the rows are wrong; remedy: mend them"
