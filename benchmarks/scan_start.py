"""How long one row's scan takes beside what no scan can do without: importing torch and transformers and loading the
layers that the scorer reads (about the lower half).

    .venv/bin/python -m benchmarks.scan_start --teacher runs/latest/teacher --rounds 5

Appends a line to `results/scan_start.jsonl`: the seconds of the first scan of a teacher, which scores its calibration
rows, and in turn those of the bare loading and of a later scan, each in a process of its own; `ratio` is between the
medians of the two.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.record import append
from reft.filtering.inputs import read_inputs
from reft.teacher.preparation import start_model
from tests.factories import row

BARE = """
import sys
import torch, transformers
name, layers = sys.argv[1], int(sys.argv[2])
config = transformers.AutoConfig.from_pretrained(name)
config.num_hidden_layers = layers
transformers.AutoModelForCausalLM.from_pretrained(name, config=config, dtype=torch.bfloat16)
transformers.AutoTokenizer.from_pretrained(name)
"""


def timed(command: list[str]) -> float:
    """Seconds of a process; 3 is a scan that removed the row."""
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode in (0, 3), done.stderr.decode()
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", type=Path, default=Path("runs/latest/teacher"))
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        teacher, rows, outs = Path(scratch, "teacher"), Path(scratch, "one.jsonl"), iter(range(1000))
        shutil.copytree(given.teacher, teacher)  # whose calibration is not kept yet
        rows.write_text(json.dumps(row("How do I bake bread?", "Mix flour, water and salt.")) + "\n")

        def scan() -> float:
            out = str(Path(scratch, f"out{next(outs)}"))
            return timed([sys.executable, "-m", "reft.cli", "scan", str(rows), "--teacher", str(teacher), "--out", out])

        inputs = read_inputs(teacher)
        feature = inputs.teacher.feature if inputs.teacher else inputs.untrained
        load = [sys.executable, "-c", BARE, start_model(inputs.model), str(feature.layer)]
        first = scan()
        pairs = [(timed(load), scan()) for _ in range(given.rounds)]
    bare, scans = zip(*pairs, strict=True)
    line = {"first": first, "bare": bare, "scans": scans, "ratio": median(scans) / median(bare)}
    print(json.dumps(line))
    append("scan_start", line)


if __name__ == "__main__":
    main()
