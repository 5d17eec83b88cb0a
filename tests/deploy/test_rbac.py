"""Each account may do what its caller's code calls, and nothing more."""

import pytest

from tests.deploy.api_calls import Right, methods_of, right_of
from tests.deploy.rendering import OVERLAYS, Manifest, find, rendered

pytestmark = pytest.mark.slow

CLIENT = "orchestrators/kubernetes_orchestrator.py"
ORCHESTRATOR = "orchestrators/kubernetes_orchestrator_entrypoint.py"
TOKEN = "the token's Secret is made only with `pass_zenml_token_as_secret`, which is off"
SCHEDULE = "the service starts each run itself, and none by a schedule"
ACCOUNT = "ZenML makes an account of its own only where the orchestrator's `service_account_name` is not set"

# What ZenML's code has and our settings never reach.
RULED_OUT: dict[str, dict[str, str]] = {
    CLIENT: {
        "create_namespaced_secret": TOKEN,
        "patch_namespaced_secret": TOKEN,
        "delete_namespaced_secret": TOKEN,
        "create_namespaced_service_account": ACCOUNT,
        "create_namespaced_role_binding": ACCOUNT,
        "read_namespaced_pod": "asked only inside of a dynamic pipeline's orchestrator pod; ours is static",
    },
    ORCHESTRATOR: {"delete_namespaced_secret": TOKEN},
}


def granted(items: list[Manifest], account: str) -> set[Right]:
    """What the bindings in the namespace give to an account."""
    rights: set[Right] = set()
    for binding in (item for item in items if item["kind"] == "RoleBinding"):
        if any(s["kind"] == "ServiceAccount" and s["name"] == account for s in binding["subjects"]):
            for rule in find(items, "Role", binding["roleRef"]["name"])["rules"]:
                assert "resourceNames" not in rule
                rights |= {(v, g, r) for v in rule["verbs"] for g in rule["apiGroups"] for r in rule["resources"]}
    return rights


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize(("account", "module"), [("reft-client", CLIENT), ("reft-orchestrator", ORCHESTRATOR)])
def test_zenml_may_do_what_its_code_calls(overlay: str, account: str, module: str) -> None:
    needed = {right_of(method) for method in methods_of(module) - set(RULED_OUT[module])}
    assert granted(rendered(overlay), account) == needed


def test_the_service_may_do_what_a_client_may_but_make_schedules() -> None:
    schedules = {name for name in methods_of(CLIENT) if name.endswith("_cron_job")}
    assert schedules, SCHEDULE
    needed = {right_of(method) for method in methods_of(CLIENT) - set(RULED_OUT[CLIENT]) - schedules}
    for overlay in ("with-service", "gke-with-service"):
        assert granted(rendered(overlay), "reft-service") == needed


@pytest.mark.parametrize("module", [CLIENT, ORCHESTRATOR])
def test_what_is_ruled_out_is_still_in_the_code(module: str) -> None:
    assert set(RULED_OUT[module]) <= methods_of(module)


def test_the_pipeline_is_static() -> None:
    from pipelines.reft import reft

    assert not reft.is_dynamic


def test_the_finetune_step_may_do_what_its_client_calls() -> None:
    client = pytest.importorskip("reft.cluster.client", reason="reft/cluster is not there yet")
    assert granted(rendered("on-prem"), "reft-finetune") == set(client.API_CALLS)


@pytest.mark.parametrize("account", ["reft-step", "mlflow", "zenml", "reft-storage", "default"])
def test_the_others_may_do_nothing(account: str) -> None:
    assert granted(rendered("on-prem"), account) == set()


def test_the_mapping_from_methods_to_rights() -> None:
    assert right_of("read_namespaced_pod_log") == ("get", "", "pods/log")
    assert right_of("create_namespaced_cron_job") == ("create", "batch", "cronjobs")
    assert right_of("list_node") == ("list", "", "nodes")
    assert right_of("delete_collection_namespaced_job") == ("deletecollection", "batch", "jobs")


def test_a_call_that_a_new_zenml_adds_is_seen() -> None:
    """A module that is known to call more, read in the same way."""
    assert "create_namespaced_service" in methods_of("step_operators/kubernetes_step_operator.py")
