"""`reft serve` and `reft keys` as commands, and the SDK of the version before."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import openai
import psutil
import pytest
import yaml

from reft.config import Settings
from reft.errors import ConfigurationError
from reft.runtime.processes import marked
from reft.service.jobs.child import MARK
from reft.service.serve import serve
from reft.service.settings import read_service_settings
from tests.service.serving import rows_file, until

REFT = [sys.executable, "-m", "reft.cli"]
# Another interpreter with openai 2.x, where there is one.
OLDER = os.environ.get("REFT_OPENAI_2", "")


@contextmanager
def serving(folder: Path, model: str, *options: str):
    """`reft serve` on a free port; gives its address and process."""
    profile = folder / "profile.yaml"
    run = {"model": {"name": model, "max_length": 256}, "validation": {"min_rows": 3}}
    # No run of this clone's own pipeline, which would outlive the test: one that takes long.
    section = {"base_models": {"tiny": model}, "pipeline": [sys.executable, "-c", "import time; time.sleep(600)"]}
    section["forget"] = []  # of the same reason
    profile.write_text(yaml.safe_dump({"parameters": {"settings": run}, "service": section}))
    command = [*REFT, "serve", "--config", str(profile), "--state", str(folder / "state"), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) as process:
        try:
            said = process.stdout.readline()
            yield re.search(r"http://\S+", said)[0], process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def keys(folder: Path, *arguments: str) -> str:
    command = [*REFT, "keys", *arguments, "--state", str(folder / "state")]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def processes_of(job: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if marked(process, MARK) == job]


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_from_nothing_to_a_job_and_again(tiny_model, tmp_path, workers):
    with serving(tmp_path, tiny_model, "--workers", workers) as (url, _):
        key = keys(tmp_path, "create", "--organization", "acme", "--role", "customer")
        client = openai.OpenAI(base_url=url, api_key=key, _strict_response_validation=True)
        file = client.files.create(file=rows_file(tmp_path), purpose="fine-tune").id
        assert client.files.wait_for_processing(file, poll_interval=0.2, max_wait_seconds=60).status == "processed"
        first = client.fine_tuning.jobs.create(model="tiny", training_file=file).id
        until(lambda: client.fine_tuning.jobs.retrieve(first).status == "running", seconds=60)
        job = client.fine_tuning.jobs.create(model="tiny", training_file=file, suffix="next").id
    with serving(tmp_path, tiny_model) as (url, process):
        client = openai.OpenAI(base_url=url, api_key=key, _strict_response_validation=True)
        assert client.fine_tuning.jobs.retrieve(job).status == "queued"  # one runs at a time, and went on meanwhile
        assert client.fine_tuning.jobs.retrieve(first).status == "running"
        for one in (job, first):
            client.fine_tuning.jobs.cancel(one)
        until(lambda: not processes_of(first), seconds=60)
        shown = json.loads(keys(tmp_path, "list", "--json"))
        assert [(one["organization"], one["role"], one["state"]) for one in shown] == [("acme", "customer", "active")]
        new = keys(tmp_path, "rotate", shown[0]["id"])
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
        client = openai.OpenAI(base_url=url, api_key=new, _strict_response_validation=True)
        assert client.models.retrieve("tiny").id == "tiny"
        keys(tmp_path, "revoke", json.loads(keys(tmp_path, "list", "--json"))[1]["id"])
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
    assert process.returncode in (0, -signal.SIGTERM, 128 + signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.skipif(not OLDER, reason="REFT_OPENAI_2 names no interpreter with openai 2.x")
def test_the_sdk_of_the_version_before(tiny_model, tmp_path):
    with serving(tmp_path, tiny_model) as (url, _):
        key = keys(tmp_path, "create", "--organization", "acme", "--role", "customer")
        script = Path(__file__).with_name("sdk_session.py")
        rows = rows_file(tmp_path)
        done = subprocess.run([OLDER, str(script), url, key, str(rows)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("2.")


def test_nobody_listens_beyond_loopback_without_a_key(tmp_path):
    settings = read_service_settings(environment={}, state=tmp_path, host="0.0.0.0", port=0)
    with pytest.raises(ConfigurationError, match="reft keys create"):
        serve(settings)


def test_settings_come_from_profile_environment_and_command(tmp_path):
    profile = tmp_path / "p.yaml"
    profile.write_text("parameters: {settings: {}}\nservice: {port: 1, host: a, limits: {file_bytes: 5}}\n")
    found = read_service_settings(profile, {"REFT_SERVICE_PORT": "2", "REFT_SERVICE_HOST": "b"}, host="c")
    assert (found.port, found.host, found.limits.file_bytes, found.profile) == (2, "c", 5, profile)
    listed = {
        "REFT_SERVICE_PIPELINE": '["a", "b c"]',
        "REFT_SERVICE_LIMITS": '{"part_bytes": 7}',
        "REFT_SERVICE_FILES": "[x",
    }
    found = read_service_settings(environment=listed)
    assert (found.pipeline, found.limits.part_bytes, found.files) == (["a", "b c"], 7, "[x")
    profile.write_text("service: {port: 3}\n")  # alone: a run's settings are the default ones
    found = read_service_settings(profile, {})
    assert (found.port, found.profile, found.run_settings()) == (3, None, Settings())
    profile.write_text("parameters: {settings: {}}\nservice: {prot: 1}\n")
    with pytest.raises(ConfigurationError, match=r"prot.*port"):
        read_service_settings(profile, {})
