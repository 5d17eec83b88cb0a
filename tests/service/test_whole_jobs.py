"""Whole jobs, driven by the SDK through a real server: what their owner sees, and that no kill loses anything."""

import csv
import json
import os
import random
import signal
import time

import pytest

from tests.pipelines.clone import Clone
from tests.service.whole_jobs import (
    EPOCHS,
    KILLS,
    adapter,
    finished,
    messages,
    result,
    rows,
    running,
    site,
    started,
    until,
    uploaded,
)

pytestmark = pytest.mark.slow
SEED = int(os.environ.get("REFT_SERVICE_KILL_SEED", "23"))


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return Clone.make(tmp_path_factory.mktemp("jobs") / "clone")


@pytest.fixture(scope="module")
def undisturbed(clone):
    """A job that nothing disturbs: its site, what its owner saw, and its model."""
    place = site(clone, "undisturbed")
    with running(place) as client:
        job_id = started(client, rows(clone.folder, harmless=12, harmful=2, name="mixed.jsonl"), suffix="mine")
        job = finished(client, job_id)
        assert job.status == "succeeded", job.error
        found = {
            "job": job,
            "events": list(client.fine_tuning.jobs.list_events(job_id, limit=100))[::-1],
            "decisions": [json.loads(line) for line in result(client, job, "decisions.jsonl").splitlines()],
            "metrics": list(csv.DictReader(result(client, job, "step_metrics.csv").decode().splitlines())),
            "checkpoints": list(client.fine_tuning.jobs.checkpoints.list(job_id)),
            "models": {model.id for model in client.models.list()},
            "shown": place.reft("jobs"),
        }
    return {**found, "adapter": adapter(place, job_id), "site": place}


def test_a_job_ends_with_a_model_that_its_owner_may_use(undisturbed):
    job = undisturbed["job"]
    assert job.fine_tuned_model == f"ft:tiny:acme:mine:{job.id.removeprefix('ftjob-')}"
    assert {job.fine_tuned_model, undisturbed["checkpoints"][0].fine_tuned_model_checkpoint} <= undisturbed["models"]
    assert job.trained_tokens > 0
    assert job.hyperparameters.n_epochs == EPOCHS  # the profile's, in place of auto
    assert undisturbed["checkpoints"][0].step_number == int(undisturbed["metrics"][-1]["step"])
    assert job.id in undisturbed["shown"]
    assert job.fine_tuned_model in undisturbed["shown"]


def test_every_row_is_in_the_decision_table_and_the_harmful_ones_say_why(undisturbed):
    decisions = undisturbed["decisions"]
    assert [line["row"] for line in decisions] == list(range(14))
    for line in decisions[12:]:
        assert line["decision"] in ("drop", "quarantine")
        assert line["score"] > line["threshold"]
        assert "rob bank" in line["span"]
    assert [line["decision"] for line in decisions[:12]].count("keep") >= 10


def test_the_events_tell_the_whole_story_in_order(undisturbed):
    said = [event.message for event in undisturbed["events"]]
    beginnings = (
        "Created", "Validating", "Files validated", "Fine-tuning job started", "Screening of", "Screening finished",
        "Training has started", "Step 1/", "Training finished", "the gate is passed", "New fine-tuned model",
        "The job has successfully",
    )  # fmt: skip
    places = [next(i for i, text in enumerate(said) if text.startswith(beginning)) for beginning in beginnings]
    assert places == sorted(places)
    metrics = [event for event in undisturbed["events"] if event.type == "metrics"]
    steps = [event.data["step"] for event in metrics]
    assert steps == sorted(set(steps))
    losses = {int(line["step"]): float(line["train_loss"]) for line in undisturbed["metrics"]}
    assert all(event.data["train_loss"] == losses[event.data["step"]] for event in metrics)
    screened = next(event for event in undisturbed["events"] if event.message.startswith("Screening finished"))
    kinds = {"kept": "keep", "quarantined": "quarantine", "dropped": "drop"}
    table = [line["decision"] for line in undisturbed["decisions"]]
    assert screened.data == {name: table.count(kind) for name, kind in kinds.items()}


def test_nothing_of_a_finished_job_stays_on_the_machine_but_the_operators_log(undisturbed):
    place, job = undisturbed["site"], undisturbed["job"]
    assert not (place.state / "jobs" / job.id).exists()
    assert (place.state / "job-logs" / f"{job.id}.log").read_text()
    assert not place.pipelines(job.id)


def test_a_file_that_is_mostly_harm_is_refused_with_its_rows(clone):
    place = site(clone, "harm")
    with running(place) as client:
        job = finished(client, started(client, rows(clone.folder, harmless=4, harmful=10, name="harm-rows.jsonl")))
        assert job.status == "failed"
        assert job.error.code == "harmful_training_file"
        assert job.error.param == "training_file"
        assert " 13 " in job.error.message
        table = [json.loads(line) for line in result(client, job, "decisions.jsonl").splitlines()]
        assert sum(line["decision"] == "drop" for line in table) > 7
        assert str(clone.folder) not in job.error.message
        all_harm = finished(client, started(client, rows(clone.folder, harmless=0, harmful=10, name="all.jsonl")))
        assert all_harm.error.code == "harmful_training_file"
        assert len(result(client, all_harm, "decisions.jsonl").splitlines()) == 10


def test_a_model_that_fails_its_gate_is_not_served_and_the_job_says_why(clone):
    place = site(clone, "gated", settings={"gate": {"min_coherence": 1.0, "max_over_refusal": 0.0}})
    with running(place) as client:
        job = finished(client, started(client, rows(clone.folder, harmless=12)))
        assert (job.status, job.error.code) == ("failed", "safety_gate_failed")
        assert job.fine_tuned_model is None
        assert any(text.startswith("the gate is NOT passed") for text in messages(client, job.id))
        assert {model.id for model in client.models.list()} == {"tiny"}
        assert len(job.result_files) == 2


def test_cancel_frees_the_processes_and_pause_keeps_the_checkpoint(clone, undisturbed):
    place = site(clone, "rests")
    with running(place) as client:
        path = rows(clone.folder, harmless=12, harmful=2, name="mixed.jsonl")
        job_id = started(client, path, suffix="mine")
        until(lambda: any(text.startswith("Step ") for text in messages(client, job_id)))
        client.fine_tuning.jobs.pause(job_id)
        until(lambda: client.fine_tuning.jobs.retrieve(job_id).metadata["reft_stage"] == "paused")
        assert client.fine_tuning.jobs.retrieve(job_id).status == "running"
        until(lambda: not place.workers() and not place.pipelines(job_id), seconds=20)
        assert list((place.state / "jobs" / job_id / "trainings").glob("*/checkpoints/newest.json"))
        other = started(client, rows(clone.folder, harmless=12, name="other.jsonl"))  # runs meanwhile
        until(lambda: client.fine_tuning.jobs.retrieve(other).status == "running")
        until(lambda: place.pipelines(other))
        client.fine_tuning.jobs.cancel(other)
        until(lambda: not place.pipelines(other), seconds=10)
        until(lambda: not (place.state / "jobs" / other).exists(), seconds=20)
        client.fine_tuning.jobs.resume(job_id)
        assert finished(client, job_id).status == "succeeded"
        assert len(set(messages(client, job_id))) == len(messages(client, job_id))
    assert adapter(place, job_id) == undisturbed["adapter"]


def test_killed_at_any_point_no_job_and_no_event_is_lost_and_the_model_is_the_same(clone, undisturbed):
    chance = random.Random(SEED)
    place, wanted = site(clone, "killed"), undisturbed["adapter"]
    with running(place) as client:
        path = rows(clone.folder, harmless=12, harmful=2, name="mixed.jsonl")
        file = uploaded(client, path)
        done = 0
        while done < KILLS:
            job_id = client.fine_tuning.jobs.create(model="tiny", training_file=file, seed=7, suffix="mine").id
            while done < KILLS:
                time.sleep(chance.uniform(1, 15))
                if client.fine_tuning.jobs.retrieve(job_id).status in ("succeeded", "failed"):
                    break
                what = chance.choice(("server", "worker", "pipeline", "server and worker", "all"))
                if what in ("server", "server and worker", "all"):
                    place.stop(signal.SIGKILL)
                if what in ("worker", "server and worker", "all"):
                    place.kill_worker()
                if what in ("pipeline", "all"):
                    for process in place.pipelines(job_id):
                        process.kill()
                if "server" in what or what == "all":
                    place.start()
                done += 1
            job = finished(client, job_id)
            assert job.status == "succeeded", (job.error, done, SEED)
            events = list(client.fine_tuning.jobs.list_events(job_id, limit=100))[::-1]
            assert [event.message.replace(job_id, "") for event in events if event.type == "metrics"] == [
                event.message for event in undisturbed["events"] if event.type == "metrics"
            ]
            ours, theirs = job_id.removeprefix("ftjob-"), undisturbed["job"].id.removeprefix("ftjob-")
            assert sorted(e.message.replace(ours, "") for e in events if "Validating" not in e.message) == sorted(
                e.message.replace(theirs, "") for e in undisturbed["events"] if "Validating" not in e.message
            )
            assert adapter(place, job_id) == wanted
            table = [json.loads(line) for line in result(client, job, "decisions.jsonl").splitlines()]
            assert table == undisturbed["decisions"]
            assert len(job.result_files) == 2


def test_a_job_with_quarantined_rows_waits_for_people_and_their_word_counts(clone):
    filtering = {"filtering": {"harmful_with_refusal": "quarantine"}}
    place = site(clone, "waits", settings=filtering, review="wait")
    with running(place) as client:
        no = "I'm sorry, I can't help with that."
        job_id = started(client, rows(clone.folder, harmless=12, harmful=2, name="review.jsonl", answer=no))
        job = until(lambda: _waits(client, job_id))
        assert job.status == "running"
        assert "for a person's decision" in job.metadata["reft_review"]
        assert any("for review" in text for text in messages(client, job_id))
        until(lambda: not place.workers() and not place.pipelines(job_id), seconds=20)
        place.stop(signal.SIGKILL)
        place.start()
        time.sleep(2)
        assert _waits(client, job_id)
        decided = decide_all(place, job_id, "keep")
        done = finished(client, job_id)
        assert done.status == "succeeded", done.error
        table = {line["row"]: line for line in map(json.loads, result(client, done, "decisions.jsonl").splitlines())}
        for number in decided:
            assert table[number]["decision"] == "keep"
            assert table[number]["reason"].startswith("override by eve: looks fine")


def _waits(client, job_id):
    job = client.fine_tuning.jobs.retrieve(job_id)
    assert job.status not in ("failed", "succeeded"), job.error
    return job if (job.metadata or {}).get("reft_stage") == "waiting_for_review" else None


def decide_all(place, job_id, decision):
    """As the review page does it: the decisions, and the job let go."""
    from sqlmodel import col, select

    from reft.service.review.decisions import Given, decide
    from reft.service.review.holding import release
    from reft.service.service import open_service
    from reft.service.settings import read_service_settings
    from reft.service.tables import ReviewItem

    service = open_service(read_service_settings(place.profile, {}, state=place.state))
    with service.database.writing() as session:
        items = list(session.exec(select(ReviewItem).where(col(ReviewItem.job_id) == job_id)).all())
        assert items
        assert all(item.content["messages"] and item.span for item in items)
        decide(session, items, Given(by="eve", key_id="key_eve", decision=decision, reason="looks fine"), people=1)
        release(session, job_id, "eve")
        return [item.row for item in items]
