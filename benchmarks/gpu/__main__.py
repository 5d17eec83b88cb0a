"""The command: `python -m benchmarks.gpu`; see the package."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.gpu import __doc__ as about
from benchmarks.gpu.made import Sizes, make
from benchmarks.gpu.measurements import measurements
from benchmarks.record import RESULTS, append
from reft.models.hardware import choose_hardware

NAME, MAKE = "gpu", "make"


def device_name() -> str:
    """The accelerator, or that there is none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU: these numbers only show that it runs"


def known(sizes: Sizes) -> set[str]:
    """What has been measured on this device at these sizes."""
    path = RESULTS / f"{NAME}.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    here = {"device": device_name(), "sizes": vars(sizes)}
    return {line["name"] for line in lines if {name: line[name] for name in here} == here and "failed" not in line}


def measure(name: str, sizes: Sizes, folder: Path) -> dict[str, Any]:
    """One measurement in a process of its own: what it leaves on the GPU goes with it."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--one", name, "--folder", str(folder)]
    command += [part for key, value in vars(sizes).items() for part in (f"--{key}", str(value))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": done.stderr[-1500:]}
    return json.loads(done.stdout.splitlines()[-1]) or {}


def main() -> None:
    """Measure what is not known yet."""
    plain = Sizes()
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=plain.model, help="a size of `reft plan`, or a folder")
    for name in ("rows", "tokens", "batch"):
        parser.add_argument(f"--{name}", type=int, default=getattr(plain, name))
    parser.add_argument("--only", nargs="*", help="names of measurements; none: all")
    parser.add_argument("--folder", type=Path, default=Path(".reft/gpu"), help="for the model and the rows")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    everything = measurements()
    sizes = Sizes(model=options.model, rows=options.rows, tokens=options.tokens, batch=options.batch)
    if options.one:
        print(
            json.dumps(make(sizes, options.folder) if options.one == MAKE else everything[options.one](options.folder))
        )
        return
    if wrong := set(options.only or ()) - set(everything):
        parser.error(f"no such measurement: {', '.join(sorted(wrong))}; there are {', '.join(everything)}")
    there = known(sizes)
    wanted = [name for name in options.only or everything if name not in there]
    if set(wanted) - {"default run"} and (problem := measure(MAKE, sizes, options.folder).get("failed")):
        sys.exit(f"model and rows cannot be made: {problem}")
    context = {"device": device_name(), "hardware": choose_hardware().reason, "sizes": vars(sizes)}
    failed = False
    for name in wanted:
        found = measure(name, sizes, options.folder)
        failed |= "failed" in found
        append(NAME, {"name": name, **context, **found})
    sys.exit(failed)


if __name__ == "__main__":
    main()
