"""A pipeline of one step, which waits for a file and then does what the file says."""

import time
from pathlib import Path

from zenml import pipeline, step

from reft.errors import DataFormatError, explain


@step(enable_cache=False)
def finetuning(go: str) -> str:
    """Wait; fail as a step of ours does where the file says so."""
    while not (path := Path(go)).is_file():
        time.sleep(0.1)
    if path.read_text() == "fail":
        raise DataFormatError(explain("the rows are wrong", "row 3, field messages", "mend them"))
    return path.read_text()


@pipeline(name="waiting")
def waiting(go: str = "") -> None:
    """Wiring."""
    finetuning(go)
