"""Jobs with rows that wait for people, and people who sign in to the pages."""

import re
from dataclasses import dataclass

import httpx2
from sqlmodel import col, select

from reft.service.clock import now, now_ms
from reft.service.keys import create_key, organization_of
from reft.service.names import new_id
from reft.service.review import Quarantined, hold
from reft.service.tables import Job, ReviewItem
from tests.service.serving import Served


def quarantined(*texts: str, **changed) -> list[Quarantined]:
    """A row for each text; the scores fall from 0.60, in the opposite order of the rows."""
    common = {"threshold": 0.4, "reason": "between the two thresholds", "place": "user[0]"} | changed
    return [
        Quarantined(
            row=100 - place,
            score=0.6 - place / 100,
            content={"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]},
            **{"span": text, **common},
        )
        for place, text in enumerate(texts)
    ]


def waiting_job(server: Served, rows: list[Quarantined], *, organization: str = "acme", total=50, kept=40) -> str:
    """A job whose rows wait; gives its id."""
    with server.service.database.writing() as session:
        job = Job(
            id=new_id("ftjob-"), organization_id=organization_of(session, organization).id, created_at=now(),
            created_ms=now_ms(), key_id="key_x", model="tiny", training_file="file-x", seed=1, status="running",
            stage="waiting_for_review", body_digest="x", started_at=now() - 75,
        )  # fmt: skip
        session.add(job)
        session.flush()
        assert hold(session, job, rows, total=total, kept=kept) == len(rows)
    return job.id


def job_of(server: Served, job_id: str) -> Job:
    with server.service.database.reading() as session:
        return session.exec(select(Job).where(col(Job.id) == job_id)).one()


def items_of(server: Served, job_id: str) -> dict[int, ReviewItem]:
    with server.service.database.reading() as session:
        found = session.exec(select(ReviewItem).where(col(ReviewItem.job_id) == job_id)).all()
    return {item.row: item for item in found}


def key_of(server: Served, name: str, organization: str = "acme", role: str = "reviewer") -> str:
    with server.service.database.writing() as session:
        return create_key(session, organization, role, note=name)[1]


@dataclass
class Person:
    """Somebody at the pages, without a browser."""

    http: httpx2.Client

    def get(self, path: str, **sent) -> httpx2.Response:
        return self.http.get(path, **sent)

    def post(self, path: str, *, seen: str = "/review", **form) -> httpx2.Response:
        """Send a form with the token of the page on which it was seen."""
        return self.http.post(path, data={"token": token_of(self.get(seen).text), **form})

    def decide(self, job: str, row: int, decision: str = "keep", reason: str = "a usual question"):
        return self.post(f"/review/{job}/decide", row=row, decision=decision, reason=reason)


def token_of(html: str) -> str:
    return re.search(r'name="token" value="(\w+)"', html)[1]


def visitor(server: Served) -> Person:
    """Somebody who has not signed in."""
    return Person(httpx2.Client(base_url=server.url, timeout=20))


def signed_in(server: Served, name: str, organization: str = "acme", role: str = "reviewer") -> Person:
    """Somebody who has."""
    person = visitor(server)
    sent = person.post("/review/sign-in", seen="/review/sign-in", key=key_of(server, name, organization, role))
    assert sent.status_code == 303, sent.text
    return person
