"""A session of a customer, run by another interpreter with another version of `openai`: URL KEY FILE."""

import json
import sys
import time

import openai


def main() -> None:
    url, key, path = sys.argv[1:]
    client = openai.OpenAI(base_url=url, api_key=key, _strict_response_validation=True, max_retries=0)
    with open(path, "rb") as rows:
        file = client.files.create(
            file=rows, purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 86400}
        )
    assert client.files.wait_for_processing(file.id, poll_interval=0.2, max_wait_seconds=60).status == "processed"
    content = client.files.content(file.id).read()
    upload = client.uploads.upload_file_chunked(
        file=content, filename="r.jsonl", bytes=len(content), mime_type="text/jsonl", purpose="fine-tune", part_size=500
    )
    assert upload.file is not None
    assert {f.id for f in client.files.list(limit=1)} == {file.id, upload.file.id}
    job = client.fine_tuning.jobs.create(
        model="tiny",
        training_file=file.id,
        suffix="mine",
        metadata={"a": "b"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto"}}},
    )
    assert [j.id for j in client.fine_tuning.jobs.list(limit=1, metadata={"a": "b"})] == [job.id]
    assert client.fine_tuning.jobs.pause(job.id).metadata["reft_stage"] == "paused"
    assert client.fine_tuning.jobs.resume(job.id).status == "queued"
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    said = None
    try:
        client.fine_tuning.jobs.cancel(job.id)
    except openai.BadRequestError as error:
        said = error
    assert said is not None
    assert said.code == "job_already_finished"
    assert said.request_id
    assert len(list(client.fine_tuning.jobs.list_events(job.id, limit=2))) > 3
    assert list(client.fine_tuning.jobs.checkpoints.list(job.id)) == []
    assert "tiny" in {model.id for model in client.models.list()}
    assert client.files.delete(file.id).deleted
    signed(client)
    print(openai.__version__)


def signed(client: openai.OpenAI) -> None:
    """What the server's own function signs, if this interpreter can see it, is what the SDK verifies."""
    try:
        from reft.service.webhooks import new_secret, sign
    except ImportError:
        return
    secret, now = new_secret(), int(time.time())
    body = json.dumps({"id": "e", "created_at": now, "data": {"id": "j"}, "type": "fine_tuning.job.failed"})
    headers = {"webhook-id": "e", "webhook-timestamp": str(now), "webhook-signature": sign(secret, "e", now, body=body)}
    assert client.webhooks.unwrap(body, headers, secret=secret).type == "fine_tuning.job.failed"


if __name__ == "__main__":
    main()
