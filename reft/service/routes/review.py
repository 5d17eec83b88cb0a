"""`/review`: people decide on the rows that the filter set aside."""

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated

import sqlalchemy
from fastapi import APIRouter, Depends, Form, Query
from sqlalchemy import case, func
from sqlmodel import Session, col, select
from starlette.responses import RedirectResponse, Response

from reft.pages.marking import turns_of
from reft.service.access import Serving
from reft.service.errors import invalid, not_found
from reft.service.pages import PageRoute, page
from reft.service.review import export
from reft.service.review.decisions import Given, agreements, decide, latest
from reft.service.review.holding import RELEASED, STATE, WAITING, release
from reft.service.review.queue import (
    ALL,
    OPEN,
    SHOWS,
    Entry,
    Selection,
    effect_of,
    entries_of,
    items_of,
    reviewable,
    shown,
)  # fmt: skip
from reft.service.sign_in import Visitor, sending, visiting
from reft.service.tables import Job, Organization, ReviewDecision, ReviewItem

router = APIRouter(prefix="/review", route_class=PageRoute, include_in_schema=False)
Looks = Annotated[Visitor, Depends(visiting("review"))]
Sends = Annotated[Visitor, Depends(sending("review"))]
Reason = Annotated[str, Form(max_length=2000)]
Choice = Annotated[str, Form(max_length=10)]
Place = Annotated[str, Form(max_length=20)]
Score = Annotated[float | None, Query(allow_inf_nan=False)]
AT_ONCE = 10  # rows on a page
SAMPLE = 5
TRAIL = 500
LINES = "application/jsonl"


@dataclass(frozen=True, kw_only=True)
class Card:
    """One row on the page."""

    item: ReviewItem
    entry: Entry
    turns: list
    mine: ReviewDecision | None
    others: list[ReviewDecision]
    twins: int


@router.get("")
def index(service: Serving, visitor: Looks) -> Response:
    """The jobs whose rows wait, or have waited."""
    mine = [] if visitor.sees_all else [col(Job.organization_id) == visitor.caller.organization_id]
    settled = func.sum(case((col(ReviewItem.decision).is_not(None), 1), else_=0))
    has = select(ReviewDecision.id).where(
        col(ReviewDecision.item_id) == col(ReviewItem.id), col(ReviewDecision.reviewer) == visitor.name
    )
    left = func.sum(case((col(ReviewItem.decision).is_(None) & ~has.exists(), 1), else_=0))
    counts = select(ReviewItem.job_id, func.count().label("rows"), settled.label("settled"), left.label("left"))
    each = counts.group_by(col(ReviewItem.job_id)).subquery()
    query = (
        sqlalchemy.select(Job, col(Organization.name), each.c.rows, each.c.settled, each.c.left)
        .join(each, each.c.job_id == col(Job.id))
        .join(Organization, col(Organization.id) == col(Job.organization_id))
        .where(*mine)
        .order_by(col(Job.seq).desc())
    )
    with service.database.reading() as session:
        jobs = session.execute(query).all()  # ty: ignore[deprecated]
    waiting = [line for line in jobs if line[0].work.get(STATE) == WAITING]
    others = [line for line in jobs if line[0].work.get(STATE) != WAITING]
    waits = service.settings.review == "wait"
    return page("review_index.html.j2", visitor=visitor, waiting=waiting, others=others, waits=waits)


@router.get("/{job_id}")
def queue(
    service: Serving,
    visitor: Looks,
    job_id: str,
    *,
    show: Annotated[str, Query(max_length=20)] = OPEN,
    number: Annotated[int, Query(ge=1, le=100_000, alias="page")] = 1,
    saved: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> Response:
    """The rows of one job."""
    people = service.settings.reviewers
    with service.database.reading() as session:
        job = reviewable(session, visitor.caller, job_id)
        owner = session.get_one(Organization, job.organization_id).name
        entries = entries_of(session, job.id, who=visitor.name, people=people)
        if not entries:
            raise not_found("review", job_id)
        wanted = shown(entries, show)
        pages = max(1, -(-len(wanted) // AT_ONCE))
        number = min(number, pages)
        cards = _cards(session, entries, wanted[(number - 1) * AT_ONCE : number * AT_ONCE], who=visitor.name)
    effect = effect_of(job, entries)
    return page(
        "review_queue.html.j2", visitor=visitor, job=job, owner=owner, cards=cards, effect=effect, people=people,
        show=show, number=number, pages=pages, saved=saved, counts={s: len(shown(entries, s)) for s in SHOWS},
        final=job.work.get(STATE) == RELEASED, waits=job.work.get(STATE) == WAITING,
        agreed=agreements(e.made for e in entries if e.visible), reasons=_reasons(entries, visitor.name),
    )  # fmt: skip


def _cards(session: Session, entries: list[Entry], wanted: list[Entry], *, who: str) -> list[Card]:
    sizes: dict[str, int] = {}
    for entry in entries:
        sizes[entry.group] = sizes.get(entry.group, 0) + 1
    cards = []
    for entry, item in zip(wanted, items_of(session, [e.id for e in wanted]), strict=True):
        said = latest(entry.made)
        others = [one for name, one in said.items() if name != who] if entry.visible else []
        cards.append(
            Card(
                item=item, entry=entry, turns=turns_of(item.content, item.place, item.span), mine=said.get(who),
                others=others, twins=sizes[entry.group],
            )
        )  # fmt: skip
    return cards


def _reasons(entries: list[Entry], who: str) -> list[str]:
    """The reasons that this person has given here, newest first."""
    mine = sorted((one for e in entries for one in e.made if one.reviewer == who), key=lambda d: -(d.seq or 0))
    return list(dict.fromkeys(one.reason for one in mine))[:8]


@router.post("/{job_id}/decide")
def decide_one(
    service: Serving,
    visitor: Sends,
    job_id: str,
    *,
    row: Annotated[int, Form(ge=0)],
    decision: Choice = "",
    reason: Reason = "",
    show: Place = OPEN,
) -> Response:
    """Decide on one row, and go to the one that follows it."""
    people = service.settings.reviewers
    with service.database.writing() as session:
        job = reviewable(session, visitor.caller, job_id)
        before = shown(entries_of(session, job.id, who=visitor.name, people=people), show)
        where = (col(ReviewItem.job_id) == job.id, col(ReviewItem.row) == row)
        item = session.exec(select(ReviewItem).where(*where)).first()
        if item is None:
            raise not_found("row", str(row))
        decide(session, [item], _given(visitor, decision, reason), people=people)
        after = shown(entries_of(session, job.id, who=visitor.name, people=people), show)
    rows = [entry.row for entry in before]
    place = rows.index(row) if row in rows else -1
    following = rows[place + 1] if place + 1 < len(rows) else None
    left = [entry.row for entry in after]
    at = left.index(following) if following in left else max(0, len(left) - 1)
    anchor = f"#row-{left[at]}" if left else ""
    return RedirectResponse(f"/review/{job.id}?show={show}&page={at // AT_ONCE + 1}&saved=1{anchor}", 303)


def _given(visitor: Visitor, decision: str, reason: str, *, how: str = "row") -> Given:
    return Given(by=visitor.name, key_id=visitor.caller.key_id, decision=decision, reason=_written(reason), how=how)


def _written(text: str) -> str:
    """What was typed, without characters that have no form."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


@router.get("/{job_id}/bulk")
def look_at_many(
    service: Serving,
    visitor: Looks,
    job_id: str,
    *,
    low: Score = None,
    high: Score = None,
    group: Annotated[str, Query(max_length=60)] = "",
) -> Response:
    """What deciding on many rows at once would change, before it does."""
    selection, people = Selection(low, high, group), service.settings.reviewers
    with service.database.reading() as session:
        job = reviewable(session, visitor.caller, job_id)
        entries = entries_of(session, job.id, who=visitor.name, people=people)
        chosen = _chosen(entries, selection)
        cards = _cards(session, entries, chosen[:SAMPLE], who=visitor.name)
    return page(
        "review_bulk.html.j2", visitor=visitor, job=job, cards=cards, chosen=chosen, selection=selection,
        effect=effect_of(job, entries), people=people, digest=_digest(chosen), final=job.work.get(STATE) == RELEASED,
        reasons=_reasons(entries, visitor.name),
    )  # fmt: skip


def _chosen(entries: list[Entry], selection: Selection) -> list[Entry]:
    """What this person has not decided yet: deciding on many never overrules what was looked at one by one."""
    return [entry for entry in entries if entry.state == OPEN and selection.has(entry)]


def _digest(chosen: list[Entry]) -> str:
    return hashlib.sha256("\n".join(entry.id for entry in chosen).encode()).hexdigest()


@router.post("/{job_id}/bulk")
def decide_many(
    service: Serving,
    visitor: Sends,
    job_id: str,
    *,
    low: Annotated[float | None, Form(allow_inf_nan=False)] = None,
    high: Annotated[float | None, Form(allow_inf_nan=False)] = None,
    group: Annotated[str, Form(max_length=60)] = "",
    digest: Annotated[str, Form(max_length=64)] = "",
    decision: Choice = "",
    reason: Reason = "",
) -> Response:
    """Decide on many rows: on those that were shown, and no others."""
    selection, people = Selection(low, high, group), service.settings.reviewers
    with service.database.writing() as session:
        job = reviewable(session, visitor.caller, job_id)
        chosen = _chosen(entries_of(session, job.id, who=visitor.name, people=people), selection)
        if not chosen or digest != _digest(chosen):
            raise invalid("Meanwhile these are other rows: go back, load the page again, and look at them.")
        given = _given(visitor, decision, reason, how=str(selection))
        decide(session, items_of(session, [e.id for e in chosen]), given, people=people)
    return RedirectResponse(f"/review/{job.id}?saved={len(chosen)}", 303)


@router.post("/{job_id}/release")
def let_go(service: Serving, visitor: Sends, job_id: str) -> Response:
    """Let the job go on with what was decided."""
    with service.database.writing() as session:
        job = reviewable(session, visitor.caller, job_id)
        release(session, job.id, visitor.name)
    return RedirectResponse(f"/review/{job.id}?show={ALL}", 303)


@router.get("/{job_id}/trail")
def trail(service: Serving, visitor: Looks, job_id: str) -> Response:
    """Who decided what, when and why."""
    people = service.settings.reviewers
    with service.database.reading() as session:
        job = reviewable(session, visitor.caller, job_id)
        entries = entries_of(session, job.id, who=visitor.name, people=people)
        seen = [(entry.row, one) for entry in entries for one in entry.made if entry.visible]
        hidden = sum(len(entry.made) for entry in entries if not entry.visible)
    seen.sort(key=lambda line: -(line[1].seq or 0))
    return page(
        "review_trail.html.j2", visitor=visitor, job=job, lines=seen[:TRAIL], more=len(seen) - TRAIL, hidden=hidden
    )


@router.get("/{job_id}/rows/{row}.txt")
def whole(service: Serving, visitor: Looks, *, job_id: str, row: int) -> Response:
    """One row as it is, as a file that no browser interprets."""
    with service.database.reading() as session:
        job = reviewable(session, visitor.caller, job_id)
        where = (col(ReviewItem.job_id) == job.id, col(ReviewItem.row) == row)
        if (item := session.exec(select(ReviewItem).where(*where)).first()) is None:
            raise not_found("row", str(row))
    text = json.dumps(item.content, ensure_ascii=False, indent=1)
    return _file(text, f"{job.id}-row-{row}.txt")


@router.get("/{job_id}/export/{kind}")
def exported(service: Serving, visitor: Looks, *, job_id: str, kind: str) -> Response:
    """The decisions as a file."""
    people, who = service.settings.reviewers, visitor.name
    with service.database.reading() as session:
        job = reviewable(session, visitor.caller, job_id)
        if kind == "overrides.jsonl":
            return _file(export.overrides_jsonl(session, job.id), f"{job.id}-{kind}", LINES)
        if kind == "decisions.jsonl":
            return _file(export.decisions_jsonl(session, job.id, who=who, people=people), f"{job.id}-{kind}", LINES)
        if kind == "label-studio.json":
            found = export.label_studio(session, job.id, who=who, people=people)
        elif kind == "argilla.json":
            found = export.argilla(session, job.id, who=who, people=people)
        elif kind == "label-studio.xml":
            return _file(export.LABEL_STUDIO, kind, "application/xml")
        else:
            raise not_found("export", kind)
    return _file(json.dumps(found), f"{job.id}-{kind}", "application/json")


def _file(text: str, name: str, kind: str = "text/plain") -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(text.encode("utf-8", "backslashreplace"), media_type=kind, headers=headers)
