"""Who may do a piece of work, until when: rows of the database, so that any process can take over from a dead one.

Time is the database server's where there is one: the clocks of several machines differ, and who is ahead would take
what others still hold.
"""

from sqlalchemy import BigInteger, cast, func
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from reft.service.clock import now_ms
from reft.service.tables import Lease

NOBODY = "nobody"  # holds what is put off


def take(session: Session, name: str, holder: str, *, seconds: float) -> int | None:
    """Take or renew a lease, in a session that writes.

    Returns:
        Its generation, which grows whenever another holder takes it; None where somebody else holds it.
    """
    now = _now_ms(session)
    until = now + int(1000 * seconds)
    found = session.exec(select(Lease).where(col(Lease.name) == name).with_for_update()).first()
    if found is None:
        session.add(Lease(name=name, holder=holder, expires_ms=until))
        session.flush()
        return 1
    if found.holder != holder:
        if found.expires_ms > now:
            return None
        found.holder, found.generation = holder, found.generation + 1
    found.expires_ms = until
    session.add(found)
    return found.generation


def release(session: Session, name: str, holder: str) -> None:
    """Give a lease back; one that somebody else has taken over stays."""
    found = session.exec(select(Lease).where(col(Lease.name) == name, col(Lease.holder) == holder)).first()
    if found is not None:
        found.expires_ms = 0
        session.add(found)


def put_off(session: Session, name: str, holder: str, *, seconds: float, anew: bool) -> None:
    """Give a lease back that nobody may take for so long, this holder included.

    Args:
        anew: who had it before counts no more in its generation.
    """
    if hand_over(session, name, holder, to=NOBODY, seconds=seconds) and anew:
        session.exec(select(Lease).where(col(Lease.name) == name)).one().generation = 0


def are_put_off(session: Session) -> SelectOfScalar[str]:
    """A query for the names that nobody may take now."""
    return select(Lease.name).where(col(Lease.holder) == NOBODY, col(Lease.expires_ms) > _now_ms(session))


def is_held(session: Session, name: str) -> bool:
    """Whether somebody holds it now."""
    alive = (col(Lease.name) == name, col(Lease.expires_ms) > _now_ms(session))
    return session.exec(select(Lease.name).where(*alive)).first() is not None


def hand_over(session: Session, name: str, before: str, *, to: str, seconds: float) -> bool:
    """A lease that was taken for somebody becomes his; not where it has run out and somebody else has it."""
    found = session.exec(select(Lease).where(col(Lease.name) == name, col(Lease.holder) == before)).first()
    if found is None:
        return False
    found.holder, found.expires_ms = to, _now_ms(session) + int(1000 * seconds)
    session.add(found)
    return True


def holder_of(session: Session, name: str) -> str | None:
    """Who holds it now; None where nobody does."""
    alive = (col(Lease.name) == name, col(Lease.expires_ms) > _now_ms(session))
    return session.exec(select(Lease.holder).where(*alive)).first()


def _now_ms(session: Session) -> int:
    if session.get_bind().dialect.name == "sqlite":  # a file of this machine
        return now_ms()
    seconds = func.extract("epoch", func.clock_timestamp())
    return session.exec(select(cast(1000 * seconds, BigInteger))).one()
