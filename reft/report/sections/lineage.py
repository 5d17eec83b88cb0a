"""From what the student was made, and where everything is."""

from typing import Any

from reft.keys.lineage import WORDS
from reft.report.html import RunResult

PLACE = 7


def values(result: RunResult) -> dict[str, Any]:
    """(what, digest) of what went in, and (what, where) of what came out."""
    summary = result.summary
    models, run = summary["models"], summary["run"]
    student = models["student"]
    places = {
        "ZenML run": f"{run['name']} ({run['id']})",
        "MLflow run": student.get("run_id", ""),
        "Registry": f"models:/{student['registered_name']}/{student['version']}",
        "Student": student["path"],
        "Teacher": models["teacher"],
        "Base model": models["base"],
    }
    return {
        "digests": [(WORDS.get(name, name), digest) for name, digest in summary["lineage"].items()],
        "places": {what: where for what, where in places.items() if where},
    }
