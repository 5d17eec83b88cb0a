"""What a run's files say in numbers: a checkpoint's metrics for its owner, costs for the operator."""

from collections.abc import Sequence
from typing import Any

OWN_STAGES = ("validation", "filtering", "finetuning", "evaluation")


def metrics_of(losses: dict[str, Any], golden: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """A checkpoint's metrics.

    Args:
        losses: those of its step.
        golden: lines of the golden answers: their own answers' mean loss, a row counting like any other, is
            `valid_loss`; it is of these rows of the validation file alone, which is why it is not `full_valid_loss`.
    """
    valid = mean_of(golden, "loss_after")
    return {"step": losses["step"], "train_loss": losses["loss"], **({} if valid is None else {"valid_loss": valid})}


def mean_of(golden: Sequence[dict[str, Any]], name: str) -> float | None:
    """The mean over the lines that have such a number; None where none has."""
    found = [line[name] for line in golden if line[name] is not None]
    return sum(found) / len(found) if found else None


def costs_of(cost: dict[str, dict[str, float]]) -> dict[str, float]:
    """What the stages that are the job's own have cost, for the operator; the teacher's are all jobs' together."""
    own = {stage: cost[stage] for stage in OWN_STAGES if stage in cost}
    found = {f"seconds_of_{stage}": round(part["seconds"], 1) for stage, part in own.items()}
    for name, shown in (("peak_rss_mb", "peak_memory_in_MB"), ("peak_gpu_mb", "peak_GPU_memory_in_MB")):
        if peaks := [part[name] for part in own.values() if part.get(name)]:
            found[shown] = round(max(peaks), 1)
    return found
