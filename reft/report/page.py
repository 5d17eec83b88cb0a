"""Rendering one self-contained page, or a part of one, from a template below this folder."""

from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from reft.pages.rendering import environment_of
from reft.report.summary import LABELS, percent
from reft.storage.artifacts import whole


def render(template: str, **values: Any) -> Markup:
    """The page, or a part that a page may hold as it is.

    Everything that users wrote is escaped; a template lets only our own plots through.
    """
    page = _environment().get_template(template).render(made=moment(datetime.now(UTC)), **values)
    return Markup(whole(page))


def moment(time: datetime) -> str:
    """A point in time for people."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def duration(seconds: float) -> str:
    """Seconds for people, as minutes or hours where there are many."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


@cache
def _environment() -> Environment:
    made = environment_of("reft.report", ".")
    shared: dict[str, Any] = {"percent": percent, "labels": LABELS, "duration": duration}
    made.globals.update(shared)
    return made
