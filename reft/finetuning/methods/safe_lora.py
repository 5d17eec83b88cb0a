"""SafeLoRA (Hsu et al. 2024, arXiv 2405.16833): after SFT, updates that point away from alignment are projected.

C update, with C = V V^T / ||V||_F and V = W_aligned - W_base (section 3). A projected B makes the projected update,
since C (B A) = (C B) A.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import Field
from safetensors.torch import load_file, save_file

from reft.config import Section, Share
from reft.finetuning.methods import Provided
from reft.finetuning.methods._adapters import PREFIX, WEIGHTS, A, B
from reft.finetuning.methods.sft import METHOD as SFT


class SafeLoraSettings(Section):
    """A threshold on the cosine would mean another share for each rank and size."""

    share: Share = Field(
        0.11, description="updates that are projected, the furthest away first: where the paper's ablation ends"
    )


def project(update: torch.Tensor, alignment: torch.Tensor) -> tuple[torch.Tensor, float]:
    """C update.

    Args:
        update, alignment: [out, in], of one weight matrix; `alignment` is V.

    Returns:
        The projected update, and its cosine with the update: the lower, the more the update points away from what
        alignment did.
    """
    projected = alignment @ (alignment.T @ update) / alignment.norm().clamp_min(1e-12)
    return projected, F.cosine_similarity(update.flatten(), projected.flatten(), dim=0).item()


def projected(
    weights: Mapping[str, torch.Tensor], aligned_minus_base: Mapping[str, torch.Tensor], share: float
) -> dict[str, torch.Tensor]:
    """An adapter's weights with the share of its updates projected that points away most.

    Matrices that alignment left alone are not counted and stay as they are.
    """
    candidates = []
    for name in (n.removesuffix(B) for n in weights if n.endswith(B)):
        key = f"{name.removeprefix(PREFIX)}.weight"
        if key in aligned_minus_base:
            a, b = weights[name + A].float(), weights[name + B].float()
            alignment = aligned_minus_base[key].float()
            _, cosine = project(b @ a, alignment)
            candidates.append((cosine, name + B, project(b, alignment)[0]))
    candidates.sort(key=lambda each: each[0])
    chosen = candidates[: math.ceil(share * len(candidates))]
    return {**weights, **{name: matrix.to(weights[name].dtype).contiguous() for _, name, matrix in chosen}}


def project_adapter(folder: Path, provided: Provided, settings: SafeLoraSettings) -> None:
    """On the adapter that training wrote."""
    weights, moved = load_file(str(folder / WEIGHTS)), provided.aligned_minus_base()
    save_file(projected(weights, moved, settings.share), str(folder / WEIGHTS), {"format": "pt"})


METHOD = replace(
    SFT,
    words="sft on aligned, then the updates that point away most are projected",
    start="aligned",
    after=project_adapter,
    on_adapters=True,
    settings=SafeLoraSettings,
)
