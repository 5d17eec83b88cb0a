"""The manifest, for any command, and the settings it is made of."""

import os

import pytest

from reft.cluster.client import ClusterClient
from reft.cluster.trainjob import trainjob
from reft.config import ClusterSettings, Toleration, parse_settings
from reft.errors import ClusterError, ConfigurationError
from tests.cluster.schema import Refused, check

SCAN = ["reft.cli", "scan", "/var/reft/rows", "--out", "/var/reft/scanned"]


def test_any_command_with_every_setting_is_a_trainjob(client, cluster, folder):
    everything = ClusterSettings(
        image="docker.io/library/python:3.11", nodes=3, gpus_per_node=4, service_account="reft", queue="night",
        runtime_kind="ClusterTrainingRuntime", node_selector={"pool": "gpus"}, env={"HF_HOME": "/var/reft/hub"},
        tolerations=[Toleration(key="gpu", operator="Exists", effect="NoSchedule")], cpus=8.5,
    )  # fmt: skip
    made = trainjob("reft-scan", SCAN, folder, settings=everything, env={"HF_HOME": "/nowhere", "LEVEL": "2"})
    created = client.create(made)
    assert created["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "night"
    trainer = created["spec"]["trainer"]
    assert trainer["command"] == ["torchrun", "-m", *SCAN]
    env = {variable["name"]: variable["value"] for variable in trainer["env"]}
    assert (env["HF_HOME"], env["LEVEL"], env["OMP_NUM_THREADS"]) == ("/var/reft/hub", "2", "2")
    assert trainer["resourcesPerNode"]["requests"]["cpu"] == "8.5"
    (patch,) = created["spec"]["runtimePatches"]
    pod = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["nodeSelector"] == {"pool": "gpus"}
    assert pod["volumes"] == [{"name": "work", "persistentVolumeClaim": {"claimName": "reft-work"}}]
    assert pod["terminationGracePeriodSeconds"] > int(env["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"])
    assert list(cluster.jobs) == ["reft-scan"]


def spoilt(manifest, how):
    spec = manifest["spec"]
    if how == "an unknown field":
        spec["trainer"]["gpus"] = 3
    elif how == "an unknown field in a patch":
        spec["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]["replicas"] = 3
    elif how == "a wrong type":
        spec["trainer"]["numNodes"] = "3"
    elif how == "a reserved variable":
        spec["trainer"]["env"].append({"name": "PET_NNODES", "value": "1"})
    else:
        manifest["metadata"]["name"] = "Upper_case"
    return manifest


@pytest.mark.parametrize(
    "how", ["an unknown field", "an unknown field in a patch", "a wrong type", "a reserved variable", "a wrong name"]
)
def test_the_test_server_refuses_what_the_schema_does_not_hold(client, folder, settings, how):
    """So that a manifest that passes here says something."""
    good = trainjob("reft-scan", SCAN, folder, settings=settings)
    check(good)
    with pytest.raises(Refused):
        check(spoilt(good, how))
    with pytest.raises(ClusterError, match=r"answered 4\d\d"):
        client.create(good)


def test_a_dry_run_creates_nothing(client, cluster, folder, settings):
    client.create(trainjob("reft-scan", SCAN, folder, settings=settings), dry_run=True)
    assert not cluster.jobs


@pytest.mark.skipif(
    not (os.environ.get("REFT_TEST_CLUSTER") == "1" and os.environ.get("KUBECONFIG")),
    reason="no real cluster: set KUBECONFIG and REFT_TEST_CLUSTER=1",
)
def test_a_real_api_server_would_take_it(tmp_path):
    settings = ClusterSettings(queue="night", tolerations=[Toleration(key="gpu", operator="Exists")])
    ClusterClient(settings.namespace).create(trainjob("reft-dry-run", SCAN, tmp_path, settings=settings), dry_run=True)


RIGHT = {"finetuning": {"launcher": "trainjob", "batch_size": 8, "work_folder": "/var/reft/jobs"}}


@pytest.mark.parametrize(
    ("finetuning", "cluster", "words"),
    [
        ({"processes": 4}, {"nodes": 2}, r"finetuning\.processes is 4.*is 2"),
        ({}, {"nodes": 3}, r"batch_size must be a multiple of the 3 processes"),
        ({"work_folder": ".reft/jobs"}, {}, r"work_folder must lie under cluster\.work_mount"),
        ({}, {"memory": "much"}, r"cluster\.memory"),
        ({}, {"env": {"PET_NNODES": "2"}}, r"cluster\.env.*PET_NNODES"),
        ({}, {"tolerations": [{"effect": "Sometimes"}]}, r"cluster\.tolerations\.0\.effect"),
    ],
)
def test_settings_that_no_trainjob_can_have(finetuning, cluster, words):
    parse_settings({**RIGHT, "cluster": {"nodes": 2, "gpus_per_node": 4}})
    with pytest.raises(ConfigurationError, match=words):
        parse_settings({"finetuning": {**RIGHT["finetuning"], **finetuning}, "cluster": cluster})
