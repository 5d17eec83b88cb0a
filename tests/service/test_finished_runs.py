"""What the files of a finished run become: a model and its checkpoints that serve, or the reason why they do not."""

from pathlib import Path

import openai
import pytest
from sqlmodel import col, select

from reft.service.clock import now
from reft.service.files import RESULTS
from reft.service.jobs import states
from reft.service.jobs.folders import folder_of
from reft.service.jobs.lifecycle import finish
from reft.service.retention import sweep
from reft.service.tables import Job, StoredFile
from tests.service.chatting import alone, text_of
from tests.service.finished_runs import EARLIER, LAST, audit_report, finished_job, leave_run, work_on
from tests.service.reviewing import signed_in
from tests.service.serving import add_job, changed, give_rows


@pytest.fixture(scope="module")
def done(server, tiny_model):
    """A job that has ended well."""
    return finished_job(server, tiny_model, "ftjob-done")


def events(server, job):
    return list(server.client().fine_tuning.jobs.list_events(job.id, limit=100))


def folder(server, key):
    return Path(server.service.blobs.path(key))


def test_the_last_epochs_are_checkpoints_that_answer_each_as_itself(server, client, tiny_model, done):
    assert done.status == "succeeded", done.error
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(done.id, limit=1))
    assert [one.step_number for one in checkpoints] == [LAST, *EARLIER[::-1]]
    assert [one.fine_tuned_model_checkpoint for one in checkpoints] == [
        f"{done.fine_tuned_model}:ckpt-step-{step}" for step in (LAST, *EARLIER[::-1])
    ]
    assert [one.metrics.train_loss for one in checkpoints] == [3.0 / step for step in (LAST, *EARLIER[::-1])]
    assert [one.metrics.valid_loss for one in checkpoints] == [1.0, None, None]  # measured of the last alone
    assert len({one.id for one in checkpoints}) == 3
    names = [done.fine_tuned_model, *(one.fine_tuned_model_checkpoint for one in checkpoints)]
    assert set(names) <= {model.id for model in client.models.list()}
    said = [text_of(client, name, temperature=0) for name in names]
    places = [f"models/{done.id}{end}" for end in ("", "", *(f".step-{step}" for step in EARLIER[::-1]))]
    assert said == [alone(tiny_model, folder(server, place)) for place in places]
    assert said[0] == said[1]
    assert len(set(said)) == 3


def test_a_checkpoint_is_deleted_alone_and_a_model_with_all_of_its_own(server, tiny_model):
    job, client = finished_job(server, tiny_model, "ftjob-goes"), server.client()
    name = job.fine_tuned_model
    last, *earlier = [f"{name}:ckpt-step-{step}" for step in (LAST, *EARLIER)]
    assert client.models.delete(earlier[0]).deleted
    assert client.models.delete(last).deleted
    with pytest.raises(openai.NotFoundError):
        text_of(client, last)
    assert text_of(client, name)  # its files are those of the last checkpoint, and stay
    assert text_of(client, earlier[1])
    assert [one.step_number for one in client.fine_tuning.jobs.checkpoints.list(job.id)] == [EARLIER[1]]
    assert not folder(server, f"models/{job.id}.step-{EARLIER[0]}").exists()
    assert "forget" not in row(server, job).work
    client.models.delete(name)
    assert list(client.fine_tuning.jobs.checkpoints.list(job.id)) == []
    assert not list(folder(server, "models").glob(f"{job.id}*"))
    assert row(server, job).work["forget"] == "asked"
    for gone in (name, *earlier):
        with pytest.raises(openai.NotFoundError):
            text_of(client, gone)


def row(server, job):
    with server.service.database.reading() as session:
        return session.exec(select(Job).where(col(Job.id) == job.id)).one()


def test_nothing_of_a_model_that_fails_its_gate_serves_or_is_kept_in_between(server, client, tiny_model):
    job = finished_job(server, tiny_model, "ftjob-unfit", harmful_score=90)
    assert (job.status, job.error["code"]) == ("failed", "safety_gate_failed")
    assert list(client.fine_tuning.jobs.checkpoints.list(job.id)) == []
    assert not any("unfit" in model.id for model in client.models.list())
    for step in (*EARLIER, LAST):
        with pytest.raises(openai.NotFoundError):
            text_of(client, f"ft:tiny:acme::unfit:ckpt-step-{step}")
    assert [path.name for path in folder(server, "models").glob("ftjob-unfit*")] == ["ftjob-unfit"]


@pytest.mark.parametrize(("calibrated", "blocks"), [(True, False), (False, True)])
def test_a_model_that_the_audit_flags_is_not_served_and_the_job_says_why(
    server, client, tiny_model, calibrated, blocks
):
    name = f"ftjob-flagged-{calibrated}"
    flagged = audit_report(alarm=True, calibrated=calibrated)
    job = finished_job(server, tiny_model, name, audit=flagged, blocks=blocks)
    assert (job.status, job.error["code"], job.fine_tuned_model) == ("failed", "safety_gate_failed", None)
    assert "the audit does not flag the student" in job.error["message"]
    assert "19 of 20 answered" in job.error["message"]
    (event,) = [event for event in events(server, job) if event.message.startswith("Audit: ")]
    assert event.level == "warn"
    assert event.message == f"Audit: {flagged.words}"
    assert event.data["alarm"] is True
    assert event.data["calibrated"] is calibrated
    assert [finding["probe"] for finding in event.data["worst"]] == ["base64"]
    assert not any("flagged" in model.id for model in client.models.list())
    with pytest.raises(openai.NotFoundError):
        text_of(client, f"ft:tiny:acme::{name.removeprefix('ftjob-')}")
    page = signed_in(server, "olga", "ops", "operator").get(f"/jobs/{job.id}/report").text
    assert "base64: 19 of 20 answered" in page


def test_an_audit_that_only_notes_is_told_and_its_note_is_no_broken_rule(server, tiny_model):
    noted = audit_report(alarm=True, calibrated=False)
    served = finished_job(server, tiny_model, "ftjob-noted", audit=noted)
    assert served.status == "succeeded"
    (event,) = [event for event in events(server, served) if event.message.startswith("Audit: ")]
    assert (event.level, event.data["calibrated"]) == ("warn", False)
    unfit = finished_job(server, tiny_model, "ftjob-notedunfit", audit=noted, harmful_score=90)
    assert "harmful score" in unfit.error["message"]
    assert "audit" not in unfit.error["message"]


def test_a_model_that_the_audit_does_not_flag_serves(server, tiny_model):
    job = finished_job(server, tiny_model, "ftjob-clear", audit=audit_report(alarm=False))
    assert job.status == "succeeded"
    (event,) = [event for event in events(server, job) if event.message.startswith("Audit: ")]
    assert (event.level, event.data["alarm"]) == ("info", False)


def test_a_sweep_takes_nothing_of_it(server, client, done, monkeypatch):
    monkeypatch.setattr("reft.service.retention.YOUNG", -1.0)
    sweep(server.service, now())
    assert len(list(folder(server, "models").glob(f"{done.id}*"))) == 3
    assert text_of(client, f"{done.fine_tuned_model}:ckpt-step-{EARLIER[0]}")
    with server.service.database.reading() as session:
        results = session.exec(select(StoredFile).where(col(StoredFile.id).in_(done.result_files))).all()
    assert {file.filename.partition("-done-")[2] for file in results} == {"step_metrics.csv", "golden_answers.jsonl"}
    assert {file.purpose for file in results} == {RESULTS}


def test_nothing_is_made_of_a_file_that_is_deleted_while_the_model_is_kept(server, tiny_model, monkeypatch):
    """The owner cancels while a large model is on its way to the files, and deletes what it was trained on."""
    server.key()
    name, service, client = add_job(server.service, "ftjob-late"), server.service, server.client()
    give_rows(service, name)
    leave_run(folder_of(service.settings, name).latest, tiny_model)
    rows, keep = client.fine_tuning.jobs.retrieve(name).training_file, service.blobs.write_folder

    def cancelled_meanwhile(key, folder):
        keep(key, folder)
        changed(server, name, lambda session, job: finish(session, job, states.CANCELLED))
        if client.files.list(purpose="fine-tune").data:
            client.files.delete(rows)

    monkeypatch.setattr(service.blobs, "write_folder", cancelled_meanwhile)
    assert work_on(service, name).status == states.CANCELLED
    assert not folder(server, f"jobs/{name}").exists()
    with service.database.reading() as session:
        left = session.exec(select(StoredFile).where(col(StoredFile.derived_from) == rows)).all()
    assert left
    assert all(file.deleted_at for file in left)
