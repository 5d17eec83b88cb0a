"""Rendering one self-contained page, or a part of one, from a template below this folder."""

from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reft.report.summary import LABELS, percent


def render(template: str, **values: Any) -> Markup:
    """The page, or a part that a page may hold as it is.

    Everything that users wrote is escaped; a template lets only our own plots through.
    """
    environment = Environment(loader=PackageLoader("reft.report", "."), autoescape=True, undefined=StrictUndefined)
    shared: dict[str, Any] = {"percent": percent, "labels": LABELS}
    environment.globals.update(shared)
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Markup(environment.get_template(template).render(made=made, **values))
