"""What the compliance classifier knows of wordings and labels that it never saw: `python -m benchmarks.judge FOLDER`.

FOLDER holds the public sets, with the human labels of answers. The classifier as it judges, and taught the labels alone
(a minute each). Appends a line to `results/judge.jsonl`.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from benchmarks.record import append
from reft.judges._labels import labelled_answers
from reft.judges.compliance_classifier import validation_of_classifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the public sets")
    labelled = labelled_answers(parser.parse_args().folder)
    found = {
        name: asdict(validation_of_classifier(labelled, taught_wordings=both))
        for name, both in (("labels", False), ("labels and wordings", True))
    }
    append("judge", {"taught": found})


if __name__ == "__main__":
    main()
