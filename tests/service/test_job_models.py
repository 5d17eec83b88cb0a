"""What a job leaves that may serve: its model, its checkpoints, and who else may use them."""

import openai
import pytest
from sqlmodel import col, select

from reft.service.clock import now
from reft.service.jobs import lifecycle, states
from reft.service.names import checkpoint_name, model_name, new_id
from reft.service.tables import Checkpoint, ServedModel
from tests.service.serving import changed


@pytest.fixture
def model(server, job):
    """A finished job's model and checkpoints, as the runner leaves them."""
    name = model_name("tiny", "acme", None, job=job.id)

    def serve(session, row):
        for step in (10, 20):
            made = checkpoint_name(name, step)
            common = {"organization_id": row.organization_id, "created_at": now(), "job_id": row.id}
            session.add(
                Checkpoint(
                    id=new_id("ftckpt_"),
                    step_number=step,
                    model=made,
                    metrics={"step": step, "train_loss": 1.5},
                    **common,
                )
            )
            session.add(ServedModel(id=made, base="tiny", kind="checkpoint", passed=True, **common))
        session.add(ServedModel(id=name, base="tiny", passed=True, **common))
        lifecycle.finish(session, row, states.SUCCEEDED, model=name)

    changed(server, job.id, serve)
    return name


def test_models_are_listed_retrieved_and_deleted_with_their_checkpoints(client, model):
    assert "::" in model
    assert "/" not in model
    assert {"tiny", model, f"{model}:ckpt-step-10"} <= {found.id for found in client.models.list()}
    assert client.models.retrieve(model).owned_by.startswith("org-")
    assert client.models.retrieve("tiny").owned_by == "reft"
    assert client.models.delete(model).deleted
    assert not {m.id for m in client.models.list()} & {model, f"{model}:ckpt-step-10"}
    with pytest.raises(openai.NotFoundError):
        client.models.delete(model)
    with pytest.raises(openai.BadRequestError):
        client.models.delete("tiny")


def test_a_model_that_failed_its_gate_is_not_there(client, server, model):
    with server.service.database.writing() as session:
        row = session.exec(select(ServedModel).where(col(ServedModel.id) == model)).one()
        row.passed = False
        session.add(row)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(model)


def test_checkpoints_newest_first(client, job, model):
    found = list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=1))
    assert [one.step_number for one in found] == [20, 10]
    assert found[0].fine_tuned_model_checkpoint == f"{model}:ckpt-step-20"
    assert found[0].metrics.train_loss == 1.5


def test_a_permission_lets_another_organization_use_a_checkpoint(client, server, model):
    other, name = server.client("guest"), f"{model}:ckpt-step-10"
    with pytest.raises(openai.NotFoundError):
        other.models.retrieve(name)
    permissions = client.fine_tuning.checkpoints.permissions
    given = list(permissions.create(name, project_ids=["guest", "proj_1", "proj_2"]))
    assert [one.project_id for one in given] == ["guest", "proj_1", "proj_2"]
    assert other.models.retrieve(name).id == name
    listed = permissions.list(name, limit=2, order="ascending")
    assert [one.project_id for one in listed] == ["guest", "proj_1", "proj_2"]  # by last_id, over two pages
    assert [one.project_id for one in permissions.list(name, project_id="guest")] == ["guest"]
    assert permissions.delete(given[0].id, fine_tuned_model_checkpoint=name).deleted
    with pytest.raises(openai.NotFoundError):
        other.models.retrieve(name)
    with pytest.raises(openai.NotFoundError):
        other.fine_tuning.checkpoints.permissions.create(name, project_ids=["guest"])
