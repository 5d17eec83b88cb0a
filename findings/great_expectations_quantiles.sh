#!/usr/bin/env bash
# Great Expectations: with numpy 2 an expectation about quantiles ends its whole validation with a TypeError.
#
# Expected: the quantiles of a column of numbers lie within their ranges, or do not, and the result says which; an
# expectation that cannot be evaluated is reported as such beside the others. Found: the comparison's outcome is a
# `numpy.bool` and is not turned into Python's; `ValidationDefinition.run` raises while it writes the result, so that the
# other expectations' results are lost too. Median, mean and maximum work.
#
# Seen with great_expectations 1.24.1, numpy 2.4.6, pandas 3.1.1:
#   median alone: True
#   median and quantiles: TypeError: Object of type bool is not JSON serializable
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "great_expectations==1.24.1" "numpy==2.4.6" "pandas==3.1.1"
cd "$folder"
cat > try.py <<'PYTHON'
import os
import sys
import warnings
from importlib.metadata import version

os.environ["GX_ANALYTICS_ENABLED"] = "false"
warnings.simplefilter("ignore")
import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd

context = gx.get_context(mode="ephemeral")
context.variables.progress_bars = {"globally": False}
asset = context.data_sources.add_pandas("memory").add_dataframe_asset("table")
batch = asset.add_batch_definition_whole_dataframe("all")
ranges = {"quantiles": [0.25, 0.75], "value_ranges": [[1, 3], [2, 5]]}


def median():
    return gxe.ExpectColumnMedianToBeBetween(column="x", min_value=1, max_value=4)


def quantiles():
    return gxe.ExpectColumnQuantileValuesToBeBetween(column="x", quantile_ranges=ranges)


def outcome(name, *expectations):
    suite = context.suites.add(gx.ExpectationSuite(name, expectations=list(expectations)))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
    try:
        return str(definition.run(batch_parameters={"dataframe": pd.DataFrame({"x": [1, 2, 3, 4]})}).success)
    except TypeError as error:
        return f"TypeError: {error}"


print(*[f"{name} {version(name)}" for name in ("great_expectations", "numpy", "pandas")])
alone, both = outcome("one", median()), outcome("two", median(), quantiles())
print("median alone:", alone)
print("median and quantiles:", both)
if alone != "True" or not both.startswith("TypeError"):
    sys.exit("changed: quantiles are validated")
PYTHON
"$folder/venv/bin/python" try.py 2> errors.txt || { tail -n 5 errors.txt >&2; exit 1; }
