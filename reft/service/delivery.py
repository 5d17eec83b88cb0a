"""Sends webhooks, in a process beside the server's: signed, tried again, and never into the operator's own network.

What is to be sent stands in the database. A kill between an answer and its note sends a message again, with the same
`webhook-id`, by which its receiver knows it.
"""

import ipaddress
import logging
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from urllib.parse import SplitResult, urlsplit

import urllib3
from sqlmodel import col, select

from reft.runtime.processes import end_with_launcher
from reft.service.beside import keep_looking, service_of
from reft.service.clock import DAY, now
from reft.service.jobs.holders import take_over, this_process
from reft.service.service import Service
from reft.service.tables import WebhookDelivery, WebhookEndpoint
from reft.service.webhooks import headers_for

PAUSE = 0.5  # seconds between looks at the database
LEASE = 60.0
WAIT = urllib3.Timeout(connect=5.0, read=10.0)
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
        urllib3.exceptions.HTTPError: there is no answer.
    """
    host, port = target.parts.hostname, target.parts.port
    named = {**headers, "host": target.parts.netloc, "user-agent": "reft-webhooks"}
    if target.parts.scheme == "https":
        pool = urllib3.HTTPSConnectionPool(target.address, port or 443, server_hostname=host, assert_hostname=host)
    else:
        pool = urllib3.HTTPConnectionPool(target.address, port or 80)
    with pool:
        answer = pool.urlopen(
            "POST", target.path, body=body.encode(), headers=named, redirect=False, retries=False, timeout=WAIT,
            preload_content=False,
        )  # fmt: skip
        answer.close()
        return answer.status


class Sender:
    """Sends what is due, one after the other."""

    def __init__(self, service: Service) -> None:
        self.service, self.holder = service, this_process()

    def run(self, stop: Flag) -> None:
        """Send whatever comes, until told to stop."""
        keep_looking(self.send_one, stop, pause=PAUSE)

    def send_one(self) -> bool:
        """Send the message that has waited longest; whether there was one."""
        with self.service.database.reading() as session:  # most looks find nothing: no lock for them
            if session.exec(_due().limit(1)).first() is None:
                return False
        with self.service.database.writing() as session:
            if not take_over(session, SENDER, self.holder, seconds=LEASE):
                return False
            due = session.exec(_due().limit(1)).first()
            if due is None:
                return False
            owner = (col(WebhookEndpoint.id) == due.endpoint_id, col(WebhookEndpoint.deleted_at).is_(None))
            endpoint = session.exec(select(WebhookEndpoint).where(*owner)).first()
        answer, good = self._answer(due, endpoint)
        with self.service.database.writing() as session:
            row = session.exec(select(WebhookDelivery).where(col(WebhookDelivery.id) == due.id)).one()
            row.attempts, row.last_answer = row.attempts + 1, answer
            if good:
                row.delivered_at = now()
            elif endpoint is None or answer == str(GONE) or row.attempts > len(AGAIN):
                row.given_up_at = now()
            else:
                row.next_at = now() + AGAIN[row.attempts - 1]
            session.add(row)
        return True

    def _answer(self, due: WebhookDelivery, endpoint: WebhookEndpoint | None) -> tuple[str, bool]:
        if endpoint is None:
            return "the endpoint was deleted", False
        try:
            target = target_of(endpoint.url, private=self.service.settings.private_webhooks)
            status = send(target, due.body, headers_for(endpoint, due.id, due.body, timestamp=now()))
        except (Refused, OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            return f"{error}"[:500], False
        return str(status), 200 <= status < 300


def _due():
    waits = (col(WebhookDelivery.delivered_at).is_(None), col(WebhookDelivery.given_up_at).is_(None))
    return (
        select(WebhookDelivery)
        .where(*waits, col(WebhookDelivery.next_at) <= now())
        .order_by(col(WebhookDelivery.next_at), col(WebhookDelivery.seq))
    )


def main() -> None:
    """The process that `reft serve` starts beside the HTTP processes."""
    end_with_launcher()
    logging.basicConfig(level=logging.INFO)
    Sender(service_of(Path(sys.argv[1]))).run(Flag())


if __name__ == "__main__":
    main()
