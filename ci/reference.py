"""The pages that code fills: docs/reference/cli.md and settings.md.

.venv/bin/python ci/reference.py            # writes them
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import typer

from reft.cli import app
from reft.config import Section, Settings
from reft.service.settings import ServiceSettings

FOLDER = Path("docs/reference")


def pages() -> dict[str, str]:
    """Each page's text by its file's name."""
    cli = ["# Command line", "", "From the commands themselves (`ci/reference.py`).", ""]
    cli += _command(typer.main.get_command(app), "reft")
    settings = [
        "# Settings",
        "",
        "From the schema (`ci/reference.py`). A profile holds them under `parameters.settings`; the section `service`",
        "stands beside `parameters`, not in it.",
        "",
    ]
    settings += _sections(Settings, "")
    settings += ["## service (of `reft serve`)", "", *_section(ServiceSettings)]
    return {"cli.md": "\n".join(cli).rstrip() + "\n", "settings.md": "\n".join(settings).rstrip() + "\n"}


def _command(command: Any, name: str) -> Iterator[str]:
    for child_name, child in sorted(getattr(command, "commands", {}).items()):
        yield from _command(child, f"{name} {child_name}")
    if getattr(command, "commands", None):
        return
    yield from (f"## {name}", "", _words(command.help), "", "| option | what |", "| --- | --- |")
    for one in command.params:
        names = ", ".join(f"`{n}`" for n in (*one.opts, *one.secondary_opts))
        yield f"| {names if one.param_type_name == 'option' else f'`{one.name.upper()}`'} | {_words(one.help)} |"
    yield ""


def _sections(section: type[Section], name: str) -> Iterator[str]:
    if name:
        yield from (f"## {name}", "", *_section(section))
        return
    yield from ("## (top)", "", *_section(section))
    for key, field in section.model_fields.items():
        if isinstance(field.default, Section):
            yield from _sections(type(field.default), key)


def _section(section: type[Section]) -> Iterator[str]:
    """A section inside a section has its name before its keys."""
    yield from (_words(section.__doc__), "", "| key | default | what |", "| --- | --- | --- |")
    yield from _rows(section, "", top=section is Settings)
    yield ""


def _rows(section: type[Section], before: str, *, top: bool = False) -> Iterator[str]:
    for key, field in section.model_fields.items():
        if isinstance(field.default, Section):
            if not top:
                yield from _rows(type(field.default), f"{before}{key}.")
            continue
        value = str(field.get_default(call_default_factory=True)).replace(
            f"{Path(sys.executable).parent}/", ".venv/bin/"
        )
        default = "" if field.is_required() else f"`{value}`"
        yield f"| `{before}{key}` | {_cell(default)} | {_words(field.description)} |"


def _words(text: str | None) -> str:
    return _cell(" ".join((text or "").split())).replace("<", "&lt;")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
