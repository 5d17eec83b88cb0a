"""One rank of a finetuning job: `torchrun -m reft.distillation.worker JOB_FOLDER`.

L = CE(user completions) + alpha * T^2 * KL(teacher || student) on alignment completions, both in
one forward pass of one mixed batch. The loop reads from top to bottom in `main`.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import deepspeed
import torch
from filelock import FileLock
from torch import nn

from reft.artifacts import write_json
from reft.conversations.completions import completion_batch
from reft.conversations.tokenization import Encoded
from reft.distillation.checkpoints import load_checkpoint, save_checkpoint
from reft.distillation.deepspeed_config import deepspeed_config
from reft.distillation.job import FINISHED, FinetuneJob
from reft.distillation.loss import sparse_kl_sum
from reft.distillation.schedule import MicroBatch, class_shares, plan_steps, share_of
from reft.errors import TrainingError, explain
from reft.models.adapters import wrap_lora
from reft.models.hardware import Hardware, attend_for_training, choose_hardware
from reft.models.head import cross_entropy_sum, hidden_states, sum_over_chunks
from reft.models.loading import load_model, load_tokenizer
from reft.models.memory import return_freed_memory
from reft.processes import end_with_launcher


class StudentLoss(nn.Module):
    """The student and its loss as one module, so that ZeRO 3 sees every use of a weight."""

    def __init__(self, model: nn.Module, job: FinetuneJob, pad_id: int) -> None:
        super().__init__()
        self.model = model
        self.job = job
        self.pad_id = pad_id

    def forward(self, piece: MicroBatch, step: MicroBatch) -> dict[str, torch.Tensor]:
        """This piece's part of the step's mean losses: `ce`, `kl` and their weighted sum `loss`."""
        job, device = self.job, next(self.model.parameters()).device
        user = [job.user[i] for i in piece.user]
        alignment = [job.alignment[i] for i in piece.alignment]
        # A piece without rows still takes part in the collective work, with a weight of nothing.
        rows = user + alignment or [job.user[step.user[0]]]
        batch = completion_batch(rows, self.pad_id, device)
        hidden = batch.pick(hidden_states(self.model, batch.input_ids, batch.attention_mask))
        user_tokens = _completion_tokens(user)
        ce = cross_entropy_sum(self.model, hidden[:user_tokens], batch.targets[:user_tokens])
        kl = self._distillation(hidden[user_tokens : user_tokens + _completion_tokens(alignment)], piece)
        ce = ce / max(1, _completion_tokens([job.user[i] for i in step.user]))
        kl = kl / max(1, _completion_tokens([job.alignment[i] for i in step.alignment]))
        temperature = job.soft_labels.temperature if job.soft_labels else 1.0
        loss = ce + job.settings.alpha * temperature**2 * kl + 0.0 * hidden.sum()
        return {"loss": loss, "ce": ce.detach(), "kl": kl.detach()}

    def _distillation(self, hidden: torch.Tensor, piece: MicroBatch) -> torch.Tensor:
        labels = self.job.soft_labels
        if labels is None or not piece.alignment:
            return hidden.new_zeros(())
        parts = [labels.of_row(i) for i in piece.alignment]
        log_probs = torch.cat([p for p, _ in parts]).to(hidden.device)
        indices = torch.cat([i for _, i in parts]).to(hidden.device)
        return sum_over_chunks(
            self.model,
            hidden,
            lambda logits, which: sparse_kl_sum(logits, log_probs[which], indices[which], labels.temperature),
        )


def train(folder: Path) -> None:
    """Run the whole job on this rank; rank 0 writes `metrics.jsonl` and the result under `output`."""
    job = FinetuneJob.load(folder)
    rank, world, every = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), job.settings.checkpoint_every
    hardware = choose_hardware(job.model.dtype)
    deepspeed.init_distributed(dist_backend="gloo" if hardware.device.type == "cpu" else "nccl")
    torch.manual_seed(job.seed)
    tokenizer = load_tokenizer(job.model.name, job.model.chat_template, job.model.trust_remote_code)
    steps = _planned(job)
    student, engine, accumulation = _prepared(job, len(steps), hardware, tokenizer.pad_token_id)
    asked_to_stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked_to_stop.set())
    done, tokens = load_checkpoint(engine, folder)
    started, before = time.monotonic(), tokens
    with (folder / "metrics.jsonl").open("a", buffering=1) as metrics:
        for number, step in enumerate(steps[done:], start=done + 1):
            sums = torch.zeros(3)
            stop = asked_to_stop.is_set()
            for piece in share_of(step, rank, world, accumulation):
                losses = engine(piece, step)
                # DeepSpeed averages over processes and accumulation; our losses are already shares of a sum.
                engine.backward(losses["loss"] * world * accumulation)
                engine.step()
                sums += torch.stack([losses[name].detach().float().cpu() for name in ("loss", "ce", "kl")])
            if world > 1:
                sums, stop = _over_ranks(sums, stop, hardware.device)
            if not torch.isfinite(sums).all():
                rows = [job.row_numbers[i] for i in step.user]
                where = f"step {number}, user rows {rows}"
                raise TrainingError(explain("the loss is not a number", where, "lower the learning rate"))
            if number % 8 == 0:
                return_freed_memory()
            tokens += sum(len(job.user[i]) for i in step.user) + sum(len(job.alignment[i]) for i in step.alignment)
            if rank == 0:
                losses = dict(zip(("loss", "ce", "kl"), sums.tolist(), strict=True))
                rate = (tokens - before) / (time.monotonic() - started)
                line = {"step": number, "steps": len(steps), **losses, "tokens": tokens, "tokens_per_second": rate}
                metrics.write(json.dumps(line) + "\n")
            if number < len(steps) and (stop or (every and number % every == 0)):
                save_checkpoint(engine, folder, number, tokens, rank)
                if stop:
                    remedy = "start it again: it goes on there"
                    raise TrainingError(explain("stopped by SIGTERM and saved", f"step {number}", remedy))
    save_student(student, folder / "output", rank)
    if rank == 0:
        tokenizer.save_pretrained(folder / "output")
        (folder / FINISHED).touch()
    torch.distributed.barrier()


def _over_ranks(sums: torch.Tensor, stop: bool, device: torch.device) -> tuple[torch.Tensor, bool]:
    """The ranks' losses together, and whether one was asked to stop: all stop after the same step, or none."""
    shared = torch.cat([sums, torch.tensor([float(stop)])]).to(device)
    torch.distributed.all_reduce(shared)
    return shared[:-1].cpu(), bool(shared[-1])


def _planned(job: FinetuneJob) -> list[MicroBatch]:
    """Which rows each optimizer step takes, over all processes."""
    settings, lengths = job.settings, [len(row) for row in job.alignment]
    return plan_steps(
        [len(row) for row in job.user],
        (lengths[: job.harmful], lengths[job.harmful :]),
        class_shares(job.harmful, len(lengths), settings.harmful_share),
        settings.batch_size,
        settings.epochs,
        settings.alignment_ratio,
        job.seed,
    )


def _prepared(job: FinetuneJob, steps: int, hardware: Hardware, pad_id: int) -> tuple[Any, Any, int]:
    """(student, DeepSpeed engine, pieces per optimizer step and process)."""
    settings = job.settings
    model = load_model(job.model.name, hardware.dtype, hardware.device, None, job.model.trust_remote_code)
    attend_for_training(model, max(map(len, [*job.user, *job.alignment])))
    student = wrap_lora(model, settings.lora) if settings.lora else model
    student.train()
    dtype = str(hardware.dtype).removeprefix("torch.")
    config = deepspeed_config(settings, steps, dtype, hardware.device.type == "cpu")
    engine, *_ = deepspeed.initialize(
        model=StudentLoss(student, job, pad_id),
        model_parameters=[p for p in student.parameters() if p.requires_grad],  # ty: ignore[invalid-argument-type]
        config=config,
    )
    return student, engine, config["gradient_accumulation_steps"]


def save_student(student: Any, folder: Path, rank: int) -> None:
    """Gather the trained weights one by one on rank 0 and write them as safetensors."""
    state: dict[str, torch.Tensor] = {}
    full = not hasattr(student, "peft_config")
    for name, parameter in student.named_parameters():
        if parameter.requires_grad or full:
            with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
                if rank == 0:
                    state[name] = parameter.detach().cpu().clone()
    if rank == 0:
        student.save_pretrained(folder, state_dict=state)


def _completion_tokens(rows: list[Encoded]) -> int:
    return sum(row.completion[1] - row.completion[0] for row in rows)


def main() -> None:
    """Entry of a rank: whatever goes wrong is written down for the step that launched it."""
    folder = Path(sys.argv[1])
    end_with_launcher()
    try:
        # Whoever trained here before may still be ending.
        with FileLock(folder / f"rank-{os.environ['RANK']}.lock", timeout=60):
            train(folder)
    except BaseException as error:
        rank = os.environ.get("RANK", "0")
        kind = "user" if isinstance(error, TrainingError) else "fault"
        write_json(
            folder / f"error-{rank}.json", {"kind": kind, "message": str(error), "trace": traceback.format_exc()}
        )
        raise


if __name__ == "__main__":
    main()
