"""What waits for a decision, highest score first, as one person may see it."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy
from sqlmodel import Session, col, select

from reft.service.errors import invalid, not_found
from reft.service.keys import Caller
from reft.service.review.decisions import KEEP, decisions_of, in_parts, shown_to
from reft.service.tables import Job, ReviewDecision, ReviewItem

OPEN, WAITS, DISPUTED, SETTLED = "open", "waits", "disputed", "settled"
ALL = "all"
SHOWS = (OPEN, WAITS, DISPUTED, SETTLED, ALL)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row in the queue, without its text. `state` is what this person may know of it."""

    id: str
    row: int
    score: float | None
    group: str
    decision: str | None
    made: tuple[ReviewDecision, ...]
    state: str
    visible: bool


@dataclass(frozen=True)
class Selection:
    """Rows to decide on at once: those within a range of scores, or those that nearly say the same."""

    low: float | None = None
    high: float | None = None
    group: str = ""

    def has(self, entry: Entry) -> bool:
        """Whether a row is one of them; what has no score is in no range."""
        if self.group:
            return entry.group == self.group
        return entry.score is not None and self._low <= entry.score <= self._high

    @property
    def _low(self) -> float:
        return float("-inf") if self.low is None else self.low

    @property
    def _high(self) -> float:
        return float("inf") if self.high is None else self.high

    def __str__(self) -> str:
        """In the words of the record."""
        return "near-duplicates" if self.group else f"scores {self._low:g} to {self._high:g}"


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What the decisions change: rows that the filter saw and kept, and those that people settled."""

    rows: int
    kept: int
    keeps: int
    drops: int
    open: int

    @property
    def now(self) -> int:
        """Rows that are learnt as things stand; what is undecided is not."""
        return self.kept + self.keeps

    def share(self, kept: int) -> str:
        """As a part of the file."""
        return f"{kept / self.rows:.1%}" if self.rows else ""


def reviewable(session: Session, caller: Caller, job_id: str) -> Job:
    """A job whose rows this person may see.

    Raises:
        ApiError: there is none.
    """
    mine = [] if "operate" in caller.scopes else [col(Job.organization_id) == caller.organization_id]
    if (found := session.exec(select(Job).where(col(Job.id) == job_id, *mine)).first()) is None:
        raise not_found("fine-tuning job", job_id)
    return found


def entries_of(session: Session, job_id: str, *, who: str, people: int) -> list[Entry]:
    """All rows of a job, highest score first; those that could not be scored come before."""
    columns = [col(c) for c in (ReviewItem.id, ReviewItem.row, ReviewItem.score, ReviewItem.group, ReviewItem.decision)]
    query = sqlalchemy.select(*columns).where(col(ReviewItem.job_id) == job_id)  # SQLModel's takes four
    decisions = decisions_of(session, job_id)
    found = []
    for id_, row, score, group, decision in session.execute(query).all():  # ty: ignore[deprecated]
        made = tuple(decisions.get(id_, ()))
        visible = shown_to(who, made, decision, people=people)
        found.append(
            Entry(
                id=id_, row=row, score=score, group=group, decision=decision, made=made, visible=visible,
                state=_state(decision, made, who),
            )
        )  # fmt: skip
    return sorted(found, key=lambda e: (e.score is not None, -(e.score or 0.0), e.row))


def _state(decision: str | None, made: Sequence[ReviewDecision], who: str) -> str:
    if decision is not None:
        return SETTLED
    people = {one.reviewer for one in made}
    if who not in people:
        return OPEN
    return WAITS if len(people) == 1 else DISPUTED


def shown(entries: Sequence[Entry], show: str) -> list[Entry]:
    """The rows of one kind.

    Raises:
        ApiError: there is no such kind.
    """
    if show not in SHOWS:
        raise invalid(f"Show one of {', '.join(SHOWS)}.", "show")
    return [entry for entry in entries if show in (ALL, entry.state)]


def effect_of(job: Job, entries: Sequence[Entry]) -> Effect:
    """What has been settled so far."""
    counts = job.work.get("filter_counts", {})
    keeps = sum(entry.decision == KEEP for entry in entries)
    undecided = sum(entry.decision is None for entry in entries)
    return Effect(
        rows=counts.get("rows", len(entries)), kept=counts.get("kept", 0), keeps=keeps, open=undecided,
        drops=len(entries) - keeps - undecided,
    )  # fmt: skip


def items_of(session: Session, ids: Sequence[str]) -> list[ReviewItem]:
    """Rows with their text, in this order."""
    found: dict[str, ReviewItem] = {}
    for some in in_parts(ids):
        query = select(ReviewItem).where(col(ReviewItem.id).in_(some))
        found.update((item.id, item) for item in session.exec(query).all())
    return [found[id_] for id_ in ids]
