import os
import subprocess
import sys

import pytest
from sqlmodel import col, select

from reft.service.jobs import leases, lifecycle, states
from reft.service.jobs.child import MARK
from reft.service.jobs.dispatcher import Dispatcher
from reft.service.jobs.folders import folder_of
from reft.service.jobs.held import HeldJob, LostJob, lease_of
from reft.service.jobs.holders import coming, has_gone, this_process
from reft.service.jobs.worker import hold
from reft.service.review.holding import Quarantined, release
from reft.service.review.holding import hold as hold_rows
from reft.service.service import open_service
from reft.service.tables import Event, Job, ReviewItem
from tests.service.serving import add_job, settings_for


class Recorded(Dispatcher):
    """Chooses and takes leases as the real one does; its workers are names."""

    def __init__(self, service):
        super().__init__(service, service.settings.state)
        self.started = []

    def _launch(self, job_id, kept_for_it):
        with self.service.database.writing() as session:
            assert leases.hand_over(session, lease_of(job_id), kept_for_it, to=f"worker of {job_id}", seconds=60)
        self.started.append(job_id)


@pytest.fixture
def service(tiny_model, tmp_path):
    made = open_service(settings_for(tmp_path, tiny_model))
    yield made
    made.database.close()


def job(service, name):
    with service.database.reading() as session:
        return session.exec(select(Job).where(col(Job.id) == name)).one()


def test_as_many_run_at_once_as_may_and_the_interrupted_go_on_first(service):
    add_job(service, "first")
    add_job(service, "cut-off", status=states.RUNNING, stage=states.TRAINING)
    add_job(service, "checked", status=states.VALIDATING, stage=states.CHECKING)
    dispatcher = Recorded(service)
    dispatcher.once()
    dispatcher.once()
    assert dispatcher.started == ["cut-off"]
    ended(service, "cut-off")
    dispatcher.once()
    assert dispatcher.started == ["cut-off", "first"]


def ended(service, name):
    """Its worker has gone, and it is over."""
    with service.database.writing() as session:
        leases.release(session, lease_of(name), f"worker of {name}")
        row = session.exec(select(Job).where(col(Job.id) == name)).one()
        lifecycle.finish(session, row, states.SUCCEEDED, model="m")


def test_places_go_in_turn_between_organizations_however_many_jobs_one_has_sent(service):
    for number in range(4):
        add_job(service, f"many-{number}", owner="many")
    add_job(service, "few-0", owner="few")
    add_job(service, "few-1", owner="few")
    add_job(service, "one-0", owner="one")
    dispatcher = Recorded(service)
    for _ in range(7):  # one place: who had it last comes last
        dispatcher.once()
        dispatcher.once()
        ended(service, dispatcher.started[-1])
    assert dispatcher.started == ["many-0", "few-0", "one-0", "many-1", "few-1", "many-2", "many-3"]


def test_who_has_the_fewest_running_comes_first_and_what_was_cut_off_before_all(tiny_model, tmp_path):
    service = open_service(settings_for(tmp_path, tiny_model, jobs_at_once=3))
    for number in range(3):
        add_job(service, f"many-{number}", owner="many")
    dispatcher = Recorded(service)
    dispatcher.once()
    assert dispatcher.started == ["many-0", "many-1", "many-2"]  # nobody else wants the places
    for number in range(3, 6):
        add_job(service, f"many-{number}", owner="many")
    add_job(service, "few-0", owner="few")
    ended(service, "many-0")
    dispatcher.once()
    assert dispatcher.started[3:] == ["few-0"]
    add_job(service, "few-1", owner="few")
    add_job(service, "cut-off", owner="many", status=states.RUNNING, stage=states.TRAINING)
    for name in ("many-1", "many-2"):
        ended(service, name)
    dispatcher.once()
    assert dispatcher.started[4:] == ["cut-off", "few-1"]  # one of each runs, and few waits longer: many has had a turn
    service.database.close()


def test_jobs_that_people_let_go_on_wait_for_a_turn_like_others(service):
    for number in range(3):
        add_job(service, f"asked-{number}", owner="many", status=states.RUNNING, stage=states.REVIEW, work={})
    add_job(service, "few-0", owner="few")
    dispatcher = Recorded(service)
    for _ in range(3):
        dispatcher.once()
        ended(service, dispatcher.started[-1])
    assert dispatcher.started == ["asked-0", "few-0", "asked-1"]


def test_what_rests_is_not_started_and_a_job_in_review_waits_for_the_last_decision(service):
    add_job(service, "rests", wanted=states.PAUSE, status=states.RUNNING, stage=states.TRAINING)
    add_job(service, "asks", status=states.RUNNING, stage=states.REVIEW)
    with service.database.writing() as session:
        asks = session.exec(select(Job).where(col(Job.id) == "asks")).one()
        said = {"reason": "r", "content": {"messages": [{"role": "user", "content": "where is my card"}]}}
        rows = [Quarantined(row=row, score=1.0, threshold=0.0, **said) for row in (1, 2)]
        assert hold_rows(session, asks, rows, total=9, kept=7) == 2
    dispatcher = Recorded(service)
    dispatcher.once()
    assert dispatcher.started == []
    with service.database.writing() as session:
        for item in session.exec(select(ReviewItem)).all():
            item.decision = "keep"
            session.add(item)
    with service.database.writing() as session:
        lifecycle.pause(session, asks, runs=False)
        lifecycle.resume(session, asks)
    dispatcher.once()
    assert dispatcher.started == []  # decided, or paused meanwhile: people have not let it go
    with service.database.writing() as session:
        release(session, "asks", "eve")
    dispatcher.once()
    assert dispatcher.started == ["asks"]
    assert job(service, "rests").stage == states.PAUSED
    with service.database.reading() as session:
        said = session.exec(select(Event.message).where(col(Event.job_id) == "rests")).all()
    assert said == ["Fine-tuning job paused; its checkpoint is kept"]


def test_one_dispatcher_leads(service):
    one, other = Recorded(service), Recorded(service)
    assert one._leads()
    assert not other._leads()
    assert one._leads()


def test_a_worker_takes_over_what_was_taken_for_it_once_and_a_late_one_changes_nothing(service):
    name, kept = add_job(service, "held"), coming()
    with service.database.writing() as session:
        assert leases.take(session, lease_of(name), kept, seconds=60)
    held = hold(service, name, kept)
    assert held is not None
    assert hold(service, name, kept) is None
    with held.changing() as (_, row):
        row.stage = states.TRAINING
    with service.database.writing() as session:
        leases.release(session, lease_of(name), held.holder)
        assert leases.take(session, lease_of(name), "another", seconds=60) == 2
    with pytest.raises(LostJob), held.changing() as (_, row):
        row.stage = states.DONE
    assert job(service, name).stage == states.TRAINING
    assert isinstance(held, HeldJob)


def test_what_is_left_of_ended_jobs_is_taken_away_and_nothing_else(service):
    for name, status in (("ended", states.CANCELLED), ("runs", states.RUNNING)):
        add_job(service, name, status=status)
    for name in ("ended", "runs", "unknown"):
        folder_of(service.settings, name).root.mkdir(parents=True)
    Recorded(service)._tidy()
    assert [folder.name for folder in (service.settings.state / "jobs").iterdir()] == ["runs"]


@pytest.mark.slow
def test_a_pipeline_whose_worker_has_gone_is_ended_before_another_machine_starts_the_job(service):
    """On every machine, the one that leads or not: elsewhere nobody sees that the worker has gone."""
    add_job(service, "runs", status=states.RUNNING)
    folder_of(service.settings, "runs").root.mkdir(parents=True)
    code = "from reft.service.jobs.holders import this_process; print(this_process())"
    gone = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    with service.database.writing() as session:
        assert leases.take(session, lease_of("runs"), gone, seconds=300)
    pipeline = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], env={**os.environ, MARK: "runs"}
    )
    Recorded(service)._tidy()
    pipeline.wait(10)  # it would take ten minutes by itself
    with service.database.reading() as session:
        assert not leases.is_held(session, lease_of("runs"))


@pytest.mark.slow
def test_what_goes_on_elsewhere_is_stopped_once_by_the_one_that_leads(tiny_model, tmp_path):
    code = (
        f"import pathlib, sys; open({str(tmp_path / 'stopped')!r}, 'a').write(pathlib.Path(sys.argv[-1]).parent.name)"
    )
    code += f"; sys.exit(pathlib.Path({str(tmp_path / 'away')!r}).exists())"
    service = open_service(settings_for(tmp_path, tiny_model, stop=[sys.executable, "-c", code]))
    add_job(service, "c", status=states.CANCELLED, wanted=states.CANCEL)
    add_job(service, "p", status=states.RUNNING, wanted=states.PAUSE)
    add_job(service, "n", status=states.CANCELLED, wanted=states.CANCEL)  # it never came to a run
    for name in "cpn":
        folder = folder_of(service.settings, name)
        folder.root.mkdir(parents=True)
        if name != "n":
            folder.profile.touch()
    (tmp_path / "away").touch()
    dispatcher, there = Recorded(service), service.settings.state / "jobs"
    dispatcher._tidy()
    assert not (tmp_path / "stopped").exists()  # another one leads
    dispatcher._tidy(leads=True)
    assert sorted(path.name for path in there.iterdir()) == ["c", "p"]  # it could not be stopped: tried again
    (tmp_path / "away").unlink()
    for _ in range(2):
        dispatcher._tidy(leads=True)
    assert sorted((tmp_path / "stopped").read_text()) == ["c", "c", "p", "p"]
    assert [path.name for path in there.iterdir()] == ["p"]
    service.database.close()


@pytest.mark.slow
def test_a_process_that_is_gone_is_known_by_its_machine():
    code = "from reft.service.jobs.holders import this_process; print(this_process())"
    gone = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert has_gone(gone)
    assert not has_gone(this_process())
    assert not has_gone(gone.replace(gone.partition("|")[0], "another-machine"))
    assert not has_gone(coming())
    machine, _, started, rest = this_process().split("|")
    assert has_gone("|".join([machine, str(os.getpid()), "1.00", rest]))  # a number that was given again
    assert started
