"""Answers that take long: who goes away, who comes when there is no room, and time that is up."""

import threading
import time

import httpx2
import openai
import pytest

from tests.service.chatting import ASK, post, say, text_of
from tests.service.serving import served, settings_for, until


@pytest.fixture
def endless(tiny_model, tmp_path, monkeypatch):
    """A server whose answers take long: nothing ends them."""
    monkeypatch.setattr("reft.service.serving.generation.stop_ids", lambda *_: [])
    monkeypatch.setenv("REFT_SERVE_NEW_TOKENS", "1900")
    monkeypatch.setenv("REFT_SERVE_REQUESTS", "2")
    with served(settings_for(tmp_path, tiny_model), checks=False) as server:
        yield server


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_the_worker(endless, stream):
    worker = endless.app.state.engine.worker
    if stream:
        with post(endless, stream=True) as answer:
            pieces = answer.iter_bytes()
            next(pieces)
            assert worker.there == 1
    else:
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(
                f"{endless.url}/v1/chat/completions",
                json={"model": "tiny", "messages": ASK, "max_tokens": 1900},
                headers={"authorization": f"Bearer {endless.key()}"},
                timeout=1.0,
            )
    gone = time.monotonic()
    until(lambda: worker.there == 0)
    assert time.monotonic() - gone < 3
    assert text_of(endless.client(), max_tokens=2)


def test_beyond_the_bound_the_answer_is_429_with_retry_after(endless):
    with post(endless, stream=True) as first:
        pieces = first.iter_bytes()  # once it is let go of, the stream is closed
        next(pieces)
        second = threading.Thread(target=lambda: text_of(endless.client(), max_tokens=2), daemon=True)
        second.start()
        until(lambda: endless.app.state.engine.worker.there == 2)
        with pytest.raises(openai.RateLimitError) as refused:
            say(endless.client(), max_tokens=2)
        assert 0 < int(refused.value.response.headers["retry-after"]) <= 120
    second.join(timeout=20)
    assert not second.is_alive()


def test_out_of_time_a_plain_answer_is_504_and_a_stream_holds_the_error(endless):
    engine = endless.app.state.engine
    text_of(endless.client(), max_tokens=1)  # the model is loaded
    engine._limits = engine._limits.model_copy(update={"seconds": 0.7})
    with pytest.raises(openai.APIStatusError) as late:
        say(endless.client(), max_tokens=1900)
    assert late.value.status_code == 504
    chunks = say(endless.client(), max_tokens=1900, stream=True)
    assert next(chunks).choices[0].delta.role == "assistant"
    with pytest.raises(openai.APIError) as broken:
        list(chunks)
    assert broken.value.code == "timeout"
