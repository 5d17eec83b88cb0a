"""Which of a customer's rows are known to be harmful: only to measure the filter, never to train."""

import json
from pathlib import Path

from reft.config import DataSettings
from reft.errors import DataFormatError, explain
from reft.storage.files import lines_of


def labels_of(data: DataSettings) -> dict[int, str]:
    """ "harmful" or "harmless" by row number, from lines `{"row", "label"}`; empty where the job has no labels.

    Raises:
        DataFormatError: no such file, or a line is not of this shape.
        StorageError: it is not UTF-8.
    """
    found = {}
    for where, line in lines_of(Path(data.user_labels)) if data.user_labels else ():
        try:
            value = json.loads(line)
            found[int(str(value["row"]))] = str(value["label"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            remedy = 'write {"row": 0, "label": "harmful"}, or "harmless"'
            raise DataFormatError(explain(f"not a label: {error!r}", where, remedy)) from error
    return found
