"""Whole jobs, driven by the SDK through a real server: what their owner sees, and that no kill loses anything."""

import csv
import json
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from reft.service.jobs.states import FINISHED
from tests.factories import BREAD, HARM
from tests.pipelines.clone import Clone
from tests.service.whole_jobs import (
    EPOCHS,
    KILLS,
    adapter,
    costs,
    decide_all,
    earlier,
    finished,
    messages,
    of_provider,
    registered,
    result,
    rows,
    running,
    same_rows,
    site,
    started,
    stored,
    until,
    uploaded,
    waits,
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
        job = finished(client, client.fine_tuning.jobs.create(**same_rows(client, clone.folder), suffix="mine").id)
        assert job.status == "succeeded", job.error
        found = {
            "job": job,
            "events": list(client.fine_tuning.jobs.list_events(job.id, limit=100))[::-1],
            "decisions": [json.loads(line) for line in result(client, job, "decisions.jsonl").splitlines()],
            "metrics": list(csv.DictReader(result(client, job, "step_metrics.csv").decode().splitlines())),
            "golden": [json.loads(line) for line in result(client, job, "golden_answers.jsonl").splitlines()],
            "checkpoints": list(client.fine_tuning.jobs.checkpoints.list(job.id)),
            "models": {model.id for model in client.models.list()},
            "shown": place.reft("jobs"),
            "costs": costs(place, job.id),
            "moderated": client.moderations.create(input=[HARM.format(3), BREAD.format(3)]).results,
        }
    return {**found, "adapter": adapter(place, job.id), "earlier": earlier(place, job.id), "site": place}


def test_a_job_ends_with_a_model_that_its_owner_may_use(undisturbed):
    job = undisturbed["job"]
    assert job.fine_tuned_model == f"ft:tiny:acme:mine:{job.id.removeprefix('ftjob-')}"
    assert job.fine_tuned_model in undisturbed["models"]
    assert job.trained_tokens > 0
    assert job.hyperparameters.n_epochs == EPOCHS  # the profile's, in place of auto
    steps, found = int(undisturbed["metrics"][-1]["step"]), undisturbed["checkpoints"]
    assert [one.step_number for one in found] == [steps * done // EPOCHS for done in (EPOCHS, EPOCHS - 1, EPOCHS - 2)]
    assert {one.fine_tuned_model_checkpoint for one in found} <= undisturbed["models"]
    assert len({undisturbed["adapter"], *undisturbed["earlier"]}) == 3
    assert job.id in undisturbed["shown"]
    assert job.fine_tuned_model in undisturbed["shown"]


def test_the_jobs_teacher_moderates_from_then_on_and_calibrates_nothing_anew(undisturbed):
    assert [result.flagged for result in undisturbed["moderated"]] == [True, False]
    assert not (undisturbed["site"].state / "calibrations").exists()
    assert len(list(undisturbed["site"].state.glob("files/teachers/*/teacher-calibration/*"))) == 1  # the run's own


def test_the_figures_are_those_of_the_run(undisturbed):
    checkpoint, last = undisturbed["checkpoints"][0], undisturbed["metrics"][-1]
    golden = undisturbed["golden"]
    assert checkpoint.metrics.train_loss == float(last["train_loss"])
    assert checkpoint.metrics.valid_loss == sum(line["loss_after"] for line in golden) / len(golden)
    assert undisturbed["costs"]["seconds_of_finetuning"] > 0
    assert undisturbed["costs"]["peak_memory_in_MB"] > 100


def test_golden_answers_are_of_the_validation_file_and_training_has_changed_them(undisturbed):
    golden = undisturbed["golden"]
    assert [line["messages"] for line in golden] == [
        [{"role": "user", "content": BREAD.format(300 + i)}] for i in range(5)
    ]
    assert {line["expected"] for line in golden} == {"Mix it well and bake it."}
    assert all(line["loss_after"] < line["loss_before"] for line in golden)  # it has learnt what it is to say
    (event,) = [event for event in undisturbed["events"] if event.message.startswith("Golden answers: 5 prompts")]
    assert event.data["mean_loss_after"] == sum(line["loss_after"] for line in golden) / 5


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
        "Training has started", "Step 1/", "Training finished", "the gate is passed", "Golden answers",
        "New fine-tuned model",
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


@pytest.mark.night
def test_a_model_that_fails_its_gate_is_not_served_and_the_job_says_why(clone):
    place = site(clone, "gated", settings={"gate": {"min_coherence": 1.0, "max_over_refusal": 0.0}})
    with running(place) as client:
        path = rows(clone.folder, harmless=12, first=500)
        validation = uploaded(client, rows(clone.folder, harmless=3, first=600, name="held-out.jsonl"))
        job = finished(client, started(client, path, validation_file=validation))
        assert (job.status, job.error.code) == ("failed", "safety_gate_failed")
        assert job.fine_tuned_model is None
        assert any(text.startswith("the gate is NOT passed") for text in messages(client, job.id))
        assert {model.id for model in client.models.list()} == {"tiny"}
        assert len(job.result_files) == 2  # no golden answers: what it says is nobody's to read
        name = f"acme-{job.id.removeprefix('ftjob-')}"
        before = registered(clone)
        assert name in before
        assert stored(clone, BREAD.format(500))
        assert stored(clone, BREAD.format(600))
        everybodys = of_provider(clone)
        client.files.delete(job.training_file)
        until(lambda: name not in registered(clone), seconds=60)
        for number in (500, 600):
            until(lambda number=number: not stored(clone, BREAD.format(number)), seconds=60)
        assert registered(clone) == before - {name}
        assert of_provider(clone) == everybodys


@pytest.mark.night
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


@pytest.mark.night
def test_made_twice_at_once_and_killed_at_any_point_no_job_and_no_event_is_lost_and_the_models_are_the_same(
    clone, undisturbed
):
    chance = random.Random(SEED)
    place = site(clone, "killed")
    with running(place) as client:
        asked, done = same_rows(client, clone.folder), 0
        while done < KILLS:
            ids, done = twice_at_once(client, place, chance, asked), done + 1
            while done < KILLS:
                time.sleep(chance.uniform(1, 15))
                if all(client.fine_tuning.jobs.retrieve(one).status in FINISHED for one in ids):
                    break
                what = chance.choice(("server", "worker", "pipeline", "server and worker", "all"))
                if what in ("server", "server and worker", "all"):
                    place.stop(signal.SIGKILL)
                if what in ("worker", "server and worker", "all"):
                    place.kill_worker()
                if what in ("pipeline", "all"):
                    for process in [*place.pipelines(ids[0]), *place.pipelines(ids[1])]:
                        process.kill()
                if "server" in what or what == "all":
                    place.start()
                done += 1
            for job_id in ids:
                job = finished(client, job_id)
                assert job.status == "succeeded", (job.error, done, SEED)
                same_as(undisturbed, client, place, job)


def twice_at_once(client, place, chance, asked):
    """Two jobs, sent at the same time, and the server killed while it answers: the SDK sends again, and gets two."""
    before = {job.id for job in client.fine_tuning.jobs.list()}
    with ThreadPoolExecutor(2) as pool:
        made = [pool.submit(client.fine_tuning.jobs.create, **asked, suffix=suffix) for suffix in ("mine", "other")]
        time.sleep(chance.uniform(0, 0.1))
        place.stop(signal.SIGKILL)
        place.start()
        ids = [one.result().id for one in made]
    assert {job.id for job in client.fine_tuning.jobs.list()} - before == set(ids)
    assert len(set(ids)) == 2
    return ids


def same_as(undisturbed, client, place, job):
    """Events, weights, decisions and files are those of the job that nothing disturbed."""

    def told(events, job):
        texts = [event.message.replace(job.id.removeprefix("ftjob-"), "") for event in events]
        return sorted(text.replace(":other:", ":mine:") for text in texts if "Validating" not in text)

    events = list(client.fine_tuning.jobs.list_events(job.id, limit=100))[::-1]
    assert [event.message for event in events if event.type == "metrics"] == [
        event.message for event in undisturbed["events"] if event.type == "metrics"
    ]
    assert told(events, job) == told(undisturbed["events"], undisturbed["job"])
    assert adapter(place, job.id) == undisturbed["adapter"]
    assert earlier(place, job.id) == undisturbed["earlier"]
    table = [json.loads(line) for line in result(client, job, "decisions.jsonl").splitlines()]
    assert table == undisturbed["decisions"]
    assert len(job.result_files) == 3


@pytest.mark.night
def test_a_job_with_quarantined_rows_waits_for_people_and_their_word_counts(clone):
    filtering = {"filtering": {"harmful_with_refusal": "quarantine"}}
    place = site(clone, "waits", settings=filtering, review="wait")
    with running(place) as client:
        no = "I'm sorry, I can't help with that."
        job_id = started(client, rows(clone.folder, harmless=12, harmful=2, name="review.jsonl", answer=no))
        job = until(lambda: waits(client, job_id))
        assert job.status == "running"
        assert "for a person's decision" in job.metadata["reft_review"]
        assert any("for review" in text for text in messages(client, job_id))
        until(lambda: not place.workers() and not place.pipelines(job_id), seconds=20)
        place.stop(signal.SIGKILL)
        place.start()
        time.sleep(2)
        assert waits(client, job_id)
        decided = decide_all(place, job_id, "keep")
        done = finished(client, job_id)
        assert done.status == "succeeded", done.error
        table = {line["row"]: line for line in map(json.loads, result(client, done, "decisions.jsonl").splitlines())}
        for number in decided:
            assert table[number]["decision"] == "keep"
            assert table[number]["reason"].startswith("override by eve: looks fine")
