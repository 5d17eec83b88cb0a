"""Each limit of a served student: what is refused is told its number and the limit, before the model has any work."""

import asyncio
import json
import threading
import time
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from reft.errors import ConfigurationError
from reft.tracking.guard import Guard, Request, current
from reft.tracking.limits import Limits, check_body, variable
from reft.tracking.serving import ChatModel, make_servable
from tests.factories import build_model
from tests.tracking.served import servable

FEW = Limits(bytes=1000, rows=3, prompt_tokens=40, new_tokens=2020, requests=2, seconds=30)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return servable(tmp_path_factory.mktemp("student"), 100)


@pytest.fixture(scope="module")
def model(student):
    return ChatModel(student, FEW)


@pytest.fixture
def no_work(model, monkeypatch):
    """The model must not be asked."""
    monkeypatch.setattr(model._model, "generate", lambda **_: pytest.fail("a forward pass"))


def test_the_environment_sets_them(monkeypatch):
    assert Limits.from_environment() == Limits()
    monkeypatch.setenv("REFT_SERVE_ROWS", "7")
    monkeypatch.setenv("REFT_SERVE_SECONDS", "0.5")
    assert Limits.from_environment() == Limits(rows=7, seconds=0.5)


@pytest.mark.parametrize("value", ["many", "0", "-1", "1.5"])
def test_a_limit_that_is_none_is_told(monkeypatch, value):
    monkeypatch.setenv("REFT_SERVE_ROWS", value)
    with pytest.raises(ConfigurationError, match=rf"'{value}' is no limit\s+where: REFT_SERVE_ROWS"):
        Limits.from_environment()


def test_every_limit_is_in_the_docs():
    text = Path("docs/howto/serve.md").read_text()
    for name, field in Limits.model_fields.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"| `{variable(name)}`")]
        assert field.description in line
        assert field.default is None or f"| {field.default} |" in line


ROWS = [
    {"inputs": ["x"] * 4},
    {"instances": [{"prompt": "x"}] * 4},
    {"inputs": {"prompt": ["x"] * 4}},
    {"dataframe_records": [{f"n{i}": 1} for i in range(4)]},
    {"dataframe_split": {"columns": ["prompt"], "data": [["x"]] * 4}},
    {"dataframe_split": {"columns": ["prompt"], "index": [0] * 4, "data": [["x"]]}},
]


@pytest.mark.parametrize("asked", ROWS)
def test_rows(asked):
    with pytest.raises(MlflowException, match="4 rows, more than the limit of 3"):
        check_body(json.dumps(asked).encode(), FEW)
    check_body(json.dumps(asked).encode(), FEW.model_copy(update={"rows": 4}))


def test_a_value_that_would_be_repeated_all_over_a_table_is_refused():
    asked = {"dataframe_split": {"index": [0] * 2, "columns": ["a", "b"], "data": "x"}}
    with pytest.raises(MlflowException, match="'data' is no list"):
        check_body(json.dumps(asked).encode(), FEW)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[1]", b"7", b'{"a": ' + b"9" * 5000 + b"}"])
def test_no_request(body):
    with pytest.raises(MlflowException, match=r"no JSON|is no request") as caught:
        check_body(body, FEW)
    assert caught.value.get_http_status_code() == 400


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"prompt": "漢" * 30}, r"\d+ tokens, more than the limit of 40\s+where: row 0\s.*REFT_SERVE_PROMPT_TOKENS"),
        ({"prompt": "x", "max_tokens": 2021}, "2021 tokens of an answer, more than the limit of 2020"),
        ({"prompt": "漢" * 8, "max_tokens": 2020}, r"\d+ tokens and 2020 of an answer.* the model's 2048 positions"),
        ({"prompt": "x", "max_tokens": 0}, "0 is no number of tokens"),
        ({"prompt": "x", "max_tokens": True}, "True is no number of tokens"),
    ],
)
def test_tokens(model, asked, told):
    with pytest.raises(MlflowException, match=told) as caught:
        model.predict(asked)
    assert caught.value.get_http_status_code() == 400


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("messages", [[("user", "a" * 100_000)], [("user", "a")] * 50])
def test_what_cannot_but_be_too_long_is_not_even_made_tokens(model, monkeypatch, messages):
    monkeypatch.setattr("reft.conversations.tokenization.encode_prompts", lambda *_: pytest.fail("made tokens"))
    with pytest.raises(MlflowException, match=r"at least \d+ tokens, more than the limit of 40"):
        model.predict({"messages": [{"role": role, "content": text} for role, text in messages]})


def test_without_a_setting_prompts_are_as_long_as_the_rows_of_the_training(student, tmp_path_factory):
    with pytest.raises(MlflowException, match="more than the limit of 100"):
        ChatModel(student, Limits()).predict({"prompt": "漢" * 30, "max_tokens": 2})
    assert ChatModel(student, Limits(prompt_tokens=1000)).predict({"prompt": "漢" * 30, "max_tokens": 2})
    older = build_model(tmp_path_factory.mktemp("older"), "gpt2")
    make_servable(older)
    with pytest.raises(MlflowException, match="more than the limit of 1024"):
        ChatModel(older, Limits()).predict({"prompt": "漢" * 600, "max_tokens": 2})


@pytest.mark.parametrize("reason", ["abandoned", "late"])
def test_generating_stops_when_nobody_waits(model, reason):
    seconds = 30 if reason == "abandoned" else 0.3
    request = Request(FEW.model_copy(update={"seconds": seconds}))
    token, tokens, inner = current.set(request), [], model._model.forward

    def counted(*args, **kwargs):
        tokens.append(0)
        if reason == "abandoned" and len(tokens) == 20:
            request.abandon()
        if reason == "late":
            time.sleep(0.01)
        return inner(*args, **kwargs)

    model._model.forward = counted
    try:
        with pytest.raises(MlflowException) as caught:
            model.predict(["x", "y", "z"], {"max_new_tokens": 1900})
    finally:
        del model._model.forward
        current.reset(token)
    assert caught.value.get_http_status_code() == (503 if reason == "abandoned" else 504)
    assert reason == "abandoned" or "limit of 0.3 seconds" in caught.value.message
    assert len(tokens) <= (21 if reason == "abandoned" else 40)


def test_who_waits_for_his_turn_and_goes_does_not_wait_longer(model):
    request = Request(FEW)
    token = current.set(request)
    threading.Timer(0.2, request.abandon).start()
    try:
        with model._turn, pytest.raises(MlflowException, match="stopped before the answer"):
            model.predict({"prompt": "x"})
    finally:
        current.reset(token)
    assert model.predict({"prompt": "x", "max_tokens": 2})


class Wire:
    """A client of the guard: what it sends, and what it is told."""

    def __init__(self, *parts, headers=()):
        self.scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"application/json"), *headers]}
        self.parts, self.told, self.read = list(parts), [], 0

    async def receive(self):
        if not self.parts:
            await asyncio.Event().wait()
        part = self.parts.pop(0)
        self.read += len(part)
        return {"type": "http.request", "body": part, "more_body": bool(self.parts)}

    async def send(self, message):
        self.told.append(message)

    @property
    def status(self):
        return self.told[0]["status"]

    @property
    def message(self):
        return json.loads(self.told[1]["body"])["message"]


async def never(*_):
    pytest.fail("let through")


@pytest.mark.parametrize("headers", [[(b"content-length", b"4000")], []])
def test_bytes(headers):
    wire = Wire(*[b"x" * 500] * 8, headers=headers)
    asyncio.run(Guard(never, FEW)(wire.scope, wire.receive, wire.send))
    assert wire.status == 400
    assert "4000 bytes, more than the limit of 1000" in wire.message
    assert wire.read == 4000  # who still sends would not read the answer


def test_a_second_content_type_is_refused():
    wire = Wire(b'{"inputs": ["x"]}', headers=[(b"content-type", b"text/csv")])
    asyncio.run(Guard(never, FEW)(wire.scope, wire.receive, wire.send))
    assert wire.status == 400
    assert "more than one content type" in wire.message


def test_requests_at_once():
    async def all_of_them():
        there = asyncio.Event()

        async def slow(_scope, receive, send):
            assert (await receive())["body"] == b'{"inputs": ["x"]}'
            await there.wait()
            await send({"type": "http.response.start", "status": 200})

        guard = Guard(slow, FEW)
        wires = [Wire(b'{"inputs": ', b'["x"]}') for _ in range(3)]
        running = [asyncio.create_task(guard(w.scope, w.receive, w.send)) for w in wires]
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        there.set()
        await asyncio.gather(*running)
        again = Wire(b'{"inputs": ["x"]}')
        await guard(again.scope, again.receive, again.send)
        return [*wires, again]

    first, second, third, again = asyncio.run(all_of_them())
    assert [first.status, second.status, third.status, again.status] == [200, 200, 429, 200]
    assert "2 requests are being answered, the limit" in third.message
    assert dict(third.told[0]["headers"])[b"retry-after"] == b"5"
