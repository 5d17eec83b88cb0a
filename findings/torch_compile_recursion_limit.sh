#!/usr/bin/env bash
# PyTorch: compiling a function moves Python's recursion limit for the whole process, and leaves it there.
#
# Expected: what a library needs for itself it gives back, and what the rest of a program does with its input does not
# depend on whether something was compiled before. Found: the first compilation sets the limit to 2000, from 1000. JSON
# of 1500 levels, which the standard library refused with a RecursionError until then, is read from then on; so a
# program that relies on that error gives two verdicts on one document, by what ran in its process before.
#
# Seen with torch 2.13.0, Python 3.11:
#   before: limit 1000, JSON of 1500 levels refused
#   after:  limit 2000, JSON of 1500 levels read
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" "numpy"
cd "$folder"
cat > try.py <<'PYTHON'
import json
import sys

import torch

DOCUMENT = "[" * 1500 + "]" * 1500


def seen(when):
    try:
        json.loads(DOCUMENT)
        verdict = "read"
    except RecursionError:
        verdict = "refused"
    print(f"{when}: limit {sys.getrecursionlimit()}, JSON of 1500 levels {verdict}")
    return verdict


print("torch", torch.__version__, "Python", sys.version.split()[0])
before = seen("before")
torch.compile(lambda x: x.sin() + 1)(torch.ones(8))
after = seen("after")
if (before, after) != ("refused", "read"):
    sys.exit("changed: a compilation no longer moves the limit, or JSON's depth no longer rests on it")
PYTHON
"$folder/venv/bin/python" try.py
