"""Finetuning: the one path from rows to a student.

A job folder, torchrun or a TrainJob, DeepSpeed, checkpoints. How a student learns is a method (`methods/`, a file
each); the pipeline and the comparison both call `student_job` and `fit_student`.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
