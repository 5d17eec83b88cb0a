"""Where a killed training goes on: DeepSpeed's newest checkpoint, in the job's own folder."""

import json
import shutil
from argparse import Namespace
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from reft.errors import TrainingError, explain
from reft.storage.artifacts import read_json, write_json, write_text


def last_step(folder: Path) -> int:
    """The optimizer step of the newest checkpoint; 0 where there is none."""
    return _newest(folder)["step"]


def _newest(folder: Path) -> dict[str, int]:
    newest = folder / "checkpoints" / "newest.json"
    return read_json(newest) if newest.is_file() else {"step": 0, "ranks": 0}


def save_checkpoint(engine: Any, folder: Path, step: int, *, tokens: int) -> None:
    """Write what trains, the optimizer, the schedule, the method's and rank 0's random state; on all ranks at once.

    `newest.json` names it only after every rank has written its part, and the others go only after that. (With
    dropout, the other ranks' random states are not kept: the resumed training is then as good as, not equal to, the
    other.)
    """
    if step == last_step(folder):
        return  # to write it again would put the only one at risk
    checkpoints, ranks = folder / "checkpoints", torch.distributed.get_world_size()
    state = {"tokens": tokens, "random": torch.get_rng_state(), "method": engine.module.method_state()}
    try:
        with _only_trained(engine.module):
            engine.save_checkpoint(
                str(checkpoints), f"step-{step}", state, save_latest=False, exclude_frozen_parameters=True
            )
    except Exception:
        shutil.rmtree(checkpoints / f"step-{step}", ignore_errors=True)  # a full disk has room for the reason then
        raise
    torch.distributed.barrier()
    if torch.distributed.get_rank() == 0:
        write_json(checkpoints / "newest.json", {"step": step, "ranks": ranks})
        for old in checkpoints.glob("step-*"):
            if old.name != f"step-{step}":
                shutil.rmtree(old)


@contextmanager
def _only_trained(module: torch.nn.Module) -> Generator[None]:
    """Let the module's state be its trained parameters and its buffers while the block lasts.

    DeepSpeed leaves out frozen parameters under their first name alone: a head that is tied to the embedding stays,
    and so does what a quantized weight adds to the state beside itself.
    """
    trained = {name for name, p in module.named_parameters(remove_duplicate=False) if p.requires_grad}
    kept = trained | {name for name, _ in module.named_buffers(remove_duplicate=False)}

    def leave_out(_: torch.nn.Module, state: dict[str, Any], *__: Any) -> None:
        for name in state.keys() - kept:
            del state[name]

    hook = module.register_state_dict_post_hook(leave_out)
    try:
        yield
    finally:
        hook.remove()


def load_checkpoint(engine: Any, folder: Path) -> tuple[int, int]:
    """Put the engine where the newest checkpoint left it; returns (steps done, tokens seen), (0, 0) without one."""
    step = last_step(folder)
    if not step:
        return 0, 0
    checkpoints = folder / "checkpoints"
    name = universal_name(folder) if engine.load_universal_checkpoint() else f"step-{step}"
    _, state = engine.load_checkpoint(str(checkpoints), name, load_module_strict=False)
    torch.set_rng_state(state["random"])
    if method := state.get("method"):
        engine.module.restore_method(method)
    return step, state["tokens"]


def universal_name(folder: Path) -> str:
    """What the newest checkpoint is called once it fits any number of ranks."""
    return f"step-{last_step(folder)}-universal"


def needs_conversion(folder: Path, ranks: int) -> bool:
    """Whether the newest checkpoint was written by another number of ranks."""
    newest = _newest(folder)
    return newest["step"] > 0 and newest["ranks"] != ranks


def make_universal(folder: Path) -> None:
    """Convert the newest checkpoint to DeepSpeed's universal form; done by one process, before any rank loads it.

    Raises:
        TrainingError: DeepSpeed cannot convert it.
    """
    from deepspeed.checkpoint import ds_to_universal  # slow to import

    checkpoints = folder / "checkpoints"
    source, target = checkpoints / f"step-{last_step(folder)}", checkpoints / universal_name(folder)
    shutil.rmtree(target, ignore_errors=True)
    options = Namespace(
        input_folder=str(source), output_folder=str(target), num_extract_workers=1, num_merge_workers=1,
        keep_temp_folder=False, strict=True, inject_missing_state=True,
    )  # fmt: skip
    try:
        ds_to_universal.main(options)
    except Exception as error:
        remedy = f"go on with finetuning.processes {_newest(folder)['ranks']}, or delete the folder to start anew"
        raise TrainingError(
            explain(f"the checkpoint fits no other number of processes ({error})", str(source), remedy)
        ) from error


def forget_metrics_after(metrics: Path, step: int) -> None:
    """Drop the lines of steps that will be done again, and a line that was cut off."""
    lines = metrics.read_text().splitlines() if metrics.is_file() else []
    kept = []
    for line in lines:
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except ValueError:
            break
    write_text(metrics, "".join(kept))
