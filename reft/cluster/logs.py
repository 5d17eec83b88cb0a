"""Node 0's log in a file, as it grows."""

import math
import time
from pathlib import Path
from typing import Any

from reft.cluster.client import ClusterClient

# How far back each look reaches beyond the one before, since the pod's clock and ours are not one.
OVERLAP_SECONDS = 10


class LogFile:
    """Asks for new lines instead of holding a stream open: nothing to lose when the API server restarts."""

    def __init__(self, client: ClusterClient, path: Path) -> None:
        self._client, self._path = client, path
        self._pod, self._last, self._looked = "", "", 0.0
        path.write_text("")

    def update(self, pod: Any | None) -> None:
        """Append what the pod said since the last look; a pod that is new is read from its start."""
        if pod is None or pod.status.phase == "Pending":
            return
        if pod.metadata.name != self._pod:
            self._pod, self._last = pod.metadata.name, ""
        now = time.monotonic()
        since = math.ceil(now - self._looked) + OVERLAP_SECONDS if self._last else None
        lines = [line.partition(" ") for line in self._client.log(self._pod, since_seconds=since).splitlines()]
        fresh = [(moment, words) for moment, _, words in lines if moment > self._last]
        self._looked = now
        if fresh:
            self._last = fresh[-1][0]
            with self._path.open("a") as file:
                file.writelines(words + "\n" for _, words in fresh)


def tail(client: ClusterClient, pod: Any, lines: int = 15) -> str:
    """The end of a pod's log, without the times."""
    said = client.log(pod.metadata.name, tail=lines).splitlines()
    return "\n".join(line.partition(" ")[2] for line in said)
