"""The default profile as a file: every knob, its default, and the line of why that the schema holds."""

import json
from typing import Any

from reft.config import Section, Settings

HEAD = "# The default run: SmolLM2-135M on a laptop, in minutes. Every knob, its default, and one line of why.\n"


def render_profile() -> str:
    """The text of `zenml.yaml`; `reft write-config` writes it for whoever wants to start from all knobs."""
    return HEAD + "parameters:\n  settings:\n" + "".join(f"    {line}\n" for line in _lines(Settings()))


def _lines(section: Section) -> list[str]:
    lines: list[str] = []
    for name, field in type(section).model_fields.items():
        value: Any = getattr(section, name)
        if isinstance(value, Section):
            why = field.description or (type(value).__doc__ or "").strip()
            lines += [f"# {why}", f"{name}:", *(f"  {line}" for line in _lines(value))]
        else:
            lines += [f"# {field.description}", f"{name}: {_plain(value)}"]
    return lines


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
