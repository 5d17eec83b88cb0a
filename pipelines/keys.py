"""What the steps of a run were keyed by, as JSON: `python -m pipelines.keys RUN` (a name, an id, or latest)."""

import json
import sys

from zenml.client import Client


def keys_of_run(run: str) -> dict[str, dict]:
    """The `key` of every step that has one.

    Raises:
        KeyError: there is no such run.
    """
    client = Client()
    if run == "latest":
        found = client.list_pipeline_runs(pipeline="reft_pipeline", sort_by="desc:created", size=1).items
        if not found:
            raise KeyError("no run of reft_pipeline")
        run = str(found[0].id)
    steps = client.get_pipeline_run(run).steps
    return {name: step.config.parameters["key"] for name, step in steps.items() if "key" in step.config.parameters}


if __name__ == "__main__":
    print(json.dumps(keys_of_run(sys.argv[1])))
