"""Sends webhooks, in a process beside the server's: signed, tried again, and never into the operator's own network.

What is to be sent stands in the database. Whoever takes a message notes an attempt that failed, before it is made: a
kill costs that attempt, and one between an answer and its note sends the message again, with the same `webhook-id`, by
which its receiver knows it. A receiver that takes its time holds up its own organization, and with all the others that
do a part of the senders: the rest is for those that answer.
"""

import ipaddress
import logging
import socket
import sys
import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from threading import Lock, Timer
from typing import cast
from urllib.parse import SplitResult, urlsplit

from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from reft.runtime.flags import Flag
from reft.runtime.processes import end_with_launcher
from reft.service.beside import keep_looking, service_of
from reft.service.clock import DAY, now
from reft.service.jobs.holders import take_over, this_process
from reft.service.service import Service
from reft.service.tables import WebhookDelivery, WebhookEndpoint
from reft.service.webhooks import headers_for

PAUSE = 1.0  # seconds between one sender's looks at the database
LEASE = 60  # seconds, more than any attempt takes
CONNECT = 5.0  # seconds until there is a connection, and as many until it is encrypted
ANSWER = 10.0  # seconds from then on until there is an answer, however it comes
SENDERS = 8  # messages that are sent at once
AT_ONCE = 2  # of them, one organization's; and one of an endpoint's
PROMPT = 1.0  # seconds in which a receiver answers that is not slow
SLOW_AT_ONCE = SENDERS // 2  # of them, to endpoints that were slow the last time, whosever they are
# Seconds until the next attempt, after each that failed; after the last of them it is given up.
AGAIN = (5, 30, 300, 1800, 7200, 18_000, 36_000, DAY)
GONE = 410  # an endpoint that says so wants nothing more
SENDER = "webhooks"


class Refused(Exception):
    """No message goes to this address."""


@dataclass(frozen=True)
class Target:
    """Where a message goes: the address that was looked at is the one that is called."""

    parts: SplitResult
    address: str

    @property
    def path(self) -> str:
        """What is asked for there."""
        return (self.parts.path or "/") + (f"?{self.parts.query}" if self.parts.query else "")


def target_of(url: str, *, private: bool) -> Target:
    """Look a URL's host up.

    Args:
        private: addresses that are not of the open internet may be called, too.

    Raises:
        Refused: it has an address of a private network, of this machine or of no use.
        OSError: it has no address.
    """
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    found = socket.getaddrinfo(host, parts.port or (443 if secure else 80), type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    for address in addresses:  # a name with one good and one bad address is bad
        if not private and not _is_open(ipaddress.ip_address(address)):
            raise Refused(f"{host} has an address of a private network; service.private_webhooks would allow it")
    return Target(parts, addresses[0])


def _is_open(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether it is of the open internet; an IPv4 address in the guise of IPv6 counts as what it is."""
    mapped = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    if getattr(address, "teredo", None):
        return False
    return (mapped or address).is_global and not address.is_multicast


def send(target: Target, body: str, headers: dict[str, str]) -> int:
    """Post a message; the status of the answer, of which nothing more is read. No redirect is followed.

    Raises:
        OSError, HTTPException, HTTPError: there is no answer, or none in time.
    """
    named = {**headers, "host": target.parts.netloc, "user-agent": "reft-webhooks"}
    connection = _connection(target)
    try:
        connection.connect()
        connection.timeout = ANSWER
        with _hung_up_after(ANSWER, cast(socket.socket, connection.sock)):
            connection.request("POST", target.path, body=body.encode(), headers=named, preload_content=False)
            answer = connection.getresponse()
            answer.close()
            return answer.status
    finally:
        connection.close()


def _connection(target: Target) -> HTTPConnection:
    host, port = target.parts.hostname, target.parts.port
    if target.parts.scheme != "https":
        return HTTPConnection(target.address, port or 80, timeout=CONNECT)
    return HTTPSConnection(target.address, port or 443, timeout=CONNECT, server_hostname=host, assert_hostname=host)


@contextmanager
def _hung_up_after(seconds: float, connected: socket.socket) -> Generator[None]:
    """A connection's own timeout begins anew with every byte; this one ends it.

    Raises:
        TimeoutError: time was up.
    """
    late = Flag()

    def hang_up() -> None:
        late.set()
        with suppress(OSError):  # it was closed just now
            # Not the method of an encrypted one, which would take from its reader what that one reads with.
            socket.socket.shutdown(connected, socket.SHUT_RDWR)

    timer = Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, HTTPException, HTTPError) as error:
        if late.is_set():
            raise TimeoutError(f"no answer within {seconds:g} seconds") from error
        raise
    finally:
        timer.cancel()


class Sender:
    """Sends what is due: of one server's senders, those of the lease's holder, and all of them at once."""

    def __init__(self, service: Service) -> None:
        self.service, self.holder = service, this_process()
        self._choosing = Lock()
        self._busy: dict[str, str] = {}  # endpoints that something is being sent to, and their organizations
        self._slow: set[str] = set()  # endpoints that took long the last time

    def run(self, stop: Flag) -> None:
        """Send whatever comes, until told to stop."""
        with ThreadPoolExecutor(SENDERS) as pool:
            senders = [pool.submit(keep_looking, self.send_one, stop, pause=PAUSE) for _ in range(SENDERS)]
            try:
                wait(senders, return_when=FIRST_EXCEPTION)
            finally:
                stop.set()  # where one has failed the process ends, and is started again
        for sender in senders:
            sender.result()

    def send_one(self) -> bool:
        """Send the message that has waited longest of those that may be sent now; whether there was one."""
        with self.service.database.reading() as session:  # most looks find nothing: no lock for them
            if session.exec(self._due().limit(1)).first() is None:
                return False
        with self._choosing:
            if (taken := self._take()) is None:
                return False
            due, endpoint = taken
            self._busy[due.endpoint_id] = due.organization_id
        try:
            began = time.monotonic()
            answer = self._answer(due, endpoint)
            (self._slow.add if time.monotonic() - began > PROMPT else self._slow.discard)(due.endpoint_id)
            self._note(due, endpoint, answer)
        finally:
            del self._busy[due.endpoint_id]
        return True

    def _take(self) -> tuple[WebhookDelivery, WebhookEndpoint | None] | None:
        """A message and where it goes; in the database this attempt has failed, until its answer is known."""
        with self.service.database.writing() as session:
            if not take_over(session, SENDER, self.holder, seconds=LEASE):
                return None
            due = session.exec(self._due().limit(1)).first()
            if due is None:
                return None
            due.attempts += 1
            _wait_again(due)
            due.next_at = max(due.next_at, now() + LEASE)  # nobody sends it while it is being sent
            session.add(due)
            owner = (col(WebhookEndpoint.id) == due.endpoint_id, col(WebhookEndpoint.deleted_at).is_(None))
            return due, session.exec(select(WebhookEndpoint).where(*owner)).first()

    def _answer(self, due: WebhookDelivery, endpoint: WebhookEndpoint | None) -> str:
        """The status of the answer, or what happened instead."""
        if endpoint is None:
            return "the endpoint was deleted"
        try:
            target = target_of(endpoint.url, private=self.service.settings.private_webhooks)
            return str(send(target, due.body, headers_for(endpoint, due.id, due.body, timestamp=now())))
        except (Refused, OSError, ValueError, HTTPException, HTTPError) as error:
            return f"{error}"[:500]

    def _note(self, due: WebhookDelivery, endpoint: WebhookEndpoint | None, answer: str) -> None:
        with self.service.database.writing() as session:
            row = session.exec(select(WebhookDelivery).where(col(WebhookDelivery.id) == due.id)).one()
            row.last_answer = answer
            if answer.isdecimal() and 200 <= int(answer) < 300:
                row.delivered_at, row.given_up_at = now(), None
            elif endpoint is None or answer == str(GONE):
                row.given_up_at = now()
            else:
                _wait_again(row)
            session.add(row)

    def _due(self) -> SelectOfScalar[WebhookDelivery]:
        """What may be sent now, in order; nothing to an endpoint, or of an organization, that has its share.

        The slow ones share one, so that some senders are left for all others.
        """
        busy, slow = dict(self._busy), list(self._slow)
        kept_back = slow if len(busy.keys() & set(slow)) >= SLOW_AT_ONCE else []
        full = [owner for owner, there in Counter(busy.values()).items() if there >= AT_ONCE]
        return (
            select(WebhookDelivery)
            .where(col(WebhookDelivery.delivered_at).is_(None), col(WebhookDelivery.given_up_at).is_(None))
            .where(col(WebhookDelivery.next_at) <= now())
            .where(col(WebhookDelivery.endpoint_id).not_in([*busy, *kept_back]))
            .where(col(WebhookDelivery.organization_id).not_in(full))
            .order_by(col(WebhookDelivery.next_at), col(WebhookDelivery.seq))
        )


def _wait_again(row: WebhookDelivery) -> None:
    """When it is tried next after the attempts so far, or that it is not."""
    if row.attempts > len(AGAIN):
        row.given_up_at = now()
    else:
        row.next_at = now() + AGAIN[row.attempts - 1]


def main() -> None:
    """The process that `reft serve` starts beside the HTTP processes."""
    end_with_launcher()
    logging.basicConfig(level=logging.INFO)
    Sender(service_of(Path(sys.argv[1]))).run(Flag())


if __name__ == "__main__":
    main()
