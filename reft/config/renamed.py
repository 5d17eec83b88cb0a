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
    for old, present in RENAMED.items():
        if key == old or key.startswith(f"{old}."):
            renamed = present + key.removeprefix(old)
            warnings.warn(f"the setting {key} is called {renamed} now; the old name goes with 0.3", FutureWarning, 3)
            return renamed
    return key


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
