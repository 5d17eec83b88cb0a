#!/usr/bin/env bash
# datasets: chat rows whose messages differ in their keys (a weight on some) become a JSON column. `to_parquet` writes
# each message as JSON *text* under an Arrow extension type, and readers that give Python values give that text: every
# message is a string, quotes and braces and all, where the rows held objects.
#
# Seen with datasets 5.2.0, pyarrow 25.0.1:
#   features: {'messages': List(Json(decode=True))}
#   column in Parquet: list<element: extension<arrow.json>>
#   first message as pyarrow reads it: '{"role":"user","content":"Say one."}'
#   found: the messages are text
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "datasets==5.2.0" "pyarrow==25.0.1"
cd "$folder"
cat > rows.jsonl <<'ROWS'
{"messages": [{"role": "user", "content": "Say one."}, {"role": "assistant", "content": "One.", "weight": 1}]}
{"messages": [{"role": "user", "content": "Say two."}, {"role": "assistant", "content": "Two."}]}
{"messages": [{"role": "user", "content": [{"type": "text", "text": "Say three."}]}, {"role": "assistant", "content": "Three."}]}
ROWS
cat > try.py <<'PYTHON'
import sys

import datasets
import pyarrow
import pyarrow.parquet

print("datasets", datasets.__version__, "pyarrow", pyarrow.__version__)
datasets.disable_progress_bars()
rows = datasets.load_dataset("json", data_files="rows.jsonl", split="train")
print("features:", rows.features)
rows.to_parquet("rows.parquet")
table = pyarrow.parquet.read_table("rows.parquet")
print("column in Parquet:", table.schema.field("messages").type)
first = table.to_pylist()[0]["messages"][0]
print("first message as pyarrow reads it:", repr(first))
if not isinstance(first, str):
    sys.exit("changed: the messages come back as objects")
print("found: the messages are text")
PYTHON
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" try.py
