"""What a change of the teacher's settings or data does, measured on the development sets.

    .venv/bin/python benchmarks/teacher.py                                  # the default profile
    .venv/bin/python benchmarks/teacher.py teacher.learning_rate=0.0005 data.alignment_harmful_rows=600

Each call trains one teacher (minutes on two cores) and appends a line to `results/teacher.jsonl`: its settings that
differ, rates with intervals, and how well its feature separates. The sets under `data/development` are for this
alone, so that the evaluation sets stay unseen while defaults are chosen.
"""

import argparse
import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from reft.config import Settings, parse_settings
from reft.conversations.reading import read_conversations
from reft.evaluation.evaluate import EvaluationSets, evaluate_model
from reft.fingerprint import of_code, of_path
from reft.models.hardware import choose_hardware
from reft.progress import progress
from steps.teacher import fit_teacher, untrained_feature

HERE = Path(__file__).parent
DEVELOPMENT = Path("data/development")


def overridden(assignments: list[str]) -> tuple[Settings, dict[str, Any]]:
    """The default settings with `section.key=value` applied, and those values."""
    tree: dict[str, Any] = {}
    changed: dict[str, Any] = {}
    for assignment in assignments:
        key, found, value = assignment.partition("=")
        if not found:
            raise SystemExit(f"{assignment}: write section.key=value")
        *sections, name = key.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = changed[key] = yaml.safe_load(value)
    return parse_settings(tree), changed


def measure(settings: Settings) -> dict[str, Any]:
    """Train one teacher and measure it."""
    untrained, *_ = untrained_feature(settings.model, settings.data, settings.feature)
    show, started = progress("training the teacher"), time.monotonic()
    teacher, tokenizer, own = fit_teacher(
        untrained, settings.model, settings.data, settings.teacher, settings.feature, settings.seed,
        lambda step, steps, _: show(step, steps),
    )  # fmt: skip
    seconds = time.monotonic() - started
    sets = EvaluationSets(
        *(read_conversations(DEVELOPMENT / f"{n}.jsonl") for n in ("harmful", "lookalikes", "ordinary"))
    )
    teacher = teacher.to(choose_hardware(settings.model.dtype).dtype)
    scores = asdict(evaluate_model(teacher, tokenizer, sets, settings.evaluation.max_new_tokens, progress("asking")))
    del scores["answers"], scores["accuracy"]
    feature = {"layer": own.layer, "position": own.position, "calibration_auroc": own.auroc()}
    feature["untrained_auroc"] = untrained.auroc()
    return {"seconds": seconds, **scores, "feature": feature}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", help="section.key=value, for what shall differ from the default")
    settings, changed = overridden(parser.parse_args().settings)
    line = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "changed": changed,
        "seed": settings.seed,
        "hardware": choose_hardware(settings.model.dtype).reason,
        "code": of_code("."),
        "data": of_path("data/alignment"),
        **measure(settings),
    }
    (HERE / "results").mkdir(exist_ok=True)
    with (HERE / "results" / "teacher.jsonl").open("a") as results:
        results.write(json.dumps(line) + "\n")
    print(json.dumps(line, indent=2))


if __name__ == "__main__":
    main()
