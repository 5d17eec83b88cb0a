import threading
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from reft.service.bodies import JobCreate
from reft.service.checking import Checker
from reft.service.clock import now_ms
from reft.service.jobs import leases, lifecycle, states
from reft.service.jobs.create import Sent, create_job
from reft.service.jobs.events import say
from reft.service.keys import caller_of
from reft.service.names import new_id
from reft.service.settings import Quotas
from tests.service.serving import changed, rows_file, served, settings_for

KEYS = {
    "id", "object", "created_at", "model", "status", "error", "fine_tuned_model", "finished_at", "estimated_finish",
    "hyperparameters", "integrations", "method", "metadata", "organization_id", "result_files", "seed",
    "trained_tokens", "training_file", "validation_file",
}  # fmt: skip


def test_a_job_has_all_its_keys_whatever_is_null(client, job):
    raw = client.fine_tuning.jobs.with_raw_response.retrieve(job.id)
    assert set(raw.http_response.json()) == KEYS
    assert raw.http_response.headers["x-request-id"]
    assert (job.status, job.model, job.error, job.fine_tuned_model) == ("queued", "tiny", None, None)
    assert job.hyperparameters.model_dump() == dict.fromkeys(
        ["batch_size", "learning_rate_multiplier", "n_epochs"], "auto"
    )
    assert job.method.type == "supervised"
    assert 0 <= job.seed < 2**31


def test_hyperparameters_old_and_new(client, training_file):
    given = {"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": 0.5}
    new = client.fine_tuning.jobs.create(
        model="tiny", training_file=training_file, suffix="mine", seed=7,
        method={"type": "supervised", "supervised": {"hyperparameters": given}},
    )  # fmt: skip
    old = client.fine_tuning.jobs.create(model="tiny", training_file=training_file, seed=7, hyperparameters=given)
    for made in (new, old):
        assert made.hyperparameters.model_dump() == given
        assert made.method.supervised.hyperparameters.model_dump() == given
        assert made.seed == 7
        client.fine_tuning.jobs.cancel(made.id)
    assert new.id != old.id


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"model": "gpt-9"}, "model"),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1}}}}, "method.type"),
        ({"method": {"type": "reinforcement", "reinforcement": {"grader": {"type": "python"}}}}, "method.type"),
        ({"method": {"type": "supervised", "dpo": {}}}, "method.dpo"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": "many"}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"epochs": 2}}, "hyperparameters.epochs"),
        ({"seed": -1}, "seed"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"metadata": {"k" * 65: "v"}}, None),
        ({"metadata": {str(i): "v" for i in range(17)}}, "metadata"),
        ({"extra_body": {"surprise": 1}}, "surprise"),
    ],
)
def test_what_is_not_supported_is_400_and_names_its_field(client, training_file, wrong, param):
    with pytest.raises(openai.BadRequestError) as error:
        client.fine_tuning.jobs.create(**{"model": "tiny", "training_file": training_file, **wrong})
    assert param is None or error.value.param == param
    assert error.value.code
    assert error.value.type == "invalid_request_error"
    if "method" in wrong:
        assert "supervised" in error.value.message


def test_graders_run_nothing(client):
    grader = {"type": "string_check", "name": "g", "input": "a", "reference": "a", "operation": "eq"}
    for ask, more in (
        (client.fine_tuning.alpha.graders.validate, {}),
        (client.fine_tuning.alpha.graders.run, {"model_sample": "a"}),
    ):
        with pytest.raises(openai.BadRequestError) as error:
            ask(grader=grader, **more)
        assert "supervised" in error.value.message


def test_a_missing_field_and_a_missing_file_are_told_apart(client):
    with pytest.raises(openai.BadRequestError) as missing:
        client.post("/fine_tuning/jobs", body={"model": "tiny"}, cast_to=object)
    assert (missing.value.param, missing.value.code) == ("training_file", "missing_required_parameter")
    with pytest.raises(openai.NotFoundError) as nowhere:
        client.fine_tuning.jobs.create(model="tiny", training_file="file-none")
    assert nowhere.value.param == "training_file"


def test_jobs_are_found_by_metadata_and_pages_end(server, tmp_path):
    client = server.client("lists")
    file = client.files.create(file=rows_file(tmp_path), purpose="fine-tune").id
    ids = [
        client.fine_tuning.jobs.create(model="tiny", training_file=file, metadata={"run": str(i % 2), 'a"b.c': "%"}).id
        for i in range(5)
    ]
    plain = client.fine_tuning.jobs.create(model="tiny", training_file=file).id
    assert [job.id for job in client.fine_tuning.jobs.list(limit=2)] == [plain, *ids[::-1]]
    assert [job.id for job in client.fine_tuning.jobs.list(metadata={"run": "1"})] == [ids[3], ids[1]]
    assert [job.id for job in client.fine_tuning.jobs.list(metadata={"run": "0", 'a"b.c': "%"})] == ids[::-2]
    assert [job.id for job in client.fine_tuning.jobs.list(extra_query={"metadata": "null"})] == [plain]
    assert client.fine_tuning.jobs.list(metadata={"run": "2"}).data == []
    with pytest.raises(openai.NotFoundError) as error:
        client.fine_tuning.jobs.list(after="ftjob-none")
    assert error.value.param == "after"


def test_events_come_newest_first_and_none_twice(client, server, job):
    changed(server, job.id, lambda session, row: [say(session, row, f"step {i}", mark=f"step-{i}") for i in range(5)])
    changed(server, job.id, lambda session, row: [say(session, row, f"step {i}", mark=f"step-{i}") for i in range(6)])
    said = [event.message for event in client.fine_tuning.jobs.list_events(job.id, limit=2)]
    assert said[:6] == [f"step {i}" for i in range(5, -1, -1)]
    assert said[-1].startswith("Created fine-tuning job")
    assert len(said) == len(set(said))


def test_a_page_of_events_goes_on_after_an_event_of_the_same_job_alone(server, client, job, tmp_path):
    other = server.client("others")
    file = other.files.create(file=rows_file(tmp_path), purpose="fine-tune").id
    theirs = other.fine_tuning.jobs.create(model="tiny", training_file=file).id
    (event, *_) = other.fine_tuning.jobs.list_events(theirs).data
    with pytest.raises(openai.NotFoundError) as error:
        client.fine_tuning.jobs.list_events(job.id, after=event.id)
    assert error.value.param == "after"


def test_a_job_is_cancelled_once(server, job):
    client = server.client(max_retries=2)
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError) as error:  # a 409 would be sent again
        client.fine_tuning.jobs.cancel(job.id)
    assert error.value.code == "job_already_finished"
    said = [event.message for event in client.fine_tuning.jobs.list_events(job.id)]
    assert said.count("Fine-tuning job cancelled") == 1


def test_a_pause_is_told_by_metadata_and_the_status_stays_legal(client, job):
    paused = client.fine_tuning.jobs.pause(job.id)
    assert paused.status == "queued"
    assert paused.metadata == {**job.metadata, states.STAGE_KEY: "paused"}
    with pytest.raises(openai.BadRequestError):
        client.fine_tuning.jobs.pause(job.id)
    resumed = client.fine_tuning.jobs.resume(job.id)
    assert (resumed.status, resumed.metadata) == ("queued", job.metadata)
    with pytest.raises(openai.BadRequestError):
        client.fine_tuning.jobs.resume(job.id)


def test_a_running_job_is_asked_to_pause(client, server, job):
    def run(session, row):
        row.status, row.stage = states.RUNNING, states.TRAINING
        assert leases.take(session, f"job:{row.id}", "worker", seconds=30) == 1

    changed(server, job.id, run)
    assert client.fine_tuning.jobs.pause(job.id).metadata[states.STAGE_KEY] == "pausing"
    resumed = client.fine_tuning.jobs.resume(job.id)
    assert (resumed.status, resumed.metadata) == ("running", job.metadata)


def test_a_finished_job_shows_model_and_error_and_ends_once(client, server, job):
    error = lifecycle.error_of("mostly_harmful", "9 of 12 rows are harmful: 0, 1, 2", "training_file")
    changed(server, job.id, lambda session, row: lifecycle.finish(session, row, states.FAILED, error=error))
    changed(server, job.id, lambda session, row: lifecycle.finish(session, row, states.SUCCEEDED, model="m"))
    done = client.fine_tuning.jobs.retrieve(job.id)
    assert (done.status, done.error.code, done.fine_tuned_model) == ("failed", "mostly_harmful", None)
    assert done.finished_at >= done.created_at


def test_a_create_that_is_sent_again_makes_no_second_job(client, training_file):
    body = {"model": "tiny", "training_file": training_file, "metadata": {"again": new_id("")}}

    def create(attempt):
        return client.fine_tuning.jobs.create(**body, extra_headers={"x-stainless-retry-count": str(attempt)}).id

    first = create(0)
    assert create(1) == first
    assert create(2) == first
    other = create(0)  # meant: a new one
    assert other != first
    # Two whose answers were lost, both sent again: two jobs, not one.
    body["metadata"] = {"again": new_id("")}
    both = {create(0), create(0)}
    assert {create(1), create(1)} == both
    assert {create(2), create(2)} == both


def test_a_first_attempt_finds_what_its_repetition_made_while_it_was_held_up(server, client, training_file):
    with server.service.database.reading() as session:
        caller = caller_of(session, server.key())
    body = JobCreate(model="tiny", training_file=training_file, suffix=new_id(""))
    before = now_ms() - 5
    repeated = create_job(server.service, caller, body, sent=Sent(now_ms(), 1))
    held_up = create_job(server.service, caller, body, sent=Sent(before, 0))
    later = create_job(server.service, caller, body, sent=Sent(now_ms() + 5, 0))  # meant: a new one
    assert held_up.id == repeated.id
    assert later.id != repeated.id
    for made in (repeated, later):
        client.fine_tuning.jobs.cancel(made.id)


def test_a_create_whose_answer_does_not_come_in_time_makes_no_second_job(tiny_model, tmp_path):
    """The first request waits for the database's lock; the client gives up, sends again, and that one is first."""
    with served(settings_for(tmp_path, tiny_model)) as server:
        file = server.client().files.create(file=rows_file(tmp_path), purpose="fine-tune").id
        server.client().files.wait_for_processing(file, poll_interval=0.05)
        held, free = threading.Event(), threading.Event()

        def hold():
            with server.service.database.writing():
                held.set()
                free.wait(10)

        with ThreadPoolExecutor() as pool:
            pool.submit(hold)
            held.wait()
            client = server.client(max_retries=2, timeout=0.4)
            made = pool.submit(client.fine_tuning.jobs.create, model="tiny", training_file=file)
            threading.Timer(1.5, free.set).start()
            job = made.result()
        assert [found.id for found in server.client().fine_tuning.jobs.list()] == [job.id]


def test_a_job_waits_for_its_file_and_falls_with_it(tiny_model, tmp_path):
    with served(settings_for(tmp_path, tiny_model), checks=False) as server:
        client = server.client()
        good = client.files.create(file=rows_file(tmp_path), purpose="fine-tune").id
        bad = client.files.create(file=("bad.jsonl", b"no rows\n" * 9), purpose="fine-tune").id
        jobs = [client.fine_tuning.jobs.create(model="tiny", training_file=file).id for file in (good, bad)]
        assert [client.fine_tuning.jobs.retrieve(job).status for job in jobs] == ["validating_files"] * 2
        with pytest.raises(openai.BadRequestError) as used:
            client.files.delete(good)
        assert used.value.code == "file_in_use"
    with served(settings_for(tmp_path, tiny_model)) as server:  # the next start checks what was left
        client = server.client("acme")
        client.files.wait_for_processing(bad, poll_interval=0.05)
        good_one, bad_one = map(client.fine_tuning.jobs.retrieve, jobs)
        assert good_one.status == "queued"
        assert (bad_one.status, bad_one.error.param) == ("failed", "training_file")
        assert bad_one.error.code == "invalid_training_file"


def test_a_quota_of_jobs(tiny_model, tmp_path):
    with served(settings_for(tmp_path, tiny_model, quotas=Quotas(unfinished_jobs=1))) as server:
        client = server.client(max_retries=2)
        file = client.files.create(file=rows_file(tmp_path), purpose="fine-tune").id
        first = client.fine_tuning.jobs.create(model="tiny", training_file=file)
        with pytest.raises(openai.RateLimitError) as full:
            client.fine_tuning.jobs.create(model="tiny", training_file=file, suffix="b")
        assert full.value.code == "insufficient_quota"
        client.fine_tuning.jobs.cancel(first.id)
        client.fine_tuning.jobs.create(model="tiny", training_file=file, suffix="b")


def test_a_quota_of_rows_holds_for_a_file_that_has_yet_to_be_checked(tiny_model, tmp_path):
    with served(settings_for(tmp_path, tiny_model, quotas=Quotas(rows=5)), checks=False) as server:
        client = server.client()
        many, few = (
            client.files.create(file=rows_file(tmp_path, count, f"{count}.jsonl"), purpose="fine-tune").id
            for count in (6, 5)
        )
        jobs = [client.fine_tuning.jobs.create(model="tiny", training_file=file).id for file in (many, few)]
        checker = Checker(server.service)
        while checker.check_one():
            pass
        refused, taken = map(client.fine_tuning.jobs.retrieve, jobs)
        assert (refused.status, refused.error.code) == ("failed", "insufficient_quota")
        assert "5 rows; this one has 6" in refused.error.message
        assert taken.status == "queued"
        with pytest.raises(openai.RateLimitError) as full:  # as one that has been
            client.fine_tuning.jobs.create(model="tiny", training_file=many)
        assert full.value.code == "insufficient_quota"
