"""Where a finetuning step's time goes, and its share of the machine's peak: `python -m benchmarks.profile_finetuning`.

The default model and LoRA settings, forward, loss and backward of batches of eight user rows and two alignment rows, in
this process. Writes the longest operations to `results/profile_finetuning.md` (two minutes on two cores).
"""

import argparse
import time
from dataclasses import replace

from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.filtering import peak_flops
from benchmarks.finetuning import base_job
from benchmarks.record import RESULTS
from reft.finetuning.student_loss import StudentLoss
from reft.models.adapters import wrap_lora
from reft.models.hardware import attend_for_training, choose_hardware
from reft.models.loading import load_model, load_tokenizer

STEPS = 8


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    job, hardware = base_job(96), choose_hardware()
    job = replace(job, settings=job.settings.model_copy(update={"alignment_ratio": 0.25}))
    assert job.settings.lora
    tokenizer = load_tokenizer(job.model.name, job.model.chat_template)
    model = load_model(job.model.name, hardware.dtype)
    attend_for_training(model, 200)
    # DeepSpeed computes with adapters in the model's own format, beside float32 copies that the optimizer keeps.
    student = wrap_lora(model, job.settings.lora).to(hardware.dtype).train()
    loss = StudentLoss(student, job, pad_id=int(tokenizer.pad_token_id))
    steps = job.plan()[: STEPS + 2]

    def run(some: list) -> None:
        for step in some:
            loss(step, step)["loss"].backward()

    run(steps[:2])  # kernels are chosen
    with FlopCounterMode(display=False) as counted:
        run(steps[2:])
    started = time.perf_counter()
    run(steps[2:])
    seconds = time.perf_counter() - started
    peak = peak_flops(hardware.dtype, hardware.device)
    share = counted.get_total_flops() / seconds / peak
    with profile(activities=[ProfilerActivity.CPU]) as found:
        run(steps[2:])
    operations = sorted(found.key_averages(), key=lambda o: -o.self_cpu_time_total)
    total = sum(o.self_cpu_time_total for o in operations)
    lines = [
        f"{STEPS} such steps, {hardware.reason}: {seconds:.1f} s, {share:.0%} of the measured "
        f"matrix-multiply peak ({peak / 1e9:.0f} GFLOP/s).",
        "",
        "| operation | share of the time | calls |",
        "| --- | --- | --- |",
        *(f"| {o.key} | {o.self_cpu_time_total / total:.1%} | {o.count} |" for o in operations[:14]),
    ]
    (RESULTS / "profile_finetuning.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
