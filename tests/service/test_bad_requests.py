"""Whatever is sent: an answer in OpenAI's form, never a 500, never a hang."""

import json
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.service.chatting import ASK
from tests.service.hostile import CHECKED, CLIENT, TEXT, VALUE, send


def schemas(app):
    """(method, path, schema of the body) of every operation."""
    document = app.openapi()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            schema = (schema.get("anyOf") or [schema])[0]
            name = schema.get("$ref", "").rsplit("/", 1)[-1]
            yield method.upper(), path, document["components"]["schemas"].get(name, {}).get("properties", {})


@CHECKED
@given(data=st.data())
def test_generated_bodies_over_every_route(server, data):
    method, path, fields = data.draw(st.sampled_from([o for o in schemas(server.app) if o[0] != "GET"]))
    known = st.sampled_from(sorted(fields)) if fields else TEXT
    body = data.draw(st.dictionaries(known | TEXT, VALUE, max_size=7) | VALUE)
    for name in ("file_id", "upload_id", "job_id", "model", "permission_id", "endpoint_id"):
        path = path.replace(f"{{{name}}}", quote(data.draw(TEXT).encode("utf-8", "surrogatepass"), safe="") or "x")
    text = json.dumps(body, allow_nan=True)
    send(server, method, path[:8000], content=text.encode(), headers={"content-type": "application/json"})


@CHECKED
@given(
    query=st.dictionaries(
        st.sampled_from(["after", "limit", "order", "purpose", "metadata", "metadata[a]", "metadata[", "project_id"])
        | TEXT,
        TEXT | st.integers().map(str),
        max_size=4,
    ),
    path=st.sampled_from(
        [
            "/v1/files",
            "/v1/fine_tuning/jobs",
            "/v1/models",
            "/v1/webhook_endpoints",
            "/v1/fine_tuning/checkpoints/a/permissions",
        ]
    ),
)
def test_generated_queries(server, query, path):
    pairs = "&".join("=".join(quote(t.encode("utf-8", "surrogatepass")) for t in pair) for pair in query.items())
    send(server, "GET", f"{path}?{pairs}"[:8000])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"model": NaN, "training_file": Infinity}',
        b"\xff\xfe",
        b'{"seed": ' + b"9" * 5000 + b"}",
        b'{"a": ' * 2000,
        b"null",
        b'"text"',
        b'{"model": "tiny", "model": "tiny"}',
        b'{"method": {"type": "\\ud800"}}',
    ],
)
def test_bodies_that_are_hardly_json(server, body):
    answer = send(server, "POST", "/v1/fine_tuning/jobs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=a", b"--b\r\n\r\nx"),
        ("multipart/form-data; boundary=a", b'--a\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--a--'),
        (
            "multipart/form-data; boundary=a",
            b'--a\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nx',
        ),
        ("multipart/form-data; boundary=" + "a" * 500, b"--"),
        ("multipart/form-data; boundary=\xff; charset=nonsense", b"--\xff\r\n"),
        ("application/json", b"{}"),
        ("application/x-www-form-urlencoded", b"file=x&purpose=fine-tune"),
    ],
)
def test_forms_that_are_none(server, kind, body):
    for path in ("/v1/files", "/v1/uploads/upload_x/parts"):
        answer = send(server, "POST", path, content=body, headers={"content-type": kind.encode("latin-1")})
        assert answer.status_code in (400, 404)


@CHECKED
@given(
    fields=st.dictionaries(
        st.sampled_from(["purpose", "expires_after[anchor]", "expires_after[seconds]", "expires_after", "[", "a[b]c"]),
        TEXT,
        max_size=5,
    )
)
def test_generated_forms(server, fields):
    data = {name: value.encode("utf-8", "replace").decode() for name, value in fields.items()}
    send(server, "POST", "/v1/files", data=data, files={"file": ("a.txt", b"x")})


def test_a_body_without_a_length_ends_at_the_limit(server):
    def endless():
        for _ in range(10_000):
            yield b" " * 100_000

    try:
        answer = send(
            server, "POST", "/v1/fine_tuning/jobs", content=endless(), headers={"content-type": "application/json"}
        )
    except httpx2.WriteError:
        return  # the server has hung up while it was still being sent to
    assert answer.status_code == 413


FIELDS = st.sampled_from(
    ["messages", "model", "stop", "seed", "n", "stream", "max_tokens", "temperature", "top_p", "moderation", "tools",
     "stream_options", "response_format", "logprobs"]
)  # fmt: skip
MESSAGE = st.dictionaries(
    st.sampled_from(["role", "content", "tool_calls", "name", "from", "value"]) | TEXT,
    VALUE | st.sampled_from(["user", "assistant", "system", "tool", [{"type": "text", "text": "a"}]]),
    max_size=4,
)


@CHECKED
@given(
    body=st.dictionaries(FIELDS | TEXT, VALUE, max_size=5), messages=st.lists(MESSAGE, max_size=3), good=st.booleans()
)
def test_generated_bodies_of_chat_are_answered_without_a_500(server, body, messages, good):
    asked = {"model": "tiny", "messages": ASK if good else messages, "max_tokens": 1, **body}
    kind = {"content-type": "application/json"}
    send(server, "POST", "/v1/chat/completions", content=json.dumps(asked).encode(), headers=kind)


@CHECKED
@given(body=st.dictionaries(st.sampled_from(["input", "model"]) | TEXT, VALUE, max_size=3))
def test_generated_bodies_of_moderation(server, body):
    headers = {"authorization": f"Bearer {server.key()}", "content-type": "application/json"}
    answer = CLIENT.post(f"{server.url}/v1/moderations", content=json.dumps(body).encode(), headers=headers)
    assert answer.status_code in (200, 400, 503)  # 503: this server has no teacher
    assert answer.status_code == 200 or answer.json()["error"]["code"]
