#!/usr/bin/env bash
# datasets: a column of JSON strings that all look like ISO dates comes out as timestamps, and as text again with a time
# that nobody wrote, even where the features ask for strings; whole numbers beyond 2^63 become floats.
#
# Seen with datasets 5.2.0, pyarrow 25.0.1:
#   without features: {'answer': Value('timestamp[s]'), 'number': Value('float64')}
#   with features of strings: '2024-03-05 00:00:00'
#   number: 1.8446744073709552e+19
#   found: the text of the file is not the text of the rows
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "datasets==5.2.0" "pyarrow==25.0.1"
cd "$folder"
printf '{"answer": "2024-03-05", "number": 18446744073709551617}\n{"answer": "2024-03-06", "number": 2}\n' > rows.jsonl
cat > try.py <<'PYTHON'
import sys

import datasets
import pyarrow
from datasets import Features, Value, load_dataset

print("datasets", datasets.__version__, "pyarrow", pyarrow.__version__)
datasets.disable_progress_bars()
free = load_dataset("json", data_files="rows.jsonl", split="train")
print("without features:", free.features)
features = Features({"answer": Value("string"), "number": free.features["number"]})
asked = load_dataset("json", data_files="rows.jsonl", split="train", features=features)[0]
print("with features of strings:", repr(asked["answer"]))
print("number:", free[0]["number"])
if asked["answer"] == "2024-03-05" or free[0]["number"] == 18446744073709551617:
    sys.exit("changed: the text or the number survives")
print("found: the text of the file is not the text of the rows")
PYTHON
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" try.py
