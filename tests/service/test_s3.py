"""Files in a bucket, on a real S3 server that runs here: what customers bring, what jobs leave, what is served."""

import io
import threading

import openai
import pytest

from reft.errors import ConfigurationError, StorageError
from reft.service.blobs import Blobs
from reft.service.clock import now
from reft.service.jobs.folders import folder_of
from reft.service.retention import sweep
from reft.service.serving.folders import folder_of as served_folder
from reft.storage.store import BLOCK
from tests.s3 import bucket_here
from tests.service.serving import rows_file, served, settings_for

pytestmark = pytest.mark.slow
s3fs = pytest.importorskip("s3fs")


@pytest.fixture(scope="module")
def bucket():
    """The address of a bucket on a server of its own."""
    with bucket_here() as address:
        yield address


@pytest.fixture
def blobs(bucket, request):
    return Blobs(f"{bucket}/{request.node.name}")


def there(blobs):
    return sorted(key for key, _ in blobs.listed())


def pieces(count, size=1 << 20):
    return [bytes([i % 251]) * size for i in range(count)]


def test_content_of_any_size_comes_back_whole_and_in_pieces(blobs):
    for name, content in (("empty", []), ("small", [b"ab", b"c"]), ("large", pieces(2 * BLOCK // (1 << 20) + 3))):
        size, digest = blobs.write(f"org/{name}", iter(content))
        assert size == sum(map(len, content))
        assert b"".join(blobs.read(f"org/{name}")) == b"".join(content)
        assert len(digest) == 64
    with blobs.open("org/large") as stream:
        stream.seek(BLOCK + 5)
        assert stream.read(3) == b"".join(pieces(20))[BLOCK + 5 : BLOCK + 8]
    assert there(blobs) == ["org/empty", "org/large", "org/small"]


@pytest.mark.parametrize("sent", [1, 3 * BLOCK // (1 << 20)])
def test_what_breaks_off_leaves_nothing_under_its_name_and_nothing_to_pay_for(blobs, sent):
    def breaks():
        yield from pieces(sent)
        raise ZeroDivisionError

    blobs.write("org/before", [b"old"])
    for name in ("org/new", "org/before"):
        with pytest.raises(ZeroDivisionError):
            blobs.write(name, breaks())
    assert there(blobs) == ["org/before"]
    assert b"".join(blobs.read("org/before")) == b"old"
    waiting = blobs.fs.call_s3("list_multipart_uploads", Bucket=blobs.root.split("/")[0]).get("Uploads", [])
    assert [one for one in waiting if one["Key"].startswith(blobs.root.partition("/")[2])] == []


def test_what_another_process_deletes_or_writes_is_seen_at_once(blobs):
    blobs.write("org/a", [b"a"])
    other = Blobs(f"s3://{blobs.root}")
    assert there(blobs) == there(other) == ["org/a"]
    s3fs.S3FileSystem.clear_instance_cache()
    apart = Blobs(f"s3://{blobs.root}")  # as another process has it
    apart.remove("org/a")
    apart.write("org/b", [b"b"])
    with pytest.raises(StorageError, match="could not be read"):
        other.open("org/a")
    assert there(other) == ["org/b"]
    assert b"".join(other.read("org/b")) == b"b"


def test_deleting_takes_what_lies_below_and_nothing_of_a_longer_name(blobs):
    for key in ("models/job-1/a", "models/job-1/deep/b", "models/job-10/a", "org/file", "org/file-2"):
        blobs.write(key, [b"x"])
    blobs.remove("models/job-1")
    blobs.remove("org/file")
    blobs.remove("org/nothing")
    assert there(blobs) == ["models/job-10/a", "org/file-2"]


@pytest.mark.usefixtures("bucket")
def test_a_bucket_that_is_not_there_or_a_store_that_is_away_is_said(monkeypatch):
    with pytest.raises(StorageError, match="could not write"):
        Blobs("s3://no-such-bucket/x").write("a", [b"x"])
    with pytest.raises(ConfigurationError, match="files cannot be kept there"):
        Blobs("nonsense://x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    try:
        away = Blobs("s3://files/x")
        with pytest.raises(StorageError, match="could not write"):
            away.write("a", [b"x"])
        with pytest.raises(StorageError, match="could not be read"):
            away.open("a")
    finally:
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def server(bucket, tiny_model, tmp_path_factory):
    limits = {"file_bytes": 3 * BLOCK, "part_bytes": 2 * BLOCK}
    settings = settings_for(tmp_path_factory.mktemp("s3"), tiny_model, files=f"{bucket}/service", limits=limits)
    with served(settings) as running:
        yield running


def test_a_customers_files_and_parts(server, tmp_path):
    client = server.client()
    path = rows_file(tmp_path)
    file = client.files.create(file=path, purpose="fine-tune")
    assert client.files.wait_for_processing(file.id, poll_interval=0.05).status == "processed"
    assert client.files.content(file.id).read() == path.read_bytes()
    content = b"".join(pieces(12))
    upload = client.uploads.create(bytes=len(content), filename="a", mime_type="text/plain", purpose="user_data")
    parts = [
        client.uploads.parts.create(upload.id, data=io.BytesIO(half)).id
        for half in (content[: len(content) // 2], content[len(content) // 2 :])
    ]
    done = client.uploads.complete(upload.id, part_ids=parts)
    with client.files.with_streaming_response.content(done.file.id) as answer:
        assert answer.headers["content-length"] == str(len(content))
        assert b"".join(answer.iter_bytes(1 << 16)) == content
    kept = there(server.service.blobs)
    assert not any("part_" in key for key in kept)
    client.files.delete(done.file.id)
    assert len(there(server.service.blobs)) == len(kept) - 1
    with pytest.raises(openai.NotFoundError):
        client.files.content(done.file.id)


def test_a_file_that_is_too_large_or_of_another_digest_leaves_nothing(server):
    client, before = server.client("other"), there(server.service.blobs)
    with pytest.raises(openai.APIStatusError) as error:
        client.files.create(file=("a.txt", b"x" * (3 * BLOCK + 2)), purpose="user_data")
    assert error.value.status_code == 413
    upload = client.uploads.create(bytes=2, filename="a", mime_type="text/plain", purpose="user_data")
    part = client.uploads.parts.create(upload.id, data=b"ab").id
    with pytest.raises(openai.BadRequestError):
        client.uploads.complete(upload.id, part_ids=[part], md5="0" * 32)
    client.uploads.cancel(upload.id)
    assert there(server.service.blobs) == before


def test_a_jobs_files_and_a_model_are_fetched_once_by_whoever_comes_first(server, tmp_path):
    service = server.service
    for name in ("adapter_config.json", "deep/tokenizer.json"):
        service.blobs.write(f"models/ftjob-x/{name}", [name.encode()])
    found, start = [], threading.Barrier(4)

    def fetch():
        start.wait()
        found.append(served_folder(service, "models/ftjob-x"))

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    (folder,) = set(found)
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == {
        "adapter_config.json", "deep/tokenizer.json",
    }  # fmt: skip
    assert (folder / "deep" / "tokenizer.json").read_text() == "deep/tokenizer.json"
    assert [path.name for path in folder.parent.iterdir()] == ["ftjob-x"]
    with pytest.raises(StorageError):
        served_folder(service, "models/ftjob-none")
    with pytest.raises(StorageError):
        service.blobs.fetch("org/none", tmp_path / "none")
    assert folder_of(service.settings, "x").root.parent == service.settings.state / "jobs"


def test_what_no_row_names_goes_and_what_one_names_stays(server, tmp_path, monkeypatch):
    monkeypatch.setattr("reft.service.retention.YOUNG", -1.0)
    file = server.client("third").files.create(file=rows_file(tmp_path), purpose="user_data")
    server.service.blobs.write("org-x/file-nobody", [b"x"])
    sweep(server.service, now())
    assert not any("nobody" in key for key in there(server.service.blobs))
    assert server.client("third").files.content(file.id).read()
