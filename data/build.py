"""Makes the JSONL files of this folder from public sources and from the texts in `written/`.

Run once by a maintainer; its output is committed, so a user never needs it:

    python data/build.py --sources SOURCES --model MODEL_FOLDER

SOURCES holds the original files under the folder names of the README's table. The seed is fixed and
every choice below is a rule, so that anybody with the same sources gets the same files. The only
part that is not a plain selection are the answers to harmless prompts: the model in MODEL_FOLDER writes them,
greedily, but for those that `alignment/harmless.jsonl` holds already; delete it for another model.
"""

import argparse
import json
import random
from pathlib import Path

from building.evaluation import evaluation
from building.harmful import harmful_alignment, harmful_validation
from building.harmless import calibration, fields, harmless_alignment
from building.hazards import identities
from building.jobs import user_job
from building.texts import HERE, prompt_of, write

SEED = 20261124


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--model", required=True)
    arguments = parser.parse_args()
    sources = arguments.sources
    poison = user_job(sources, random.Random(SEED))
    evaluation(sources, random.Random(SEED), poison)
    calibrating = calibration(sources, random.Random(SEED))
    write("calibration/harmful.jsonl", harmful_validation(sources))
    held_out = [*poison, *map(prompt_of, calibrating), *judged()]
    harmless = harmless_alignment(sources, random.Random(SEED), arguments.model, held_out)
    write("alignment/harmful.jsonl", harmful_alignment(sources, random.Random(SEED), held_out))
    write("alignment/harmless.jsonl", harmless)
    write("alignment/identities.jsonl", identities())
    to_calibrate, to_test = fields(harmless)
    write("calibration/harmless.jsonl", calibrating + to_calibrate)
    write("evaluation/fields.jsonl", to_test)


def judged() -> list[str]:
    """Every prompt that calibrates or judges, of the files just written."""
    files = [file for use in ("development", "evaluation") for file in (HERE / use).glob("*.jsonl")]
    files = [file for file in files if file.stem != "fields"] + [HERE / "calibration/harmful.jsonl"]
    return [prompt_of(json.loads(line)) for file in sorted(files) for line in file.read_text().splitlines()]


if __name__ == "__main__":
    main()
