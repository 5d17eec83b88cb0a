"""Running a job to its end: taken up again, watched, started anew after a preemption, and cleaned up."""

import logging
import time
from pathlib import Path
from typing import Any, Protocol

from reft.cluster.client import ClusterClient, Conflict, Missing
from reft.cluster.logs import LogFile, tail
from reft.cluster.manifest import DIGEST
from reft.cluster.pods import (
    are_running,
    by_node,
    death,
    disruption,
    failed_first,
    why_pending,
)
from reft.cluster.trainjob import SAVING_SECONDS
from reft.config import ClusterSettings
from reft.errors import ClusterError, TrainingError, explain
from reft.runtime.processes import on_sigterm

LOOK_SECONDS = 5
# How long another machine's last file may take to appear on the shared storage.
VISIBLE_SECONDS = 60
ATTEMPTS = 5


class Stopped(TrainingError):
    """This process was told to go, and took the job with it."""


class Work(Protocol):
    """What the ranks do, as far as whoever watches them can tell from the shared folder."""

    def prepare(self) -> None:
        """Before the ranks start or start again; not when ranks that run already are found."""

    def look(self, running: bool) -> None:
        """Called every few seconds; raises where the work takes too long.

        Args:
            running: whether all nodes run; time in which they wait for machines is not the work's.
        """

    def is_done(self) -> bool:
        """Whether the result is whole."""

    def was_stopped(self) -> bool:
        """Whether the ranks say that they were told to go, and saved; others keep what is done and say nothing."""
        return False

    def failure(self) -> str | None:
        """What a failed rank says itself; None: its log does."""
        return None

    @property
    def smaller(self) -> str:
        """What to do where it takes more memory than it may."""


class ClusterRun:
    """One piece of work as one job (the client's kind) at a time.

    Args:
        manifest: the job; its name and digest tell whether one that is there already is this very work.
        log: file that gets node 0's log.
    """

    def __init__(
        self, client: ClusterClient, manifest: dict[str, Any], settings: ClusterSettings, *, work: Work, log: Path
    ) -> None:
        self._client, self._manifest, self._settings, self._work = client, manifest, settings, work
        self._kind = client.kind.name
        self._name, self._digest = manifest["metadata"]["name"], manifest["metadata"]["annotations"][DIGEST]
        self._log_path, self._log = log, LogFile(client, log)
        self._pods: dict[str, Any] = {}
        self._waited, self._looked = 0.0, time.monotonic()

    def run(self) -> None:
        """Return when the work is done; the job is gone then, as after every error.

        Raises:
            TrainingError: the ranks failed, took too long, or this process was told to go.
            ClusterError: the nodes could not run, or Kubernetes refused or lost the job.
        """
        with on_sigterm(self._stop):
            try:
                job = self._take_up_or_create()
                for left in range(self._settings.restarts, -1, -1):
                    taken = self._until_end(job)
                    if taken is None:
                        return
                    if left:
                        logging.getLogger(__name__).warning("%s: started again after: %s", self._name, taken)
                        self._remove()
                        job = self._take_up_or_create()
                remedy = "it goes on from what is done; take machines that last, or raise cluster.restarts"
                what = f"preempted {self._settings.restarts + 1} times: {taken}"
                raise TrainingError(explain(what, self._where(), remedy))
            finally:
                self._clean_up()

    def _take_up_or_create(self) -> dict[str, Any]:
        self._pods, self._waited = {}, 0.0
        for _ in range(ATTEMPTS):
            found = self._found()
            if found is None:
                self._work.prepare()
                try:
                    return self._client.create(self._manifest)
                except Conflict:  # somebody was quicker, or an answer was lost and the call repeated
                    continue
            if not self._is_ours(found):
                what = f"another {self._kind} {self._name} is there, with other settings or of somebody else"
                gone = f"kubectl -n {self._settings.namespace} delete {self._kind.lower()} {self._name}"
                remedy = f"wait for it, or: {gone}"
                raise Conflict(explain(what, self._where(), remedy))
            if found["metadata"].get("deletionTimestamp") or _condition(found, "Failed"):
                self._remove()
                continue
            return found
        raise ClusterError(
            explain(f"the {self._kind} comes and goes", self._where(), "who else creates and deletes it?")
        )

    def _found(self) -> dict[str, Any] | None:
        try:
            return self._client.get(self._name)
        except Missing:
            return None

    def _is_ours(self, manifest: dict[str, Any]) -> bool:
        return (manifest["metadata"].get("annotations") or {}).get(DIGEST) == self._digest

    def _until_end(self, job: dict[str, Any]) -> str | None:
        """None when the work is done, or who took a node away."""
        while not (_condition(job, "Complete") or _condition(job, "Failed")):
            if job["metadata"].get("deletionTimestamp"):
                raise self._client.deleted(self._name)
            self._look(job)
            asked = time.monotonic()
            version = job["metadata"]["resourceVersion"]
            if changed := self._client.next_change(self._name, version, LOOK_SECONDS):
                job = changed
            else:  # a server that ends the stream at once is not asked without end
                time.sleep(max(0.0, min(0.5, LOOK_SECONDS) - (time.monotonic() - asked)))
        self._look(job)
        taken = [found for pod in self._pods.values() if (found := disruption(pod))]
        deaths = [found for pod in self._pods.values() if (found := death(pod))]
        limit = time.monotonic() + VISIBLE_SECONDS
        while not (self._work.is_done() or self._work.failure() or taken or deaths) and time.monotonic() < limit:
            time.sleep(0.5)
        self._work.look(running=False)  # what became visible just now
        if self._work.is_done():
            return None
        if _condition(job, "Failed") and (taken or self._work.was_stopped()):
            return "; ".join(taken) or "its ranks were told to go"
        raise TrainingError(self._why(job, deaths))

    def _look(self, job: dict[str, Any]) -> None:
        """Pods, node 0's log, the work itself, and the patience with nodes that do not run."""
        pods = self._client.pods(self._name)
        # Kept, since Kubernetes deletes preempted pods, and the reason with them.
        self._pods |= (current := by_node(pods))
        self._log.update(current.get("0"))
        running = not _condition(job, "Suspended") and are_running(current.values(), self._settings.nodes)
        now = time.monotonic()
        self._waited = 0.0 if running else self._waited + now - self._looked
        self._looked = now
        self._work.look(running)
        if self._waited > 60 * self._settings.pending_minutes and not _condition(job, "Complete"):
            said = why_pending(pods) or _about(job) or "no pod was made, and nobody says why"
            what = f"the nodes do not run after {self._settings.pending_minutes:g} minutes: {said}"
            remedy = "ask for less in the section cluster, free machines, or raise cluster.pending_minutes"
            raise ClusterError(explain(what, self._where(), remedy))

    def _why(self, job: dict[str, Any], deaths: list[str]) -> str:
        """How pods died where only Kubernetes knows, then a rank's own words, else the end of its log."""
        first = failed_first(list(self._pods.values()))
        words = self._work.failure() or (tail(self._client, first) if first else "")
        told = "\n".join(filter(None, [_about(job), *deaths, words]))
        remedy = "see above; started again, it goes on from what is done"
        if any("OOMKilled" in found for found in deaths):
            remedy = self._work.smaller
        return explain(f"the {self._kind} failed: {told}", f"{self._where()}, log of node 0: {self._log_path}", remedy)

    def _remove(self) -> None:
        """Delete it and wait until its pods are gone: no old rank may write where a new one will."""
        self._client.delete(self._name)
        limit = time.monotonic() + SAVING_SECONDS + 120
        while self._found() is not None:
            if time.monotonic() > limit:
                remedy = "see the events of its pods: a machine that is gone may hold them"
                raise ClusterError(explain(f"the {self._kind} does not go away", self._where(), remedy))
            time.sleep(1)

    def _clean_up(self) -> None:
        """Whatever happened, the cluster does not go on working for nobody; another's is left alone."""
        try:
            if (found := self._found()) and self._is_ours(found):
                self._client.delete(self._name)
        except ClusterError as error:  # never in the way of the result, or of the error that came before
            logging.getLogger(__name__).warning("%s may still be there: %s", self._where(), error)

    def _stop(self) -> None:
        remedy = "start it again: it goes on from what is done"
        raise Stopped(explain(f"stopped by SIGTERM, the {self._kind} too", self._where(), remedy))

    def _where(self) -> str:
        return f"{self._kind} {self._name} in namespace {self._settings.namespace}"


def _condition(job: dict[str, Any], kind: str) -> dict[str, Any] | None:
    conditions = (job.get("status") or {}).get("conditions") or []
    return next((found for found in conditions if found["type"] == kind and found["status"] == "True"), None)


def _about(job: dict[str, Any]) -> str:
    """What its controller says of a job that failed or waits."""
    found = _condition(job, "Failed") or _condition(job, "Suspended")
    return f"{found.get('reason', '')}: {found.get('message', '')}" if found else ""
