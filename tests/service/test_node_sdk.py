"""openai-node drives the service; `npm install --prefix tests/service/node` brings it, as `.ci/run` does."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from sqlmodel import col, select

from reft.service.clock import now, now_ms
from reft.service.names import checkpoint_name, new_id
from reft.service.tables import Checkpoint, Job, ServedModel
from reft.service.webhooks import event_body, new_secret, sign
from tests.factories import BREAD, HARM, build_scorer
from tests.service.chatting import serve_adapter
from tests.service.serving import rows_file, served, settings_for

HERE = Path(__file__).with_name("node")
NODE = shutil.which("node")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NODE is None or not (HERE / "node_modules" / "openai").is_dir(), reason="no openai-node"),
]


def finished_job(server, model):
    """A job with this model and two checkpoints, as the runner leaves it; gives its id."""
    with server.service.database.writing() as session:
        served_model = session.exec(select(ServedModel).where(col(ServedModel.id) == model)).one()
        common = {"organization_id": served_model.organization_id, "created_at": now()}
        job = Job(
            id=new_id("ftjob-"), created_ms=now_ms(), key_id="k", model="tiny", training_file="file-x", seed=1,
            status="succeeded", stage="done", body_digest="", fine_tuned_model=model, **common,
        )  # fmt: skip
        session.add(job)
        session.flush()
        for step in (10, 20):
            name, metrics = checkpoint_name(model, step), {"step": step, "train_loss": 30 / step}
            made = {"job_id": job.id, "step_number": step, "model": name, "metrics": metrics}
            session.add(Checkpoint(id=new_id("ftckpt_"), **made, **common))
            values = {"base": "tiny", "job_id": job.id, "passed": True, "kind": "checkpoint"}
            session.add(ServedModel(id=name, folder=served_model.folder, **values, **common))
        session.flush()
        return job.id


def webhook():
    """A delivery as it is signed here."""
    secret, at = new_secret(), int(time.time())
    body = event_body("evt_1", "fine_tuning.job.succeeded", "ftjob-x", created_at=at)
    signature = sign(secret, "evt_1", at, body=body)
    headers = {"webhook-id": "evt_1", "webhook-timestamp": str(at), "webhook-signature": signature}
    return {"body": body, "headers": headers, "secret": secret}


def test_a_customers_session_with_openai_node(tiny_model, tmp_path):
    (tmp_path / "scorer").mkdir()
    settings = settings_for(tmp_path, tiny_model, teacher=build_scorer(tmp_path / "scorer", tiny_model))
    run = {"model": {"name": tiny_model, "max_length": 256}, "filtering": {"fpr": 0.05, "quarantine_fpr": 0.1}}
    run["validation"] = {"min_rows": 3}
    settings.profile.write_text(yaml.safe_dump({"parameters": {"settings": run}}))
    with served(settings) as server:
        model = serve_adapter(server, tiny_model, "node")
        given = {
            "url": f"{server.url}/v1", "key": server.key(), "rows": str(rows_file(tmp_path)), "model": model,
            "job": finished_job(server, model), "webhook": webhook(), "texts": [HARM.format(7), BREAD.format(7)],
        }  # fmt: skip
        (tmp_path / "given.json").write_text(json.dumps(given))
        command = [str(NODE), str(HERE / "session.mjs"), str(tmp_path / "given.json")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
