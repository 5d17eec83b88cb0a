"""How long this process's OpenMP threads wait busily for one another, so that other work on the machine finds room."""

import os
import sys
from pathlib import Path

SPINS = "GOMP_SPINCOUNT"
# Training steps of the default model on two cores. With AMX a step is short: four take 2.7 s alone and 15.8 s beside a
# busy loop with LONG (libgomp's own choice: 2.8 and 92 s), while 2000 costs 1.4 times the time alone. Elsewhere a step
# is long: SHORT costs 1.1 times the time alone, and beside a busy loop takes 1.8 times as long as libgomp's own choice
# does alone (that itself beside the loop: 3.2 times, LONG: 4.2 times).
LONG, SHORT = 20000, 1000
SHORT_STEPS = "amx_bf16"


def wait_briefly() -> None:
    """Before libgomp is loaded, which reads this once: waiting threads spin for a while only, then sleep.

    By itself libgomp spins for milliseconds at every barrier, and whoever shares the machine takes the core of a thread
    that the others wait for. What somebody has set stands; child processes inherit it.
    """
    if not {SPINS, "OMP_WAIT_POLICY"} & os.environ.keys() and "torch" not in sys.modules:
        os.environ[SPINS] = str(LONG if SHORT_STEPS in _instructions() else SHORT)


def _instructions(cpus: Path = Path("/proc/cpuinfo")) -> set[str]:
    """What the CPU says that it can do; nothing on systems that do not tell so, which have no libgomp either."""
    if not cpus.is_file():
        return set()
    for line in cpus.read_text().splitlines():
        name, _, said = line.partition(":")
        if name.strip() == "flags":
            return set(said.split())
    return set()
