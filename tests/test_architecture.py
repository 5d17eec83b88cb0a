"""The arrows of the house: who may import whom."""

import ast
from pathlib import Path

import pytest

GROUND = {"conversations", "models", "errors", "artifacts", "config", "progress", "fingerprint", "processes"}
ALLOWED = {
    "conversations": GROUND,
    "models": GROUND,
    "refusal": GROUND,
    "evaluation": GROUND,
    "teacher": GROUND | {"refusal"},
    "filtering": GROUND | {"refusal", "evaluation"},  # evaluation for its judge of refusals and its intervals
    "attacks": GROUND | {"evaluation", "filtering", "scorer"},
    "distillation": GROUND,
    "cluster": GROUND | {"distillation"},
    "validation": GROUND,
    "promotion": GROUND | {"evaluation"},
    "plan": GROUND,
    "tracking": GROUND | {"evaluation", "promotion"},  # evaluation for its generation, which serves
    "evidence": GROUND | {"cost", "distillation", "evaluation", "filtering", "report", "refusal", "scorer", "teacher"},
    "report": GROUND | {"evaluation", "filtering", "refusal"},
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_a_package_imports_only_what_it_stands_on(package):
    for path in Path("reft", package).rglob("*.py"):
        ours = {name.split(".")[1] for name in imports(path) if name.startswith("reft.")}
        assert ours - {package} <= ALLOWED[package], path


def test_the_product_knows_neither_zenml_nor_steps_and_mlflow_only_in_tracking():
    for path in Path("reft").rglob("*.py"):
        top = {name.split(".")[0] for name in imports(path)}
        assert not top & {"zenml", "steps", "pipelines"}, path
        assert "mlflow" not in top or "tracking" in path.parts, path


def test_steps_do_not_know_pipelines():
    for path in Path("steps").glob("*.py"):
        assert not any(name.startswith("pipelines") for name in imports(path)), path


def test_nothing_unpickles_and_files_stay_readable():
    for path in [*Path("reft").rglob("*.py"), *Path("steps").glob("*.py")]:
        assert not imports(path) & {"pickle", "dill", "joblib"}, path
        assert len(path.read_text().splitlines()) <= 300, path
