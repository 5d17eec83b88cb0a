"""A process that finetunes, to be killed: `python -m tests.finetuning.fit_job JOB_FOLDER RESULT_FOLDER`.

It leaves the losses and the weights in the result's folder.
"""

import shutil
import sys
from pathlib import Path

from reft.errors import ReftError
from reft.finetuning.artifact import epoch_place
from reft.finetuning.job import FinetuneJob
from reft.finetuning.student import fit_student
from reft.storage.artifacts import write_json


def main() -> None:
    job, result = FinetuneJob.load(Path(sys.argv[1])), Path(sys.argv[2])
    try:
        student, _ = fit_student("night", job)
    except ReftError as error:  # as the command line does
        sys.exit(f"error: {error}")
    shutil.copytree(student.weights, result)
    for step, state in student.epochs.items():
        shutil.copytree(state, epoch_place(result.parent, step))
    write_json(result / "losses.json", [step["loss"] for step in student.history])


if __name__ == "__main__":
    main()
