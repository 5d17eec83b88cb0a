"""What a row declares of the functions that may be called, and the nulls that were filled in for other rows.

The `datasets` library gives every object of a column the keys of all of them, with null where a row has none, and
writes them out so as JSON. In objects that are no JSON text a null is kept only where it can have been meant.
"""

from collections.abc import Mapping
from typing import Any

# Keywords of JSON Schema whose value may be null.
MAY_BE_NULL = ("default", "const")


def schemas_of(tools: Any) -> dict[str, Any]:
    """The schema of each declared function's arguments, by the function's name."""
    found = {}
    for tool in tools if isinstance(tools, list) else ():
        inner = tool.get("function") if isinstance(tool, Mapping) else None
        function = inner if isinstance(inner, Mapping) else tool
        if isinstance(function, Mapping) and isinstance(function.get("name"), str):
            parameters = function.get("parameters")
            bare = isinstance(parameters, Mapping) and "properties" not in parameters  # as xLAM writes them
            found[function["name"]] = {"properties": parameters} if bare else parameters
    return found


def arguments_meant(value: Any, schema: Any) -> Any:
    """Arguments without the nulls of keys that the schema, where it is known, does not have."""
    schema = schema if isinstance(schema, Mapping) else {}
    if isinstance(value, list):
        return [arguments_meant(item, schema.get("items")) for item in value]
    if not isinstance(value, Mapping):
        return value
    known = schema.get("properties")
    if not isinstance(known, Mapping):
        return {key: arguments_meant(item, None) for key, item in value.items()}
    meant = {key: item for key, item in value.items() if item is not None or known.get(key) is not None}
    return {key: arguments_meant(item, known.get(key)) for key, item in meant.items()}


def tools_meant(value: Any) -> Any:
    """Declared tools without nulls that JSON Schema has no use for."""
    if isinstance(value, list):
        return [tools_meant(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    return {key: tools_meant(item) for key, item in value.items() if item is not None or key in MAY_BE_NULL}
