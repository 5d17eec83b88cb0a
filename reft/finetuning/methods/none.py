"""No finetuning."""

from reft.finetuning.methods import Method

METHOD = Method(words="the base model as it is", loss=None)
