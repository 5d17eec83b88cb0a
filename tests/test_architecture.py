"""The arrows of the house and its limits: who may import whom, and how large anything may be."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOTS = ("reft", "steps", "pipelines", "benchmarks")
# Each layer stands on those before it. A package may import another of its own layer where ALSO says so.
LAYERS: tuple[set[str], ...] = (
    {"errors", "moved", "plugins", "statistics", "promotion", "wording"},
    {"config", "storage"},
    {"conversations"},
    {"models", "pages"},
    {"keys", "runtime", "judges", "plan"},
    {"refusal_feature", "evaluation", "validation"},
    {"teacher", "gate"},
    {"soft_labels", "filtering", "tracking"},
    {"attacks", "finetuning", "scan", "retraining", "report"},
    {"audit", "cluster", "comparison"},
    {"service"},
    {"cli"},
)
ALSO = {("config", "storage"), ("plugins", "errors"), ("plugins", "wording"), ("promotion", "errors")}
FEW = 3  # positional parameters of ours; and a call has at most FIVE
FIVE = 5


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def files(*roots: str) -> list[Path]:
    return [path for root in roots for path in sorted(Path(root).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "reft":
                found |= {f"reft.{alias.name}" for alias in node.names}
    return found


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef))


def test_every_package_has_its_layer():
    there = {path.name for path in Path("reft").iterdir() if (path / "__init__.py").is_file()}
    assert there | {"errors", "moved"} == set.union(*LAYERS)


@pytest.mark.parametrize("package", sorted(set.union(*LAYERS)))
def test_a_package_stands_on_the_layers_below_it(package):
    layer = next(i for i, there in enumerate(LAYERS) if package in there)
    below = set().union(*LAYERS[:layer])
    for path in files("reft") if Path("reft", package).is_dir() else []:
        if path.parts[1] != package:
            continue
        ours = {name.split(".")[1] for name in imports(path) if name.startswith("reft.")} - {package}
        assert {(package, other) for other in ours - below} <= ALSO, path


def test_nothing_at_the_top_but_packages_errors_and_old_names():
    assert {path.stem for path in Path("reft").glob("*.py")} == {"__init__", "errors", "moved"}


def test_each_package_says_what_belongs_there_and_exports_its_names():
    for path in sorted(Path("reft").glob("*/__init__.py")):
        said = ast.get_docstring(tree(path))
        assert said, path
        assert "__all__" in path.read_text() or path.parent.name in ("cli", "statistics"), path


@pytest.mark.parametrize("path", sorted(Path("reft").glob("*/__init__.pyi")), ids=lambda path: path.parent.name)
def test_what_a_package_exports_is_there(path):
    package = import_module(f"reft.{path.parent.name}")
    assert package.__all__
    assert all(hasattr(package, name) for name in package.__all__)


def test_our_own_code_imports_modules_not_what_packages_export():
    """Cache keys follow imports: a name that a package loads lazily would hide its module from them."""
    lazy = {f"reft.{p.parent.name}" for p in Path("reft").glob("*/__init__.py") if "lazy_loader" in p.read_text()}
    assert lazy
    for path in files(*ROOTS):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom) and node.module in lazy:
                modules = {found.stem for found in Path(node.module.replace(".", "/")).glob("*.py")}
                assert {alias.name for alias in node.names} <= modules, path


def test_the_product_knows_neither_zenml_nor_steps_and_mlflow_only_in_tracking():
    for path in files("reft"):
        top = {name.split(".")[0] for name in imports(path)}
        assert not top & {"zenml", "steps", "pipelines"}, path
        assert "mlflow" not in top or "tracking" in path.parts, path


def test_steps_do_not_know_pipelines():
    for path in files("steps"):
        assert not any(name.startswith("pipelines") for name in imports(path)), path


def test_nothing_unpickles():
    for path in files("reft", "steps"):
        assert not imports(path) & {"pickle", "dill", "joblib"}, path


def test_tests_stand_on_factories_not_on_one_another():
    for path in files("tests"):
        others = {name for name in imports(path) if name.startswith("tests.")}
        assert not {name for name in others if name.split(".")[-1].startswith("test_")}, path
        assert "tests.conftest" not in others, path


@pytest.mark.parametrize("path", files(*ROOTS), ids=str)
def test_files_and_functions_stay_readable(path):
    assert len(path.read_text().splitlines()) <= 300
    long = {f.name: size for f in functions(path) if (size := (f.end_lineno or 0) - f.lineno + 1) > 45}
    assert not long


@pytest.mark.parametrize("path", files(*ROOTS), ids=str)
def test_many_parameters_and_fields_go_by_name(path):
    for function in functions(path):
        names = [a.arg for a in (*function.args.posonlyargs, *function.args.args) if a.arg not in ("self", "cls")]
        assert len(names) <= FEW, function.name
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            assert len(node.args) <= FIVE, ast.unparse(node.func)
        if isinstance(node, ast.ClassDef) and sum(isinstance(part, ast.AnnAssign) for part in node.body) >= FIVE:
            kinds = [ast.unparse(decorator) for decorator in node.decorator_list]
            assert all("kw_only=True" in kind for kind in kinds if kind.startswith("dataclass")), node.name
