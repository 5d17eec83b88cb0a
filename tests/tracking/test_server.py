"""Promotion on the server that a team would run: PostgreSQL, an S3 store, passwords."""

import multiprocessing
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from reft.errors import PromotionError, RegistryError
from reft.tracking import lock, promotion
from reft.tracking.promotion import history, promote, rollback
from reft.tracking.registry import champion_version, gate_of, register_candidate, tags_of
from tests.tracking.conftest import folder_of, leave_a_lock, log_in
from tests.tracking.server import ADMIN, OTHER, OTHER_PASSWORD, PASSWORD, USER, USER_PASSWORD, bucket_of

pytestmark = pytest.mark.slow

FORK = multiprocessing.get_context("fork")


def test_all_of_it_works_for_a_user_of_the_server(server, name, on_server, tmp_path):
    first, second = on_server("a"), on_server("b")
    promote(name, "challenger", "me")
    assert promote(name, "champion", "me", reason="good")[1] == second
    promote(name, "champion", "me", version=first)
    assert rollback(name, "me", "it misbehaves")[1] == second
    entries, aliases = history(name)
    assert [(e.action, e.before, e.version) for e in entries if e.alias == "champion"] == [
        ("promote", "", second), ("promote", second, first), ("rollback", first, second),
    ]  # fmt: skip
    assert aliases == {"candidate": second, "challenger": second, "champion": second}
    assert gate_of(name, first) == {"passed": True, "rows": "a"}
    assert tags_of(name, first)["made"] == "a"
    assert champion_version(name) == second
    assert champion_version("nobody-made-this") == ""
    files = tags_of(name, first)["reft.logged_model"]
    stored = {o.key.split("/artifacts/")[1]: o for o in bucket_of(server.store).objects.all() if files in o.key}
    assert set(stored) == {"MLmodel", "adapter_model.safetensors", "deep/tokenizer.json", "gate.json"}
    for key, kept in stored.items():
        assert kept.get()["Body"].read() == (tmp_path / "student-a" / key).read_bytes()


@pytest.mark.parametrize("password", [None, "wrong"])
def test_whoever_is_not_known_is_refused_in_plain_words(name, on_server, tmp_path, monkeypatch, password):
    version = on_server("a")
    if password:
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    else:
        monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
        monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    calls = (
        lambda: register_candidate(folder_of(tmp_path, "b"), name, {}, description="", passed=True),
        lambda: promote(name, "champion", "me", version=version),
        lambda: rollback(name, "me"),
        lambda: history(name),
        lambda: gate_of(name, version),
        lambda: tags_of(name, version),
        lambda: champion_version(name),
    )
    for call in calls:
        with pytest.raises(RegistryError, match=r"does not know who asks(.|\n)*set MLFLOW_TRACKING_USERNAME"):
            call()
    assert mlflow.active_run() is None


def test_the_command_says_so_too_and_fails(name, on_server, monkeypatch):
    on_server("a")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.get_tracking_uri())
    command = [Path(sys.executable).with_name("reft"), "promote", name, "--version", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "remedy: set MLFLOW_TRACKING_USERNAME" in done.stderr
    assert "Traceback" not in done.stderr


def test_whoever_may_only_read_is_told(name, on_server, monkeypatch):
    version = on_server("a")
    log_in(monkeypatch, OTHER, OTHER_PASSWORD)
    assert champion_version(name) == ""
    with pytest.raises(RegistryError, match="does not allow this"):
        promote(name, "champion", "colleague", version=version)
    log_in(monkeypatch, USER, USER_PASSWORD)
    assert (champion_version(name), history(name)[0]) == ("", [])


def test_of_two_at_once_one_wins_and_the_other_is_told(name, on_server, monkeypatch):
    versions = [on_server("a"), on_server("b")]
    inside, told = FORK.Event(), FORK.Event()
    results = FORK.Queue()
    verified = promotion._verified_files

    def slowly(found):
        inside.set()
        told.wait(60)
        return verified(found)

    def run(version, slow):
        if slow:
            monkeypatch.setattr(promotion, "_verified_files", slowly)
        else:
            inside.wait(60)
        try:
            results.put(promote(name, "champion", "me", version=version)[1])
        except PromotionError as error:
            results.put(str(error).splitlines()[0])
        told.set()

    processes = [FORK.Process(target=run, args=(version, version == versions[0])) for version in versions]
    for process in processes:
        process.start()
    said = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert said[0].startswith(f"me was first: promoting version {versions[0]} to champion since 20")
    assert said[1:] == [versions[0]]
    entries, aliases = history(name)
    assert [e.version for e in entries] == [versions[0]] == [aliases["champion"]]


def test_whoever_was_too_slow_does_not_move_what_another_has_moved(name, on_server, monkeypatch):
    first, second = on_server("a"), on_server("b")
    verified = promotion._verified_files

    def meanwhile(found):
        with monkeypatch.context() as patch:
            patch.setattr(promotion, "_verified_files", verified)
            patch.setattr(lock, "LOCK_SECONDS", 0.0)  # a minute has passed
            promote(name, "champion", "the other", version=second)
        return verified(found)

    with monkeypatch.context() as patch:
        patch.setattr(promotion, "_verified_files", meanwhile)
        with pytest.raises(PromotionError, match="somebody else took over"):
            promote(name, "champion", "the slow one", version=first)
    assert [(e.by, e.version) for e in history(name)[0]] == [("the other", second)]
    assert champion_version(name) == second
    assert not [m.name for m in MlflowClient().search_registered_models() if m.name.startswith(f"{name}--")]


def test_a_lock_that_we_may_not_take_over_is_named(name, on_server, monkeypatch):
    on_server("a")
    log_in(monkeypatch, ADMIN, PASSWORD)
    leave_a_lock(name, "an administrator")
    log_in(monkeypatch, USER, USER_PASSWORD)
    with pytest.raises(RegistryError, match=rf"cut off(.|\n)*deletes the registered model {name}--promotion-lock"):
        promote(name, "champion", "me", version="1")
