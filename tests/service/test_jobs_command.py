"""`reft jobs` shows what the API shows."""

import json

import pytest
from sqlmodel import col, select
from typer.testing import CliRunner

from reft.cli import app
from reft.errors import ConfigurationError
from reft.service.clock import now
from reft.service.jobs import lifecycle, states
from reft.service.jobs.events import say
from reft.service.names import new_id
from reft.service.tables import Checkpoint, Job, ServedModel
from tests.factories import EVIL
from tests.service.serving import rows_file


@pytest.fixture(scope="module")
def ids(server, tmp_path_factory):
    """A job that waits, one that trains and one that failed; the first is another organization's."""
    made = []
    for organization in ("beta", "acme", "acme"):
        client = server.client(organization)
        file = client.files.create(file=rows_file(tmp_path_factory.mktemp("rows")), purpose="fine-tune").id
        client.files.wait_for_processing(file, poll_interval=0.05)
        made.append(client.fine_tuning.jobs.create(model="tiny", training_file=file, metadata={"a": "b"}).id)
    with server.service.database.writing() as session:
        _, trains, failed = (session.exec(select(Job).where(col(Job.id) == name)).one() for name in made)
        trains.status, trains.stage, trains.estimated_finish = states.RUNNING, states.TRAINING, now() + 100
        trains.notes = {"reft_rows_kept": "11", "reft_rows_dropped": "1"}
        session.add(trains)
        for step in (1, 2, 3):
            data = {"step": step, "total_steps": 4, "train_loss": 3.0 - step / 2}
            say(session, trains, f"Step {step}/4", mark=f"step-{step}", data=data, metrics=True)
        kept = {"organization_id": trains.organization_id, "created_at": now(), "job_id": trains.id}
        model, metrics = "ft:tiny:acme::x:ckpt-step-3", {"step": 3.0, "train_loss": 1.5}
        session.add(Checkpoint(id=new_id("ftckpt_"), step_number=3, model=model, metrics=metrics, **kept))
        session.add(ServedModel(id=model, base="tiny", passed=True, **kept))
        error = lifecycle.error_of("harmful_training_file", f"rows 3, 4 \x1b[2J{EVIL}", "training_file")
        lifecycle.finish(session, failed, states.FAILED, error=error)
    return made


@pytest.fixture
def jobs(server):
    """The command on the server's state."""

    def run(*arguments):
        done = CliRunner().invoke(app, ["jobs", *arguments, "--state", str(server.service.settings.state)])
        if isinstance(done.exception, Exception):
            raise done.exception
        return done.stdout

    return run


def by_api(server, path, organization="acme"):
    return server.client(organization).get(path, cast_to=object)


def test_each_line_is_a_job_of_the_api(server, ids, jobs):
    found = {job["id"]: job for job in json.loads(jobs("--json"))}
    assert list(found) == ids[::-1]  # newest first
    for name, organization in zip(ids, ("beta", "acme", "acme"), strict=True):
        shown = by_api(server, f"/fine_tuning/jobs/{name}", organization)
        assert {key: found[name][key] for key in shown} == shown
        assert found[name]["organization"] == organization
    trains = found[ids[1]]
    assert (trains["step"], trains["steps"], trains["train_loss"]) == (3, 4, 1.5)
    assert trains["rows"] == {"kept": 11, "dropped": 1}


def test_the_lines_say_state_stage_progress_and_end(ids, jobs):
    failed, trains, waits = jobs().splitlines()
    assert waits.split() == [ids[0], "beta", "queued", "waiting"]
    assert "[###############.....] 3/4  loss 1.500  rows 11 kept 1 dropped  training, 1:" in trains
    assert failed.split() == [ids[2], "acme", "failed", "harmful_training_file"]


def test_one_organizations_jobs_and_not_more_than_asked_for(ids, jobs):
    assert [job["id"] for job in json.loads(jobs("--json", "--organization", "acme"))] == [ids[2], ids[1]]
    assert [job["id"] for job in json.loads(jobs("--json", "--limit", "1"))] == [ids[2]]


def test_one_job_with_its_events_and_checkpoints_as_the_api_has_them(server, ids, jobs):
    shown = json.loads(jobs(ids[1], "--json"))
    path = f"/fine_tuning/jobs/{ids[1]}"
    assert shown["events"] == by_api(server, f"{path}/events?limit=100")["data"]
    assert shown["checkpoints"] == by_api(server, f"{path}/checkpoints")["data"]
    assert len(shown["events"]) > 5
    assert [one["message"] for one in json.loads(jobs(ids[1], "--json", "--events", "2"))["events"]] == [
        "Step 3/4", "Step 2/4"
    ]  # fmt: skip
    text = jobs(ids[1]).splitlines()
    assert any("ft:tiny:acme::x:ckpt-step-3" in line for line in text)
    assert text[-1].endswith("Step 3/4")  # oldest first, as one reads


def test_what_a_terminal_would_obey_is_not_printed(ids, jobs):
    text = jobs(ids[2])
    assert "rows 3, 4" in text
    assert all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.usefixtures("ids")
@pytest.mark.parametrize("wrong", [["ftjob-none"], ["--organization", "none"]])
def test_what_is_not_there_is_an_error_with_a_remedy(jobs, wrong):
    with pytest.raises(ConfigurationError, match=r"there is no such[\s\S]*none[\s\S]*remedy: reft"):
        jobs(*wrong)
