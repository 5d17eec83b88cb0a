"""ReFT's finetuning beside TRL's trainers: `python -m benchmarks.rival_trainers` (fifteen minutes on two cores).

Needs `pip install -c constraints.txt -e ".[benchmarks]"`. The same model, LoRA matrices, rows in the same order, number
format, batches and one process; the learning rate is constant. TRL's SFT trainer does the plain part. TRL has no
trainer that mixes cross-entropy on some rows with distillation on others: its GKD trainer (the teacher in memory, the
data's own answers, forward KL) does the alignment rows alone, added to the SFT trainer's time, or every row. Ours pays
for the soft labels too. A ratio is the median over rounds of that round's ratio. Appends a line to
`results/rival_trainers.jsonl`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.finetuning import base_job, run
from benchmarks.record import RESULTS, append
from reft.finetuning.job import FinetuneJob
from reft.finetuning.online_teacher import TeacherWeights
from reft.models.hardware import choose_hardware
from reft.models.loading import load_model
from reft.runtime.cost import measured
from reft.soft_labels.labels import compute_soft_labels

RATIOS = {"1:4": 0.25, "1:1": 1.0}


def trl(job: FinetuneJob, trainer: str, which: str) -> dict[str, Any]:
    """One training with TRL, in a process of its own; its peak memory with it."""
    with tempfile.TemporaryDirectory() as folder, measured("trl") as cost:
        job.save(Path(folder))
        command = [sys.executable, "-m", "benchmarks.trl_runs", folder, trainer, which]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return {**json.loads(done.stdout.splitlines()[-1]), "peak_mb": cost.peak_rss_mb}


def labelling_seconds(job: FinetuneJob) -> float:
    """What it takes to make the soft labels of as many alignment rows as the job has."""
    model = load_model(job.model.name, choose_hardware(job.model.dtype).dtype)
    started = time.monotonic()
    compute_soft_labels(model, job.alignment, range(len(job.alignment)), pad_id=0, top_k=32, temperature=1.0)
    return time.monotonic() - started


def one_round(job: FinetuneJob) -> dict[str, dict[str, Any]]:
    """Every way once; seconds, peak memory, losses."""
    plain = replace(job, alignment=(), soft_labels=None, harmful=0)
    found = {"ours, plain": run(plain, alignment_ratio=0.0), "TRL SFT, plain": trl(plain, "sft", "user")}
    for name, ratio in RATIOS.items():
        settings = job.settings.model_copy(update={"alignment_ratio": ratio})
        # As many alignment rows as are drawn: each once, so that the labels are worth one pass.
        rows = min(len(job.alignment), round(ratio * len(job.user)))
        cut = replace(job, settings=settings, alignment=job.alignment[:rows], harmful=min(job.harmful, rows))
        found[f"ours, {name}"] = run(cut)
        found[f"ours, {name}"]["with_labels"] = found[f"ours, {name}"]["seconds"] + labelling_seconds(cut)
        teacher = TeacherWeights(Path(job.model.name), False, job.model.name, 1.0)
        found[f"ours, teacher in memory, {name}"] = run(replace(cut, soft_labels=None, teacher=teacher))
        found[f"TRL GKD, alignment rows, {name}"] = trl(cut, "gkd", "alignment")
        found[f"TRL GKD, every row, {name}"] = trl(cut, "gkd", "both")
    return found


def compared(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """How many times as long, and as much memory, TRL takes as ours; and how far the loss curves are apart."""

    def ratio(of: Any, to: Any) -> float:
        return median(of(found) / to(found) for found in rounds)

    first = rounds[0]
    apart = [abs(a - b) for a, b in zip(first["ours, plain"]["losses"], first["TRL SFT, plain"]["losses"], strict=True)]
    result: dict[str, Any] = {
        "plain": {
            "trl_times_ours": ratio(lambda f: f["TRL SFT, plain"]["seconds"], lambda f: f["ours, plain"]["seconds"]),
            "trl_memory_times_ours": ratio(
                lambda f: f["TRL SFT, plain"]["peak_mb"], lambda f: f["ours, plain"]["peak_mb"]
            ),
            "largest_loss_difference": max(apart),
            "ours_losses": first["ours, plain"]["losses"],
            "trl_losses": first["TRL SFT, plain"]["losses"],
        }
    }
    for name in RATIOS:
        ours, online = f"ours, {name}", f"ours, teacher in memory, {name}"
        part, whole = f"TRL GKD, alignment rows, {name}", f"TRL GKD, every row, {name}"

        def both(f: dict[str, Any], part: str = part) -> float:
            return f["TRL SFT, plain"]["seconds"] + f[part]["seconds"]

        result[name] = {
            "trl_sft_and_gkd_times_ours": ratio(both, lambda f, n=ours: f[n]["with_labels"]),
            "trl_gkd_on_all_times_ours": ratio(
                lambda f, n=whole: f[n]["seconds"], lambda f, n=ours: f[n]["with_labels"]
            ),
            "trl_sft_and_gkd_times_ours_online": ratio(both, lambda f, n=online: f[n]["seconds"]),
            "trl_gkd_on_all_times_ours_online": ratio(
                lambda f, n=whole: f[n]["seconds"], lambda f, n=online: f[n]["seconds"]
            ),
            "trl_gkd_memory_times_ours": ratio(lambda f, n=whole: f[n]["peak_mb"], lambda f, n=ours: f[n]["peak_mb"]),
        }
    return result


def draw() -> None:
    """The two plain loss curves of the last record, one over the other, as `results/rival_trainers.svg`."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    found = json.loads((RESULTS / "rival_trainers.jsonl").read_text().splitlines()[-1])["plain"]
    figure, axes = plt.subplots(figsize=(5, 3))
    axes.plot(found["ours_losses"], label="ReFT, plain", linewidth=3, alpha=0.5)
    axes.plot(found["trl_losses"], "--", label="TRL SFT", color="black")
    axes.set(xlabel="optimizer step", ylabel="loss of the batch")
    axes.legend(frameon=False)
    figure.savefig(RESULTS / "rival_trainers.svg", bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=160, help="user rows")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--draw", action="store_true", help="only draw the last record's loss curves")
    options = parser.parse_args()
    if options.draw:
        draw()
        return
    job = base_job(options.rows)
    job = replace(job, settings=job.settings.model_copy(update={"schedule": "constant", "warmup_share": 0.0}))
    rounds = []
    for _ in range(options.rounds):
        rounds.append(one_round(job))
        for name, result in rounds[-1].items():
            print(
                f"{name}: {result['seconds']:.1f} s, {result['peak_mb']:.0f} MB, {result['tokens']} tokens", flush=True
            )
    seconds = {name: [round(r[name]["seconds"], 2) for r in rounds] for name in rounds[0]}
    append(
        "rival_trainers",
        {"hardware": choose_hardware().reason, "user_rows": options.rows, "seconds": seconds, **compared(rounds)},
    )
    draw()


if __name__ == "__main__":
    main()
