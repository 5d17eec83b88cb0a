"""A served student through a bad night: MLflow's own server, a real process, and what attackers or bad clients send."""

import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.tracking.served import servable, served

pytestmark = pytest.mark.slow
LIMITS = {"REFT_SERVE_REQUESTS": "4", "REFT_SERVE_NEW_TOKENS": "1900", "REFT_SERVE_SECONDS": "40"}
GROWTH_MB = 250  # a tenth of it was seen; without limits it is gigabytes
# Minutes of work for the tiny model, were it let.
LONG = {"dataframe_records": [{"prompt": "x"}] * 32, "params": {"max_new_tokens": 1900}}


def chat(text, **more):
    return {"messages": [{"role": "user", "content": text}], **more}


GOOD = chat("Where is my card?", max_tokens=4)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return servable(tmp_path_factory.mktemp("student"), 512)


@pytest.fixture(scope="module")
def server(student, tmp_path_factory):
    with served(student, tmp_path_factory.mktemp("served"), **LIMITS) as running:
        yield running


def leave(server, body, after=0.3):
    """Ask, and be gone before the answer."""
    with pytest.raises(TimeoutError):
        server.ask(body, seconds=after)


def in_pieces(size, piece=b"word " * 10_000):
    yield b'{"prompt": "'
    for _ in range(size // len(piece)):
        yield piece
    yield b'"}'


# What is sent, and what the answer's words hold; all are refused with 400.
HOSTILE = [
    (lambda s: s.ask(chat("word " * 50_000)), "tokens, more than the limit of 512"),
    (lambda s: s.ask({"prompt": "漢" * 100_000}), "tokens, more than the limit of 512"),
    (lambda s: s.ask(chat("word " * 500_000)), f"bytes, more than the limit of {2**20}"),
    (lambda s: s.ask(chat("word " * 2_500_000)), f"bytes, more than the limit of {2**20}"),
    (lambda s: s.send(in_pieces(5_000_000)), f"bytes, more than the limit of {2**20}"),
    (
        lambda s: s.ask({"messages": chat("a")["messages"] * 20_000}),
        "at least 20000 tokens, more than the limit of 512",
    ),
    (lambda s: s.ask(chat("x", max_tokens=10**9)), "1000000000 tokens of an answer, more than the limit of 1900"),
    (lambda s: s.ask({"inputs": ["x"], "params": {"max_new_tokens": 10**9}}), "more than the limit of 1900"),
    (lambda s: s.ask(chat("word " * 100, max_tokens=1900)), "2048 positions"),
    (lambda s: s.ask(b'{"prompt": "x", "max_tokens": ' + b"9" * 5000 + b"}"), "no JSON"),
    (lambda s: s.ask(chat("x", max_tokens="many")), "no number of tokens"),
    (lambda s: s.ask(b'{"inputs": ["x"], "params": {"max_new_tokens": 1e999}}'), ""),
    (lambda s: s.ask({"inputs": ["x"] * 100_000}), "100000 rows, more than the limit of 32"),
    (lambda s: s.ask({"inputs": {"prompt": ["x"] * 33}}), "33 rows, more than the limit of 32"),
    (lambda s: s.ask({"dataframe_records": [{f"n{i}": 1} for i in range(9000)]}), "9000 rows"),
    (lambda s: s.ask({"dataframe_split": {"columns": ["prompt"], "data": [["x"]] * 40}}), "40 rows"),
    (lambda s: s.ask({"inputs": "word " * 50_000}), "tokens, more than the limit of 512"),
    (lambda s: s.ask({"messages": 7}), "row 0"),
    (lambda s: s.ask({"dataframe_records": [{"prompt": None}, {"prompt": [1]}]}), "row 0"),
    (lambda s: s.ask([1, 2]), "a list is no request"),
    (lambda s: s.ask(b"\xff\xfe{"), "no JSON"),
    (lambda s: s.ask(b"prompt\nx\n", kind="text/csv"), "send application/json"),
    (lambda s: s.ask(b"PAR1", kind="application/vnd.apache.parquet"), "send application/json"),
]


def test_200_hostile_requests_take_neither_memory_nor_the_server(server):
    assert server.ask(GOOD).status == 200
    before, peak, over = server.memory_mb(), [0.0], threading.Event()

    def watch():
        while not over.wait(0.05):
            peak[0] = max(peak[0], server.memory_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for number in range(180):
            send, told = HOSTILE[number % len(HOSTILE)]
            answer = send(server)
            assert answer.status == 400, (number % len(HOSTILE), answer.text[-2000:])
            assert told in answer.text, answer.text[-2000:]
        for _ in range(20):
            leave(server, LONG)
    finally:
        over.set()
        watcher.join()
    print(f"{before:.0f} MB before, {peak[0]:.0f} MB at most")
    assert peak[0] - before < GROWTH_MB
    answer = server.ask(GOOD, seconds=10)
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["role"] == "assistant"


def test_beyond_the_limit_of_requests_it_says_when_to_come_back(server):
    sockets = [http.client.HTTPConnection("127.0.0.1", server.port) for _ in range(4)]
    for one in sockets:
        one.request("POST", "/invocations", json.dumps(LONG), {"Content-Type": "application/json"})
    wait_for(lambda: server.ask(GOOD, seconds=0.5).status == 429)
    refused = server.ask(chat("word " * 2_500_000))
    assert refused.status == 429
    assert "4 requests are being answered, the limit" in refused.json["message"]
    assert int(refused.headers["retry-after"]) >= 1
    for one in sockets:
        one.close()
    wait_for(lambda: server.ask(GOOD).status == 200)


def wait_for(there, seconds=10):
    """Until it is so; whoever asks may be left without an answer meanwhile."""
    end = time.monotonic() + seconds
    while True:
        try:
            if there():
                return
        except TimeoutError:
            pass
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_request_has_its_time(student, tmp_path):
    with served(student, tmp_path, REFT_SERVE_SECONDS="2", REFT_SERVE_NEW_TOKENS="1900") as server:
        start = time.monotonic()
        answer = server.ask(LONG)
        assert answer.status == 504
        assert "limit of 2 seconds" in answer.json["message"]
        assert "REFT_SERVE_SECONDS" in answer.json["message"]
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as slow:
            slow.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
            slow.sendall(b'Content-Length: 100\r\n\r\n{"')
            assert slow.recv(100).startswith(b"HTTP/1.1 504")
        assert time.monotonic() - start < 20
        assert server.ask(GOOD, seconds=10).status == 200


def alive(process):
    """Whether it runs; one that has ended and that nobody has asked about does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("told", ["the command", "all of it"])
def test_a_busy_server_ends_when_told_to(student, tmp_path, told):
    with served(student, tmp_path, **LIMITS) as server, ThreadPoolExecutor() as pool:
        running = pool.submit(server.ask, LONG)
        slow = socket.create_connection(("127.0.0.1", server.port))
        slow.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        slow.sendall(b'Content-Length: 100\r\n\r\n{"')
        time.sleep(1)
        ours, start = server.processes(), time.monotonic()
        for one in ours[:1] if told == "the command" else ours:
            one.terminate()
        server.process.wait(10)
        wait_for(lambda: not any(alive(one) for one in ours[1:]))
        assert time.monotonic() - start < 8
        assert running.exception() or running.result().status == 503
        slow.close()
