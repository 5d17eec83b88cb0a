"""The few calls to Kubernetes that running a job takes, each with its right named where it is missing."""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import urllib3

from reft.errors import ClusterError, explain

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What runs a piece of work.

    Attributes:
        name: as people call it.
        label: of its pods; the value is the job's own name.
        unknown: what to do where the cluster has no such kind.
    """

    group: str
    version: str
    plural: str
    name: str
    label: str
    unknown: str

    @property
    def calls(self) -> frozenset[tuple[str, str, str]]:
        """Every call that is made: (verb, API group, resource). A role that allows these in one namespace is enough."""
        own = {(verb, self.group, self.plural) for verb in ("create", "get", "watch", "delete")}
        return frozenset({*own, ("list", "", "pods"), ("get", "", "pods/log")})


TRAINJOB = Kind(
    group=GROUP, version=VERSION, plural=PLURAL, name="TrainJob", label="jobset.sigs.k8s.io/jobset-name",
    unknown="is the Kubeflow Trainer installed there, and does the namespace exist?",
)  # fmt: skip
JOB = Kind(
    group="batch", version="v1", plural="jobs", name="Job", label="batch.kubernetes.io/job-name",
    unknown="does the namespace exist?",
)  # fmt: skip
API_CALLS = TRAINJOB.calls
# An API server that restarts is away for a minute or two: about four of waiting in all. Repeating is safe for each
# call here: a job that a lost answer created is found by its name.
RETRIES = urllib3.Retry(
    total=9,
    backoff_factor=1,
    backoff_max=60,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=None,
    raise_on_status=False,
)
CONNECT_SECONDS, ANSWER_SECONDS = 10, 60


class Conflict(ClusterError):
    """A job of this name is already there."""


class Missing(ClusterError):
    """What was asked for is not there (any more)."""


class ClusterClient:
    """Jobs of one kind, their pods and logs in one namespace.

    Args:
        retries: how often, and how long apart, a call is repeated that the server could not answer.

    Raises:
        ClusterError: there is no client library or no cluster to talk to.
    """

    def __init__(self, namespace: str, retries: urllib3.Retry = RETRIES, kind: Kind = TRAINJOB) -> None:
        try:
            import kubernetes
        except ImportError as error:
            remedy = "pip install 'reft[kubernetes]'"
            raise ClusterError(explain("the Kubernetes client is not installed", "cluster", remedy)) from error
        self.namespace, self.kind = namespace, kind
        self._library: Any = kubernetes
        configuration: Any = kubernetes.client.Configuration()
        configuration.retries = retries
        _configure(kubernetes, configuration)
        api = kubernetes.client.ApiClient(configuration)
        self._custom: Any = kubernetes.client.CustomObjectsApi(api)
        self._core: Any = kubernetes.client.CoreV1Api(api)
        self._place = {
            "group": kind.group, "version": kind.version, "namespace": namespace, "plural": kind.plural,
        }  # fmt: skip
        self._limit = {"_request_timeout": (CONNECT_SECONDS, ANSWER_SECONDS)}

    def create(self, manifest: dict[str, Any], dry_run: bool = False) -> dict[str, Any]:
        """Create a job; a dry run only asks the server whether it would.

        Raises:
            Conflict: there is one of this name.
            ClusterError: it was refused.
        """
        more = {"dry_run": "All"} if dry_run else {}
        with self._naming("create", name=manifest["metadata"]["name"]):
            return self._custom.create_namespaced_custom_object(
                **self._place, body=manifest, field_validation="Strict", **more, **self._limit
            )

    def get(self, name: str) -> dict[str, Any]:
        """A job as it is now.

        Raises:
            Missing: it is not there.
        """
        with self._naming("get", name=name):
            return self._custom.get_namespaced_custom_object(**self._place, name=name, **self._limit)

    def delete(self, name: str) -> None:
        """Delete a job; its name stays taken until its pods are gone. One that is not there is no error."""
        with self._naming("delete", name=name):
            try:
                self._custom.delete_namespaced_custom_object(
                    **self._place, name=name, propagation_policy="Foreground", **self._limit
                )
            except self._library.client.ApiException as error:
                if error.status != 404:
                    raise

    def next_change(self, name: str, version: str, seconds: int) -> dict[str, Any] | None:
        """Wait for the job to differ from the given resourceVersion; None where it does not for so long.

        A stream that breaks off is as if nothing had happened: whoever calls again asks from the same version.

        Raises:
            Missing: it was deleted.
        """
        limits = {"timeout_seconds": seconds, "_request_timeout": (CONNECT_SECONDS, seconds + ANSWER_SECONDS)}
        only = {"field_selector": f"metadata.name={name}", "resource_version": version}
        events = self._library.watch.Watch().stream(
            self._custom.list_namespaced_custom_object, **self._place, **only, **limits
        )
        with self._naming("watch", name=name):
            try:
                for event in events:
                    if event and event["type"] == "DELETED":
                        raise self.deleted(name)
                    if event and event["type"] in ("ADDED", "MODIFIED"):
                        return event["object"]
            except self._library.client.ApiException as error:
                if error.status == 410:  # the version is too old for the server to tell what came after it
                    return self.get(name)
                raise
            except (urllib3.exceptions.ProtocolError, urllib3.exceptions.ReadTimeoutError):
                return None
            finally:
                events.close()
        return None

    def pods(self, name: str) -> list[Any]:
        """The job's pods, oldest first."""
        with self._naming("list", "pods", name=name):
            listed = self._core.list_namespaced_pod(
                self.namespace, label_selector=f"{self.kind.label}={name}", **self._limit
            )
        unknown = datetime.max.replace(tzinfo=UTC)
        return sorted(listed.items, key=lambda pod: pod.metadata.creation_timestamp or unknown)

    def log(self, pod: str, tail: int | None = None, since_seconds: int | None = None) -> str:
        """A pod's log with a time before each line; empty where there is none (yet, or any more)."""
        chosen = {"tail_lines": tail, "since_seconds": since_seconds}
        with self._naming("get", "pods/log", name=pod):
            try:
                # Undecoded: the client's own reading turns bytes into their Python notation.
                answer = self._core.read_namespaced_pod_log(
                    pod, self.namespace, container="node", timestamps=True, _preload_content=False,
                    **{key: value for key, value in chosen.items() if value is not None}, **self._limit,
                )  # fmt: skip
                return answer.data.decode(errors="replace")
            except self._library.client.ApiException as error:
                if error.status in (400, 404):  # it has not started, or is gone
                    return ""
                raise

    def deleted(self, name: str) -> Missing:
        """The error of a job that somebody else deleted."""
        remedy = "see the namespace's events for who did; start again: it resumes"
        return Missing(
            explain(f"the {self.kind.name} {name} was deleted by somebody", f"namespace {self.namespace}", remedy)
        )

    @contextmanager
    def _naming(self, verb: str, resource: str = "", *, name: str) -> Generator[None]:
        """Errors of the server in our words; without a resource, about a job."""
        group, resource = ("", resource) if resource else (self.kind.group, self.kind.plural)
        try:
            yield
        except self._library.client.ApiException as error:
            raise self._explained(error, verb, group, resource=resource, name=name) from error
        except urllib3.exceptions.HTTPError as error:
            remedy = "is the cluster up, and may this pod reach it? start again: it resumes"
            raise ClusterError(
                explain(f"the Kubernetes API cannot be reached ({error})", f"{verb} {resource}", remedy)
            ) from error

    def _explained(self, error: Any, verb: str, group: str, *, resource: str, name: str) -> ClusterError:
        where, kind = f"{resource} {name} in namespace {self.namespace}", f"{resource}.{group}" if group else resource
        if error.status == 403:
            remedy = f"allow the verb {verb} on {kind} in a Role that is bound to this service account"
            return ClusterError(explain(f"Kubernetes does not allow to {verb} {kind}: {_said(error)}", where, remedy))
        if error.status == 409:
            return Conflict(explain(_said(error), where, "wait for it, or delete it"))
        if error.status == 404 and verb == "create":
            return ClusterError(explain(f"the cluster knows no {self.kind.name}s", where, self.kind.unknown))
        if error.status == 404:
            return self.deleted(name)
        remedy = "check the section cluster of the settings, the training runtime and the namespace's quota"
        if error.status >= 500 or error.status == 429:
            remedy = "look after the cluster's API server; start again: it resumes"
        return ClusterError(explain(f"Kubernetes answered {error.status}: {_said(error)}", where, remedy))


def _configure(kubernetes: Any, configuration: Any) -> None:
    """As a pod, else as whoever the user's kubeconfig names."""
    try:
        kubernetes.config.load_incluster_config(client_configuration=configuration)
    except kubernetes.config.ConfigException:
        try:
            kubernetes.config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=configuration)
        except kubernetes.config.ConfigException as error:
            remedy = "run inside a pod with a service account, or set KUBECONFIG"
            raise ClusterError(explain(f"no Kubernetes cluster: {error}", "cluster", remedy)) from error


def _said(error: Any) -> str:
    """The server's own message, out of its Status object."""
    try:
        return json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"
