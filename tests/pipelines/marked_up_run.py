"""Names, reasons, metadata, a report and an error full of markup, on ZenML and MLflow stores of their own.

`python -m tests.pipelines.marked_up_run FOLDER` prints, as JSON, the runs' ids by what they did.
"""

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from zenml import log_metadata, pipeline, step
from zenml.client import Client
from zenml.types import HTMLString

from pipelines.promotion import promotion
from reft.report.html import render_report
from reft.tracking.registry import register_candidate
from steps.control_plane import mirror
from tests.factories import MARKUP, run_result

FOLDER = Path(sys.argv[1])
NAME = 's<b class=owned>n<img src=x>"q'  # MLflow takes no slash


@step(enable_cache=False)
def register() -> Annotated[str, "version"]:
    folder = FOLDER / "student"
    folder.mkdir()
    (folder / "gate.json").write_text("{}")
    tags = {"note": MARKUP}
    found = register_candidate(folder, NAME, tags, description="card", passed=True)
    mirror(NAME, found.version, found.run_id, tags=tags)
    log_metadata(metadata={"note": MARKUP})
    return found.version


@step(enable_cache=False)
def report() -> Annotated[HTMLString, "report"]:
    result = run_result()
    result.summary["task"]["name"] = MARKUP
    return HTMLString(render_report(result))


@pipeline
def registering() -> None:
    report()
    register(after="report")  # a version is ZenML's by what has been made for it


def main() -> None:
    client, ids = Client(), {}
    # The dashboard shows nothing before its survey has been answered.
    asked = {"finished_onboarding_survey": True}
    client.update_user(client.active_user.id, updated_email_opt_in=False, updated_metadata=asked)

    def note(what: str) -> None:
        ids[what] = str(client.list_pipeline_runs(sort_by="desc:created", size=1).items[0].id)

    registering()
    note("registered")
    promotion(name=NAME, to="champion", version="1", by=MARKUP, reason=MARKUP)
    note("promoted")
    with suppress(RuntimeError):  # ZenML's own words for a step that failed
        promotion(name=NAME, to=MARKUP, version="1", by="reviewer", reason="")
    note("failed")
    print(json.dumps(ids))


if __name__ == "__main__":
    main()
