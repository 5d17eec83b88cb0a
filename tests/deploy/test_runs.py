"""The run configurations on a registered Kubernetes stack: what ZenML makes of them, checked like a manifest."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reft.config import Settings, read_profile
from reft.plan.memory import GIB, plan_memory
from reft.plan.shapes import model_config
from tests.deploy import lint, schemas

RUNS = sorted(map(str, Path("configs/k8s").glob("*.yaml")))
ON_A_GPU = {"refusal_feature", "teacher", "soft_labels", "calibration", "filtering", "baselines", "evaluation"}
ON_A_GPU |= {"audit_reference", "audit"}
GPUS = {"8b-one-gpu": 1, "8b-eight-gpus": 8, "8b-two-nodes": 0}  # of the finetune step's own pod


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zenml")
    environment = os.environ | {
        "ZENML_CONFIG_PATH": str(folder), "ZENML_REPOSITORY_PATH": str(folder), "ZENML_LOGGING_VERBOSITY": "ERROR",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "MLFLOW_TRACKING_USERNAME": "somebody",
        "MLFLOW_TRACKING_PASSWORD": "for-the-test-alone", "REFT_IMAGE_CPU": "registry.example.org/reft:cpu-1",
        "REFT_IMAGE_CUDA": "registry.example.org/reft:cuda-1", "PYTHONPATH": ".",
    }  # fmt: skip

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    register = ("deploy/k8s/register_stack.py", "--registry", "registry.example.org")
    said = [run(*register), run(*register)]  # the second changes nothing
    assert said[0].splitlines()[-1] == said[1].splitlines()[-1]
    return json.loads(run("-m", "tests.deploy.compile_runs", *RUNS).splitlines()[-1])


@pytest.fixture(params=RUNS, ids=lambda path: Path(path).stem)
def jobs(request, compiled):
    assert compiled["stack"] == "reft_kubernetes"
    return request.param, compiled[request.param]


@pytest.mark.slow
def test_every_job_is_what_kubernetes_takes_and_keeps_the_houses_rules(jobs):
    for job in jobs[1].values():
        account = job["spec"]["template"]["spec"]["serviceAccountName"]
        # ZenML leaves the token to the service account, which has it off.
        job["spec"]["template"]["spec"]["automountServiceAccountToken"] = account in lint.WITH_TOKEN
        # It also sends names of its own with nothing in them, which an API server leaves out with a warning.
        (container,) = job["spec"]["template"]["spec"]["containers"]
        context = container["securityContext"]
        container["securityContext"] = {name: value for name, value in context.items() if value is not None}
        schemas.validate(job)
    for rule in (lint.hardened, lint.unprivileged, lint.limited, lint.pinned, lint.secretless, lint.tokens):
        assert list(rule(list(jobs[1].values()))) == []


@pytest.mark.slow
def test_each_step_is_on_the_pool_and_in_the_image_that_it_needs(jobs):
    path, found = jobs
    gpus_of_finetuning = GPUS[Path(path).stem]
    for name, job in found.items():
        spec = job["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        gpus = 1 if name in ON_A_GPU else gpus_of_finetuning if name in ("finetuning", "sft") else 0
        assert container["resources"]["limits"].get("nvidia.com/gpu", "0") == str(gpus), name
        assert container["image"].endswith("cuda-1" if gpus else "cpu-1"), name
        assert spec["nodeSelector"]["reft.io/pool"] == {0: "cpu", 1: "gpu", 8: "train"}[gpus], name
        assert job["spec"]["template"]["metadata"]["labels"]["reft.io/network"] == "isolated"
        assert {v["mountPath"] for v in container["volumeMounts"]} == {"/var/reft", "/tmp", "/scratch", "/dev/shm"}
        assert bool(spec.get("tolerations")) == bool(gpus)
        if name not in ("orchestrator",):
            rules = job["spec"]["podFailurePolicy"]["rules"]
            assert rules[0] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    account = found["finetuning"]["spec"]["template"]["spec"]["serviceAccountName"]
    assert account == ("reft-finetune" if gpus_of_finetuning == 0 else "reft-step")


@pytest.mark.slow
def test_what_is_trained_fits_the_gpus_that_are_asked_for():
    for path in RUNS:
        settings: Settings = read_profile(Path(path))
        finetuning, cluster = settings.finetuning, settings.cluster
        gpus, nodes = finetuning.processes, 1
        if finetuning.launcher == "trainjob":
            gpus, nodes = cluster.gpus_per_node, cluster.nodes
        assert finetuning.batch_size % (gpus * nodes) == 0
        needs = plan_memory(
            model_config("8b"), settings, gpus, nodes=nodes, tokens=settings.model.max_length, answer=128
        )
        # Loading may need more than training does, and is what the stage's line says then.
        finetune = f"finetune, ZeRO {finetuning.zero_stage}"
        chosen = [n for n in needs if not n.stage.startswith("finetune") or n.stage.startswith(finetune)]
        assert len(chosen) == 6
        assert max(n.gpu for n in chosen) < 80 * GIB, path
