"""How often, and when, work is tried that does not get on: later each time, and not for ever.

A job has got on where something new was said of it (its events): work that is only done again says nothing new. A pause
and a resumption are said, too, so that workers which those start count for nothing.
"""

from typing import Any, Literal

from sqlmodel import Session

from reft.service.clock import now_ms
from reft.service.jobs.events import newest
from reft.service.tables import Job

TRIES = "tries"  # in a job's notebook: what happened since it last got on
FIRST, LONGEST = 5.0, 300.0  # seconds before the next try; each time twice as many
Why = Literal["outages", "kills", "faults"]
OUTAGES, KILLS, FAULTS, STARTS = "outages", "kills", "faults", "starts"
# Of a job that does not get on. Outages are no fault of its own: these last for a day. Runs that are killed and workers
# that end without a word may owe it to the job, but also to whoever starts servers again and again.
MOST = {OUTAGES: 300, KILLS: 10, FAULTS: 3, STARTS: 50}


def pause_before(times: int) -> float:
    """Seconds before the next try, after so many that failed."""
    return min(LONGEST, FIRST * 2 ** min(times - 1, 20))


def may_start(session: Session, job: Job) -> bool:
    """Count one more worker; False where too many in a row have gone without a word."""
    noted = _noted(session, job)
    noted[STARTS] = noted.get(STARTS, 0) + 1
    job.work = {**job.work, TRIES: noted}
    return noted[STARTS] <= MOST[STARTS]


def put_off(session: Session, job: Job, why: Why) -> bool:
    """Note when a job that has failed is tried again; False where that has happened too often in a row."""
    noted = _noted(session, job)
    noted[why] = noted.get(why, 0) + 1
    noted[STARTS] = 0  # this one has said why
    noted["not_before_ms"] = now_ms() + int(1000 * pause_before(noted[why]))
    job.work = {**job.work, TRIES: noted}
    return noted[why] < MOST[why]


def is_put_off(job: Job) -> bool:
    """Whether it is not tried again yet."""
    return job.work.get(TRIES, {}).get("not_before_ms", 0) > now_ms()


def try_at_once(job: Job) -> None:
    """Its owner has let it go on: whatever was noted counts no more."""
    job.work = {name: value for name, value in job.work.items() if name != TRIES}


def _noted(session: Session, job: Job) -> dict[str, Any]:
    said, noted = newest(session, job.id), job.work.get(TRIES, {})
    return dict(noted) if noted.get("said") == said else {"said": said}
