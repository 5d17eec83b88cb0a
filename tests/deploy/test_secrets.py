"""make_secrets.sh makes what the manifests refer to, and the servers' own code accepts what they are given."""

import configparser

import pytest

from tests.deploy import schemas
from tests.deploy.environment import environment_of, made, value
from tests.deploy.lint import SECRETS
from tests.deploy.rendering import OVERLAYS, WITH, Manifest, find, pods, rendered

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def secrets() -> dict[str, Manifest]:
    return made()


def references(template: Manifest) -> set[tuple[str, str]]:
    """Each (Secret, key) that a pod reads."""
    found = set()
    for volume in template["spec"].get("volumes", []):
        for item in volume.get("secret", {}).get("items", []):
            found.add((volume["secret"]["secretName"], item["key"]))
    for container in [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]:
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference and not reference.get("optional"):
                found.add((reference["name"], reference["key"]))
    return found


@pytest.mark.parametrize("overlay", [*OVERLAYS, *WITH])
def test_each_key_that_a_pod_reads_is_made(overlay: str, secrets: dict[str, Manifest]) -> None:
    read = set().union(*(references(template) for _, template in pods(rendered(overlay))))
    assert len(read) >= 10
    assert read <= {(name, key) for name, item in secrets.items() for key in item["data"]}


def test_the_secrets_are_valid_and_of_the_namespace(secrets: dict[str, Manifest]) -> None:
    assert set(secrets) == SECRETS
    for item in secrets.values():
        assert item["metadata"].pop("creationTimestamp", None) is None  # kubectl's dry run prints it, empty
        schemas.validate(item)
        assert item["metadata"]["namespace"] == "reft"


def test_values_are_long_and_new_each_time(secrets: dict[str, Manifest]) -> None:
    again = made()
    fixed = {"MLFLOW_TRACKING_USERNAME"}
    for name, item in secrets.items():
        for key in set(item["data"]) - fixed:
            assert len(value(secrets, name, key)) >= 20
            assert value(again, name, key) != value(secrets, name, key)


def _store(environment: dict[str, str]) -> dict[str, str]:
    prefix = "ZENML_STORE_"
    return {name.removeprefix(prefix).lower(): v for name, v in environment.items() if name.startswith(prefix)}


def test_zenml_accepts_its_store(secrets: dict[str, Manifest]) -> None:
    from zenml.zen_stores.sql_zen_store import SQLDatabaseDriver, SqlZenStoreConfiguration

    settings = _store(environment_of("zenml", secrets))
    store = SqlZenStoreConfiguration.model_validate(settings)
    assert (store.driver, store.database) == (SQLDatabaseDriver.MYSQL, "zenml")
    assert store.username is not None
    assert store.username.get_secret_value() == "zenml"
    with pytest.raises(ValueError, match="Invalid SQL driver"):  # why there are two databases
        SqlZenStoreConfiguration.model_validate(settings | {"url": "postgresql://postgres:5432/zenml"})


def test_zenml_knows_every_variable(secrets: dict[str, Manifest]) -> None:
    from zenml.config.server_config import ServerConfiguration
    from zenml.zen_stores.secrets_stores.sql_secrets_store import SqlSecretsStoreConfiguration
    from zenml.zen_stores.sql_zen_store import SqlZenStoreConfiguration

    environment = environment_of("zenml", secrets)
    known = {
        "ZENML_STORE_": SqlZenStoreConfiguration,
        "ZENML_SECRETS_STORE_": SqlSecretsStoreConfiguration,
        "ZENML_SERVER_": ServerConfiguration,
    }
    for prefix, model in known.items():
        names = [name.removeprefix(prefix).lower() for name in environment if name.startswith(prefix)]
        assert names
        assert set(names) <= set(model.model_fields)


def test_mlflow_knows_every_variable_and_its_users_database(secrets: dict[str, Manifest]) -> None:
    import click
    from mlflow import environment_variables
    from mlflow.cli import server

    environment = environment_of("mlflow", secrets)
    options = {option.envvar for option in server.params if isinstance(option, click.Option)}
    unknown = [
        n for n in environment if n.startswith("MLFLOW_") and n not in options and not hasattr(environment_variables, n)
    ]
    assert unknown == []
    ini = configparser.ConfigParser()
    ini.read_string(value(secrets, "reft-mlflow", "basic_auth.ini"))
    password = value(secrets, "reft-postgres", "mlflow-password")
    assert ini["mlflow"]["database_uri"] == f"postgresql://mlflow:{password}@postgres:5432/mlflow_users"
    assert environment["MLFLOW_BACKEND_STORE_URI"] == f"postgresql://mlflow:{password}@postgres:5432/mlflow"
    assert ini["mlflow"]["admin_username"] == "admin"


def test_a_service_by_each_name_that_mlflow_is_called() -> None:
    from mlflow.server.security_utils import is_allowed_host_header

    template = find(rendered("local-kind"), "Deployment", "mlflow")["spec"]["template"]
    variables = {v["name"]: v.get("value", "") for v in template["spec"]["containers"][0]["env"]}
    allowed = variables["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    for host in ("mlflow:5000", "mlflow.reft:5000", "mlflow.reft.svc:5000", "localhost:8000"):
        assert is_allowed_host_header(allowed, host)
    assert not is_allowed_host_header(allowed, "mlflow.attacker.example")
