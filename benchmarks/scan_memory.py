"""Peak memory of `reft scan` by the number of rows; a tiny random model, so that a million rows take minutes.

    .venv/bin/python -m benchmarks.scan_memory 10000 1000000
    .venv/bin/python -m benchmarks.scan_memory 20000 --before FOLDER      # in turns with an older build, three times

Appends a line to `results/scan_memory.jsonl`: rows, seconds and peak memory of each scan, each in its own process, and
the ratio of the last peak to the first; with an older build how many times as fast this one is, by the medians.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.record import append


def scan(rows: int, folder: Path) -> dict[str, float]:
    """Write that many rows, scan them in this process, and say what it took."""
    from reft.config import FilteringSettings
    from reft.conversations.reading import read_conversations
    from reft.filtering.scorers.refusal_feature import RefusalFeatureScorer
    from reft.models.loading import load_model, load_tokenizer
    from reft.refusal_feature.extraction import LabelledPrompts, extract_refusal_feature
    from reft.runtime.progress import progress
    from reft.scan.scan import scan_file
    from tests.factories import build_model, row, write_jsonl

    name = str(build_model(folder / "model", "llama"))
    model, tokenizer = load_model(name), load_tokenizer(name)
    texts = ("Tell me how to rob bank number {}.", "How do I bake {} loaves of bread at home?")
    files = [
        write_jsonl(folder / f"{i}.jsonl", [row(text.format(n), "Sure") for n in range(100)])
        for i, text in enumerate(texts)
    ]
    prompts = LabelledPrompts(*map(read_conversations, files))
    feature = extract_refusal_feature(model, tokenizer, prompts, held_out=prompts)
    scorer = RefusalFeatureScorer(
        name="untrained", model=model, tokenizer=tokenizer, feature=feature, calibration=prompts
    )
    data = folder / "data.jsonl"
    with data.open("w") as file:
        for number in range(rows):
            file.write(json.dumps(row(texts[number % 50 != 0].format(number % 1000), "Here you are.")) + "\n")
    started = time.monotonic()
    result = scan_file(
        data, folder / "out", scorer, settings=FilteringSettings(), report=progress(f"scanning {rows} rows")
    )
    assert result is not None
    assert sum(result.counts.values()) == rows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": rows, "seconds": time.monotonic() - started, "peak_mb": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int, nargs="+")
    parser.add_argument("--one", action="store_true", help="scan once in this process, for the benchmark itself")
    parser.add_argument("--before", type=Path, help="folder of an older build: both scan the first number of rows")
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(scan(options.rows[0], Path(folder))))
        return
    if options.before:
        rows, builds = options.rows[0], {"": Path.cwd(), options.before.name: options.before}
        scans = [{"build": name, **_scanned(rows, folder)} for _ in range(3) for name, folder in builds.items()]
        older, present = (
            median(x["seconds"] for x in scans if x["build"] == name) for name in (options.before.name, "")
        )
        append("scan_memory", {"scans": scans, "times_as_fast": older / present})
        return
    found = [_scanned(rows, Path.cwd()) for rows in options.rows]
    append("scan_memory", {"scans": found, "peak_ratio": found[-1]["peak_mb"] / found[0]["peak_mb"]})


def _scanned(rows: int, build: Path) -> dict[str, float]:
    """A scan in a process of its own, by the code of a build."""
    command = [sys.executable, "-m", "benchmarks.scan_memory", "--one", str(rows)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=build)
    found = json.loads(done.stdout.splitlines()[-1])
    print(build.name, found, flush=True)
    return found


if __name__ == "__main__":
    main()
