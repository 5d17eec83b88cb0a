"""Supervised finetuning on user and alignment rows together: L = CE(user) + CE(alignment completions)."""

from reft.finetuning.methods import Method
from reft.finetuning.methods._losses import Losses, StepLoss, losses
from reft.finetuning.schedule import MicroBatch


class JointCrossEntropy(StepLoss):
    """Each kind of rows weighs the same."""

    def __call__(self, _number: int, piece: MicroBatch, step: MicroBatch) -> Losses:
        """The piece's part of both means."""
        training = self.training
        alignment = training.cross_entropy(training.alignment(piece), training.alignment(step), step)
        user = training.cross_entropy(training.user(piece), training.user(step), step)
        return losses(alignment + user, user)


METHOD = Method(
    words="cross-entropy on user and alignment rows together, from base", loss=JointCrossEntropy, alignment=True
)
