"""Promotion on a real registry: SQLite here, the same calls on a server."""

import json
import multiprocessing
import re
import shlex
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from reft.cli import app
from reft.errors import PromotionError, StorageError
from reft.tracking import lock, promotion
from reft.tracking.promotion import digest_of_files, history, promote, rollback
from reft.tracking.registry import champion_version, gate_of, register_candidate


@pytest.fixture
def student(store, tmp_path):  # noqa: ARG001
    """A function that registers a version."""

    def register(content="x", passed=True, **judged):

        folder = tmp_path / f"student-{content}"
        folder.mkdir(exist_ok=True)
        (folder / "adapter_model.safetensors").write_text(content)
        (folder / "gate.json").write_text(json.dumps({"passed": passed, "rows": "r", "outcomes": {"accuracy": [True]}}))
        return register_candidate(folder, "s", {}, description="a card", passed=passed, **judged).version

    return register


def test_a_version_climbs_and_history_tells(student):
    first = student("a")
    assert champion_version("s") == ""
    promote("s", "challenger", "me")
    entry, moved = promote("s", "champion", "me", reason="good")
    assert (moved, entry.number, entry.before, entry.passed, entry.forced) == (first, 2, "", True, False)
    assert champion_version("s") == first
    assert promote("s", "champion", "me") == (None, first)  # again: nothing happens
    second = student("b")
    promote("s", "champion", "you", version=second)
    entries, aliases = history("s")
    assert [(e.alias, e.before, e.version, e.by) for e in entries] == [
        ("challenger", "", "1", "me"), ("champion", "", "1", "me"), ("champion", "1", "2", "you"),
    ]  # fmt: skip
    assert aliases == {"candidate": "2", "challenger": "1", "champion": "2"}
    assert rollback("s", "me", "it misbehaves")[1] == first
    assert champion_version("s") == first
    with pytest.raises(PromotionError, match="no champion came before"):
        rollback("s", "me")
    assert gate_of("s", first)["outcomes"] == {"accuracy": [True]}
    assert MlflowClient().get_model_version("s", first).description == "a card"


def test_a_gate_that_was_not_passed_holds_unless_somebody_answers_for_it(student):
    version = student("a", passed=False)
    for force, reason in ((False, "why not"), (True, " ")):
        with pytest.raises(PromotionError, match="has not passed the gate"):
            promote("s", "champion", "me", reason=reason, version=version, force=force)
    entry, _ = promote("s", "champion", "me", reason="a fire", version=version, force=True)
    assert (entry.passed, entry.forced, entry.reason) == (False, True, "a fire")


def test_a_verdict_against_an_earlier_champion_counts_no_longer_unless_somebody_answers_for_it(student):
    first, second = (student(content, judged_against="") for content in "ab")
    promote("s", "champion", "me", version=first)
    promote("s", "challenger", "me", version=second)  # it serves nobody
    with pytest.raises(PromotionError, match=r"(?s)against no champion, and version 1 serves now.*run the pipeline"):
        promote("s", "champion", "me", version=second)
    entry, _ = promote("s", "champion", "me", reason="a fire", version=second, force=True)
    assert (entry.passed, entry.forced) == (True, True)
    promote("s", "champion", "me", version=first)  # it served before
    third = student("c", judged_against=first)
    assert promote("s", "champion", "me", version=third)[0].forced is False
    late = student("d", judged_against=first)
    with pytest.raises(PromotionError, match="held it against version 1, and version 3 serves now"):
        promote("s", "champion", "me", version=late)


def test_files_that_changed_since_do_not_serve(student, tmp_path):
    version = student("a")
    (served,) = tmp_path.rglob("a/models/*/artifacts/adapter_model.safetensors")
    served.write_text("something else")
    with pytest.raises(PromotionError, match="not those that were registered"):
        promote("s", "champion", "me", version=version)
    assert champion_version("s") == ""
    assert history("s")[0] == []


def test_a_log_that_was_edited_stops_everything(student):
    promote("s", "champion", "me", version=student("a"))
    client = MlflowClient()
    tags = client.get_registered_model("s").tags
    (key,) = (key for key in tags if key.startswith("reft.audit"))
    client.set_registered_model_tag("s", key, tags[key].replace('"by": "me"', '"by": "you"'))
    second = student("b")
    for call in (lambda: history("s"), lambda: promote("s", "champion", "me", version=second)):
        with pytest.raises(StorageError, match="entry 1 of the audit log was tampered with"):
            call()
    assert champion_version("s") == "1"
    client.set_registered_model_tag("s", key, tags[key])
    assert promote("s", "champion", "me", version=second)[1] == second


def test_a_version_that_was_deleted_in_mlflow_stops_nobody_else(student, caplog):
    first, second, third = student("a"), student("b"), student("c")
    promote("s", "champion", "me", version=first)
    promote("s", "champion", "me", version=second)
    promote("s", "challenger", "me", version=third)
    MlflowClient().delete_model_version("s", third)
    assert rollback("s", "me", "it misbehaves")[1] == first
    (said,) = caplog.messages
    assert said.startswith("entry 3 of the audit log of s cannot be held against its version 3, which is gone")
    assert [entry.version for entry in history("s")[0]] == [first, second, third, first]
    assert promote("s", "champion", "me", version=second)[1] == second


def test_a_kill_between_writing_down_and_moving_is_made_good(student, monkeypatch):
    version = student("a")

    class Killed(MlflowClient):
        def set_registered_model_alias(self, *_):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(promotion, "MlflowClient", Killed)
        with pytest.raises(KeyboardInterrupt):
            promote("s", "champion", "me", version=version)
    assert champion_version("s") == ""
    promote("s", "champion", "me", version=version)
    assert champion_version("s") == version
    assert len(history("s")[0]) == 1


@pytest.mark.slow
def _promote(address, version, results):
    mlflow.set_tracking_uri(address)
    try:
        results.put(promote("s", "champion", f"process {version}", version=version)[1])
    except PromotionError as error:
        results.put(str(error).splitlines()[0])


@pytest.mark.slow
def test_of_two_at_once_one_wins_and_the_other_is_told(student):
    versions = [student("a"), student("b")]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [
        context.Process(target=_promote, args=(mlflow.get_tracking_uri(), version, results)) for version in versions
    ]
    for process in processes:
        process.start()
    said = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    entries, aliases = history("s")
    winners = [answer for answer in said if answer in versions]
    assert winners
    assert len(entries) == len(winners)
    assert aliases["champion"] == entries[-1].version
    assert all(re.match(r"process \d was first|somebody else was", answer) for answer in said if answer not in versions)


def test_a_lock_whose_holder_was_killed_is_taken_over(student, monkeypatch):
    version = student("a")
    MlflowClient().create_registered_model("s--promotion-lock", tags={"held": json.dumps(time.time())})
    with pytest.raises(PromotionError, match="somebody else"):
        promote("s", "champion", "me", version=version)
    monkeypatch.setattr(lock, "LOCK_SECONDS", 0.0)
    assert promote("s", "champion", "me", version=version)[1] == version


def test_a_clock_set_back_neither_holds_a_lock_for_hours_nor_disorders_the_log(student, monkeypatch):
    for content in "ab":
        promote("s", "champion", "me", version=student(content))
    MlflowClient().create_registered_model("s--promotion-lock", tags={"held": repr(time.time()), "holder": "killed"})
    earlier = datetime.now(UTC) - timedelta(hours=1)
    monkeypatch.setattr(lock, "time", SimpleNamespace(time=earlier.timestamp))
    monkeypatch.setattr(promotion, "datetime", SimpleNamespace(now=lambda _: earlier))
    assert promote("s", "champion", "me", version="1")[1] == "1"
    entries, aliases = history("s")
    assert [(entry.number, entry.version) for entry in entries] == [(1, "1"), (2, "2"), (3, "1")]
    assert entries[2].time < entries[1].time  # as the clock said
    assert promotion.astray(entries, aliases) == []
    assert rollback("s", "me")[1] == "2"


@pytest.mark.parametrize("held", ["soon", "1e30", "nan"])
def test_a_lock_whose_time_is_none_holds_nobody_up(student, held):
    version = student("a")
    MlflowClient().create_registered_model("s--promotion-lock", tags={"held": held, "holder": "damaged"})
    assert promote("s", "champion", "me", version=version)[1] == version


def test_what_is_not_there_is_named(store):
    for call in (lambda: promote("gone", "champion", "me"), lambda: history("gone")):
        with pytest.raises(PromotionError, match="no such registered model"):
            call()
    store.create_registered_model("empty")
    for to, below in (("champion", "challenger"), ("challenger", "candidate")):
        with pytest.raises(PromotionError, match=f"no version to promote: none is the {below}\n.*\n.*run the pipeline"):
            promote("empty", to, "me")
    with pytest.raises(PromotionError, match="no version 7"):
        promote("empty", "champion", "me", version="7")
    with pytest.raises(PromotionError, match="no place to promote to"):
        promote("empty", "king", "me")


def test_a_candidate_without_a_challenger_is_told_the_step_between(student):
    version = student("a")
    with pytest.raises(PromotionError) as error:
        promote("s", "champion", "me")
    assert str(error.value).splitlines() == [
        "no version to promote: none is the challenger",
        "  where: s",
        f"  remedy: promote the candidate (version {version}) first with --to challenger, or name it with --version "
        f"{version}",
    ]


def test_the_second_hears_who_was_first_and_keeps_his_reason(student):
    version, second = student("a"), student("b")
    first = lock.Claim("alice", f"promoting version {version} to champion", ())
    with lock.alone(MlflowClient(), "s", first), pytest.raises(PromotionError) as error:
        promote("s", "champion", "bob", version=second, reason="it's the better one")
    assert re.match(r"alice was first: promoting version 1 to champion since 20\d\d-[-\d: +]+\n", str(error.value))
    again = """reft promote s --to champion --version 2 --by bob --reason 'it'"'"'s the better one'"""
    assert str(error.value).endswith(f"look at reft history s; if you still want yours: {again}")
    given = CliRunner().invoke(app, shlex.split(again)[1:])
    assert given.exit_code == 0, given.output
    assert history("s")[0][-1].reason == "it's the better one"
    with (
        lock.alone(MlflowClient(), "s", first),
        pytest.raises(PromotionError, match="reft rollback s --by bob --reason no"),
    ):
        rollback("s", "bob", "no")


def test_the_commands(student):
    student("a")

    def run(*command):
        return CliRunner().invoke(app, list(command))

    assert "version 1 is now the champion" in run("promote", "s", "--version", "1", "--by", "me").stdout
    assert "the champion already" in run("promote", "s", "--version", "1").stdout
    told = run("history", "s").stdout
    assert "champion: none -> 1 by me (passed its gate)" in told
    assert "the chain is whole" in told
    assert isinstance(run("promote", "s", "--force").exception, Exception)


def test_a_digest_knows_names_and_contents(tmp_path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    before = digest_of_files(tmp_path)
    (tmp_path / "b").rename(tmp_path / "c")
    assert digest_of_files(tmp_path) != before
