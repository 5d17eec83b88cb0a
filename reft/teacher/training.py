"""Step 2: train the teacher, L = CE(answers) + lambda * cosine regulariser (method, step 2)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from reft.config import TeacherSettings
from reft.conversations.completions import completion_batch
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import Encoded, encode_all
from reft.errors import ConfigurationError, TrainingError, explain
from reft.models.adapters import frozen_layers, wrap_lora
from reft.models.compiled import compiled_layers
from reft.models.hardware import attend_for_training
from reft.models.head import cross_entropy_sum, hidden_states
from reft.models.layers import watch_layers
from reft.models.masters import Masters
from reft.models.memory import return_freed_memory
from reft.refusal_feature.feature import RefusalFeature
from reft.refusal_feature.features import token_index
from reft.teacher.checkpoints import Checkpoints, Learning
from reft.teacher.loss import RunningFeature, cosine_regulariser

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

StepReport = Callable[[int, int, dict[str, float]], None]


@dataclass(frozen=True)
class LabelledRow:
    """A tokenised alignment row and its class."""

    encoded: Encoded
    harmful: bool


def train_teacher(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    harmful: Sequence[Conversation],
    *,
    harmless: Sequence[Conversation],
    feature: RefusalFeature,
    settings: TeacherSettings,
    seed: int,
    max_length: int,
    report: StepReport | None = None,
    checkpoints: Checkpoints | None = None,
) -> nn.Module:
    """Train in place and return the model, wrapped by PEFT where the settings ask for LoRA.

    Args:
        harmful, harmless: alignment rows; each ends with the answer to learn.
        feature: an untrained refusal feature; its layer and position are where the regulariser acts.
        report: called with (step, steps, losses) after each optimizer step; for those of an earlier process at once.
        checkpoints: of this very training; None: a killed one begins anew.

    Raises:
        ConfigurationError: the regulariser acts on a layer below all adapters, or no compiler is there for the layers.
        TrainingError: the loss is not a number.
        DataValidationError: a row is longer than `max_length` tokens.
    """
    _require_trained_layer(model, feature.layer, settings)
    torch.manual_seed(seed)
    pad_id, groups = tokenizer.pad_token_id, ((harmful, True), (harmless, False))
    rows = [LabelledRow(e, label) for group, label in groups for e in encode_all(tokenizer, group, max_length)]
    attend_for_training(model, max(len(row.encoded) for row in rows))
    trained = (wrap_lora(model, settings.lora) if settings.lora else model).train()
    batches = mixed_batches(rows, settings.batch_size, settings.epochs, rng=random.Random(seed))
    learning = _learning(trained, feature, settings=settings, dtype=model.dtype, steps=len(batches))
    kept, tell = checkpoints or Checkpoints(), report or (lambda *_: None)
    begun = kept.resume(learning)
    for step, losses in enumerate(kept.losses, start=1):
        tell(step, len(batches), losses)
    with compiled_layers(trained, settings.compile_layers, steps=len(batches)):
        for step, batch in enumerate(batches[begun:], start=begun + 1):
            found = _step_losses(trained, batch, feature, running=learning.running, settings=settings, pad_id=pad_id)
            _update(learning, found["loss"], step=step, max_grad_norm=settings.max_grad_norm)
            tell(step, len(batches), kept.after(learning, found))
    learning.masters.leave()
    return trained.eval()


def _learning(
    trained: nn.Module, feature: RefusalFeature, *, settings: TeacherSettings, dtype: torch.dtype, steps: int
) -> Learning:
    masters = Masters([p for p in trained.parameters() if p.requires_grad], dtype)
    optimizer, schedule = optimizer_and_schedule(masters.parameters, settings.learning_rate, steps)
    running = RunningFeature.start(feature, settings.momentum, masters.used[0].device)
    return Learning(masters=masters, optimizer=optimizer, schedule=schedule, running=running)


def optimizer_and_schedule(
    parameters: list[nn.Parameter], learning_rate: float, steps: int
) -> tuple[Optimizer, LambdaLR]:
    """AdamW whose rate rises over the first twentieth of the steps and falls along a cosine over all of them."""
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)
    warmup = max(1, round(0.05 * steps))

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / warmup) * (0.5 + 0.5 * math.cos(math.pi * step / steps))

    return optimizer, LambdaLR(optimizer, rate)


def _step_losses(
    model: nn.Module,
    batch: Sequence[LabelledRow],
    feature: RefusalFeature,
    *,
    running: RunningFeature,
    settings: TeacherSettings,
    pad_id: int,
) -> dict[str, torch.Tensor]:
    """The loss and both of its terms, from one forward pass."""
    device = running.harmful.device
    rows = [row.encoded for row in batch]
    harmful = torch.tensor([row.harmful for row in batch], device=device)
    inputs = completion_batch(rows, pad_id, device)
    where = torch.tensor([token_index(row, feature.position) for row in rows], device=device)
    seen: dict[int, torch.Tensor] = {}
    with watch_layers(model, [feature.layer], seen.__setitem__):
        hidden = hidden_states(model, inputs.input_ids, inputs.attention_mask)
    features = seen[feature.layer][torch.arange(len(rows), device=device), where]
    running.update(features.detach(), harmful)
    ce = cross_entropy_sum(model, inputs.pick(hidden), inputs.targets) / len(inputs.targets)
    regulariser = cosine_regulariser(running.scores(features), harmful, settings.harmless_target)
    return {"loss": ce + settings.lam * regulariser, "ce": ce, "regulariser": regulariser}


def _update(learning: Learning, loss: torch.Tensor, *, step: int, max_grad_norm: float) -> None:
    """One optimizer step down the loss, which must be a number."""
    _require_finite(loss, step)
    loss.backward()
    learning.masters.take_gradients()
    nn.utils.clip_grad_norm_(learning.masters.parameters, max_grad_norm)
    learning.optimizer.step()
    learning.schedule.step()
    learning.masters.give_back()
    if step % 8 == 0:
        return_freed_memory()


def _require_finite(loss: torch.Tensor, step: int) -> None:
    if not torch.isfinite(loss):
        remedy = "lower teacher.learning_rate"
        raise TrainingError(explain("the teacher's loss is not a number", f"step {step}", remedy))


def _require_trained_layer(model: PreTrainedModel, layer: int, settings: TeacherSettings) -> None:
    if settings.lam and settings.lora and layer <= frozen_layers(model, settings.lora.frozen_share):
        remedy = "raise teacher.depth or lower teacher.lora.frozen_share"
        raise ConfigurationError(explain(f"layer {layer} is regularised and frozen", "teacher.depth", remedy))


def mixed_batches(
    rows: Sequence[LabelledRow], batch_size: int, epochs: int, *, rng: random.Random, window: int = 8
) -> list[list[LabelledRow]]:
    """Batches that hold both classes in the proportion of the whole and rows of similar length.

    Rows are shuffled every epoch, then sorted by length within windows of `window` batches, which
    leaves the order random at a larger scale but spends little on padding.
    """
    batches: list[list[LabelledRow]] = []
    for _ in range(epochs):
        groups = [[row for row in rows if row.harmful is label] for label in (True, False)]
        for group in groups:
            rng.shuffle(group)
        windows = math.ceil(len(rows) / (batch_size * window))
        epoch: list[list[LabelledRow]] = []
        for index in range(windows):
            mixed: list[tuple[float, LabelledRow]] = []
            for group in groups:
                part = sorted(group[index::windows], key=lambda row: len(row.encoded))
                mixed += [((place + 0.5) / len(part), row) for place, row in enumerate(part)]
            ordered = [row for _, row in sorted(mixed, key=lambda pair: pair[0])]
            epoch += [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
        rng.shuffle(epoch)
        batches += epoch
    return batches
