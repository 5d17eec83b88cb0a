"""Parts of one kind that are found by the name of their file: scorers, judges, methods, report sections.

A package of such parts holds one module a part and calls `names` and `load` with its own name. A new part is one new
file; nothing else lists it. Modules whose names begin with `_` are not parts. Names are told without importing, so that
a setting can be checked before heavy libraries load.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from reft.errors import ConfigurationError, explain
from reft.wording import problems_of

__all__ = ["load", "load_all", "names", "options_of", "require_options"]

Options = TypeVar("Options", bound=BaseModel)


@cache
def names(package: str) -> tuple[str, ...]:
    """The parts of a package, in alphabetical order."""
    spec = find_spec(package)
    found = iter_modules(spec.submodule_search_locations) if spec and spec.submodule_search_locations else ()
    return tuple(sorted(module.name for module in found if not module.name.startswith("_")))


def load(package: str, name: str, where: str) -> ModuleType:
    """The module of a part.

    Args:
        where: the setting or option that named it, for the error.

    Raises:
        ConfigurationError: there is no such part.
    """
    if name not in names(package):
        raise ConfigurationError(explain(f"there is no {name!r}", where, f"name one of {', '.join(names(package))}"))
    return import_module(f"{package}.{name}")


def options_of(section: type[Options], options: Mapping[str, Any], where: str) -> Options:
    """A part's own settings, filled from what its setting holds.

    Args:
        section: the part's settings, a model that refuses unknown keys.

    Raises:
        ConfigurationError: naming each wrong key.
    """
    try:
        return section(**options)
    except ValidationError as error:
        wrong = map(str, problems_of(error, section, options))
        taken = ", ".join(section.model_fields) or "nothing"
        raise ConfigurationError(explain("; ".join(wrong), where, f"it takes {taken}")) from error


def require_options(package: str, name: str, options: Mapping[str, Any], *, where: str) -> None:
    """Check a part's own settings before anything runs, by its module's `SETTINGS`; a part without is not checked.

    Raises:
        ConfigurationError: there is no such part, or naming each wrong key.
    """
    if section := getattr(load(package, name, where), "SETTINGS", None):
        options_of(section, options, where)


def load_all(package: str) -> list[ModuleType]:
    """Every part of a package, by its `PLACE` (a number; 100 where it has none), then by name."""
    modules = [import_module(f"{package}.{name}") for name in names(package)]
    return sorted(modules, key=lambda module: (getattr(module, "PLACE", 100), module.__name__))
