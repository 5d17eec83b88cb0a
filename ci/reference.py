"""The pages that code fills: docs/reference/cli.md and settings.md.

.venv/bin/python ci/reference.py            # writes them
"""

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import typer

from reft.cli import app
from reft.config import FinetuningSettings, Section, Settings
from reft.errors import ConfigurationError
from reft.finetuning.methods import load_method, method_names, require_for_pipeline
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
    settings += [*_methods()]
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
        # By whatever name this interpreter was started: python, python3 or python3.11.
        value = str(field.get_default(call_default_factory=True)).replace(sys.executable, ".venv/bin/python")
        value = value.replace(f"{Path(sys.executable).parent}/", ".venv/bin/")
        default = "" if field.is_required() else f"`{value}`"
        yield f"| `{before}{key}` | {_cell(default)} | {_words(field.description)} |"


def _methods() -> Iterator[str]:
    yield from ("## Methods (`finetuning.method`)", "")
    yield from ("The comparison takes all of them; the pipeline those that begin as a model that it has.", "")
    yield from ("| method | what it does | in the pipeline | `method_settings` |", "| --- | --- | --- | --- |")
    for name in method_names():
        method = load_method(name)
        taken = (
            f"`{key}` ({field.default:g}): {field.description}" for key, field in method.settings.model_fields.items()
        )
        yield f"| `{name}` | {_words(method.words)} | {_in_the_pipeline(name)} | {_words('; '.join(taken))} |"


def _in_the_pipeline(method: str) -> str:
    for words, start in (("yes", "auto"), ("with `start: teacher`", "teacher")):
        with suppress(ConfigurationError):
            require_for_pipeline(FinetuningSettings(method=method, start=start))
            return words
    return "no"


def _words(text: str | None) -> str:
    return _cell(" ".join((text or "").split())).replace("<", "&lt;")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
