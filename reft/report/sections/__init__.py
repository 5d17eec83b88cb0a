"""The sections of a run's report, a module and a template each.

A new section is two files: `NAME.py` with `values(result)`, which takes the `RunResult` and gives what its template
`NAME.html.j2` shows, or None where there is nothing to show; `PLACE` orders the page. The template begins with the
heading. Everything is escaped but what passes through `|safe`: our own plots alone. `percent` and `labels` (of the
models) are there in every template. Begin with `cost.py`; nothing here is imported by name.
"""

from reft import plugins

__all__ = ["section_names"]


def section_names() -> tuple[str, ...]:
    """The files of sections."""
    return plugins.names(__name__)
