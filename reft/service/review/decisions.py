"""What people decided on a row, and what of it stands; nothing is ever changed, a change of mind is a further decision.

With two people nobody sees the other's decision before giving an own one. What stands is what at least two hold, and
more than hold the opposite: two who differ are settled by either's change of mind, or by a third.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from sqlmodel import Session, col, select

from reft.service.clock import now
from reft.service.errors import invalid
from reft.service.names import new_id
from reft.service.tables import ReviewDecision, ReviewItem

KEEP, DROP = "keep", "drop"
CHOICES = (KEEP, DROP)
AT_ONCE = 500  # ids in one query


@dataclass(frozen=True, kw_only=True)
class Given:
    """A person's decision; `how` says whether it was made row by row, or for a set at once."""

    by: str
    key_id: str
    decision: str
    reason: str
    how: str = "row"


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Of two people, on the rows that both decided on without knowing of the other's decision."""

    people: tuple[str, str]
    rows: int
    same: int
    kappa: float | None


def decide(session: Session, items: Sequence[ReviewItem], given: Given, *, people: int) -> None:
    """Add a decision to each of these rows, and settle what stands.

    Raises:
        ApiError: it is no decision, or says not why; or the rows have been released.
    """
    if given.decision not in CHOICES:
        raise invalid("Choose keep or drop.", "decision")
    if not given.reason.strip():
        raise invalid("Say why: the reason stands in the record of the run.", "reason")
    if any(item.released_at is not None for item in items):
        raise invalid("The review of this job is finished; its decisions are final.", code="review_released")
    session.add_all(
        ReviewDecision(
            id=new_id("decision_"), organization_id=item.organization_id, created_at=now(), item_id=item.id,
            job_id=item.job_id, reviewer=given.by, key_id=given.key_id, decision=given.decision,
            reason=given.reason.strip(), how=given.how,
        )
        for item in items
    )  # fmt: skip
    session.flush()
    made = decisions_on(session, [item.id for item in items])
    for item in items:
        stands = standing(made[item.id], people)
        if stands != item.decision:
            item.decision, item.decided_at = stands, now() if stands else None
            session.add(item)


def decisions_on(session: Session, ids: Sequence[str]) -> dict[str, list[ReviewDecision]]:
    """The decisions on these rows, oldest first."""
    queries = (select(ReviewDecision).where(col(ReviewDecision.item_id).in_(some)) for some in in_parts(ids))
    return _by_row(one for query in queries for one in session.exec(query.order_by(col(ReviewDecision.seq))))


def in_parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many as one query takes, some after the others."""
    return (ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE))


def decisions_of(session: Session, job_id: str) -> dict[str, list[ReviewDecision]]:
    """All decisions of a job by row, oldest first."""
    query = select(ReviewDecision).where(col(ReviewDecision.job_id) == job_id).order_by(col(ReviewDecision.seq))
    return _by_row(session.exec(query))


def _by_row(decisions: Iterable[ReviewDecision]) -> dict[str, list[ReviewDecision]]:
    found: dict[str, list[ReviewDecision]] = defaultdict(list)
    for made in decisions:
        found[made.item_id].append(made)
    return found


def latest(made: Iterable[ReviewDecision]) -> dict[str, ReviewDecision]:
    """Each person's last decision."""
    return {one.reviewer: one for one in made}


def standing(made: Sequence[ReviewDecision], people: int) -> str | None:
    """What stands on a row; None while that is open."""
    if not made:
        return None
    if people == 1:
        return made[-1].decision
    held = Counter(one.decision for one in latest(made).values()).most_common()
    wins = held[0][1] >= people and (len(held) == 1 or held[0][1] > held[1][1])
    return held[0][0] if wins else None


def shown_to(who: str, made: Sequence[ReviewDecision], stands: str | None, *, people: int) -> bool:
    """Whether somebody may see what others decided on a row."""
    return people == 1 or stands is not None or any(one.reviewer == who for one in made)


def unseen(made: Sequence[ReviewDecision]) -> dict[str, str]:
    """The decisions of the first two people, as each was when the other's could first be seen."""
    found: dict[str, str] = {}
    for one in made:
        found[one.reviewer] = one.decision
        if len(found) == 2:
            break
    return found


def agreements(decisions: Iterable[Sequence[ReviewDecision]]) -> list[Agreement]:
    """Cohen's kappa of each two people, None where it has no value: both gave one and the same answer to everything."""
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for made in decisions:
        blind = unseen(made)
        for one, other in combinations(sorted(blind), 2):
            pairs[one, other].append((blind[one], blind[other]))
    return [_agreement(people, given) for people, given in sorted(pairs.items())]


def _agreement(people: tuple[str, str], given: list[tuple[str, str]]) -> Agreement:
    from sklearn.metrics import cohen_kappa_score  # slow to import, and seldom needed

    same = sum(a == b for a, b in given)
    varied = len({choice for pair in given for choice in pair}) > 1
    kappa = float(cohen_kappa_score(*zip(*given, strict=True), labels=list(CHOICES))) if varied else None
    return Agreement(people=people, rows=len(given), same=same, kappa=kappa)
