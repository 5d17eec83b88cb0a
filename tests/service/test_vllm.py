"""The front for vLLM against a small real HTTP server that speaks its two endpoints; test_real_vllm.py runs vLLM."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import openai
import pytest

from reft.conversations.schema import from_prompt
from reft.conversations.tokenization import encode
from reft.models.loading import load_tokenizer
from reft.service.blobs import Blobs
from tests.background import answering
from tests.service.chatting import (
    ASK,
    joined,
    make_adapter,
    post,
    say,
    serve_adapter,
    serve_folder,
    streamed,
    text_of,
)
from tests.service.serving import served, settings_for, until

WORDS = ["On ", "its ", "way."]
MANY = 45  # more than the process has threads for requests


class Backend(ThreadingHTTPServer):
    """Answers three words for models that it knows; `restart` forgets the adapters.

    Where it `fails` by "waiting" it answers once it is let `go_on`, by "endless" a word now and then until it may.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.known, self.loads, self.asked, self.fails = {"tiny": ""}, [], [], ""
        self.go_on = threading.Event()

    def restart(self):
        self.known = {"tiny": ""}


class Handler(BaseHTTPRequestHandler):
    server: Backend

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/v1/load_lora_adapter":
            self.server.loads.append(body)
            there = (Path(body["lora_path"]) / "adapter_config.json").is_file()
            if there:
                self.server.known[body["lora_name"]] = body["lora_path"]
            return self.answer(200 if there else 400, "loaded")
        assert self.path == "/v1/completions"
        self.server.asked.append(body)
        if body["model"] not in self.server.known:
            return self.answer(404, json.dumps({"error": {"message": "no such model"}}))
        if self.server.fails == "busy":
            return self.answer(503, "{}")
        if self.server.fails == "waiting":
            self.server.go_on.wait(60)
        if self.server.fails == "endless":
            return self.drip()
        pieces = [{"choices": [{"index": 0, "text": word, "finish_reason": None}]} for word in WORDS]
        pieces[-1]["choices"][0]["finish_reason"] = "stop"
        pieces.append({"choices": [], "usage": {"prompt_tokens": len(body["prompt"]), "completion_tokens": 4}})
        if self.server.fails == "midway":
            pieces[1:] = [{"error": {"message": "out of memory"}}]
        text = "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces) + "data: [DONE]\n\n"
        return self.answer(200, text)

    def drip(self):
        self.send_response(200)
        self.end_headers()
        word = {"choices": [{"index": 0, "text": "On ", "finish_reason": None}]}
        with suppress(OSError):
            while not self.server.go_on.wait(0.1):
                self.wfile.write(f"data: {json.dumps(word)}\n\n".encode())

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


@contextmanager
def backend():
    made = Backend()
    with answering(made):
        try:
            yield made
        finally:
            made.go_on.set()


@contextmanager
def behind(folder, model, **changed):
    """A service whose models a backend answers for, and that backend."""
    with backend() as vllm:
        address = f"http://127.0.0.1:{vllm.server_address[1]}"
        with served(settings_for(folder, model, vllm=address, **changed), checks=False) as server:
            yield server, vllm


@pytest.fixture
def fronted(tiny_model, tmp_path):
    with behind(tmp_path, tiny_model) as both:
        yield both


def test_the_base_answers_plain_and_streamed_through_vllm(fronted, tiny_model):
    server, vllm = fronted
    plain = say(server.client(), stop=["x"], temperature=0.5)
    assert plain.choices[0].message.content == "".join(WORDS)
    assert plain.choices[0].finish_reason == "stop"
    assert plain.usage.completion_tokens == 4
    assert joined(streamed(server.client())) == "".join(WORDS)
    sent = vllm.asked[0]
    tokenizer = load_tokenizer(tiny_model, "chatml")
    assert sent["prompt"] == list(encode(tokenizer, from_prompt(ASK[0]["content"])).input_ids)
    assert (sent["seed"], sent["temperature"], sent["stop"], sent["max_tokens"]) == (7, 0.5, ["x"], 24)
    assert tokenizer.eos_token_id in sent["stop_token_ids"]
    # Else vLLM would take them from the model's generation configuration, of which this process takes nothing.
    assert (sent["top_k"], sent["min_p"], sent["repetition_penalty"]) == (-1, 0.0, 1.0)
    assert server.app.state.engine.residents is None  # no model was loaded here


def test_an_adapter_is_registered_once_and_again_after_a_restart(fronted, tiny_model):
    server, vllm = fronted
    name = serve_adapter(server, tiny_model, "m")
    for _ in range(3):
        assert say(server.client(), name).choices[0].message.content == "".join(WORDS)
    assert vllm.loads == [{"lora_name": name, "lora_path": server.service.blobs.path("acme/models/m")}]
    vllm.restart()
    assert joined(streamed(server.client(), name)) == "".join(WORDS)
    assert len(vllm.loads) == 2


def test_another_tenants_adapter_never_reaches_vllm(fronted, tiny_model):
    server, vllm = fronted
    name = serve_adapter(server, tiny_model, "theirs", organization="victim")
    with pytest.raises(openai.NotFoundError):
        say(server.client(), name)
    assert vllm.asked == vllm.loads == []


def test_what_fails_there_is_said_here(fronted):
    server, vllm = fronted
    vllm.fails = "busy"
    with pytest.raises(openai.InternalServerError) as refused:
        say(server.client())
    assert refused.value.code == "server_busy"
    vllm.fails = "midway"
    with pytest.raises(openai.APIError) as broken:
        streamed(server.client())
    assert broken.value.code == "model_unavailable"


def test_a_server_that_is_not_there_is_503(tiny_model, tmp_path):
    with backend() as gone:
        address = f"http://127.0.0.1:{gone.server_address[1]}"
    with served(settings_for(tmp_path, tiny_model, vllm=address), checks=False) as server:
        with pytest.raises(openai.InternalServerError) as refused:
            say(server.client())
        assert refused.value.status_code == 503
        assert refused.value.response.headers["retry-after"]


def test_beyond_the_bound_the_answer_is_429_as_without_vllm(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("REFT_SERVE_REQUESTS", "2")
    with behind(tmp_path, tiny_model) as (server, vllm):
        vllm.fails, client = "waiting", server.client()
        with ThreadPoolExecutor(2) as pool:
            answers = [pool.submit(text_of, client) for _ in range(2)]
            until(lambda: len(vllm.asked) == 2)
            with pytest.raises(openai.RateLimitError) as refused:
                say(client)
            assert refused.value.code == "server_busy"
            assert refused.value.response.headers["retry-after"]
            vllm.go_on.set()
            assert {answer.result() for answer in answers} == {"".join(WORDS)}
        until(lambda: server.app.state.engine.front.there == 0)
        assert text_of(client) == "".join(WORDS)


def test_time_is_up_for_an_answer_that_drips_and_its_place_is_free(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("REFT_SERVE_SECONDS", "1")
    monkeypatch.setenv("REFT_SERVE_REQUESTS", "1")
    with behind(tmp_path, tiny_model) as (server, vllm):
        text_of(server.client())  # the tokenizer is loaded
        vllm.fails = "endless"
        with pytest.raises(openai.APIStatusError) as late:
            say(server.client())
        assert (late.value.status_code, late.value.code) == (504, "timeout")
        with pytest.raises(openai.APIError) as broken:
            streamed(server.client())
        assert broken.value.code == "timeout"
        until(lambda: server.app.state.engine.front.there == 0)


def test_who_goes_away_frees_his_place(fronted):
    server, vllm = fronted
    vllm.fails = "endless"
    with post(server, stream=True, max_tokens=9) as answer:
        pieces = answer.iter_bytes()  # once it is let go of, the stream is closed
        next(pieces)
        assert server.app.state.engine.front.there == 1
    until(lambda: server.app.state.engine.front.there == 0)


def test_a_bucket_that_takes_long_holds_up_nothing_else_and_a_model_is_fetched_and_read_once(
    tiny_model, tmp_path, monkeypatch
):
    fetched, there, fetch = [], threading.Event(), Blobs.fetch_folder

    def slowly(blobs, key, target):
        fetched.append(key)
        assert there.wait(60)
        return fetch(blobs, key, target)

    monkeypatch.setattr(Blobs, "fetch_folder", slowly)
    monkeypatch.setenv("REFT_SERVE_REQUESTS", str(MANY + 1))
    with behind(tmp_path, tiny_model, files="memory://vllm") as (server, vllm):
        service, client = server.service, server.client()
        folder = make_adapter(tmp_path / "adapter", tiny_model, 1)
        load_tokenizer(tiny_model, "chatml").save_pretrained(folder)
        service.blobs.write_folder("models/ftjob-m", folder)
        name = serve_folder(server, "m", "models/ftjob-m")
        with ThreadPoolExecutor(MANY) as pool:
            answers = [pool.submit(text_of, client, name) for _ in range(MANY)]
            until(lambda: getattr(server.app.state.engine.front, "there", 0) == MANY)
            assert client.files.list().data == []
            assert text_of(client) == "".join(WORDS)
            assert not any(answer.done() for answer in answers)  # they still wait
            there.set()
            assert {answer.result() for answer in answers} == {"".join(WORDS)}
        assert fetched == ["models/ftjob-m"]
        copy = Path(vllm.loads[0]["lora_path"])
        (copy / "tokenizer.json").write_text("it was read already")
        assert text_of(client, name) == "".join(WORDS)
        service.blobs.fs.rm(service.blobs.root, recursive=True)
