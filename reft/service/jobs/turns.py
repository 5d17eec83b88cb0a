"""Whose turn it is: places are handed out between organizations, however many jobs one of them has sent."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import func
from sqlmodel import Session, col, select

from reft.service.clock import now_ms
from reft.service.jobs import states
from reft.service.tables import Job

TURN = "turn_ms"  # in a job's notebook: when it was last given a worker


def cut_off(job: Job) -> bool:
    """Whether it was interrupted in the midst of its work; one that people have let go on waits for a turn again."""
    return job.status == states.RUNNING and job.stage != states.REVIEW


def in_turn(waiting: Sequence[Job], busy: Iterable[str], turns: dict[str, int]) -> Iterator[Job]:
    """The jobs in the order in which they get places; whoever takes one has taken a turn.

    What was cut off goes on first: its organization had its turn. Then the organization of which the fewest run, of
    those the one that has waited longest since its last turn; its oldest job.

    Args:
        busy: the organization of each job that runs.
        turns: by organization, when one of its jobs was last given a place; it is moved on.
    """
    left, running, place = list(waiting), Counter(busy), max(turns.values(), default=0)

    def rank(job: Job) -> tuple[bool, int, int, int]:
        owner = job.organization_id
        return not cut_off(job), running[owner], turns.get(owner, 0), job.seq or 0

    while left:
        chosen = min(left, key=rank)
        left.remove(chosen)
        yield chosen
        place += 1
        running[chosen.organization_id] += 1
        turns[chosen.organization_id] = place


def last_turns(session: Session, organizations: Iterable[str]) -> dict[str, int]:
    """By organization, when one of its jobs was last given a worker, in milliseconds."""
    when = func.max(col(Job.work)[TURN].as_float())  # PostgreSQL's integers hold no milliseconds since 1970
    mine = col(Job.organization_id).in_(sorted(set(organizations)))
    query = select(Job.organization_id, when).where(mine).group_by(col(Job.organization_id))
    return {owner: int(at) for owner, at in session.exec(query).all() if at is not None}


def note_turn(job: Job) -> None:
    """It is given a worker now."""
    job.work = {**job.work, TURN: now_ms()}
