"""Writing the trained student so that transformers and PEFT load it as it is."""

import shutil
from pathlib import Path
from typing import Any

import deepspeed
import torch
from peft import PeftModel
from transformers import AutoConfig, GenerationConfig

from reft.config import ModelSettings
from reft.conversations.tokenization import stop_tokens
from reft.finetuning.artifact import epoch_place
from reft.finetuning.frozen import BESIDE, TEACHER
from reft.models.loading import load_model
from reft.storage.folders import put_back, replaced_folder


def save_student(student: Any, folder: Path, rank: int) -> None:
    """Gather the trained weights one by one on rank 0 and write them as safetensors; called on every rank."""
    state: dict[str, torch.Tensor] = {}
    adapter = hasattr(student, "peft_config")
    for name, parameter in student.named_parameters():
        if parameter.requires_grad or not adapter:
            with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
                if rank == 0:
                    state[name] = parameter.detach().cpu().clone()
    if rank == 0 and adapter:
        names = [name for name in student.peft_config if name not in (TEACHER, BESIDE)]
        student.save_pretrained(folder, state_dict=state, selected_adapters=names)
    elif rank == 0:
        student.save_pretrained(folder, state_dict=state)


def save_epoch(student: Any, folder: Path, rank: int, *, step: int) -> None:
    """The student as it is after a step, under `epochs`, whole or not at all; called on every rank."""
    place = epoch_place(folder, step)
    partial = place.with_name(f"{place.name}.part")
    if rank == 0:
        for old in (partial, place):  # of a start that was cut off: a training that goes on does its last steps again
            shutil.rmtree(old, ignore_errors=True)
    save_student(student, partial, rank)
    if rank == 0:
        partial.replace(place)


def complete_output(folder: Path, model: ModelSettings, tokenizer: Any, *, merged: bool) -> None:
    """Beside the weights: the tokenizer with its chat template and how the base model generates.

    Killed at any time it may be done again: an adapter stays whole until the weights that take its place are.

    Args:
        merged: turn an adapter into whole weights, in the base model's own number format.
    """
    put_back(folder)
    if merged and (folder / "adapter_model.safetensors").is_file():
        # In float32, since a small update added in half precision would be rounded away.
        base = load_model(
            model.name, torch.float32, device=torch.device("cpu"), trust_remote_code=model.trust_remote_code
        )
        stored = AutoConfig.from_pretrained(model.name, trust_remote_code=model.trust_remote_code).dtype
        whole = PeftModel.from_pretrained(base, str(folder)).merge_and_unload().to(stored or torch.float32)
        with replaced_folder(folder) as fresh:
            whole.save_pretrained(fresh)
    tokenizer.save_pretrained(folder)
    try:
        generation = GenerationConfig.from_pretrained(model.name)
    except OSError:  # the base model names none: transformers' defaults hold
        generation = GenerationConfig()
    # Whoever serves the student stops where it learnt to stop: a base model's own configuration knows no turns.
    ends = stop_tokens(tokenizer, generation.eos_token_id)
    generation.eos_token_id = ends if len(ends) > 1 else ends[0]
    generation.save_pretrained(folder)
