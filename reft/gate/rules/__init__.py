"""The rules of the gate, a module each with `rules(case)`, which gives what came of them.

A new rule is one new file. It reads its own settings from `case.settings.rule_settings` under its file's name, with
`reft.plugins.options_of`; its `SETTINGS`, a section, say what these are, so that a wrong key is told before a run
begins. `PLACE` orders the verdict. Limits on measures need no new rule: add `max_NAME` or
`min_NAME` to the gate's settings. Everything here is judged, none is imported by name.
"""

from reft import plugins

__all__ = ["rule_names"]


def rule_names() -> tuple[str, ...]:
    """The files of rules."""
    return plugins.names(__name__)
