"""The matrix of who reaches whom, out of the rendered network policies."""

import pytest

from tests.deploy.reachability import Labels, reaches
from tests.deploy.rendering import OVERLAYS, find, rendered

pytestmark = pytest.mark.slow

ISOLATED: Labels = {"reft.io/network": "isolated"}
HUB: Labels = {"reft.io/network": "hub"}
CALLER: Labels = ISOLATED | {"reft.io/kube-api": "true"}
RANK: Labels = ISOLATED | {"jobset.sigs.k8s.io/jobset-name": "finetune"}
STRANGER: Labels = {"app": "somebody"}
INTERNET, METADATA, NODE, BUCKET_GKE = "93.184.216.34", "169.254.169.254", "10.0.0.7", "199.36.153.5"


def app(name: str) -> Labels:
    return {"app.kubernetes.io/name": name}


ALLOWED: list[tuple[Labels, Labels | str, int]] = [
    *[(run, app("mlflow"), 5000) for run in (ISOLATED, HUB, CALLER, RANK)],
    *[(run, app("zenml"), 8080) for run in (ISOLATED, HUB, CALLER, RANK)],
    (HUB, INTERNET, 443),
    (CALLER, NODE, 443),
    (CALLER, NODE, 6443),
    (RANK, RANK, 29500),
    (RANK, RANK, 51234),
    (app("mlflow"), app("postgres"), 5432),
    (app("zenml"), app("mysql"), 3306),
    (app("backup"), app("postgres"), 5432),
    (app("backup"), app("mysql"), 3306),
    (app("mlflow-setup"), app("mlflow"), 5000),
]
REFUSED: list[tuple[Labels, Labels | str, int]] = [
    *[(run, INTERNET, port) for run in (ISOLATED, CALLER, RANK, STRANGER) for port in (80, 443)],
    *[(run, app("postgres"), 5432) for run in (ISOLATED, HUB, CALLER, RANK, STRANGER, app("zenml"))],
    *[(run, app("mysql"), 3306) for run in (ISOLATED, HUB, CALLER, RANK, STRANGER, app("mlflow"))],
    *[(STRANGER, app(name), port) for name, port in (("mlflow", 5000), ("zenml", 8080), ("s3-store", 8333))],
    *[(app(name), INTERNET, 443) for name in ("mlflow", "zenml", "postgres", "mysql", "backup", "s3-store")],
    (HUB, INTERNET, 80),
    (HUB, METADATA, 443),
    (ISOLATED, NODE, 6443),
    (RANK, ISOLATED, 29500),
    (ISOLATED, RANK, 29500),
    (ISOLATED, ISOLATED, 8000),
]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_must_work_does(overlay: str) -> None:
    items = rendered(overlay)
    assert [case for case in ALLOWED if not reaches(items, *case)] == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_else_does(overlay: str) -> None:
    items = rendered(overlay)
    assert [case for case in REFUSED if reaches(items, *case)] == []


def test_the_store_is_reached_where_it_is() -> None:
    places: dict[str, tuple[Labels | str, int]] = {
        "local-kind": (app("s3-store"), 8333),
        "on-prem": (app("s3-store"), 8333),
        "gke": (BUCKET_GKE, 443),
        "eks": (NODE, 443),
    }
    for overlay, (store, port) in places.items():
        for pod in (ISOLATED, RANK, app("mlflow"), app("zenml")):
            assert reaches(rendered(overlay), pod, store, port), (overlay, pod)


SERVICE: Labels = app("reft-service") | CALLER
SERVICE_ALLOWED: list[tuple[Labels, Labels | str, int]] = [
    (SERVICE, app("postgres"), 5432),
    (SERVICE, app("zenml"), 8080),
    (SERVICE, app("mlflow"), 5000),
    (SERVICE, NODE, 6443),
    (SERVICE, INTERNET, 443),
    (app("service-setup"), app("postgres"), 5432),
    (app("backup"), app("postgres"), 5432),
]
SERVICE_REFUSED: list[tuple[Labels, Labels | str, int]] = [
    (SERVICE, app("mysql"), 3306),
    (SERVICE, INTERNET, 80),
    (SERVICE, METADATA, 80),
    (SERVICE, app("postgres"), 22),
    (app("service-setup"), INTERNET, 443),
    *[(pod, SERVICE, 8321) for pod in (STRANGER, ISOLATED, HUB, RANK, app("mlflow"))],
]


@pytest.mark.parametrize("overlay", ["with-service", "gke-with-service"])
def test_the_service_reaches_what_it_needs_and_nothing_else(overlay: str) -> None:
    items = rendered(overlay)
    assert [case for case in SERVICE_ALLOWED if not reaches(items, *case)] == []
    refused = [case for case in SERVICE_REFUSED if overlay == "with-service" or case[1] != METADATA]
    assert [case for case in (*refused, *REFUSED) if reaches(items, *case)] == []
    store = (app("s3-store"), 8333) if overlay == "with-service" else (BUCKET_GKE, 443)
    assert reaches(items, SERVICE, *store)


def test_without_its_policy_for_webhooks_the_service_has_no_internet() -> None:
    items = rendered("with-service")
    items.remove(find(items, "NetworkPolicy", "reft-service-webhooks"))
    assert not reaches(items, SERVICE, INTERNET, 443)


def test_without_the_first_policy_strangers_get_in() -> None:
    """The reading of policies itself: what no policy selects is open."""
    items = rendered("local-kind")
    assert not reaches(items, STRANGER, STRANGER, 8000)
    items.remove(find(items, "NetworkPolicy", "default-deny"))
    items.remove(find(items, "NetworkPolicy", "names"))
    assert reaches(items, STRANGER, STRANGER, 8000)
