"""No finetuning, of the safety-aligned model."""

from reft.finetuning.methods import Method

METHOD = Method(
    words="the safety-aligned model as it is: what distillation could at best keep", loss=None, start="aligned"
)
