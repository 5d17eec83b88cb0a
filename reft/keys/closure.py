"""The code that a result depends on, found by following imports from where the work begins.

Nothing is listed by hand but what is left out. A change of a comment or docstring is no change of the code.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

import reft
from reft.storage.fingerprint import of_text

ROOT = Path(reft.__file__).parents[1]
PACKAGES = ("reft", "steps", "pipelines")
# A package whose `__init__` imports this loads its modules by name: all of them belong to it.
PLUGINS = "reft.plugins"

# What is not followed, and why. A prefix stands for all modules below it.
LEFT_OUT = {
    "reft.config": "its values are parameters, and part of every key by themselves",
    "reft.runtime.cost": "measures the work and decides nothing",
    "reft.runtime.progress": "what people see while they wait",
    "reft.tracking": "writes down what came out",
    "reft.report": "shows what came out",
    "reft.keys": "makes the keys",
    "steps.control_plane": "links what came out",
    "steps.materializer": "stores what came out",
    "steps.metadata": "notes costs",
    "steps.notify": "tells people",
}
# Libraries that start, store or show the work; their versions decide no number.
LEFT_OUT_LIBRARIES = frozenset(
    {"filelock", "fsspec", "kubernetes", "lazy-loader", "matplotlib", "mlflow", "psutil", "typer", "urllib3", "zenml"}
)
# Libraries that work behind another one.
BEHIND = {"transformers": ("tokenizers",)}


@dataclass(frozen=True)
class Code:
    """What a result depends on: our modules by their digests, and libraries by their versions."""

    modules: dict[str, str]
    libraries: dict[str, str]

    @property
    def digest(self) -> str:
        """One digest of all of it."""
        return of_text(*(f"{name}={value}" for part in (self.modules, self.libraries) for name, value in part.items()))


@cache
def code_of(*entries: str, root: Path = ROOT) -> Code:
    """The closure of the imports of these modules, also of those inside functions and of modules started by name.

    Args:
        entries: dotted names of modules; a package stands for all of its modules.
        root: the folder that holds our packages.

    Raises:
        ModuleNotFoundError: an entry is no module of ours.
    """
    waiting, modules, libraries = list(_entries(entries, root)), dict[str, str](), set[str]()
    while waiting:
        name = waiting.pop()
        if name in modules or _is_left_out(name):
            continue
        module = _module(name, root)
        modules[name] = module.digest
        waiting += module.ours
        libraries |= module.libraries
    return Code(dict(sorted(modules.items())), _versions(libraries))


def digest_of_code(*entries: str) -> str:
    """`code_of(...).digest`."""
    return code_of(*entries).digest


@dataclass(frozen=True)
class _Module:
    digest: str
    ours: tuple[str, ...]
    libraries: frozenset[str]


def _entries(entries: tuple[str, ...], root: Path) -> Iterator[str]:
    for name in entries:
        path = _path(name, root)
        if path is None:
            raise ModuleNotFoundError(f"{name} is no module under {root}")
        yield name
        yield from _below(name, root) if path.name == "__init__.py" else ()


def _path(name: str, root: Path) -> Path | None:
    if name.split(".")[0] not in PACKAGES:
        return None
    place = root.joinpath(*name.split("."))
    return next((p for p in (place / "__init__.py", place.with_suffix(".py")) if p.is_file()), None)


def _below(package: str, root: Path) -> Iterator[str]:
    folder = root.joinpath(*package.split("."))
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_left_out(name: str) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in LEFT_OUT)


def _module(name: str, root: Path) -> _Module:
    path = _path(name, root)
    assert path is not None
    parsed = _parsed(path.read_text(encoding="utf-8"))
    ours = {target for named in parsed.named if (target := _target(named, root))}
    # Importing a module runs its packages' `__init__` first.
    ours |= {name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)}
    if path.name == "__init__.py" and PLUGINS in ours:
        ours |= set(_below(name, root))
    top = {named.split(".")[0] for named in parsed.named}
    libraries = frozenset(t for t in top if t not in PACKAGES and t not in sys.stdlib_module_names)
    return _Module(parsed.digest, tuple(sorted(ours - {name})), libraries)


@dataclass(frozen=True)
class _Parsed:
    digest: str
    named: tuple[str, ...]


@cache
def _parsed(text: str) -> _Parsed:
    tree = ast.parse(text)
    named = tuple(_imported(tree))  # before docstrings are taken out
    return _Parsed(_digest(tree), named)


@cache
def _target(name: str, root: Path) -> str | None:
    """The module of ours that a dotted name stands for, if any: itself, or the one that it is an attribute of."""
    while name and not _path(name, root):
        name = name.rpartition(".")[0]
    return name or None


def _imported(tree: ast.Module) -> Iterator[str]:
    """Dotted names that the module imports; and texts that are dotted names, for modules that are started by name."""
    skipped = {id(n) for node in ast.walk(tree) if _for_types_alone(node) for n in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("reft."):
            yield node.value


def _for_types_alone(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _digest(tree: ast.Module) -> str:
    """Of the statements alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return blake2b(ast.unparse(tree).encode(), digest_size=8).hexdigest()


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())


def _versions(libraries: set[str]) -> dict[str, str]:
    named = {dist.lower() for top in libraries for dist in _distributions().get(top, [top])}
    named |= {more for library in named for more in BEHIND.get(library, ())}
    named = {name.replace("_", "-") for name in named}
    found = {}
    for name in sorted(named - LEFT_OUT_LIBRARIES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # an extra that is not installed
            found[name] = "none"
    return found
