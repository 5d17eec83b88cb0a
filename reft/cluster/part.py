"""What a pod of a shared validation runs: `python -m reft.cluster.part STORE FOLDER`, its part in the environment."""

import os
import sys

from reft.errors import ReftError
from reft.storage.parts import marker_of
from reft.storage.store import Store


def main() -> int:
    """Validate one part, unless its marker is there; returns the exit status."""
    address, folder = sys.argv[1:]
    number, store = int(os.environ["JOB_COMPLETION_INDEX"]), Store(address)
    from reft.runtime.without_torch import without_torch

    with without_torch():
        from reft.models.tokenizers import load_tokenizer
        from reft.validation.sharing import Shared, validate_part

        if store.has(marker_of(folder, number)):  # an earlier pod was quicker than Kubernetes heard
            return 0
        shared = Shared.found(store, folder, load_tokenizer)
    validate_part(shared, number)
    print(f"part {number}: {shared.mark_of(number)['rows']} rows", flush=True)
    return 0


if __name__ == "__main__":
    try:
        status = main()
    except ReftError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        status = 1
    sys.exit(status)
