"""Which of a customer's rows are known to be harmful: only to measure the filter, never to train."""

import json
from pathlib import Path

from reft.config import DataSettings
from reft.storage.files import require_file


def labels_of(data: DataSettings) -> dict[int, str]:
    """ "harmful" or "harmless" by row number, from lines `{"row", "label"}`; empty where the job has no labels."""
    if not data.user_labels:
        return {}
    require_file(Path(data.user_labels))
    lines = Path(data.user_labels).read_text(encoding="utf-8").splitlines()
    return {int(value["row"]): str(value["label"]) for value in map(json.loads, lines)}
