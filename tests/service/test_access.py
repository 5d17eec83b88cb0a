import re
from itertools import product

import httpx2
import openai
import pytest
from sqlmodel import col, select

from reft.errors import ConfigurationError
from reft.service.clock import now
from reft.service.keys import ROLES, create_key, digest_of, revoke_key, rotate_key
from reft.service.sign_in import COOKIE, visitor_of
from reft.service.tables import ApiKey, ServedModel
from tests.service.reviewing import items_of, quarantined, signed_in, visitor, waiting_job
from tests.service.serving import rows_file

FOREIGN = {
    "file_id": "file", "upload_id": "upload", "job_id": "job", "model": "model", "permission_id": "permission",
    "endpoint_id": "endpoint",
}  # fmt: skip


def routes_of(app):
    """Every (method, path) of the app, also those that the schema leaves out."""
    found, open_ = [], list(app.routes)
    while open_:
        route = open_.pop()
        if hasattr(route, "original_router"):  # what include_router leaves since FastAPI 0.13x
            open_ += route.original_router.routes
        elif hasattr(route, "methods"):
            found += [(method, route.path) for method in sorted(route.methods - {"HEAD"})]
    return sorted(found)


@pytest.fixture(scope="module")
def theirs(server, tmp_path_factory):
    """What another tenant has, by the name of the path's parameter."""
    client = server.client("victim")
    file = client.files.create(file=rows_file(tmp_path_factory.mktemp("rows")), purpose="fine-tune")
    client.files.wait_for_processing(file.id, poll_interval=0.05)  # what is compared later must have come to rest
    upload = client.uploads.create(bytes=4, filename="a", mime_type="text/plain", purpose="user_data")
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file.id)
    hook = client.webhooks.create(name="n", url="https://example.org/hook", event_types=["fine_tuning.job.failed"])
    with server.service.database.writing() as session:
        common = {"organization_id": job.organization_id, "created_at": now(), "job_id": job.id}
        session.add(ServedModel(id="ft:tiny:victim::x", base="tiny", passed=True, **common))
    permission = client.fine_tuning.checkpoints.permissions.create("ft:tiny:victim::x", project_ids=["nobody"]).data[0]
    return {
        "file": file.id, "upload": upload.id, "job": job.id, "model": "ft:tiny:victim::x", "permission": permission.id,
        "endpoint": hook.id,
    }  # fmt: skip


BODIES = {
    "/v1/uploads/{upload_id}/complete": {"part_ids": ["part_x"]},
    "/v1/fine_tuning/checkpoints/{model:path}/permissions": {"project_ids": ["nobody"]},
    "/v1/webhook_endpoints/{endpoint_id}": {"name": "mine"},
}


def ask(server, method, path, *, key, ids):
    address = re.sub(r"\{(\w+)(:path)?\}", lambda m: ids[FOREIGN[m[1]]], path)
    sent = {"files": {"data": b"x"}} if path.endswith("/parts") else {"json": BODIES.get(path, {})}
    sent = {} if method == "GET" else sent
    headers = {"authorization": f"Bearer {key}".encode()} if key else {}
    return httpx2.request(method, server.url + address, headers=headers, timeout=20, **sent)


def test_no_route_shows_or_changes_what_is_another_tenants(server, theirs):
    before = {name: server.client("victim").get(path, cast_to=object) for name, path in shown(theirs).items()}
    walked = 0
    for (method, path), role in product(routes_of(server.app), ROLES):
        if "{" not in path or not path.startswith("/v1"):
            continue
        answer = ask(server, method, path, key=server.key("intruder", role), ids=theirs)
        assert answer.status_code in (403, 404), (method, path, role, answer.text)
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert answer.headers["x-request-id"].startswith("req_")
        if role == "customer":
            assert answer.status_code == 404, (method, path, answer.text)
        if role == "reviewer" and "review" not in path:
            assert answer.status_code == 403, (method, path, answer.text)
        walked += 1
    assert walked > 50
    assert before == {name: server.client("victim").get(path, cast_to=object) for name, path in shown(theirs).items()}


def pages_of(app):
    """The pages for people, which know a cookie and no header."""
    return [(method, path) for method, path in routes_of(app) if path.startswith(("/review", "/jobs"))]


def visit(person, method, path, *, job):
    address = path.replace("{job_id}", job).replace("{row}", "100").replace("{file_id}", "file-x")
    address = address.replace("{kind}", "overrides.jsonl")
    form = {"row": "100", "decision": "keep", "reason": "r", "digest": "x", "low": "0", "high": "1"}
    token = re.search(r'name="token" value="(\w+)"', person.get("/review").text)
    sent = {"data": {**form, "token": token[1] if token else "x"}} if method == "POST" else {}
    return person.http.request(method, address, **sent)


def test_no_page_is_there_without_a_session_or_for_another_tenant(server):
    job = waiting_job(server, quarantined("SECRET question"), organization="victim")
    walked = [one for one in pages_of(server.app) if not one[1].startswith("/review/sign-")]
    assert len(walked) >= 12
    nobody, intruder = visitor(server), signed_in(server, "eve", "intruder")
    keyed = visitor(server)
    keyed.http.headers["authorization"] = f"Bearer {server.key('victim', 'operator')}"
    for method, path in walked:
        for person in (nobody, keyed):
            answer = visit(person, method, path, job=job)
            assert answer.status_code == 303, (method, path)
            assert answer.headers["location"].startswith("/review/sign-in")
        answer = visit(intruder, method, path, job=job)
        wanted = 403 if path.startswith("/jobs") else 404 if "{" in path else 200
        assert answer.status_code == wanted, (method, path, answer.text)
        assert "SECRET" not in answer.text
        assert job not in re.sub("No such fine-tuning job: <?/?b?d?i?>?ftjob-\\w+", "", answer.text), path
    assert items_of(server, job)[100].decision is None
    operator = signed_in(server, "olga", "ops", "operator")
    assert "SECRET" in operator.get(f"/review/{job}").text


def shown(ids):
    return {
        "file": f"/files/{ids['file']}", "job": f"/fine_tuning/jobs/{ids['job']}", "model": f"/models/{ids['model']}",
        "permissions": f"/fine_tuning/checkpoints/{ids['model']}/permissions",
        "endpoint": f"/webhook_endpoints/{ids['endpoint']}",
    }  # fmt: skip


def test_lists_hold_nothing_of_another_tenant(server, theirs):
    client = server.client("intruder")
    assert client.files.list().data == client.fine_tuning.jobs.list().data == client.webhooks.list().data == []
    assert [model.id for model in client.models.list()] == ["tiny"]
    for ask_, name in ((client.files.list, "file"), (client.fine_tuning.jobs.list, "job")):
        with pytest.raises(openai.NotFoundError):
            ask_(after=theirs[name])
    with pytest.raises(openai.NotFoundError):
        client.fine_tuning.jobs.create(model="tiny", training_file=theirs["file"])


def test_nobody_gets_anything_without_a_key(server, theirs):
    for method, path in routes_of(server.app):
        if not path.startswith("/v1"):
            continue
        for key in ("", "sk-reft-wrong", "ü"):
            answer = ask(server, method, path, key=key, ids=theirs)
            assert answer.status_code == 401, (method, path)
            assert answer.json()["error"]["code"] in ("missing_api_key", "invalid_api_key")
    answer = httpx2.get(f"{server.url}/v1/no/such/route")
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")


def test_what_is_not_there_is_answered_in_the_same_form(server):
    with pytest.raises(openai.NotFoundError) as error:
        server.client().get("/no/such/route", cast_to=object)
    assert error.value.code == "unknown_url"
    with pytest.raises(openai.APIStatusError) as method:
        server.client().delete("/files", cast_to=object)
    assert method.value.status_code == 405
    assert method.value.body["code"] == "method_not_allowed"


def test_the_header_of_an_organization_is_held_against_the_key(server):
    assert server.client(organization="acme").models.list().data
    with pytest.raises(openai.AuthenticationError) as error:
        openai.OpenAI(
            base_url=f"{server.url}/v1", api_key=server.key(), organization="other", max_retries=0
        ).models.list()
    assert error.value.code == "mismatched_organization"


def test_a_key_is_kept_as_a_digest_and_ends_when_it_is_revoked_or_rotated(server):
    database = server.service.database
    with database.writing() as session:
        made, key = create_key(session, "keys", "customer")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)
    client.models.list()
    with database.reading() as session:
        kept = session.exec(select(ApiKey).where(col(ApiKey.id) == made.id)).one()
    assert kept.digest == digest_of(key)
    assert key not in str(kept.model_dump())
    with database.writing() as session:
        renewed, new = rotate_key(session, made.id, grace=60)
    openai.OpenAI(base_url=f"{server.url}/v1", api_key=new, max_retries=0).models.list()
    client.models.list()  # within its grace
    with database.writing() as session:
        revoke_key(session, made.id)
    with pytest.raises(openai.AuthenticationError):
        client.models.list()
    with database.writing() as session, pytest.raises(ConfigurationError, match="ended"):
        rotate_key(session, made.id)
    with database.writing() as session:
        rotate_key(session, renewed.id)
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.url}/v1", api_key=new, max_retries=0).models.list()


def test_a_rotated_key_ends_when_it_would_have_ended_and_is_the_same_person(server):
    end = now() + 100
    with server.service.database.writing() as session:
        old, _ = create_key(session, "keys", "reviewer", ends_at=end)
        new, _ = rotate_key(session, old.id, grace=3600)
        newest, key = rotate_key(session, new.id)
        assert [one.ends_at for one in (old, newest)] == [end, end]
        assert {one.note or one.id for one in (old, new, newest)} == {old.id}
    person = visitor(server)
    person.post("/review/sign-in", seen="/review/sign-in", key=key)
    with server.service.database.reading() as session:
        who = visitor_of(session, person.http.cookies[COOKIE])
    assert who.name == f"{old.id}@keys"


def test_a_key_may_have_fewer_scopes_than_its_role(server):
    with server.service.database.writing() as session:
        _, key = create_key(session, "acme", "customer", scopes=("models",))
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)
    client.models.list()
    with pytest.raises(openai.PermissionDeniedError) as error:
        client.files.list()
    assert error.value.code == "insufficient_permissions"
    with server.service.database.writing() as session:
        for wrong in ({"role": "root"}, {"role": "customer", "scopes": ("operate",)}):
            with pytest.raises(ConfigurationError):
                create_key(session, "acme", **wrong)
        with pytest.raises(ConfigurationError, match="name"):
            create_key(session, "Acme: Ltd", "customer")


def test_a_key_that_was_made_elsewhere_is_let_in_and_one_that_ended_stays_ended(server):
    given = "sk-reft-" + "0123456789abcdef" * 4
    with server.service.database.writing() as session:
        made = [create_key(session, "first", "operator", key=given) for _ in range(2)]
    assert made[0][0].id == made[1][0].id
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=given, max_retries=0)
    assert client.models.list().data
    with server.service.database.writing() as session:
        revoke_key(session, made[0][0].id)
        create_key(session, "first", "operator", key=given)
    with pytest.raises(openai.AuthenticationError):
        client.models.list()
    for guessable in ("sk-reft-short", "x" * 60, given + "\n"):
        with server.service.database.writing() as session, pytest.raises(ConfigurationError, match="no key of ours"):
            create_key(session, "first", "operator", key=guessable)
