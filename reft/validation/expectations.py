"""The Great Expectations suite that gates a data set.

It sees derived columns only, integers and fixed words: row-level text never reaches a GX result,
which would copy the customer's data into artifacts and, unescaped, into HTML.
"""

import logging
import os
from typing import Any

import pandas as pd

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")


def suite_results(columns: pd.DataFrame, max_bad_share: float, min_rows: int) -> list[dict[str, object]]:
    """Run the suite over one row per input row; returns one outcome per expectation.

    Args:
        columns: `usable` (0 or 1), `turns`, `tokens` (0 where unusable), `has_answer`, `special_tokens`,
            `duplicate`, all integers.
    """
    import great_expectations as gx  # takes seconds to import
    from great_expectations import expectations as gxe
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    asset = context.data_sources.add_pandas("rows").add_dataframe_asset("user_data")
    batch = asset.add_batch_definition_whole_dataframe("all")
    enough = 1 - max_bad_share
    expectations = [
        gxe.ExpectTableRowCountToBeBetween(min_value=min_rows, severity="critical", description="enough rows"),
        gxe.ExpectColumnValuesToBeInSet(
            column="usable", value_set=[1], mostly=enough, severity="critical", description="rows can be used"
        ),
        gxe.ExpectColumnMaxToBeBetween(column="tokens", min_value=1, severity="critical", description="rows hold text"),
        gxe.ExpectColumnValuesToBeInSet(
            column="special_tokens", value_set=[0], mostly=0.99, severity="warning", description="no forged markers"
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="duplicate", value_set=[0], mostly=0.9, severity="warning", description="few duplicates"
        ),
        gxe.ExpectColumnMaxToBeBetween(column="turns", max_value=100, severity="warning", description="sane dialogues"),
    ]
    suite = context.suites.add(gx.ExpectationSuite("user_data", expectations=expectations))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name="gate", data=batch, suite=suite))
    result = definition.run(batch_parameters={"dataframe": columns}, result_format="SUMMARY")
    return [_outcome(found.expectation_config, found) for found in result.results]


def _outcome(rule: Any, found: Any) -> dict[str, object]:
    return {
        "rule": str(rule.description),
        "column": str(rule.kwargs.get("column", "table")),
        "severity": str(getattr(rule.severity, "value", rule.severity)),
        "passed": bool(found.success),
        "bad_percent": found.result.get("unexpected_percent"),
    }
