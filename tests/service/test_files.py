import hashlib
import io
import json

import openai
import pytest
from sqlmodel import col, select

from reft.service.clock import now
from reft.service.files import delete_expired
from reft.service.settings import Limits, Quotas
from reft.service.tables import StoredFile, Upload
from tests.factories import write_jsonl
from tests.service.serving import rows_file, served, settings_for


def test_a_good_file_is_processed_and_comes_back_as_it_was(client, tmp_path):
    path = rows_file(tmp_path)
    made = client.files.create(file=path, purpose="fine-tune")
    assert (made.bytes, made.filename, made.status) == (path.stat().st_size, "rows.jsonl", "uploaded")
    done = client.files.wait_for_processing(made.id, poll_interval=0.05, max_wait_seconds=20)
    assert (done.status, done.status_details) == ("processed", None)
    assert client.files.content(made.id).read() == path.read_bytes()
    assert client.files.retrieve(made.id).expires_at is None


def test_a_bad_row_is_named_with_field_and_remedy_and_the_others_are_kept(client, tmp_path):
    path = rows_file(tmp_path, 40)
    path.write_text(path.read_text() + '{"messages": [{"role": "user", "content": "no answer"}]}\n')
    made = client.files.create(file=path, purpose="fine-tune")
    done = client.files.wait_for_processing(made.id, poll_interval=0.05, max_wait_seconds=20)
    assert done.status == "processed"
    assert "1 of 41 rows cannot be used" in done.status_details
    assert "row 40" in done.status_details
    assert "messages" in done.status_details
    assert "remedy" in done.status_details


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"not json at all\n" * 20, "row 0"), (b"", "row"), (b"\x00\xff" * 500, ""), (b'{"messages": 3}\n' * 9, "remedy")],
)
def test_a_file_that_cannot_be_used_ends_in_error(client, content, said):
    made = client.files.create(file=("bad.jsonl", content), purpose="fine-tune")
    done = client.files.wait_for_processing(made.id, poll_interval=0.05, max_wait_seconds=20)
    assert done.status == "error"
    assert done.status_details
    assert said in done.status_details
    assert "/tmp" not in done.status_details  # no path of this machine
    with pytest.raises(openai.BadRequestError) as error:
        client.fine_tuning.jobs.create(model="tiny", training_file=made.id)
    assert error.value.param == "training_file"


def test_a_file_goes_when_its_time_is_over(client, server):
    after = {"anchor": "created_at", "seconds": 3600}
    made = client.files.create(file=("a.txt", b"text"), purpose="user_data", expires_after=after)
    assert made.expires_at == made.created_at + 3600
    with server.service.database.writing() as session:
        kept = session.exec(select(StoredFile).where(col(StoredFile.id) == made.id)).one()
        kept.expires_at = now() - 1
        session.add(kept)
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)
    assert server.service.blobs.fs.exists(server.service.blobs.path(kept.blob))
    assert delete_expired(server.service) == 1
    assert not server.service.blobs.fs.exists(server.service.blobs.path(kept.blob))


@pytest.mark.parametrize(
    ("after", "param"),
    [
        ({"anchor": "created_at", "seconds": 10}, "expires_after.seconds"),
        ({"anchor": "last_active_at", "seconds": 3600}, "expires_after.anchor"),
        ({"seconds": 3600}, "expires_after.anchor"),
    ],
)
def test_a_wrong_expiry_names_its_field(client, after, param):
    with pytest.raises(openai.BadRequestError) as error:
        client.files.create(file=("a.txt", b"text"), purpose="user_data", expires_after=after)
    assert error.value.param == param


def test_a_purpose_that_no_answer_can_hold_is_refused(client):
    with pytest.raises(openai.BadRequestError) as error:
        client.files.create(file=("a.txt", b"text"), purpose="evals")
    assert error.value.param == "purpose"
    assert error.value.code
    assert error.value.request_id


def test_pages_of_files_end_and_go_on_after_a_deleted_one(server):
    client = server.client("pages")
    made = [client.files.create(file=(f"{i}.txt", b"x"), purpose="user_data").id for i in range(5)]
    assert [file.id for file in client.files.list(limit=2)] == made[::-1]
    assert [file.id for file in client.files.list(limit=2, order="asc")] == made
    first = client.files.list(limit=2)
    client.files.delete(first.data[-1].id)
    assert [file.id for file in first.get_next_page().data] == made[2::-1][:2]
    assert client.files.list(purpose="batch").data == []


def test_deleting_deletes_the_content(client, server):
    made = client.files.create(file=("a.txt", b"text"), purpose="user_data")
    with server.service.database.reading() as session:
        blob = session.exec(select(StoredFile).where(col(StoredFile.id) == made.id)).one().blob
    assert client.files.delete(made.id).deleted
    assert not server.service.blobs.fs.exists(server.service.blobs.path(blob))
    for ask in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            ask(made.id)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\r\nb: c.jsonl", "\u202efile.txt", "x" * 3000, "ü 文.jsonl"])
def test_no_name_of_a_file_leads_anywhere(client, name):
    made = client.files.create(file=(name, b"text"), purpose="user_data")
    assert not set(made.filename) & set("/\\\r\n\u202e")
    assert len(made.filename) <= 255
    assert client.files.content(made.id).read() == b"text"


def test_limits_and_quotas(tiny_model, tmp_path):
    changed = {"limits": Limits(file_bytes=1000, body_bytes=2000), "quotas": Quotas(bytes=2500)}
    with served(settings_for(tmp_path, tiny_model, **changed), checks=False) as server:
        client = server.client(max_retries=2)
        with pytest.raises(openai.APIStatusError) as error:
            client.files.create(file=("big", b"x" * 1001), purpose="user_data")
        assert error.value.status_code == 413
        for _ in range(2):
            client.files.create(file=("big", b"x" * 1000), purpose="user_data")
        with pytest.raises(openai.RateLimitError) as full:
            client.files.create(file=("big", b"x" * 1000), purpose="user_data")
        assert full.value.code == "insufficient_quota"
        with pytest.raises(openai.APIStatusError) as long:
            client.fine_tuning.jobs.create(model="x" * 3000, training_file="f")
        assert long.value.status_code == 413
        assert len(client.files.list().data) == 2
        left = [path for path in (tmp_path / "state" / "files").rglob("*") if path.is_file()]
        assert len(left) == 2  # nothing of what was refused


def test_what_has_no_room_is_turned_away_before_it_lies_on_the_disk(tiny_model, tmp_path, monkeypatch):
    with served(settings_for(tmp_path, tiny_model, quotas=Quotas(bytes=20_000)), checks=False) as server:
        monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", None)  # where a form's file goes
        with pytest.raises(openai.RateLimitError) as full:
            server.client().files.create(file=("big", b"x" * 100_000), purpose="user_data")
        assert full.value.code == "insufficient_quota"
        monkeypatch.undo()
        server.client().files.create(file=("small", b"x" * 15_000), purpose="user_data")


def test_an_upload_in_parts(client, tmp_path):
    content = rows_file(tmp_path, 30).read_bytes()
    md5 = hashlib.md5(content).hexdigest()
    done = client.uploads.upload_file_chunked(
        file=content, filename="rows.jsonl", bytes=len(content), mime_type="text/jsonl", purpose="fine-tune",
        part_size=700, md5=md5,
    )  # fmt: skip
    assert done.status == "completed"
    assert client.files.wait_for_processing(done.file.id, poll_interval=0.05).status == "processed"
    assert client.files.content(done.file.id).read() == content


def test_parts_come_in_the_order_that_is_named_and_completing_again_answers_again(client):
    upload = client.uploads.create(bytes=4, filename="a", mime_type="text/plain", purpose="user_data")
    parts = [client.uploads.parts.create(upload.id, data=io.BytesIO(data)).id for data in (b"cd", b"ab", b"ab")]
    with pytest.raises(openai.BadRequestError) as size:
        client.uploads.complete(upload.id, part_ids=parts)
    assert size.value.param == "part_ids"
    with pytest.raises(openai.BadRequestError) as other:
        client.uploads.complete(upload.id, part_ids=[parts[1], parts[0]], md5="0" * 32)
    assert other.value.code == "md5_mismatch"
    done = client.uploads.complete(upload.id, part_ids=[parts[1], parts[0]])
    again = client.uploads.complete(upload.id, part_ids=[parts[1], parts[0]])
    assert again.file.id == done.file.id
    assert client.files.content(done.file.id).read() == b"abcd"
    with pytest.raises(openai.BadRequestError):
        client.uploads.cancel(upload.id)


def test_an_upload_is_cancelled_or_expires(client, server):
    upload = client.uploads.create(bytes=4, filename="a", mime_type="text/plain", purpose="user_data")
    client.uploads.parts.create(upload.id, data=b"ab")
    assert client.uploads.cancel(upload.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError):
        client.uploads.parts.create(upload.id, data=b"ab")
    late = client.uploads.create(bytes=4, filename="a", mime_type="text/plain", purpose="user_data")
    with server.service.database.writing() as session:
        kept = session.exec(select(Upload).where(col(Upload.id) == late.id)).one()
        kept.expires_at = now() - 1
        session.add(kept)
    with pytest.raises(openai.BadRequestError) as error:
        client.uploads.complete(late.id, part_ids=["part_x"])
    assert error.value.code == "upload_expired"


def test_rows_of_other_forms_are_taken_as_they_are(client, tmp_path):
    rows = [{"prompt": f"Where is {i}?", "completion": f"there {i}"} for i in range(12)]
    made = client.files.create(file=write_jsonl(tmp_path / "together.jsonl", rows), purpose="fine-tune")
    assert client.files.wait_for_processing(made.id, poll_interval=0.05).status == "processed"
    made = client.files.create(file=("rows.json", json.dumps(rows).encode()), purpose="fine-tune")
    assert client.files.wait_for_processing(made.id, poll_interval=0.05).status == "processed"
