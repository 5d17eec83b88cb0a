"""The service's pod for real: its setup script, its init container and its command, on a PostgreSQL."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import openai
import pytest
import yaml

from reft.service.settings import ENVIRONMENT, ServiceSettings, read_service_settings
from tests.deploy.databases import postgres, program, run
from tests.deploy.environment import environment_of, made, value
from tests.deploy.rendering import DEPLOY, WITH, Manifest, find, rendered
from tests.ports import free_port

pytestmark = pytest.mark.slow
SETUP = DEPLOY / "components" / "service" / "create_service.sh"
OVERLAY = "with-service"
SECONDS = 300


@pytest.fixture(scope="module")
def secrets() -> dict[str, Manifest]:
    return made()


def pod() -> Manifest:
    return find(rendered(OVERLAY), "Deployment", "reft-service")["spec"]["template"]["spec"]


@pytest.mark.parametrize("overlay", [name for name in WITH if "service" in name])
def test_its_environment_is_settings_of_ours(overlay: str, secrets: dict[str, Manifest]) -> None:
    environment = environment_of("reft-service", secrets, overlay=overlay)
    ours = {name.removeprefix(ENVIRONMENT).lower() for name in environment if name.startswith(ENVIRONMENT)}
    assert ours <= set(ServiceSettings.model_fields)
    settings = read_service_settings(environment=environment)
    assert settings.pipeline[-2:] == ["--stack", "reft_service"]
    assert settings.stop[-1] == "--stop"
    assert str(settings.work).startswith("/var/reft/")  # steps see it
    assert not str(settings.state).startswith("/var/reft")  # and not the database's address
    assert settings.database_url == value(secrets, "reft-service", "database-url")


def test_no_service_of_the_namespace_sets_a_setting() -> None:
    """Kubernetes gives every pod NAME_PORT, NAME_SERVICE_HOST and more for each Service."""
    names = [item["metadata"]["name"] for item in rendered(OVERLAY) if item["kind"] == "Service"]
    assert "finetuning" in names
    for name in names:
        assert not f"{name.upper().replace('-', '_')}_".startswith(ENVIRONMENT)


def test_the_jobs_run_configuration_is_in_the_image_and_shares_the_volume() -> None:
    arguments = pod()["containers"][0]["args"]
    profile = Path(arguments[arguments.index("--config") + 1].removeprefix("/app/"))
    assert "COPY configs configs" in (DEPLOY / "images" / "Containerfile.cpu").read_text()
    steps = yaml.safe_load(profile.read_text())["settings"]["orchestrator"]["pod_settings"]
    claims = {volume["name"]: volume.get("persistentVolumeClaim", {}).get("claimName") for volume in steps["volumes"]}
    shared = next(mount["mountPath"] for mount in steps["volume_mounts"] if claims[mount["name"]] == "reft-work")
    ours = {volume["name"]: volume.get("persistentVolumeClaim", {}).get("claimName") for volume in pod()["volumes"]}
    (own,) = [m["mountPath"] for m in pod()["containers"][0]["volumeMounts"] if ours[m["name"]] == "reft-work"]
    assert own == shared
    user = steps["additional_pod_spec_args"]["security_context"]["runAsUser"]
    assert user == pod()["securityContext"]["runAsUser"]  # both write there


def test_there_are_enough_connections_for_all_replicas() -> None:
    from reft.service.database import Database

    arguments = find(rendered(OVERLAY), "StatefulSet", "postgres")["spec"]["template"]["spec"]["containers"][0]["args"]
    most = int(arguments[-1].removeprefix("max_connections="))
    scaler = find(rendered(OVERLAY), "HorizontalPodAutoscaler", "reft-service")["spec"]
    service = pod()["containers"][0]["args"]
    pool = Database("postgresql+psycopg2://u@h/n").engine.pool
    each = pool.size() + pool._max_overflow
    beside = 3 * 2  # each looks with one connection, and writes with another
    replicas = scaler["maxReplicas"] + 1  # one more while they are replaced
    workers = 2 * int(environment_of("reft-service", made(), overlay=OVERLAY)["REFT_SERVICE_JOBS_AT_ONCE"])
    mlflow = 2 * 2 * 15
    assert replicas * (int(service[service.index("--workers") + 1]) * each + beside) + workers + mlflow < most


def test_the_setup_script_may_be_repeated_and_sets_the_password(secrets: dict[str, Manifest]) -> None:
    program("initdb")
    with postgres() as administrator:
        for password in ("it's old", "it's new"):
            run("sh", str(SETUP), environment=administrator | {"SERVICE_DATABASE_PASSWORD": password})
        owner = "SELECT pg_get_userbyid(datdba), rolcanlogin, rolsuper FROM pg_database, pg_roles "
        owner += "WHERE datname = 'reft_service' AND rolname = 'reft_service'"
        said = run("psql", "-qAtc", owner, environment=administrator)
        assert said.strip() == "reft_service|t|f"
        assert secrets["reft-service"]


def get(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def until_ready(server: subprocess.Popen[bytes], address: str) -> None:
    end = time.monotonic() + SECONDS
    while True:
        assert server.poll() is None
        assert time.monotonic() < end
        try:
            assert get(f"{address}/readyz") == 200
            return
        except OSError:
            time.sleep(0.25)


class Pod:
    """The manifest's containers here: addresses and folders of the cluster are replaced by those of this machine."""

    def __init__(self, folder: Path, secrets: dict[str, Manifest], model: str) -> None:
        self.folder, self.secrets, self.port = folder, secrets, free_port()
        self.key, self.profile = folder / "operator-key", folder / "profile.yaml"
        self.key.write_text(value(secrets, "reft-service", "operator-key"))
        self.profile.write_text(yaml.safe_dump({"parameters": {"settings": {"model": {"name": model}}}}))

    def environment(self, kind: str, database_port: str) -> dict[str, str]:
        found = environment_of("reft-service", self.secrets, overlay=OVERLAY, kind=kind)
        found["REFT_SERVICE_DATABASE"] = found["REFT_SERVICE_DATABASE"].replace(
            "@postgres:5432", f"@127.0.0.1:{database_port}"
        )
        found |= {name: str(self.folder / name.lower()) for name in ("REFT_SERVICE_STATE", "REFT_SERVICE_WORK")}
        found |= {"HOME": str(self.folder), "PATH": os.environ["PATH"], "PYTHONPATH": str(DEPLOY.parents[1])}
        return found | {"OMP_NUM_THREADS": "1", "REFT_SERVICE_PIPELINE_FOLDER": str(self.folder)}

    def command(self, kind: str) -> list[str]:
        container = pod()[kind][0]
        words = [*container["command"], *container["args"]]
        assert words[0] == "reft"
        swapped = {
            "/keys/operator-key": str(self.key), "/app/configs/k8s/8b-one-gpu.yaml": str(self.profile),
            "0.0.0.0": "127.0.0.1", "8321": str(self.port), "2": "1",
        }  # fmt: skip
        return [sys.executable, "-m", "reft.cli", *(swapped.get(word, word) for word in words[1:])]


def test_the_pod_starts_lets_the_first_operator_in_and_is_ready(
    secrets: dict[str, Manifest], tiny_model: str, tmp_path: Path
) -> None:
    program("initdb")
    here = Pod(tmp_path, secrets, tiny_model)
    address = f"http://127.0.0.1:{here.port}"
    with postgres() as administrator:
        password = value(secrets, "reft-service", "database-password")
        run("sh", str(SETUP), environment=administrator | {"SERVICE_DATABASE_PASSWORD": password})
        for _ in range(2):  # every pod does it
            kind = "initContainers"
            environment = here.environment(kind, administrator["PGPORT"])
            subprocess.run(here.command(kind), env=environment, check=True, timeout=SECONDS)
        environment = here.environment("containers", administrator["PGPORT"])
        with subprocess.Popen(here.command("containers"), env=environment, cwd=tmp_path) as server:
            try:
                until_ready(server, address)
                assert get(f"{address}/healthz") == 200
                client = openai.OpenAI(base_url=f"{address}/v1", api_key=here.key.read_text())
                assert client.models.list().data
                with pytest.raises(openai.AuthenticationError):
                    openai.OpenAI(base_url=f"{address}/v1", api_key="sk-reft-x").models.list()
            finally:
                server.terminate()
                server.wait(60)
