"""Makes the JSONL files of this folder from public sources and from the texts in `written/`.

Run once by a maintainer; its output is committed, so a user never needs it:

    python data/build.py --sources SOURCES --model MODEL_FOLDER

SOURCES holds the original files under the folder names of the README's table. The seed is fixed and
every choice below is a rule, so that anybody with the same sources gets the same files. The only
part that is not a plain selection are the answers to the templated harmless prompts: the model in
MODEL_FOLDER writes them, greedily.
"""

import argparse
import random
from pathlib import Path

from building.harmful import harmful_alignment, harmful_validation
from building.harmless import calibration, fields, harmless_alignment
from building.jobs import evaluation, user_job
from building.texts import write

SEED = 20261124


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--model", required=True)
    arguments = parser.parse_args()
    sources = arguments.sources
    write("alignment/harmful.jsonl", harmful_alignment(sources, random.Random(SEED)))
    harmless = harmless_alignment(sources, random.Random(SEED), arguments.model)
    to_calibrate, to_test = fields(harmless)
    write("alignment/harmless.jsonl", harmless)
    write("calibration/harmless.jsonl", calibration(sources, random.Random(SEED)) + to_calibrate)
    write("evaluation/fields.jsonl", to_test)
    write("calibration/harmful.jsonl", harmful_validation(sources))
    user_job(sources, random.Random(SEED))
    evaluation(sources, random.Random(SEED))


if __name__ == "__main__":
    main()
