"""Lists, page by page, as the SDK asks for them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Query
from sqlmodel import Session, col, select

from reft.service.errors import not_found
from reft.service.tables import Listed

Row = TypeVar("Row", bound=Listed)
# How much of a list one may ask for at once: of files as of anything else.
Many = Annotated[int, Query(ge=1, le=10_000)]
Few = Annotated[int, Query(ge=1, le=100)]
After = Annotated[str | None, Query(max_length=200)]


@dataclass(frozen=True, kw_only=True)
class Page:
    """Which part of a list is wanted; newest first unless said otherwise."""

    after: str | None
    limit: int
    ascending: bool = False


def rows_of(session: Session, table: type[Row], page: Page, *, where: Sequence[Any]) -> tuple[list[Row], bool]:
    """The rows of a page and whether more follow.

    A row that was deleted since it was read is still a place to go on from.

    Args:
        where: first whose rows these are: an organization's, or those of a job or a model.

    Raises:
        ApiError: `after` is nobody's, or somebody else's.
    """
    query = select(table).where(*where)
    if page.after is not None:
        place = session.exec(select(table.seq).where(col(table.id) == page.after, where[0])).first()
        if place is None:
            raise not_found("list item", page.after, "after")
        query = query.where(col(table.seq) > place if page.ascending else col(table.seq) < place)
    order = col(table.seq).asc() if page.ascending else col(table.seq).desc()
    rows = list(session.exec(query.order_by(order).limit(page.limit + 1)).all())
    return rows[: page.limit], len(rows) > page.limit


def list_body(rows: Sequence[Row], more: bool, shown: Callable[[Row], dict[str, Any]]) -> dict[str, Any]:
    """A page; `has_more` is always there, since without it one client asks for ever and the other stops."""
    data = [shown(row) for row in rows]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, "has_more": more, **ends}
