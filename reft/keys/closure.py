"""The code that a result depends on, found by following imports from where the work begins.

Nothing is listed by hand but what is left out. A change of a comment or docstring is no change of the code.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib.metadata import Distribution, PackageNotFoundError, distributions, version
from pathlib import Path

import reft
from reft.storage.fingerprint import of_text

ROOT = Path(reft.__file__).parents[1]
PACKAGES = ("reft", "steps", "pipelines")
# A package whose `__init__` imports this loads its modules by name: whoever asks it to depends on them.
PLUGINS, LOADS = "reft.plugins", "plugins.load"

# What is not followed, and why. A prefix stands for all modules below it.
LEFT_OUT = {
    "reft.config": "its values are parameters, and part of every key by themselves",
    "reft.runtime.cost": "measures the work and decides nothing",
    "reft.runtime.progress": "what people see while they wait",
    "reft.runtime.quiet": "what people do not see",
    "reft.tracking": "writes down what came out",
    "reft.report": "shows what came out",
    "reft.pages": "how it is shown",
    "reft.keys": "makes the keys",
    "reft.moved": "names of an earlier release",
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
def code_of(entry: str, chosen: tuple[str, ...] = (), *, root: Path = ROOT) -> Code:
    """The closure of a module's imports, also of those inside functions and of modules started by name.

    Args:
        entry: dotted name of the module where work begins; a package stands for all of its modules.
        chosen: parts that settings name, as `reft.finetuning.methods.sft`: of their packages these belong to the
            closure, and no other part.
        root: the folder that holds our packages.

    Raises:
        ModuleNotFoundError: the entry or a chosen part is no module of ours.
    """
    waiting = [*_entry(entry, root), *(name for part in chosen for name in _entry(part, root))]
    modules, libraries = dict[str, str](), set[str]()
    narrowed = {part.rpartition(".")[0] for part in chosen}
    while waiting:
        name = waiting.pop()
        if name in modules or _is_left_out(name):
            continue
        module = _module(name, root)
        modules[name] = module.digest
        waiting += [*module.ours, *(part for package in module.loads - narrowed for part in _below(package, root))]
        libraries |= module.libraries
    return Code(dict(sorted(modules.items())), _versions(libraries))


def digest_of_code(entry: str, chosen: tuple[str, ...] = ()) -> str:
    """`code_of(...).digest`."""
    return code_of(entry, chosen).digest


def digest_of_code_with(entry: str, part: object) -> str:
    """The same with a part that was loaded by name, as a scorer; one of somebody's own is no code of ours."""
    module = type(part).__module__
    return digest_of_code(entry, (module,) if module.startswith("reft.") else ())


@dataclass(frozen=True)
class _Module:
    digest: str
    ours: tuple[str, ...]
    loads: frozenset[str]  # packages whose parts it loads by name
    libraries: frozenset[str]


def _entry(name: str, root: Path) -> Iterator[str]:
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
    targets = {named: target for named in parsed.named if (target := _target(named, root))}
    ours, loads = set(targets.values()), {target for named, target in targets.items() if _loads(named, target, root)}
    # Importing a module runs its packages' `__init__` first.
    ours |= {name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)}
    top = {named.split(".")[0] for named in parsed.named}
    libraries = frozenset(t for t in top if t not in PACKAGES and t not in sys.stdlib_module_names)
    return _Module(parsed.digest, tuple(sorted(ours - {name})), frozenset(loads - {name}), libraries)


def _loads(named: str, package: str, root: Path) -> bool:
    """Whether what is imported from a package, or its name in a text, loads the package's parts."""
    path = _path(package, root)
    if path is None or path.name != "__init__.py":
        return False
    parsed = _parsed(path.read_text(encoding="utf-8"))
    is_loader = named == package or named.removeprefix(f"{package}.") in parsed.loaders
    return is_loader and PLUGINS in {_target(each, root) for each in parsed.named}


@dataclass(frozen=True)
class _Parsed:
    digest: str
    named: tuple[str, ...]
    loaders: frozenset[str]  # functions that load parts by name


@cache
def _parsed(text: str) -> _Parsed:
    tree = ast.parse(text)
    named = tuple(_imported(tree))  # before docstrings are taken out
    # Writing functions out again takes longer than all the rest.
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)] if LOADS in text else []
    loaders = frozenset(node.name for node in functions if LOADS in ast.unparse(node))
    return _Parsed(_digest(tree), named, loaders)


@cache
def _target(name: str, root: Path) -> str | None:
    """The module of ours that a dotted name stands for, if any: itself, or the one that it is an attribute of."""
    while name and not _path(name, root):
        name = name.rpartition(".")[0]
    return name or None


def _imported(tree: ast.Module) -> Iterator[str]:
    """Dotted names that the module imports; and texts that are dotted names, for modules that are started by name."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if _for_types_alone(node):
            continue
        waiting += ast.iter_child_nodes(node)
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
def _distributions() -> dict[str, list[Distribution]]:
    """Which installed distributions hold a top-level package, by their lists of files.

    `importlib.metadata.packages_distributions` tells the same, and looks at every file of them on the disk: seconds.
    """
    found = defaultdict[str, list[Distribution]](list)
    for one in distributions():
        files = (one.read_text("RECORD") or "").splitlines()
        tops = {file.partition("/")[0].partition(",")[0].removesuffix(".py") for file in files}
        for top in tops or (one.read_text("top_level.txt") or "").split():
            found[top].append(one)
    return found


def _versions(libraries: set[str]) -> dict[str, str]:
    named = {name for top in libraries for name in _names(top)}
    named |= {more for library in named for more in BEHIND.get(library, ())}
    return {name: _version(name) for name in sorted(named - LEFT_OUT_LIBRARIES)}


@cache
def _names(top: str) -> list[str]:
    """Names of the distributions that a package comes from; its own where none is installed."""
    return [name.lower().replace("_", "-") for name in [one.name for one in _distributions()[top]] or [top]]


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # an extra that is not installed
        return "none"
