"""Kills at every point: of whoever registers or promotes, and of the server that a team would run."""

import json
import multiprocessing
import os
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest
import urllib3
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from reft.cli import app
from reft.errors import PromotionError, RegistryError
from reft.tracking import lock
from reft.tracking.promotion import FILES, astray, digest_of_files, history, promote
from reft.tracking.registry import gate_of, register_candidate

pytestmark = pytest.mark.slow

FORK = multiprocessing.get_context("fork")


def gate_alone(tmp_path):
    """A student of two files, since each costs requests: the gate's verdict and what makes it servable."""
    (folder := tmp_path / "small").mkdir(exist_ok=True)
    (folder / "gate.json").write_text(json.dumps({"passed": True}))
    return folder


@contextmanager
def before_each_request(action):
    """Call `action(number, method, url)` before every request that this process sends."""
    send, count = urllib3.HTTPConnectionPool.urlopen, 0

    def urlopen(pool, method, url, *args, **kwargs):
        nonlocal count
        count += 1
        action(count, method, url)
        return send(pool, method, url, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(urllib3.HTTPConnectionPool, "urlopen", urlopen)
        yield


def dies_before(number, call):
    """Make the call in a process that is gone before the change of that number that it asks for; False: it got through.

    Between two changes the server's state is the same, so that these are all points there are.
    """
    changes = 0

    def die(_, method, __):
        nonlocal changes
        changes += method != "GET"
        if changes == number:
            os._exit(9)

    def run():
        with before_each_request(die):
            call()
        os._exit(0)

    process = FORK.Process(target=run)
    process.start()
    process.join(120)
    assert process.exitcode in (0, 9)
    return process.exitcode == 9


def test_a_promotion_killed_at_any_point_is_made_good_by_the_same_command(name, tmp_path, monkeypatch):
    """Each time over the lock that the one killed before has left, so that taking that over is cut off as well."""
    versions = [
        register_candidate(gate_alone(tmp_path), name, {}, description="", passed=True).version for _ in range(2)
    ]
    promote(name, "champion", "me", version=versions[1])
    monkeypatch.setattr(lock, "LOCK_SECONDS", 0.0)  # a minute has passed, always
    entries = history(name)[0]
    for number in range(1, 100):
        MlflowClient().create_registered_model(
            f"{name}--promotion-lock", tags={"held": "0", "holder": f"dead {number}"}
        )
        before, version = entries, versions[(number - 1) % 2]
        killed = dies_before(number, lambda wanted=version: promote(name, "champion", "me", version=wanted))
        entries, aliases = history(name)  # verifies the chain
        assert len(entries) - len(before) in (0, 1)
        assert aliases["champion"] in (version, before[-1].version)
        assert bool(astray(entries, aliases)) == (aliases["champion"] != entries[-1].version)
        promote(name, "champion", "me", version=version)
        entries, aliases = history(name)
        assert aliases["champion"] == version == entries[-1].version
        assert len(entries) == len(before) + 1
        assert astray(entries, aliases) == []
        if not killed:
            break
    assert number == 9  # take, put aside, take, write down twice, move, let go twice; then it gets through
    assert not killed


def test_a_registration_killed_at_any_point_leaves_no_half_version(name, tmp_path):
    folder = gate_alone(tmp_path)
    first = register_candidate(folder, name, {}, description="", passed=True).version
    for number in range(1, 100):
        killed = dies_before(number, lambda: register_candidate(folder, name, {}, description="", passed=True))
        for version in MlflowClient().search_model_versions(f"name = '{name}'"):
            assert_whole(version)
        assert int(history(name)[1]["candidate"]) >= int(first)
        if not killed:
            break
    assert number > 6  # begin the run, two files, the model, the version, its alias, end the run
    assert not killed
    assert gate_of(name, history(name)[1]["candidate"]) == {"passed": True}


def assert_whole(version):
    with tempfile.TemporaryDirectory() as folder:
        here = mlflow.artifacts.download_artifacts(artifact_uri=version.source, dst_path=folder)
        assert digest_of_files(Path(here)) == version.tags[FILES]


def test_a_server_killed_during_a_registration(server, name, on_server):
    first = on_server("a")
    killer = threading.Timer(0.05, server.kill)

    def kill(_, method, url):
        if method == "PUT" and "adapter_model" in url:
            killer.start()

    with before_each_request(kill), pytest.raises(RegistryError, match=r"did not do it(.|\n)*is MLFLOW_TRACKING_URI"):
        on_server("b", size=32_000_000)
    killer.join()
    server.start()
    assert mlflow.active_run() is None
    assert [v.version for v in MlflowClient().search_model_versions(f"name = '{name}'")] == [first]
    assert history(name)[1] == {"candidate": first}
    second = on_server("b", size=32_000_000)
    assert history(name)[1] == {"candidate": second}
    assert_whole(MlflowClient().get_model_version(name, second))


def test_a_server_killed_during_a_promotion(server, name, on_server, monkeypatch):
    version = on_server("a")

    def kill(_, method, url):
        if method == "POST" and url.endswith("registered-models/alias") and server.process.poll() is None:
            server.kill()

    with before_each_request(kill), pytest.raises(RegistryError, match="did not do it"):
        promote(name, "champion", "me", version=version)
    server.start()
    entries, aliases = history(name)
    assert (len(entries), aliases) == (1, {"candidate": version})
    assert "champion stands at none, but entry 1 moved it to 1" in astray(entries, aliases)[0]
    told = CliRunner().invoke(app, ["history", name])
    assert (told.exit_code, told.stderr.count("warning: champion stands at none")) == (0, 1)
    with pytest.raises(PromotionError, match=f"me was first: promoting version {version} to champion"):
        promote(name, "champion", "me", version=version)  # the lock is still young
    monkeypatch.setattr(lock, "LOCK_SECONDS", 0.0)
    assert promote(name, "champion", "me", version=version)[0] == entries[0]
    assert history(name) == (entries, {"candidate": version, "champion": version})
