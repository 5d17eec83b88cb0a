"""What a pod of a shared work runs: `python -m reft.cluster.part STORE FOLDER [scan]`, its part in the environment."""

import os
import sys

from reft.errors import ReftError
from reft.storage.parts import Parted
from reft.storage.store import Store


def main() -> int:
    """Do one part of a validation, or of a scan; returns the exit status."""
    address, folder, *kind = sys.argv[1:]
    number, work = int(os.environ["JOB_COMPLETION_INDEX"]), Parted(store=Store(address), folder=folder)
    if work.store.has(work.marker(number)):  # an earlier pod was quicker than Kubernetes heard
        return 0
    (_scan if kind == ["scan"] else _validate)(work, number)
    print(f"part {number}: {work.mark_of(number)['rows']} rows", flush=True)
    return 0


def _validate(work: Parted, number: int) -> None:
    from reft.runtime.without_torch import without_torch

    with without_torch():
        from reft.models.tokenizers import load_tokenizer
        from reft.validation.sharing import Shared, validate_part

        shared = Shared.found(work.store, work.folder, load_tokenizer)
    validate_part(shared, number)


def _scan(work: Parted, number: int) -> None:
    from reft.scan.sharing import SharedScan, scan_part

    scan_part(SharedScan.found(work.store, work.folder), number)


if __name__ == "__main__":
    try:
        status = main()
    except ReftError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        status = 1
    sys.exit(status)
