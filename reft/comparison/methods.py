"""The methods that are compared, behind one interface: what the loss is, where it starts, what comes after.

Written from the papers' equations. All share one training loop, one model, one LoRA configuration and one plan of rows,
so that a difference between them is theirs.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from reft.comparison.losses import (
    constrained,
    mean_cross_entropy,
    project,
    proximal,
    token_log_probs,
    token_strengths,
)
from reft.conversations.tokenization import Encoded
from reft.finetuning.job import FinetuneJob
from reft.finetuning.schedule import MicroBatch
from reft.finetuning.student_loss import StudentLoss, completion_tokens

# (number of the step, the rows of one forward pass, all rows of the step) -> this pass's part of the step's loss
StepLoss = Callable[[int, MicroBatch, MicroBatch], torch.Tensor]
# Every so many steps Lisa changes its state; rho holds it near where the other state left it.
LISA_STEPS, LISA_RHO = 10, 0.1
# beta_t of the first, the early and the later tokens.
CONSTRAINT = (0.5, 2.0, 0.1)
# The share of the updates that SafeLoRA projects, the furthest away first: where its paper's ablation ends.
# A threshold on the cosine would mean another share for each rank and size.
SAFE_LORA_SHARE = 0.11


@dataclass(frozen=True)
class Training:
    """What a method's loss may look at.

    Attributes:
        model: the student, wrapped by PEFT.
        job: user rows, alignment rows and their soft labels, as the product's own finetuning takes them.
    """

    model: Any
    job: FinetuneJob
    pad_id: int

    def user(self, step: MicroBatch) -> list[Encoded]:
        """The user rows of a step or of a part of it."""
        return [self.job.user[i] for i in step.user]

    def alignment(self, step: MicroBatch) -> list[Encoded]:
        """The alignment rows of a step or of a part of it."""
        return [self.job.alignment[i] for i in step.alignment]

    def cross_entropy(self, rows: list[Encoded], whole: list[Encoded]) -> torch.Tensor:
        """The part that these rows have in the mean over the step's."""
        return mean_cross_entropy(self.model, rows, self.pad_id, whole=whole)


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to finetune.

    Attributes:
        words: what it does, in a line.
        loss: makes the function that gives a forward pass's part of a step's loss; None: nothing is trained.
        start: the base model or the safety-aligned one.
        alignment: whether alignment rows are part of each step.
        distils: whether it learns the teacher's soft labels.
        after: what is done to the adapter when training is over.
        oracle: whether the poisoned rows are taken out beforehand by their labels.
        passes: how many times the settings' epochs; a method that takes user rows in half of its steps takes twice.
    """

    name: str
    words: str
    loss: Callable[[Training], StepLoss] | None
    start: Literal["base", "aligned"] = "base"
    alignment: bool = False
    after: Callable[[nn.Module, dict[str, torch.Tensor]], None] | None = None
    oracle: bool = False
    passes: int = 1
    distils: bool = False

    def needs(self, filtered: bool) -> set[str]:
        """The stages before it: the aligned model is the teacher, and the filter's feature is the teacher's."""
        teacher = filtered or self.distils or self.start == "aligned"
        return {name for name, needed in (("teacher", teacher), ("soft labels", self.distils)) if needed}


def _plain(training: Training) -> StepLoss:
    return lambda _, piece, step: training.cross_entropy(training.user(piece), training.user(step))


def _joint(training: Training) -> StepLoss:
    def loss(_: int, piece: MicroBatch, step: MicroBatch) -> torch.Tensor:
        alignment = training.cross_entropy(training.alignment(piece), training.alignment(step))
        return alignment + training.cross_entropy(training.user(piece), training.user(step))

    return loss


def _distilled(training: Training) -> StepLoss:
    whole = StudentLoss(training.model, training.job, training.pad_id)
    return lambda _, piece, step: whole(piece, step)["loss"]


def _lisa(training: Training) -> StepLoss:
    trained = [p for p in training.model.parameters() if p.requires_grad]
    anchor: list[torch.Tensor] = []
    anchored = -1

    def loss(number: int, piece: MicroBatch, step: MicroBatch) -> torch.Tensor:
        nonlocal anchor, anchored
        if number % LISA_STEPS == 0 and number != anchored:
            anchor, anchored = [p.detach().clone() for p in trained], number
        aligning = number // LISA_STEPS % 2 == 0 or not step.user
        rows, whole = ((training.alignment if aligning else training.user)(part) for part in (piece, step))
        share = completion_tokens(rows) / completion_tokens(whole)
        return training.cross_entropy(rows, whole) + share * proximal(trained, anchor, LISA_RHO)

    return loss


def _constrained(training: Training) -> StepLoss:
    def loss(_: int, piece: MicroBatch, step: MicroBatch) -> torch.Tensor:
        rows = training.user(piece)
        if not rows:
            return torch.zeros(())
        with torch.no_grad(), training.model.disable_adapter():
            reference = token_log_probs(training.model, rows, training.pad_id)
        found = token_log_probs(training.model, rows, training.pad_id)
        terms = constrained(
            found, reference, token_strengths(rows, CONSTRAINT[0], CONSTRAINT[1], later=CONSTRAINT[2]).to(found.device)
        )
        return terms.sum() / completion_tokens(training.user(step))

    return loss


def project_adapter(model: nn.Module, aligned_minus_base: dict[str, torch.Tensor]) -> None:
    """SafeLoRA on a trained adapter, in place: a projected B makes the projected update, since C (B A) = (C B) A.

    Matrices that alignment left alone are not counted and stay as they are.
    """
    from peft.tuners.lora import LoraLayer

    found = []
    for name, module in model.named_modules():
        key = f"{name.removeprefix('base_model.model.')}.weight"
        if not isinstance(module, LoraLayer) or key not in aligned_minus_base:
            continue
        a, b = (getattr(module, f"lora_{side}")["default"].weight for side in "AB")
        alignment = aligned_minus_base[key].float().to(b.device)
        _, cosine = project((b.detach() @ a.detach()).float(), alignment)
        found.append((cosine, b, project(b.detach().float(), alignment)[0]))
    found.sort(key=lambda each: each[0])
    for _, b, projected in found[: math.ceil(SAFE_LORA_SHARE * len(found))]:
        b.data = projected.to(b.dtype)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(name="none", words="the base model as it is", loss=None),
        Method(name="aligned", words="the safety-aligned model as it is: what distillation could at best keep", loss=None, start="aligned"),
        Method(name="sft", words="cross-entropy on the user rows, from the base model", loss=_plain),
        Method(name="sft on aligned", words="the same from the safety-aligned model", loss=_plain, start="aligned"),
        Method(name="joint sft", words="cross-entropy on user and alignment rows together, from base", loss=_joint, alignment=True),
        Method(
            name="lisa", words="alternates between alignment and user rows with a proximal term, from the aligned model", loss=_lisa,
            start="aligned", alignment=True, passes=2,
        ),
        Method(name="constrained sft", words="the first tokens hardly drift from the aligned model's", loss=_constrained, start="aligned"),
        Method(
            name="safe lora", words="sft on aligned, then the updates that point away most are projected", loss=_plain, start="aligned",
            after=project_adapter,
        ),
        Method(name="distilled", words="ReFT's finetuning, from the base model", loss=_distilled, alignment=True, distils=True),
        Method(
            name="distilled from aligned", words="the same from the aligned model", loss=_distilled, start="aligned", alignment=True,
            distils=True,
        ),
        Method(name="oracle", words="sft without exactly the poisoned rows", loss=_plain, oracle=True),
    )
}  # fmt: skip


def label(method: str, filtered: bool) -> str:
    """How a method with or without the filter in front is called in tables."""
    if (method, filtered) == ("distilled", True):
        return "ReFT"
    if (method, filtered) == ("sft", True):
        return "filter only"
    if (method, filtered) == ("distilled", False):
        return "distil only"
    if (method, filtered) == ("distilled from aligned", True):
        return "ReFT from aligned"
    return f"{method} + filter" if filtered else method


def variants(names: Sequence[str], filtered: Sequence[bool]) -> list[tuple[Method, bool]]:
    """Each method without and with the filter in front, where a filter can change anything."""
    return [
        (METHODS[name], front)
        for name in names
        for front in filtered
        if not (front and (METHODS[name].loss is None or METHODS[name].oracle))
    ]
