"""The Great Expectations suite that gates a data set, and its pages.

It sees derived columns only, integers and fixed words: row-level text never reaches a GX result, which would copy the
customer's data into artifacts and, unescaped, into HTML.
"""

import logging
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from reft.config import ValidationSettings

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
# Great Expectations' pages fetch their looks from other people's servers; ours open without a network.
FOREIGN = re.compile(
    r"<script[^>]*\bsrc=\"https?:[^>]*>\s*</script>|<link[^>]*\bhref=\"https?:[^>]*>|<img[^>]*\bsrc=\"https?:[^>]*>"
)
STYLE = (
    "<style>body{font:15px/1.5 system-ui,sans-serif;margin:1rem 2rem}td,th{padding:.2rem .6rem;text-align:left}</style>"
)


def suite_results(
    columns: pd.DataFrame, settings: ValidationSettings, docs: Path | None = None
) -> list[dict[str, object]]:
    """Run the suite over one row per input row; returns one outcome per expectation.

    Args:
        columns: what `reft.validation.rows.Columns.frame` gives: integers alone.
        docs: where Great Expectations' own pages go; None: nowhere.
    """
    import great_expectations as gx  # takes seconds to import
    from great_expectations.checkpoint.actions import UpdateDataDocsAction
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as project:
        context: Any = (
            gx.get_context(mode="file", project_root_dir=project) if docs else gx.get_context(mode="ephemeral")
        )
        context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
        asset = context.data_sources.add_pandas("rows").add_dataframe_asset("user_data")
        batch = asset.add_batch_definition_whole_dataframe("all")
        suite = context.suites.add(gx.ExpectationSuite("user_data", expectations=expectations(settings)))
        gate = context.validation_definitions.add(gx.ValidationDefinition(name="gate", data=batch, suite=suite))
        actions = [UpdateDataDocsAction(name="pages")] if docs else []
        checkpoint = context.checkpoints.add(
            gx.Checkpoint(name="gate", validation_definitions=[gate], actions=actions, result_format="SUMMARY")
        )
        result = checkpoint.run(batch_parameters={"dataframe": columns})
        if docs:
            _keep_pages(Path(project), docs)
        (found,) = result.run_results.values()
        return [_outcome(one.expectation_config, one) for one in found.results]


def expectations(settings: ValidationSettings) -> list[Any]:
    """The rules of a data set, critical ones first; a critical one that fails stops the job."""
    from great_expectations import expectations as gxe

    def mostly(column: str, share: float, severity: str, *, description: str) -> Any:
        return gxe.ExpectColumnValuesToBeInSet(
            column=column, value_set=[0], mostly=share, severity=severity, description=description
        )

    least = max(settings.min_rows, 10) if settings.rules == "openai" else settings.min_rows
    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=least, severity="critical", description="enough rows"),
        mostly("faulty", 1 - settings.max_bad_share, "critical", description="rows can be used"),
        gxe.ExpectColumnMaxToBeBetween(column="tokens", min_value=1, severity="critical", description="rows hold text"),
        mostly("special_tokens", 0.99, "warning", description="no forged markers"),
        mostly("duplicate", 0.9, "warning", description="few duplicates"),
        mostly("near_duplicate", 0.8, "warning", description="few near-duplicates"),
        mostly("leaked", 1.0, "warning", description="no prompt of the test rows"),
        mostly("secret", 1.0, "warning", description="no keys, tokens or passwords"),
        mostly("personal_data", 1.0, "warning", description="no personal data"),
        mostly("language", 0.99, "warning", description="the languages that are expected"),
        mostly("mojibake", 0.99, "warning", description="text in the right encoding"),
        gxe.ExpectColumnMaxToBeBetween(column="turns", max_value=100, severity="warning", description="sane dialogues"),
        gxe.ExpectColumnMaxToBeBetween(
            column="commonest_answer_percent", max_value=80, severity="warning", description="answers in balance"
        ),
    ]


def _keep_pages(project: Path, docs: Path) -> None:
    shutil.rmtree(docs, ignore_errors=True)
    shutil.copytree(project / "gx" / "uncommitted" / "data_docs" / "local_site", docs)
    for page in docs.rglob("*.html"):
        text = FOREIGN.sub("", page.read_text(encoding="utf-8"))
        page.write_text(text.replace("</head>", f"{STYLE}</head>", 1), encoding="utf-8")
    shutil.rmtree(docs / "static" / "images", ignore_errors=True)  # megabytes of tutorial pictures


def _outcome(rule: Any, result: Any) -> dict[str, object]:
    return {
        "rule": str(rule.description),
        "column": str(rule.kwargs.get("column", "table")),
        "severity": str(getattr(rule.severity, "value", rule.severity)),
        "passed": bool(result.success),
        "bad_percent": result.result.get("unexpected_percent"),
    }
