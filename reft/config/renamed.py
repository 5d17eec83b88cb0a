"""Settings that were called otherwise: taken under the old name for one release, with a warning."""

import warnings
from collections.abc import Mapping
from typing import Any

from reft.errors import ConfigurationError, explain

# Old name, then the present one; a name with a point stands in a section.
RENAMED = {
    "feature": "refusal_feature",
    "filter": "filtering",
    "finetune": "finetuning",
    "evaluation.plain_sft": "evaluation.sft",
}


def present_name(key: str) -> str:
    """What `section.key` is called now; an old name is warned of."""
    if (renamed := _once(key)) != key:
        warnings.warn(f"the setting {key} is called {renamed} now; the old name goes with 0.3", FutureWarning, 3)
    return renamed


def present_path(path: str) -> str:
    """What a path of any depth is called now, without a word: sections are renamed before the keys within."""
    return _once(_once(path))


def _once(key: str) -> str:
    found = next((old for old in RENAMED if key == old or key.startswith(f"{old}.")), None)
    return key if found is None else RENAMED[found] + key.removeprefix(found)


def with_present_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of settings with every old name replaced.

    Raises:
        ConfigurationError: a setting is given under both names.
    """
    return _renamed(values, "")


def _renamed(values: Mapping[str, Any], section: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = present_name(f"{section}{key}").removeprefix(section)
        if name in found or (name != key and name in values):
            where = f"{section}{name}"
            raise ConfigurationError(explain(f"{key} and {name} are one setting", where, f"keep {where} alone"))
        found[name] = _renamed(value, f"{name}.") if isinstance(value, Mapping) and not section else value
    return found
