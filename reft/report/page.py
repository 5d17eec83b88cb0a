"""Rendering one self-contained page from a template of this folder."""

from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **values: Any) -> str:
    """The page. Everything that users wrote is escaped; a template lets only our own plots through."""
    environment = Environment(loader=PackageLoader("reft.report", "."), autoescape=True, undefined=StrictUndefined)
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return environment.get_template(template).render(made=made, **values)
