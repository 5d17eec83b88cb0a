import os
import time

import pytest
from sqlmodel import col, select

from reft.service.clock import now
from reft.service.files import RESULTS, NewFile, delete_expired, delete_file, keep_file, remove_blobs
from reft.service.jobs import lifecycle, states
from reft.service.keys import create_key
from reft.service.retention import DAY, YOUNG, sweep
from reft.service.service import open_service
from reft.service.serving.folders import IN_USE, folder_of
from reft.service.tables import Event, Job, ServedModel, StoredFile
from tests.service.serving import settings_for


@pytest.fixture
def service(tiny_model, tmp_path):
    made = open_service(settings_for(tmp_path, tiny_model, retention_days=30))
    yield made
    made.database.close()


def a_job(service, name):
    """A job with a file of its own, a result, an event and a model."""
    with service.database.writing() as session:
        key, _ = create_key(session, "acme", "customer")
    owner = key.organization_id
    new = NewFile(organization_id=owner, filename="r.jsonl", purpose="fine-tune")
    file = keep_file(service, new, [b"{}"])
    result = keep_file(
        service, NewFile(organization_id=owner, filename="x.csv", purpose=RESULTS, derived_from=file.id), [b"x"]
    )
    job = Job(
        id=name, organization_id=owner, created_at=now(), created_ms=0, key_id=key.id, model="tiny",
        training_file=file.id, seed=1, status=states.RUNNING, stage=states.TRAINING, body_digest="",
        result_files=[result.id],
    )  # fmt: skip
    with service.database.writing() as session:
        session.add(job)
        session.flush()
        lifecycle.say(session, job, "hello")
        model = ServedModel(
            id=f"ft:{name}", organization_id=owner, created_at=now(), base="tiny", job_id=name,
            folder=f"models/{name}", passed=True,
        )  # fmt: skip
        session.add(model)
    for key in (f"models/{name}/adapter", f"jobs/{name}/report.html"):
        service.blobs.write(key, [b"x"])
    return file, result


def finished(service, name, **changed):
    with service.database.writing() as session:
        job = session.exec(select(Job).where(col(Job.id) == name)).one()
        lifecycle.finish(session, job, states.SUCCEEDED, model=f"ft:{name}")
        job.sqlmodel_update(changed)


def there(service, *ids):
    """Which of these files are there, by the database."""
    with service.database.reading() as session:
        rows = session.exec(select(StoredFile).where(col(StoredFile.id).in_(ids))).all()
        return {row.id for row in rows if row.deleted_at is None}


def keys(service):
    return {key for key, _ in service.blobs.listed()}


def aged(service):
    for key, _ in service.blobs.listed():
        os.utime(service.blobs.path(key), (time.time() - 2 * YOUNG,) * 2)


def test_finished_jobs_and_old_files_go_and_models_stay(service):
    a_job(service, "ftjob-old")
    file, _ = a_job(service, "ftjob-runs")
    with service.database.writing() as session:
        job = session.exec(select(Job).where(col(Job.id) == "ftjob-old")).one()
        lifecycle.finish(session, job, states.SUCCEEDED, model="ft:ftjob-old")
    assert sweep(service, now() + 29 * DAY) == 0
    sweep(service, now() + 31 * DAY)
    with service.database.reading() as session:
        assert [job.id for job in session.exec(select(Job)).all()] == ["ftjob-runs"]
        assert {event.job_id for event in session.exec(select(Event)).all()} == {"ftjob-runs"}
        living = session.exec(select(StoredFile).where(col(StoredFile.deleted_at).is_(None))).all()
        assert file.id in {one.id for one in living}
    assert {"models/ftjob-old/adapter", "models/ftjob-runs/adapter", "jobs/ftjob-runs/report.html", file.blob} <= keys(
        service
    )
    assert "jobs/ftjob-old/report.html" not in keys(service)


def test_a_job_whose_runs_are_still_stored_stays_until_they_are_deleted(service):
    a_job(service, "ftjob-old")
    finished(service, "ftjob-old", attempts=1)
    sweep(service, now() + 31 * DAY)
    with service.database.writing() as session:
        job = session.exec(select(Job).where(col(Job.id) == "ftjob-old")).one()
        assert job.work["forget"] == "asked"
        job.work = {**job.work, "forget": "done"}
    sweep(service, now() + 31 * DAY)
    with service.database.reading() as session:
        assert session.exec(select(Job)).all() == []


@pytest.mark.parametrize("which", ["training", "validation"])
def test_with_a_file_goes_what_was_made_of_it(service, which):
    training, result = a_job(service, "ftjob-a")
    owner = training.organization_id
    new = {name: NewFile(organization_id=owner, filename=f"{name}.jsonl", purpose="fine-tune") for name in ("v", "w")}
    validation, other = (keep_file(service, one, [b"{}"]) for one in new.values())
    golden = keep_file(
        service, NewFile(organization_id=owner, filename="g", purpose=RESULTS, derived_from=validation.id), [b"g"]
    )
    finished(service, "ftjob-a", validation_file=validation.id, result_files=[result.id, golden.id], attempts=1)
    with service.database.writing() as session:
        gone = delete_file(session, owner, (training if which == "training" else validation).id)
    remove_blobs(service.blobs, gone)
    left = {"training": {validation.id, other.id}, "validation": {training.id, result.id, other.id}}
    everything = (training, result, validation, golden, other)
    assert there(service, *(file.id for file in everything)) == left[which]
    assert {file.id for file in everything if file.blob in keys(service)} == left[which]
    assert "jobs/ftjob-a/report.html" not in keys(service)
    assert "models/ftjob-a/adapter" in keys(service)
    with service.database.reading() as session:
        assert session.exec(select(Job)).one().work["forget"] == "asked"


def test_a_file_whose_time_is_over_goes_with_what_was_made_of_it_but_not_from_under_a_job(service):
    training, result = a_job(service, "ftjob-a")
    with service.database.writing() as session:
        row = session.exec(select(StoredFile).where(col(StoredFile.id) == training.id)).one()
        row.expires_at = now() - 1
    assert delete_expired(service) == 0
    assert there(service, training.id, result.id) == {training.id, result.id}
    finished(service, "ftjob-a")
    assert delete_expired(service) == 3
    assert there(service, training.id, result.id) == set()
    assert not {training.blob, result.blob, "jobs/ftjob-a/report.html"} & keys(service)


def test_content_without_a_row_goes_once_nothing_can_be_waiting_for_it(service):
    a_job(service, "ftjob-runs")
    before = keys(service)
    for name in ("org-x/file-lost", "org-x/file-y.abc.part", "models/ftjob-gone/adapter", "jobs/ftjob-gone/r.html"):
        service.blobs.write(name, [b"lost"])
    assert sweep(service, now()) == 0
    aged(service)
    assert sweep(service, now()) == 4
    assert keys(service) == before


def test_copies_of_models_go_with_the_models_and_halves_of_copies_with_time(tiny_model, tmp_path):
    service = open_service(settings_for(tmp_path, tiny_model, files="memory://copies"))
    try:
        for name in ("ftjob-gone", "ftjob-stays"):
            a_job(service, name)
        gone, stays = (folder_of(service, f"models/{name}") for name in ("ftjob-gone", "ftjob-stays"))
        halves = [stays.with_name(f"ftjob-{name}.0a1b.part") for name in ("young", "old")]
        for half in halves:
            half.mkdir()
        os.utime(halves[1], (time.time() - 2 * YOUNG,) * 2)
        with service.database.writing() as session:
            model = session.exec(select(ServedModel).where(col(ServedModel.id) == "ft:ftjob-gone")).one()
            model.deleted_at = now()
            session.add(model)
        sweep(service, now())
        assert sorted(path.name for path in stays.parent.iterdir()) == ["ftjob-stays", halves[0].name]
        assert (stays / "adapter").read_bytes() == b"x"
        assert not gone.exists()
    finally:
        service.blobs.fs.rm(service.blobs.root, recursive=True)
        service.database.close()


def test_copies_of_models_stay_within_their_room_and_what_was_used_least_recently_goes(tiny_model, tmp_path):
    service = open_service(settings_for(tmp_path, tiny_model, files="memory://room", copies_bytes=2000))
    try:
        names = ("ftjob-a", "ftjob-b", "ftjob-c")
        for name in names:
            a_job(service, name)
            service.blobs.write(f"models/{name}/deep/weights", [b"x" * 900])
            there = folder_of(service, f"models/{name}").parent
        long = 2 * IN_USE

        def left(**unused):
            for letter, seconds in unused.items():
                os.utime(there / f"ftjob-{letter}", (time.time() - seconds,) * 2)
            sweep(service, now())
            return {path.name[-1] for path in there.iterdir()}

        assert left() == {"a", "b", "c"}  # whoever was given one may be reading it
        os.utime(there / "ftjob-a", (0, 0))
        folder_of(service, "models/ftjob-a")
        assert left(b=long + 1, c=long) == {"a", "c"}
        assert left(a=long, c=long) == {"a", "c"}  # there is room for two
        assert (folder_of(service, "models/ftjob-b") / "deep" / "weights").read_bytes() == b"x" * 900
        assert left(a=long, c=long + 1) == {"a", "b"}
    finally:
        service.blobs.fs.rm(service.blobs.root, recursive=True)
        service.database.close()
