"""Step promote: a reviewed version into service, in MLflow's registry and in ZenML's model."""

from typing import Annotated

from zenml import step

from reft.tracking import promotion
from steps.control_plane import follow
from steps.notify import notify


@step(enable_cache=False)
def promote(
    name: str, to: str, *, version: str | None, by: str, reason: str, force: bool
) -> Annotated[dict[str, str], "promotion"]:
    """Move the alias as `reft promote` does, then ZenML's stage; says who stands there now."""
    entry, moved = promotion.promote(name, to, by, reason=reason, version=version, force=force)
    known = follow(name, to, moved)
    if entry is not None:
        notify(f"ReFT: {name} version {moved} is the {to} now (by {by}; {reason or 'no reason given'})")
    return {
        "name": name, "version": moved, "alias": to, "entry": entry.digest if entry else "",
        "zenml": "followed" if known else "does not know this version",
    }  # fmt: skip
