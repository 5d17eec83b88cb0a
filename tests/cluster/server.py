"""A Kubernetes API server that knows TrainJobs and Jobs, pods and logs, over HTTP; and a kubelet on a script."""

import itertools
import json
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from reft.cluster.client import API_CALLS
from tests.cluster.schema import Refused, check, check_job

TRAINJOBS = re.compile(r"/apis/trainer\.kubeflow\.org/v1alpha1/namespaces/reft/trainjobs(?:/(?P<name>[^/]+))?$")
JOBS = re.compile(r"/apis/batch/v1/namespaces/reft/jobs(?:/(?P<name>[^/]+))?$")
PODS = re.compile(r"/api/v1/namespaces/reft/pods(?:/(?P<name>[^/]+)/log)?$")


class Cluster:
    """The server's state, and what a kubelet does to it.

    Attributes:
        kubelet: called in a thread of its own for every TrainJob or Job that is created.
        allowed: the (verb, API group, resource) that the role allows: no more than the client says it needs.
        calls: every one that was asked for.
        requests: the same with what was said, in order.
        failures: answers for the next requests whose "verb resource" they are keyed by, instead of the right ones.
        lost_answers: how many TrainJobs are created whose creator is told that the server failed.
        cut_watches: how many watch streams end in the middle of a line.
        expired_watches: how many watches are told that their version is too old.
        terminating: seconds in which a deleted TrainJob is still there.
    """

    def __init__(self) -> None:
        self.kubelet: Callable[[Cluster, dict[str, Any]], None] = lambda _cluster, _job: None
        self.allowed = API_CALLS
        self.calls: set[tuple[str, str, str]] = set()
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self.failures: dict[str, list[Refused | None]] = {}
        self.lost_answers = self.cut_watches = self.expired_watches = 0
        self.terminating = 0.0
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, list[str]] = {}
        self.events: list[tuple[int, str, dict[str, Any]]] = []
        self.changed = threading.Condition(threading.RLock())
        self.errors: list[BaseException] = []
        self._versions = itertools.count(100)
        self._threads: list[threading.Thread] = []
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"cluster": self}))
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        for thread in self._threads:
            thread.join(30)
        self.http.shutdown()
        self.http.server_close()

    # What the kubelet, the Trainer and the tests do.

    def start(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                self.errors.append(error)
                raise

        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()

    def condition(self, name: str, kind: str, reason: str = "Test", message: str = "", status: str = "True") -> None:
        """The Trainer says something about a TrainJob."""
        found = {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now()}
        with self.changed:
            job = self.jobs[name]
            others = [c for c in job.get("status", {}).get("conditions", []) if c["type"] != kind]
            self._publish("MODIFIED", {**job, "status": {"conditions": [*others, found]}})

    def pod(self, job: str, node: int, phase: str = "Running", *, again: bool = False, **status: Any) -> str:
        """A pod of the job, made (`again`, in the place of one that failed) or changed."""
        prefix = f"{job}-node-0-{node}-"
        for known, pod in reversed(list(self.pods.items())):
            if known.startswith(prefix) and not again:
                pod["status"] = {"phase": phase, **status}
                return known
        name = f"{prefix}x{next(self._versions)}"
        labels = {"jobset.sigs.k8s.io/jobset-name": job, "batch.kubernetes.io/job-completion-index": str(node)}
        labels["batch.kubernetes.io/job-name"] = job
        metadata = {"name": name, "namespace": "reft", "labels": labels, "creationTimestamp": now()}
        spec = {"containers": [{"name": "node", "image": "docker.io/library/python:3.11"}]}
        with self.changed:
            self.pods[name] = {"metadata": metadata, "spec": spec, "status": {"phase": phase, **status}}
        return name

    def say(self, pod: str, line: str) -> None:
        """A line of a pod's log."""
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
        self.logs.setdefault(pod, []).append(f"{moment} {line}\n")

    def remove(self, name: str) -> None:
        """A TrainJob and its pods go."""
        with self.changed:
            for pod in [p for p in self.pods if p.startswith(f"{name}-node-")]:
                del self.pods[pod]
            self._publish("DELETED", self.jobs.pop(name))

    def add(self, body: dict[str, Any]) -> dict[str, Any]:
        with self.changed:
            if (name := body["metadata"]["name"]) in self.jobs:
                raise Refused(409, f'trainjobs "{name}" already exists')
            body["metadata"] |= {"uid": f"u{next(self._versions)}", "creationTimestamp": now()}
            return self._publish("ADDED", body)

    def delete(self, name: str) -> None:
        with self.changed:
            if not self.terminating:
                self.remove(name)
                return
            job = self.jobs[name]
            if "deletionTimestamp" not in job["metadata"]:
                self._publish("MODIFIED", {**job, "metadata": {**job["metadata"], "deletionTimestamp": now()}})
                self.start(lambda: self._remove_later(name))

    def _remove_later(self, name: str) -> None:
        time.sleep(self.terminating)
        self.remove(name)

    def _publish(self, kind: str, job: dict[str, Any]) -> dict[str, Any]:
        with self.changed:
            version = next(self._versions)
            job = {**job, "metadata": {**job["metadata"], "resourceVersion": str(version)}}
            if kind != "DELETED":
                self.jobs[job["metadata"]["name"]] = job
            self.events.append((version, kind, job))
            self.changed.notify_all()
            return job


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Handler(BaseHTTPRequestHandler):
    """The HTTP side."""

    cluster: Cluster
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing to standard error."""

    def do_POST(self) -> None:
        self._serve("create")

    def do_DELETE(self) -> None:
        self._serve("delete")

    def do_GET(self) -> None:
        self._serve("get")

    def _serve(self, verb: str) -> None:
        parts = urlsplit(self.path)
        asked = {key: values[0] for key, values in parse_qs(parts.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        try:
            if found := TRAINJOBS.match(parts.path):
                group, resource = "trainer.kubeflow.org", "trainjobs"
                if verb == "get" and not found["name"]:
                    verb = "watch" if asked.get("watch") in ("true", "True") else "list"
            elif found := JOBS.match(parts.path):
                group, resource = "batch", "jobs"
                if verb == "get" and not found["name"]:
                    verb = "watch" if asked.get("watch") in ("true", "True") else "list"
            elif found := PODS.match(parts.path):
                group, resource = "", "pods/log" if found["name"] else "pods"
                verb = verb if found["name"] else "list"
            else:
                raise Refused(404, f"the server could not find the requested resource {parts.path}")
            self._note(verb, group, resource, {**asked, **body, "name": found["name"]})
            self._answer(verb, resource, found["name"], asked, body)
        except Refused as error:
            self._send(error.status, error.body())

    def _note(self, verb: str, group: str, resource: str, said: dict[str, Any]) -> None:
        cluster = self.cluster
        with cluster.changed:
            cluster.calls.add((verb, group, resource))
            cluster.requests.append((verb, resource, said))
            if (verb, group, resource) not in cluster.allowed:
                raise Refused(403, f'User "reft" cannot {verb} resource "{resource}" in API group "{group}"')
            waiting = cluster.failures.get(f"{verb} {resource}")
            if waiting and (failure := waiting.pop(0)):
                raise failure

    def _answer(self, verb: str, resource: str, name: str, asked: dict[str, str], body: dict[str, Any]) -> None:
        cluster = self.cluster
        if verb == "create":
            assert asked["fieldValidation"] == "Strict"
            (check if resource == "trainjobs" else check_job)(body)
            if asked.get("dryRun") == "All":
                self._send(201, body)
                return
            job = cluster.add(body)
            cluster.start(lambda: cluster.kubelet(cluster, job))
            if cluster.lost_answers:
                cluster.lost_answers -= 1
                raise Refused(504, "the request timed out")
            self._send(201, job)
        elif verb == "watch":
            self._watch(int(asked["resourceVersion"]), int(asked["timeoutSeconds"]), asked["fieldSelector"])
        elif resource == "pods":
            label, _, value = asked["labelSelector"].partition("=")
            with cluster.changed:
                items = [pod for pod in cluster.pods.values() if pod["metadata"]["labels"][label] == value]
                self._send(200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
        elif resource == "pods/log":
            self._log(name, asked)
        elif name not in cluster.jobs:
            raise Refused(404, f'{resource} "{name}" not found')
        elif verb == "delete":
            cluster.delete(name)
            self._send(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})
        else:
            self._send(200, cluster.jobs[name])

    def _log(self, name: str, asked: dict[str, str]) -> None:
        if name not in self.cluster.pods:
            raise Refused(404, f'pods "{name}" not found')
        assert asked["container"] == "node"
        assert asked["timestamps"] in ("true", "True")
        lines = list(self.cluster.logs.get(name, []))
        if "sinceSeconds" in asked:
            oldest = datetime.fromtimestamp(time.time() - int(asked["sinceSeconds"]), UTC).strftime("%Y-%m-%dT%H:%M:%S")
            lines = [line for line in lines if line >= oldest]
        if "tailLines" in asked:
            lines = lines[-int(asked["tailLines"]) :]
        self._send(200, "".join(lines))

    def _watch(self, version: int, seconds: int, selector: str) -> None:
        cluster, name = self.cluster, selector.removeprefix("metadata.name=")
        assert name != selector
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with cluster.changed:
            cut, expired = cluster.cut_watches > 0, cluster.expired_watches > 0
            cluster.cut_watches -= cut
            cluster.expired_watches -= expired
        if expired:
            self._chunk({"type": "ERROR", "object": Refused(410, "too old resource version").body()})
        elif cut:
            self.wfile.write(b'10\r\n{"type": "MODI')
            self.close_connection = True
            return
        limit = time.monotonic() + (0 if expired else seconds)
        while (left := limit - time.monotonic()) > 0:
            with cluster.changed:
                new = [e for e in cluster.events if e[0] > version and e[2]["metadata"]["name"] == name]
                if not new:
                    cluster.changed.wait(left)
            for event in new:
                version = event[0]
                self._chunk({"type": event[1], "object": event[2]})
        self._write(b"0\r\n\r\n")

    def _chunk(self, event: dict[str, Any]) -> None:
        line = json.dumps(event).encode() + b"\n"
        self._write(f"{len(line):x}\r\n".encode() + line + b"\r\n")

    def _write(self, content: bytes) -> None:
        try:
            self.wfile.write(content)
            self.wfile.flush()
        except OSError:  # the client has heard enough
            self.close_connection = True

    def _send(self, status: int, content: Any) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(content, str) else "application/json")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())
