"""The front for vLLM against a small real HTTP server that speaks its two endpoints; test_real_vllm.py runs vLLM."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import openai
import pytest

from reft.conversations.schema import from_prompt
from reft.conversations.tokenization import encode
from reft.models.loading import load_tokenizer
from tests.service.chatting import ASK, joined, say, serve_adapter, streamed
from tests.service.serving import served, settings_for

WORDS = ["On ", "its ", "way."]


class Backend(ThreadingHTTPServer):
    """Answers three words for models that it knows; `restart` forgets the adapters."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.known, self.loads, self.asked, self.fails = {"tiny": ""}, [], [], ""

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
        pieces = [{"choices": [{"index": 0, "text": word, "finish_reason": None}]} for word in WORDS]
        pieces[-1]["choices"][0]["finish_reason"] = "stop"
        pieces.append({"choices": [], "usage": {"prompt_tokens": len(body["prompt"]), "completion_tokens": 4}})
        if self.server.fails == "midway":
            pieces[1:] = [{"error": {"message": "out of memory"}}]
        text = "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces) + "data: [DONE]\n\n"
        return self.answer(200, text)

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


@contextmanager
def backend():
    made = Backend()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        made.server_close()
        thread.join()


@pytest.fixture
def fronted(tiny_model, tmp_path):
    with backend() as vllm:
        address = f"http://127.0.0.1:{vllm.server_address[1]}"
        with served(settings_for(tmp_path, tiny_model, vllm=address), checks=False) as server:
            yield server, vllm


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
