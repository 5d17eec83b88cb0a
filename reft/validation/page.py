"""The page of a data set's checks: one file that asks for nothing else, wherever it is moved to."""

import re
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reft.pages.rendering import environment_of
from reft.storage.artifacts import write_text


def write_page(result: Any, outcomes: Sequence[Mapping[str, object]], folder: Path) -> None:
    """Write `index.html` into the folder: our table of the outcomes, then Great Expectations' own tables.

    Its whole site is not kept: without scripts and styles from other people's servers its index is empty.

    Args:
        result: Great Expectations' `ExpectationSuiteValidationResult`.
        outcomes: the same as `reft.validation.expectations.suite_results` gives it.
    """
    import great_expectations as gx  # takes seconds to import
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaSectionView

    # The first section tells of its site's other pages, and of names that our data have not.
    sections = ValidationResultsPageRenderer().render(result).sections[1:]
    view = DefaultJinjaSectionView()
    details = [
        view.render({"section": section.to_json_dict(), "section_loop": {"index": number}})
        for number, section in enumerate(sections, start=1)
    ]
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    page = environment_of("reft.validation", ".").get_template("page.html.j2").render(
        made=made, version=gx.__version__, outcomes=outcomes, details=_readable("\n".join(details))
    )  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)  # of another check
    folder.mkdir(parents=True)
    write_text(folder / "index.html", page)


def _readable(details: str) -> str:
    """Great Expectations' tables for who hears them, too: levels of headings that follow ours, and heads of columns.

    Its names of parts repeat from section to section, and nothing refers to them.
    """
    details = re.sub(r"(</?)h5\b", r"\1h3", details)
    details = re.sub(r"<th(?=[\s>])", '<th scope="col"', details)
    return re.sub(r'\s+id="[^"]*"', "", details)
