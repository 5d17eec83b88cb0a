"""Promotion as a pipeline, for those who let ZenML keep the record: `python -m pipelines.promotion NAME --by WHO`."""

import argparse
import getpass

from zenml import pipeline

from pipelines.terminal import quiet
from steps.notify import on_failure
from steps.promotion import promote


@pipeline(name="reft_promotion", on_failure=on_failure)
def promotion(
    name: str = "reft-student",
    to: str = "champion",
    version: str | None = None,
    *,
    by: str = "",
    reason: str = "",
    force: bool = False,
) -> None:
    """A version into service."""
    promote(name, to, version=version, by=by or getpass.getuser(), reason=reason, force=force)


def main() -> None:
    quiet()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", default="reft-student")
    parser.add_argument("--to", default="champion", choices=["challenger", "champion"])
    parser.add_argument("--version", help="none: the one a step below")
    parser.add_argument("--by", default="")
    parser.add_argument("--reason", default="")
    parser.add_argument("--force", action="store_true", help="overrule the gate; needs a reason")
    promotion(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
