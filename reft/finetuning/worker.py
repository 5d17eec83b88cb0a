"""One rank of a finetuning job: `torchrun -m reft.finetuning.worker JOB_FOLDER`.

The loop reads from top to bottom in `train`; the loss is `reft.finetuning.student_loss`.
"""

import json
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import deepspeed
import torch
from filelock import FileLock

from reft.errors import ReftError, TrainingError, explain
from reft.finetuning.artifact import epoch_place
from reft.finetuning.checkpoints import (
    load_checkpoint,
    make_universal,
    needs_conversion,
    save_checkpoint,
)
from reft.finetuning.deepspeed_config import deepspeed_config
from reft.finetuning.frozen import put_beside
from reft.finetuning.job import FINISHED, FULL_DISK, STOPPED, FinetuneJob
from reft.finetuning.online_teacher import online_teacher
from reft.finetuning.saving import complete_output, save_epoch, save_student
from reft.finetuning.schedule import MicroBatch, share_of
from reft.finetuning.student_loss import StudentLoss
from reft.models.adapters import begin_as, wrap_lora
from reft.models.compiled import compiled_layers
from reft.models.hardware import Hardware, attend_for_training, choose_hardware, take_gpu
from reft.models.loading import load_model, load_tokenizer
from reft.models.memory import return_freed_memory
from reft.runtime.flags import Flag
from reft.runtime.processes import end_with_launcher
from reft.runtime.progress import progress
from reft.storage.artifacts import write_json, written

LOSSES = ("loss", "ce", "kl")


def train(folder: Path) -> None:
    """Run the whole job on this rank; rank 0 writes `metrics.jsonl` and the result under `output`."""
    job = FinetuneJob.load(folder)
    rank, world, every = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), job.settings.checkpoint_every
    hardware = _joined(job)
    torch.manual_seed(job.seed)
    tokenizer = load_tokenizer(job.model.name, job.model.chat_template, job.model.trust_remote_code)
    steps = job.plan()
    kept = job.kept_steps(steps)
    student, engine, accumulation = _prepared(job, folder, len(steps), hardware=hardware, pad_id=tokenizer.pad_token_id)
    asked_to_stop = Flag()
    signal.signal(signal.SIGTERM, lambda *_: asked_to_stop.set())
    done, tokens = load_checkpoint(engine, folder)
    show, started, before = progress(f"[rank {rank}] step"), time.monotonic(), tokens
    compiled = compiled_layers(student, job.settings.compile_layers, steps=len(steps))
    with (folder / "metrics.jsonl").open("a", buffering=1) as metrics, compiled:
        for number, planned in enumerate(steps[done:], start=done + 1):
            step, stop = engine.module.rows(number - 1, planned), asked_to_stop.is_set()
            pieces = share_of(step, rank, world, accumulation=accumulation)
            sums = _forward_and_backward(engine, step, pieces, number=number, world=world)
            if world > 1:
                sums, stop = _over_ranks(sums, stop, hardware.device)
            losses = dict(zip(LOSSES, sums.tolist(), strict=True))
            if wrong := _what_is_wrong(losses, tokenizer):
                save_checkpoint(engine, folder, number - 1, tokens=tokens)
                raise TrainingError(_about_batch(job, step, number, wrong=wrong))
            learning_rate = engine.get_lr()[0]  # the schedule moves on within the step
            engine.step()
            if number % 8 == 0:
                return_freed_memory()
            tokens += engine.module.tokens(step)
            rate = (tokens - before) / (time.monotonic() - started)
            show(number, len(steps), f"loss {losses['loss']:.3f}, {rate:.0f} tokens/s")
            if rank == 0:
                line = {"step": number, "steps": len(steps), **losses, "tokens": tokens, "tokens_per_second": rate}
                line |= {"learning_rate": learning_rate, **_memory(hardware)}
                metrics.write(json.dumps(line) + "\n")
            if number in kept:
                save_epoch(student, folder, rank, step=number)
            if number < len(steps) and (stop or (every and number % every == 0)):
                save_checkpoint(engine, folder, number, tokens=tokens)
                if stop:
                    raise TrainingError(explain(STOPPED, f"step {number}", "start it again: it resumes there"))
    _leave(student, job, folder, tokenizer=tokenizer, epochs=kept)


def _leave(student: Any, job: FinetuneJob, folder: Path, *, tokenizer: Any, epochs: Sequence[int]) -> None:
    """Write the result, and complete it and the states after these steps; on all ranks at once."""
    rank = int(os.environ["RANK"])
    save_student(student, folder / "output", rank)
    if rank == 0:
        for result in (folder / "output", *(epoch_place(folder, step) for step in epochs)):
            complete_output(result, job.model, tokenizer, merged=job.settings.merged)
        (folder / FINISHED).touch()
    torch.distributed.barrier()


def _joined(job: FinetuneJob) -> Hardware:
    """This rank's device, once it and the others know of each other."""
    take_gpu(int(os.environ["LOCAL_RANK"]))
    hardware = choose_hardware(job.model.dtype)
    if os.environ["WORLD_SIZE"] == "1":
        # DeepSpeed would compile, in C++, what ranks on one CPU talk by; one alone talks to nobody.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(
        dist_backend="gloo" if hardware.device.type == "cpu" else "nccl",
        timeout=timedelta(minutes=job.settings.stalled_minutes),
    )
    return hardware


def _memory(hardware: Hardware) -> dict[str, float]:
    """The most that tensors have taken of this rank's GPU so far, in MiB; nothing on a CPU."""
    on_gpu = hardware.device.type == "cuda"
    return {"peak_gpu_mb": torch.cuda.max_memory_allocated() / 2**20} if on_gpu else {}


def _forward_and_backward(
    engine: Any, step: MicroBatch, pieces: Sequence[MicroBatch], *, number: int, world: int
) -> torch.Tensor:
    """This rank's part of the step's losses, with the gradients ready for the last `engine.step()`."""
    sums = torch.zeros(len(LOSSES))
    for place, piece in enumerate(pieces, start=1):
        losses = engine(piece, step, number - 1)
        # DeepSpeed averages over processes and accumulation; our losses are already shares of a sum.
        engine.backward(losses["loss"] * world * len(pieces))
        sums += torch.stack([losses[name].detach().float().cpu() for name in LOSSES])
        if place < len(pieces):
            engine.step()
    return sums


def _over_ranks(sums: torch.Tensor, stop: bool, device: torch.device) -> tuple[torch.Tensor, bool]:
    """The ranks' losses together, and whether one was asked to stop: all stop after the same step, or none."""
    shared = torch.cat([sums, torch.tensor([float(stop)])]).to(device)
    torch.distributed.all_reduce(shared)
    return shared[:-1].cpu(), bool(shared[-1])


def _what_is_wrong(losses: dict[str, float], tokenizer: Any) -> str | None:
    """A loss that is not a number, or worse than twice that of guessing among all tokens."""
    if not all(map(math.isfinite, losses.values())):
        return "the loss is not a number"
    highest = 2 * math.log(len(tokenizer))
    exploded = [f"{name} is {losses[name]:.1f}" for name in ("ce", "kl") if losses[name] > highest]
    return f"the loss exploded ({exploded[0]}; guessing at random gives {highest / 2:.1f})" if exploded else None


def _about_batch(job: FinetuneJob, step: MicroBatch, number: int, *, wrong: str) -> str:
    rows = f"user rows {[job.row_numbers[i] for i in step.user]}, alignment rows {list(step.alignment)}"
    remedy = "lower finetuning.learning_rate, or look at these rows; the state before this step is in the checkpoint"
    return explain(wrong, f"step {number}, {rows}", remedy)


def _prepared(job: FinetuneJob, folder: Path, steps: int, *, hardware: Hardware, pad_id: int) -> tuple[Any, Any, int]:
    """(student, DeepSpeed engine, pieces per optimizer step and process)."""
    settings = job.settings
    model = load_model(
        job.model.name, hardware.dtype, device=hardware.device, trust_remote_code=job.model.trust_remote_code,
        quantized=settings.quantized_base,
    )  # fmt: skip
    if not settings.packing:
        attend_for_training(model, max(map(len, [*job.user, *job.alignment])))
    student: Any = wrap_lora(model, settings.lora) if settings.lora else model
    if job.start:
        begin_as(student, job.start)
    if job.beside:
        put_beside(student, job.beside)
    if settings.gradient_checkpointing:
        student.gradient_checkpointing_enable({"use_reentrant": False})
    student.train()
    teacher = None
    if job.teacher:
        teacher = online_teacher(
            job.teacher, job.model.name, student, dtype=hardware.dtype, trust_remote_code=job.model.trust_remote_code
        )
    dtype = str(hardware.dtype).removeprefix("torch.")
    config = deepspeed_config(settings, steps, dtype, on_cpu=hardware.device.type == "cpu")
    if needs_conversion(folder, int(os.environ["WORLD_SIZE"])):
        if os.environ["RANK"] == "0":
            make_universal(folder)
        torch.distributed.barrier()
        config["checkpoint"] = {"load_universal": True}
    engine, *_ = deepspeed.initialize(
        model=StudentLoss(student, job, pad_id=pad_id, teacher=teacher),
        model_parameters=[p for p in student.parameters() if p.requires_grad],  # ty: ignore[invalid-argument-type]
        config=config,
    )
    scheduler: Any = engine.lr_scheduler
    if getattr(scheduler, "last_batch_iteration", 0) < 0:
        # DeepSpeed's schedules stand before their first rate (a cosine at 0, so that the step does nothing).
        scheduler.step()
    return student, engine, config["gradient_accumulation_steps"]


def main() -> None:
    """Entry of a rank: whatever goes wrong is written down for the step that launched it."""
    folder = Path(sys.argv[1])
    end_with_launcher()
    try:
        # Whoever trained here before may still be ending.
        with FileLock(folder / f"rank-{os.environ['RANK']}.lock", timeout=60):
            # What an earlier start of this rank said about its end; a cluster may start it again by itself.
            (folder / f"error-{os.environ['RANK']}.json").unlink(missing_ok=True)
            with written(folder, FULL_DISK):
                train(folder)
    except BaseException as error:
        found = {"kind": "user" if isinstance(error, ReftError) else "fault", "time": time.time()}
        found |= {"message": str(error), "trace": traceback.format_exc()}
        write_json(folder / f"error-{os.environ.get('RANK', '0')}.json", found)
        raise


if __name__ == "__main__":
    main()
