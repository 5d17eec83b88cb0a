"""The Great Expectations suite that gates a data set.

It sees derived columns only, integers and fixed words: row-level text never reaches a GX result, which would copy the
customer's data into artifacts and, unescaped, into HTML.
"""

import logging
import os
from pathlib import Path
from typing import Any

import pandas as pd

from reft.config import ValidationSettings
from reft.validation.page import write_page

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
# What to do where a rule about a column fails; two more depend on the settings.
REMEDIES = {
    "tokens": "give the rows some text: no row that can be used has any",
    "special_tokens": "take the chat template's own markers (such as <|im_end|>) out of the texts",
    "duplicate": "keep one of each set of equal rows: repeats are learnt by heart",
    "near_duplicate": "keep one of each set of rows that differ in a few words alone, or vary them",
    "leaked": "take these rows out of the file, or out of data.task_test: accuracy on rows once learnt means nothing",
    "secret": "take the keys out and change them at their source, or set validation.secrets: quarantine",
    "personal_data": "replace the data by placeholders, or set validation.personal_data: quarantine",
    "language": "take out the rows in other languages, or add those languages to validation.languages",
    "formula": "import the file into a spreadsheet as text alone, or take these rows out",
    "mojibake": "write the file anew from its source as UTF-8",
    "turns": "cut the dialogues into shorter ones of at most 100 messages",
    "commonest_answer_percent": "add rows with other answers: giving this one to all would be right most times",
}


def import_gx() -> Any:
    """Great Expectations, which takes seconds to import."""
    import great_expectations as gx

    return gx


def suite_results(
    columns: pd.DataFrame, settings: ValidationSettings, docs: Path | None = None, *, lost: bool = False
) -> list[dict[str, object]]:
    """Run the suite over one row per input row; returns one outcome per expectation.

    Args:
        columns: what `reft.validation.rows.Columns.frame` gives: integers alone.
        docs: where their page goes, as `index.html`; None: nowhere.
        lost: the rows are the first of many, of which too many are bad: no other rule can be told from them.
    """
    gx = import_gx()
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context: Any = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    asset = context.data_sources.add_pandas("rows").add_dataframe_asset("user_data")
    batch = asset.add_batch_definition_whole_dataframe("all")
    rules = [rule for rule in expectations(settings) if not lost or getattr(rule, "column", None) == "faulty"]
    suite = context.suites.add(gx.ExpectationSuite("user_data", expectations=rules))
    gate = context.validation_definitions.add(gx.ValidationDefinition(name="gate", data=batch, suite=suite))
    found = gate.run(batch_parameters={"dataframe": columns}, result_format="SUMMARY")
    outcomes = [_outcome(one.expectation_config, one) for one in found.results]
    if docs:
        write_page(found, outcomes, docs)
    return outcomes


def expectations(settings: ValidationSettings) -> list[Any]:
    """The rules of a data set, critical ones first; a critical one that fails stops the job.

    Each says in its notes what to do where it fails.
    """
    from great_expectations import expectations as gxe

    def mostly(column: str, share: float, description: str, **changes: str) -> Any:
        said = {"severity": "warning", "notes": REMEDIES.get(column, ""), "description": description, **changes}
        return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=[0], mostly=share, **said)

    def bounded(column: str, description: str, *, severity: str = "warning", **limits: int) -> Any:
        said = {"severity": severity, "notes": REMEDIES[column], "description": description}
        return gxe.ExpectColumnMaxToBeBetween(column=column, **said, **limits)

    least = max(settings.min_rows, 10) if settings.rules == "openai" else settings.min_rows
    few = "add rows, or lower validation.min_rows"
    if settings.rules == "openai":
        few = "add rows: OpenAI's rules want ten at least, and validation.min_rows may want more"
    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=least, severity="critical", description="enough rows", notes=few),
        mostly(
            "faulty", 1 - settings.max_bad_share, "rows can be used", severity="critical",
            notes="mend the rows (reft validate --fix), or raise validation.max_bad_share",
        ),
        bounded("tokens", "rows hold text", severity="critical", min_value=1),
        mostly("special_tokens", 0.99, "no forged markers"),
        mostly("duplicate", 0.9, "few duplicates"),
        mostly("near_duplicate", 0.8, "few near-duplicates"),
        mostly("leaked", 1.0, "no prompt of the test rows"),
        mostly("secret", 1.0, "no keys, tokens or passwords"),
        mostly("personal_data", 1.0, "no personal data"),
        mostly("language", 0.99, "the languages that are expected"),
        mostly("formula", 1.0, "no spreadsheet formulas that reach out"),
        mostly("mojibake", 0.99, "text in the right encoding"),
        bounded("turns", "sane dialogues", max_value=100),
        bounded("commonest_answer_percent", "answers in balance", max_value=80),
    ]  # fmt: skip


def _outcome(rule: Any, result: Any) -> dict[str, object]:
    return {
        "rule": str(rule.description),
        "column": str(rule.kwargs.get("column", "table")),
        "severity": str(getattr(rule.severity, "value", rule.severity)),
        "passed": bool(result.success),
        "bad_percent": result.result.get("unexpected_percent"),
        "remedy": str(rule.notes),
    }
