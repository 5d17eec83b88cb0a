"""Work in numbered parts, done by the pods of an Indexed Job: watched by its markers, until every part has one."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reft.cluster.client import ClusterClient
from reft.cluster.run import ClusterRun, Stopped, Work
from reft.config import ClusterSettings
from reft.errors import TrainingError, parts
from reft.runtime.progress import Show
from reft.storage.parts import Parted


class InParts(Work):
    """The work as it shows in its markers, each of which says its `rows`.

    Args:
        sizes: of each part, in bytes.
        smaller: what to do where it takes more memory than it may.
        report: called with (megabytes so far, megabytes in all, a word on the rows).
    """

    def __init__(self, shared: Parted, sizes: Sequence[int], smaller: str, *, report: Show | None) -> None:
        self._shared, self._sizes, self._smaller, self._report = shared, sizes, smaller, report
        self._rows: dict[int, int] = {}
        self._begun, self._before = time.monotonic(), 0

    def prepare(self) -> None:
        """What is finished stays."""

    def look(self, running: bool) -> None:  # noqa: ARG002 (finished parts are told of while pods wait, too)
        """Tell how many rows are done; pods share nothing: none can hang waiting for another."""
        first = not self._rows
        for number in self._shared.done() - set(self._rows):
            self._rows[number] = self._shared.mark_of(number)["rows"]
        rows = sum(self._rows.values())
        if first:
            self._before, self._begun = rows, time.monotonic()
        if self._report:
            pace = (rows - self._before) / max(time.monotonic() - self._begun, 1e-9)
            done = sum(self._sizes[number] for number in self._rows)
            word = f"{rows} rows, {pace:.0f} rows a second, {len(self._rows)} of {len(self._sizes)} parts"
            self._report(done >> 20, sum(self._sizes) >> 20, word)

    def is_done(self) -> bool:
        """Whether every part has its marker."""
        return not self.missing()

    def missing(self) -> set[int]:
        """The parts without a marker."""
        return {*range(len(self._sizes))} - self._shared.done()

    @property
    def smaller(self) -> str:
        """As it was given."""
        return self._smaller


def run_in_parts(
    work: InParts, manifest: dict[str, Any], settings: ClusterSettings, *, client: ClusterClient
) -> dict[int, str]:
    """Until every part has its marker; returns those that nobody could finish, and why.

    Raises:
        TrainingError, ClusterError: no part could be finished, or this process was told to go; Kubernetes refused or
            lost the Job.
    """
    few = settings.model_copy(update={"nodes": manifest["spec"]["parallelism"]})
    log = Path(".reft", f"{manifest['metadata']['name']}.log")
    log.parent.mkdir(exist_ok=True)
    try:
        ClusterRun(client, manifest, few, work=work, log=log).run()
    except Stopped:
        raise
    except TrainingError as error:
        missing = work.missing()
        if len(missing) == manifest["spec"]["completions"]:
            raise
        return dict.fromkeys(missing, f"not finished: {parts(error)[0]}")
    return {}
