"""The student and its method's loss as one module."""

import torch
from torch import nn

from reft.finetuning.job import FinetuneJob
from reft.finetuning.methods import load_method
from reft.finetuning.methods._losses import Training
from reft.finetuning.online_teacher import OnlineTeacher
from reft.finetuning.schedule import MicroBatch


class StudentLoss(nn.Module):
    """The loss of `finetuning.method` inside a module, so that ZeRO 3 sees every use of a weight."""

    def __init__(
        self, model: nn.Module, job: FinetuneJob, *, pad_id: int, teacher: OnlineTeacher | None = None
    ) -> None:
        super().__init__()
        self.model = model
        method = load_method(job.settings.method)
        if method.loss is None:
            raise ValueError(f"the method {job.settings.method} trains nothing")
        options = method.options(job.settings.method_settings)
        self._loss = method.loss(Training(model=model, job=job, pad_id=pad_id, teacher=teacher, options=options))

    def rows(self, number: int, step: MicroBatch) -> MicroBatch:
        """The rows that the step of that number (from 0) takes of those that were planned."""
        return self._loss.rows(number, step)

    def tokens(self, step: MicroBatch) -> int:
        """How many tokens go through a model in a step of these rows, over all processes."""
        return self._loss.tokens(step)

    def method_state(self) -> dict[str, torch.Tensor]:
        """What the method's loss must find again where a training resumes."""
        return self._loss.state()

    def restore_method(self, state: dict[str, torch.Tensor]) -> None:
        """Go on with what `method_state` gave."""
        self._loss.restore(state)

    def forward(self, piece: MicroBatch, step: MicroBatch, number: int = 0) -> dict[str, torch.Tensor]:
        """This piece's part of the step's mean losses: `loss`, and for the log `ce` and `kl`."""
        return self._loss(number, piece, step)
