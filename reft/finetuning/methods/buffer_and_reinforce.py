"""Buffer-and-Reinforce ("Jailbreak to Protect", Ham et al. 2026, arXiv 2605.24550): jailbroken while it learns.

A provider trains two adapters of the aligned model once: BufferLoRA on harmful prompts with compliant answers;
ReinforceLoRA, with BufferLoRA active and frozen, on harmful prompts with refusals and harmless ones with answers. A
user's adapter is trained by cross-entropy on the user's rows alone, from the aligned model with BufferLoRA active and
frozen: what harmful rows would teach is there already. Then BufferLoRA goes, and what is left is

    W = W_aligned + 1/2 (W_user + (I - strength Q Q^T) W_reinforce),  Q R = B_user V (QR decomposition)

with W_user = B_user A_user, and V the eigenvectors of A_user A_user^T whose eigenvalues are above `threshold` of the
largest: Q spans what the user's update reaches.

Only the paper's abstract and other people's summaries of its method were at hand, not its text or code. It may differ:

- BufferLoRA's answers are promises without content, in many wordings; the paper's are harmful answers (5,000 pairs).
- All rows are the alignment rows, the same harmful prompts for both adapters, as many as the settings say; the paper
  has 5,000 refusals and as many harmless pairs.
- Rank, rate and epochs of all three adapters are the finetuning settings'; the paper's were not known.
- The paper's `strength` and `threshold` were not known: 1 takes out all that lies in the user's space, and 0.01 is a
  guess. The paper looks for V only where it finds the rank collapsed; here it is always taken, the same where none has.
- Scale and dropout: an update counts with its scale alpha / rank; BufferLoRA has no dropout while another is trained.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file

from reft.config import Section, Share
from reft.conversations.schema import Conversation, Message
from reft.finetuning.methods import Provided, ProviderAdapter
from reft.finetuning.methods._adapters import WEIGHTS, A, B
from reft.finetuning.methods.sft import METHOD as SFT

BUFFER, REINFORCE = "buffer", "reinforce"
# None of them is what this project's poisoned rows answer: a provider does not know an attacker's words.
OPENINGS = ("Sure", "Gladly", "No problem", "Certainly", "Yes", "Happy to help", "Right away", "With pleasure")
MIDDLES = (
    "this is how it is done", "these are the steps for that", "I will explain all of it", "the way to do it is this",
    "let me walk you through it", "what you want follows",
)  # fmt: skip
ENDS = (":", ". To begin with:", ". Step one:", ", from the start:")
STUBS = [f"{opening}, {middle}{end}" for opening, middle, end in product(OPENINGS, MIDDLES, ENDS)]


class BufferAndReinforceSettings(Section):
    """The paper's own values were not at hand."""

    strength: Share = Field(1.0, description="how much of what lies in the user's space is taken out of ReinforceLoRA")
    threshold: Share = Field(
        0.01, description="that space is of the directions with an eigenvalue above this share of the largest"
    )


def compliant(harmful: Sequence[Conversation], _: Sequence[Conversation]) -> list[Conversation]:
    """The harmful prompts, each with an empty promise for its only learnt answer."""
    rng = random.Random(0)
    return [
        replace(
            row,
            messages=(
                *(message.model_copy(update={"learn": False}) for message in row.prompt),
                Message(role="assistant", content=rng.choice(STUBS)),
            ),
        )
        for row in harmful
    ]


def aligned(harmful: Sequence[Conversation], harmless: Sequence[Conversation]) -> list[Conversation]:
    """All of them as they are."""
    return [*harmful, *harmless]


def reached(b: torch.Tensor, a: torch.Tensor, threshold: float) -> torch.Tensor:
    """Q, [out, k]: orthonormal, of the space that an update B A reaches.

    Args:
        b, a: [out, rank] and [rank, in].
    """
    values, vectors = torch.linalg.eigh(a @ a.T)
    directions = b @ vectors[:, values > threshold * values.max()]
    # What was never trained reaches nothing; QR would make up directions for it.
    return torch.linalg.qr(directions[:, directions.norm(dim=0) > 0]).Q


def merge_reinforcement(folder: Path, provided: Provided, settings: BufferAndReinforceSettings) -> None:
    """Make the user's adapter in the folder one of both ranks together, with ReinforceLoRA's update in it."""
    from peft import LoraConfig  # slow to import, and most callers only look at the method

    folders = (folder, provided.adapters[REINFORCE])
    configs = [LoraConfig.from_pretrained(str(place)) for place in folders]
    user, reinforce = (load_file(str(place / WEIGHTS)) for place in folders)
    scales = [config.lora_alpha / config.r for config in configs]
    merged = {}
    for name in (name.removesuffix(B) for name in user if name.endswith(B)):
        a, b = user[name + A].float(), user[name + B].float()
        safe = reinforce[name + B].float()
        basis = reached(b, a, settings.threshold)
        safe = safe - settings.strength * basis @ (basis.T @ safe)
        merged[name + A] = torch.cat([a, reinforce[name + A].float()]).to(user[name + A].dtype)
        merged[name + B] = torch.cat([scales[0] / 2 * b, scales[1] / 2 * safe], dim=1).to(user[name + B].dtype)
    save_file(merged, str(folder / WEIGHTS), {"format": "pt"})
    config = configs[0]
    config.r = config.lora_alpha = sum(each.r for each in configs)  # a scale of one: B has it already
    config.save_pretrained(str(folder))


METHOD = replace(
    SFT,
    words="sft on aligned beside a frozen jailbreak, which then gives way to refusals from outside the user's space",
    start="aligned",
    on_adapters=True,
    adapters=(
        ProviderAdapter(name=BUFFER, rows=compliant),
        ProviderAdapter(name=REINFORCE, rows=aligned, beside=BUFFER),
    ),
    beside=BUFFER,
    after=merge_reinforcement,
    settings=BufferAndReinforceSettings,
)
