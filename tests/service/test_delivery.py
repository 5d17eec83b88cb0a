import socketserver
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from sqlmodel import col, select

from reft.service import delivery
from reft.service.delivery import AGAIN, Refused, Sender, target_of
from reft.service.jobs import leases, lifecycle, states
from reft.service.service import open_service
from reft.service.tables import Job, Lease, Organization, WebhookDelivery
from tests.background import answering
from tests.service.serving import rows_file, served, settings_for, until

DONE = "fine_tuning.job.succeeded"


@pytest.fixture
def receiver():
    """A server on loopback that answers as it is told and remembers what came."""
    got, answers = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            got.append((self.path, dict(self.headers), body))
            self.send_response(answers.pop(0) if answers else 200)
            self.send_header("location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()

        def log_message(self, *_):
            pass

    with answering(HTTPServer(("127.0.0.1", 0), Handler)) as address:
        yield address, got, answers


def announced(server, url, tmp_path):
    """A job that has succeeded, and an endpoint that wants to know."""
    client = server.client()
    endpoint = client.webhooks.create(name="mine", url=url, event_types=[DONE])
    file = client.files.create(file=rows_file(tmp_path), purpose="fine-tune").id
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file)
    with server.service.database.writing() as session:
        row = session.exec(select(Job).where(col(Job.id) == job.id)).one()
        assert lifecycle.finish(session, row, states.SUCCEEDED, model="m")
    return client, endpoint, job


def the_delivery(server):
    with server.service.database.reading() as session:
        return session.exec(select(WebhookDelivery)).one()


def due_now(server):
    with server.service.database.writing() as session:
        row = session.exec(select(WebhookDelivery)).one()
        row.next_at = 0
        session.add(row)


def test_a_message_is_signed_and_sent_until_it_is_taken(tiny_model, tmp_path, receiver):
    url, got, answers = receiver
    answers += [500, 302, 200]
    with served(settings_for(tmp_path, tiny_model, private_webhooks=True), checks=False) as server:
        client, endpoint, job = announced(server, f"{url}/hook?a=b", tmp_path)
        sender = Sender(server.service)
        assert sender.send_one()
        first = the_delivery(server)
        assert (first.attempts, first.last_answer, first.delivered_at) == (1, "500", None)
        assert time.time() < first.next_at <= time.time() + AGAIN[0] + 1
        assert not sender.send_one()  # not due yet
        for expected in ("302", "200"):  # a redirect is not followed
            due_now(server)
            assert sender.send_one()
            assert the_delivery(server).last_answer == expected
        assert the_delivery(server).delivered_at
        assert not sender.send_one()
        path, headers, body = got[-1]
        assert (len(got), path) == (3, "/hook?a=b")
        event = client.webhooks.unwrap(body, headers, secret=endpoint.signing_secret)
        assert (event.type, event.data.id) == (DONE, job.id)
        assert {headers["webhook-id"] for _, headers, _ in got} == {first.id}


def test_it_is_given_up_after_the_last_attempt_and_where_the_endpoint_says_that_it_has_gone(
    tiny_model, tmp_path, receiver
):
    url, _, answers = receiver
    with served(settings_for(tmp_path, tiny_model, private_webhooks=True), checks=False) as server:
        announced(server, url, tmp_path)
        sender = Sender(server.service)
        answers += [500] * (len(AGAIN) + 1)
        for _ in range(len(AGAIN) + 1):
            due_now(server)
            assert sender.send_one()
        assert the_delivery(server).given_up_at
        due_now(server)
        assert not sender.send_one()
        with server.service.database.writing() as session:
            row = session.exec(select(WebhookDelivery)).one()
            row.given_up_at, row.attempts = None, 0
            session.add(row)
        answers.append(410)
        assert sender.send_one()
        assert the_delivery(server).given_up_at


def test_nothing_is_sent_into_a_private_network_whatever_the_address_was_when_it_was_registered(
    tiny_model, tmp_path, receiver
):
    url, got, _ = receiver
    with served(settings_for(tmp_path, tiny_model, private_webhooks=True), checks=False) as server:
        announced(server, url, tmp_path)
        careful = open_service(server.service.settings.model_copy(update={"private_webhooks": False}))
        assert Sender(careful).send_one()
        careful.database.close()
        assert "private network" in the_delivery(server).last_answer
        assert not got


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0", "[::1]",
        "[::ffff:127.0.0.1]", "[fe80::1]", "[fc00::1]", "[2002:7f00:1::]", "100.64.0.1", "224.0.0.1", "2130706433",
        "0x7f.1",
    ],
)  # fmt: skip
def test_private_addresses_in_every_guise_are_refused(host):
    with pytest.raises(Refused):
        target_of(f"https://{host}/x", private=False)
    assert target_of(f"https://{host}/x", private=True).path == "/x"


def test_an_address_of_the_open_internet_is_called_as_it_was_looked_up():
    assert target_of("https://1.1.1.1:8443?q=1", private=False).address == "1.1.1.1"
    assert target_of("https://1.1.1.1:8443?q=1", private=False).path == "/?q=1"
    assert 2 * delivery.CONNECT + delivery.ANSWER <= delivery.LEASE / 2


@contextmanager
def dripping(drip: bytes):
    """A receiver on loopback that comes to no end before it is told to; gives its address, who has called, and that."""
    calls, ending = [], threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            calls.append(self.request.recv(65536))
            with suppress(OSError):
                while not ending.wait(0.1):
                    self.request.sendall(drip)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    with answering(server) as address:
        yield address, calls, ending
        ending.set()


def add_endpoint(server, organization, url, messages):
    """An endpoint of an organization, and messages that are due there."""
    endpoint = server.client(organization).webhooks.create(name="n", url=url, event_types=[DONE]).id
    with server.service.database.writing() as session:
        owner = session.exec(select(Organization.id).where(col(Organization.name) == organization)).one()
        for i in range(messages):
            session.add(
                WebhookDelivery(
                    id=f"{endpoint}-{i}", organization_id=owner, created_at=0, endpoint_id=endpoint, mark=str(i),
                    event_type=DONE, body="{}", next_at=i,
                )
            )  # fmt: skip
    return endpoint


@contextmanager
def sending(sender):
    """All its threads at work until the block ends."""
    stop = threading.Event()
    thread = threading.Thread(target=sender.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("drip", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_receiver_that_never_ends_is_hung_up_on(tiny_model, tmp_path, monkeypatch, drip):
    monkeypatch.setattr(delivery, "ANSWER", 1.0)
    with (
        dripping(drip) as (url, calls, _),
        served(settings_for(tmp_path, tiny_model, private_webhooks=True), checks=False) as server,
    ):
        add_endpoint(server, "acme", url, 1)
        started = time.monotonic()
        assert Sender(server.service).send_one()
        assert time.monotonic() - started < 5
        assert len(calls) == 1
        found = the_delivery(server)
        assert (found.attempts, found.delivered_at, found.last_answer) == (1, None, "no answer within 1 seconds")
        assert time.time() < found.next_at <= time.time() + AGAIN[0] + 1


def test_an_attempt_counts_before_it_is_made_and_nobody_makes_it_meanwhile(tiny_model, tmp_path):
    with (
        dripping(b"H") as (url, calls, ending),
        served(settings_for(tmp_path, tiny_model, private_webhooks=True), checks=False) as server,
    ):
        add_endpoint(server, "acme", url, 1)
        first = threading.Thread(target=Sender(server.service).send_one, daemon=True)
        first.start()
        until(lambda: calls)
        found = the_delivery(server)
        assert (found.attempts, found.delivered_at) == (1, None)
        assert found.next_at > time.time() + delivery.LEASE / 2
        with server.service.database.writing() as session:  # as though the lease had run out
            leases.release(session, delivery.SENDER, session.exec(select(Lease.holder)).one())
        assert not Sender(server.service).send_one()
        ending.set()
        first.join()
        assert len(calls) == 1


def test_whoever_takes_long_holds_up_no_other_organization_and_gets_one_message_at_a_time(
    tiny_model, tmp_path, monkeypatch, receiver
):
    url, got, _ = receiver
    monkeypatch.setattr(delivery, "ANSWER", 90)  # nobody slow is given up meanwhile, however slow this machine
    with (
        dripping(b"H") as (slow, calls, ending),
        served(settings_for(tmp_path, tiny_model, private_webhooks=True), checks=False) as server,
    ):
        for _ in range(10):
            add_endpoint(server, "slow", slow, 3)
        add_endpoint(server, "acme", url, 5)
        with sending(Sender(server.service)):
            until(lambda: len(got) == 5)
            until(lambda: len(calls) == delivery.AT_ONCE)
            with server.service.database.reading() as session:
                tried = session.exec(select(WebhookDelivery).where(col(WebhookDelivery.attempts) > 0)).all()
            ids = [row.endpoint_id for row in tried if row.delivered_at is None]
            assert len(set(ids)) == len(ids) == delivery.AT_ONCE
            ending.set()
        assert [headers["webhook-id"][-1] for _, headers, _ in got] == list("01234")


def test_slow_receivers_of_many_organizations_leave_some_senders_to_the_others(
    tiny_model, tmp_path, monkeypatch, receiver
):
    url, got, _ = receiver
    monkeypatch.setattr(delivery, "PROMPT", 0.1)
    with (
        dripping(b"H") as (slow, calls, ending),
        served(settings_for(tmp_path, tiny_model, private_webhooks=True), checks=False) as server,
    ):
        for number in range(delivery.SENDERS):
            add_endpoint(server, f"slow-{number}", slow, 2)
        sender = Sender(server.service)
        with monkeypatch.context() as patch:
            patch.setattr(delivery, "ANSWER", 0.2)
            while len(calls) < delivery.SENDERS:  # one message of each: now it is known how long they take
                assert sender.send_one()
        with sending(sender):
            until(lambda: len(calls) == delivery.SENDERS + delivery.SLOW_AT_ONCE)
            add_endpoint(server, "acme", url, 3)
            until(lambda: len(got) == 3, delivery.ANSWER / 2)
            assert len(calls) == delivery.SENDERS + delivery.SLOW_AT_ONCE
            ending.set()
            until(lambda: len(calls) == 2 * delivery.SENDERS)  # the others' turn comes, too


def test_a_sender_that_fails_ends_them_all_so_that_the_process_is_started_again(tiny_model, tmp_path, monkeypatch):
    service = open_service(settings_for(tmp_path, tiny_model))

    def fail(_):
        raise ZeroDivisionError

    monkeypatch.setattr(Sender, "send_one", fail)
    with pytest.raises(ZeroDivisionError):
        Sender(service).run(threading.Event())
    service.database.close()
