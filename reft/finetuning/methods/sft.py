"""Supervised finetuning: L = CE(user completions)."""

from reft.finetuning.methods import Method
from reft.finetuning.methods._losses import Losses, StepLoss, losses
from reft.finetuning.schedule import MicroBatch


class CrossEntropy(StepLoss):
    """Of the user rows alone."""

    def __call__(self, _number: int, piece: MicroBatch, step: MicroBatch) -> Losses:
        """The piece's part of the mean over the step's user rows."""
        training = self.training
        return losses(training.cross_entropy(training.user(piece), training.user(step), step))


METHOD = Method(words="cross-entropy on the user rows, from the base model", loss=CrossEntropy)
