"""What a change of the teacher's settings or data does, measured on the development sets.

    .venv/bin/python -m benchmarks.teacher                                  # the default profile
    .venv/bin/python -m benchmarks.teacher teacher.learning_rate=0.0005 data.alignment_harmful_rows=600

Each call trains one teacher (minutes on two cores) and appends a line to `results/teacher.jsonl`: its settings that
differ, rates with intervals, and how well its feature separates. The sets under `data/development` are for this
alone, so that the evaluation sets stay unseen while defaults are chosen.
"""

import time
from typing import Any, NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.development import rates, record
from reft.config import Settings
from reft.models.hardware import choose_hardware
from reft.refusal_feature.feature import RefusalFeature
from reft.runtime.progress import progress
from reft.teacher.preparation import fit_teacher, untrained_feature


class Trained(NamedTuple):
    """A teacher in the number format in which it is asked, and the refusal features before and after its training."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    untrained: RefusalFeature
    own: RefusalFeature
    seconds: float


def trained(settings: Settings) -> Trained:
    """Train one teacher."""
    untrained, *_ = untrained_feature(settings.model, settings.data, settings.refusal_feature)
    show, started = progress("training the teacher"), time.monotonic()
    teacher, tokenizer, own = fit_teacher(
        untrained,
        settings.model,
        settings.data,
        settings=settings.teacher,
        selection=settings.refusal_feature,
        seed=settings.seed,
        report=lambda step, steps, _: show(step, steps),
    )
    seconds = time.monotonic() - started
    return Trained(teacher.to(choose_hardware(settings.model.dtype).dtype), tokenizer, untrained, own, seconds)


def measure(settings: Settings) -> dict[str, Any]:
    """Train one teacher and measure it."""
    teacher, tokenizer, untrained, own, seconds = trained(settings)
    feature = {"layer": own.layer, "position": own.position, "calibration_auroc": own.auroc()}
    feature["untrained_auroc"] = untrained.auroc()
    return {"seconds": seconds, **rates(teacher, tokenizer, settings, task=[]), "feature": feature}


def main() -> None:
    record("teacher", "teacher", __doc__, measure=measure)


if __name__ == "__main__":
    main()
