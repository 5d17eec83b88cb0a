"""Running this very command as several processes that share its work."""

import os
import subprocess
import sys
import time


def run_in_processes(processes: int) -> int:
    """Start the running command again `processes` times, as ranks; returns the exit status of rank 0.

    A rank that dies takes the others along: rank 0 would wait for its part of the work for ever.
    """
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    shared = {**os.environ, "WORLD_SIZE": str(processes), "OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "reft.cli", *sys.argv[1:]]
    ranks = [
        subprocess.Popen(command, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(processes)
    ]
    try:
        while ranks[0].poll() is None:
            if died := next((status for r in ranks[1:] if (status := r.poll())), None):
                return died if died > 0 else 2
            time.sleep(0.1)
        return ranks[0].returncode if ranks[0].returncode >= 0 else 2
    finally:
        for rank in ranks:
            if rank.poll() is None:
                rank.kill()
            rank.wait()
