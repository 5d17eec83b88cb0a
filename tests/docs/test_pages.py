"""The documentation holds: its commands exist with their options, its generated pages are current, its links lead."""

import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from reft.cli import app
from tests.docs.pages import typed

PAGES = [Path("README.md"), *sorted(Path("docs").rglob("*.md"))]
REFT = (".venv/bin/reft", "reft")


def commands(page: Path) -> list[list[str]]:
    """The words of every `reft` command in the page's fences."""
    lines = [shlex.split(line, comments=True) for line in typed(page)]
    return [words[1:] for words in lines if words and words[0] in REFT]


ALL = [(page, words) for page in PAGES for words in commands(page)]


def problem(words: list[str]) -> str:
    """What is wrong with a command line by the command's own options; nothing runs."""
    command: Any = typer.main.get_command(app)
    while getattr(command, "commands", None):
        if not words or words[0] not in command.commands:
            return f"no command {words[:1]}"
        command, words = command.commands[words[0]], words[1:]
    try:
        command.make_context("reft", list(words))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def test_there_are_commands_to_look_at():
    assert len(ALL) > 15
    assert {words[0] for _, words in ALL} >= {"scan", "validate", "serve", "promote", "rollback", "retrain", "plan"}


@pytest.mark.parametrize(
    ("page", "words"), ALL, ids=lambda value: value.name if isinstance(value, Path) else " ".join(value)
)
def test_a_command_of_a_page_exists_with_its_options(page, words):
    assert not problem(words), page


@pytest.mark.parametrize(
    "words",
    [["scan", "x", "--no-such"], ["scam", "x"], ["scan"], ["scan", "x", "--fpr", "many"], ["scan", "x", "[--json]"]],
)
def test_a_wrong_command_is_found(words):
    assert problem(words)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_and_pictures_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_what_the_checklists_name_is_there():
    lines = [line for line in Path("CONTRIBUTING.md").read_text().splitlines() if line.startswith("| ")]
    named = {name for line in lines for name in re.findall(r"`([^`\s]+/[^`\s]+)`", line) if "NAME" not in name}
    assert len(named) > 15
    for name in named:
        file, _, test = name.partition("::")
        assert Path(file).exists(), name
        assert not test or f"def {test}(" in Path(file).read_text(), name


def test_every_page_is_in_the_site():
    listed = set(re.findall(r"(\S+\.md)$", Path("mkdocs.yml").read_text(), re.MULTILINE))
    assert listed == {str(page.relative_to("docs")) for page in PAGES[1:]}


def test_pages_that_code_fills_are_current():
    pages = runpy.run_path("ci/reference.py")["pages"]()
    for name, text in pages.items():
        assert Path("docs/reference", name).read_text() == text, f"{name}: run .venv/bin/python ci/reference.py"


def test_the_readme_is_short_and_has_one_table_of_results():
    text = Path("README.md").read_text()
    assert len(text.splitlines()) <= 120
    assert "make run" in text
    assert "make test" in text
    assert not re.findall(r"^\| ", text, re.MULTILINE)
