#!/usr/bin/env bash
# Data-Juicer: an operator that cannot run drops every row, and the command ends with 0.
#
# Expected: where a filter cannot load what it needs (here a tokenizer, while the hub cannot be reached), the command
# fails, or leaves the rows as they are; at least its exit code says so. Found: with `skip_op_error`, which is on by
# default, the filter's failure counts as "no row has passed": the export is empty, the exit code 0, and the summary of
# the log counts no error. With `skip_op_error: false` the same command fails.
#
# Seen with py-data-juicer 1.6.1:
#   rows in: 6
#   by default: exit code 0, rows out 0, the log's count of errors: Errors: 0
#   skip_op_error: false: it fails, nothing is exported
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "py-data-juicer==1.6.1" "aiohttp==3.14.5" "transformers==5.24.0" "ray==2.60.0" "torch==2.13.0"
cd "$folder"
cat > try.py <<'PYTHON'
import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

print("py-data-juicer", version("py-data-juicer"), "transformers", version("transformers"))
rows = [{"text": f"The library in street {n} opens at nine and closes at five."} for n in range(6)]
Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
# Nothing is loaded from a hub, and nothing is installed on the way.
shut = {"HF_HUB_OFFLINE": "1", "UV_OFFLINE": "1", "UV_NO_CACHE": "1", "PIP_NO_INDEX": "1"}


def run(name, **more):
    config = {
        "dataset_path": "rows.jsonl", "export_path": f"{name}/out.jsonl", "work_dir": f"{name}/work", "np": 1,
        "open_monitor": False, "use_cache": False,
        "process": [{"token_num_filter": {"hf_tokenizer": "EleutherAI/pythia-6.9b-deduped", "min_num": 1}}], **more,
    }
    Path(f"{name}.yaml").write_text(json.dumps(config))
    command = [str(Path(sys.executable).parent / "dj-process"), "--config", f"{name}.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **shut}, timeout=600)
    out = Path(name, "out.jsonl")
    said = done.stdout + done.stderr
    return done.returncode, len(out.read_text().splitlines()) if out.is_file() else None, said


code, left, said = run("default")
errors = re.findall(r"Errors?: \d+", said)
print("rows in:", len(rows))
print(f"by default: exit code {code}, rows out {left}, the log's count of errors: {', '.join(errors)}")
strict, kept, _ = run("strict", skip_op_error=False)
print(f"skip_op_error: false: exit code {strict}, rows out {kept}")
if (code, left) != (0, 0) or strict == 0:
    sys.exit("changed: a filter that cannot run no longer drops all rows in silence")
PYTHON
"$folder/venv/bin/python" try.py
